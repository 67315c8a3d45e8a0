"""Work that goes on from the released CodeRL, or there: its data files and its checkpoints, in and out.

`released import` reads the files in the folders of APPS problems (problems/released.py) into records of ours; `released export` writes them,
so that the authors' `train.py` finds what its stages before would have left; `released model` turns a checkpoint with their names of weights
into a model folder of ours. Nothing is run, and pickles are read without running what is in them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..examples import Judged
    from ..records import Problem, TokenScores


@dataclass(frozen=True)
class Import:
    """Read the released CodeRL's data files: programs, outcomes, critic scores."""

    source: Path
    """folder of APPS problem folders (0000, 0001, ...) with gen_solutions.json and the other files in them"""
    out: Path
    """folder to write: problems, programs, verdicts, greedy, greedy_verdicts and scores (.jsonl)"""
    tokenizer: Path | None = None
    """CodeT5's tokenizer (folder or hub name); reads gen_solutions_critic_scores.pkl into token scores"""


@dataclass(frozen=True)
class Export:
    """Write the released CodeRL's data files, for its train.py."""

    problems: Path
    """APPS problems that the programs answer (.jsonl)"""
    programs: Path
    """sampled programs (.jsonl)"""
    verdicts: Path
    """their verdicts (.jsonl)"""
    out: Path
    """folder of APPS problem folders to write into; what else is in them stays"""
    greedy: Path | None = None
    """greedy programs (.jsonl), for baseline_solutions.json; needs --greedy-verdicts"""
    greedy_verdicts: Path | None = None
    """their verdicts (.jsonl)"""
    critic: Path | None = None
    """critic folder; writes gen_solutions_critic_scores.pkl"""


@dataclass(frozen=True)
class Model:
    """Turn a checkpoint of the released CodeRL, actor or critic, into a model folder."""

    checkpoint: Path
    """folder with pytorch_model.bin or model.safetensors"""
    out: Path
    """model folder to write"""
    base: Path | None = None
    """folder or hub name with the config.json and the tokenizer that the checkpoint lacks (Salesforce/codet5-large, ...-base for critics)"""


def main_import(config: Import) -> None:
    from ..problems import released
    from ..problems.apps import load
    from ..released_scores import with_scores
    from ..store import write_records
    from ..tokens import load_tokenizer

    tokenizer = load_tokenizer(config.tokenizer) if config.tokenizer else None
    problems = load(config.source)
    samples: list[Judged] = []
    greedy: list[Judged] = []
    scores: list[TokenScores] = []
    for problem, folder in ((p, _folder(config.source, p)) for p in problems):
        found = _if_there(folder / released.SAMPLES, problem, "sample")
        greedy += _if_there(folder / released.BASELINE, problem, "greedy")
        if tokenizer and (folder / released.SCORES).exists():
            pairs = with_scores(tokenizer, found, released.read_scores(folder / released.SCORES))
            found, scores = [pair.judged for pair in pairs], [*scores, *(pair.scores for pair in pairs)]
        samples += found
    print(f"{config.out / 'problems.jsonl'}: {write_records(config.out / 'problems.jsonl', problems)} problems")
    for name, verdicts, judged in (("programs", "verdicts", samples), ("greedy", "greedy_verdicts", greedy)):
        write_records(config.out / f"{verdicts}.jsonl", (one.verdict for one in judged))
        print(f"{config.out / f'{name}.jsonl'}: {write_records(config.out / f'{name}.jsonl', (one.program for one in judged))} programs")
    if scores:
        print(f"{config.out / 'scores.jsonl'}: scores of {write_records(config.out / 'scores.jsonl', scores)} programs")


def _folder(source: Path, problem: Problem) -> Path:
    """Where a problem that was read from `source` lies: its own folder, or one or two below."""
    from ..errors import DataError

    split, number = problem.id.split("/")[-2:]
    for path in (source / number, source / split / number, source):
        if (path / "question.txt").exists():
            return path
    raise DataError(f"has no folder with the question.txt of {problem.id}; give the folder of APPS problem folders (0000, 0001, ...)", source)


def _if_there(path: Path, problem: Problem, origin: str) -> list[Judged]:
    from ..examples import Judged
    from ..problems.released import read_judged

    return [Judged(*one) for one in read_judged(path, problem.id, origin)] if path.exists() else []


def main_export(config: Export) -> None:
    from ..errors import DataError, UsageError
    from ..models.critic import load_critic
    from ..problems import released
    from ..progress import progress
    from ..records import Problem
    from ..released_scores import scores_of
    from ..store import read_records
    from ..tokens import load_tokenizer

    if (config.greedy is None) != (config.greedy_verdicts is None):
        raise UsageError("--greedy and --greedy-verdicts go together; give both or none")
    problems = {p.id: p for p in read_records(config.problems, Problem)}
    samples = _by_problem(config.programs, config.verdicts)
    greedy = _by_problem(config.greedy, config.greedy_verdicts) if config.greedy and config.greedy_verdicts else {}
    unknown = [name for name in (*samples, *greedy) if name not in problems]
    if unknown:
        raise DataError(f"lacks the problem {unknown[0]!r}, which programs answer; give the file that they were sampled from", config.problems)
    folders = _folders(config.out, {**samples, **greedy})
    critic = (load_critic(config.critic), load_tokenizer(config.critic)) if config.critic else None
    for name, judged in samples.items():
        released.write_judged(folders[name] / released.SAMPLES, [released.Judged(*one) for one in judged], baseline=False)
    for name, judged in greedy.items():
        released.write_judged(folders[name] / released.BASELINE, [released.Judged(*one) for one in judged], baseline=True)
    print(f"{config.out}: {sum(map(len, samples.values()))} programs for {len(samples)} problems, {len(greedy)} greedy programs")
    if critic is None:
        return
    with progress("scoring", total=len(samples), unit="problems") as advance:
        for name, judged in samples.items():
            released.write_scores(folders[name] / released.SCORES, scores_of(*critic, problems[name], judged))
            advance(1)
    print(f"{config.out}: scores of {len(samples)} problems by {config.critic}")


def _folders(out: Path, problems: Iterable[str]) -> dict[str, Path]:
    """The folder of each problem, named by the last part of its id ("apps/train/0000").

    Raises:
        DataError: two problems would lie in one folder.
    """
    from ..errors import DataError

    owners: dict[Path, str] = {}
    for name in problems:
        other = owners.setdefault(out / Path(name).name, name)
        if other != name:
            raise DataError(f"{other!r} and {name!r} would both be written into {out / Path(name).name}; export the splits one by one")
    return {name: folder for folder, name in owners.items()}


def _by_problem(programs: Path, verdicts: Path) -> dict[str, list[Judged]]:
    """Judged programs by problem, in the order of their numbers."""
    from ..examples import join_verdicts
    from ..grading import programs_of
    from ..records import Verdict
    from ..store import read_records

    found: dict[str, list[Judged]] = {}
    for one in join_verdicts(programs_of(programs), read_records(verdicts, Verdict)):
        found.setdefault(one.program.problem, []).append(one)
    return {name: sorted(judged, key=lambda one: one.program.index) for name, judged in found.items()}


def main_model(config: Model) -> None:
    from ..models.released import convert

    print(convert(config.checkpoint, config.base, config.out))
