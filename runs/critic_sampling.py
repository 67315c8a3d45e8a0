"""What critic sampling is worth at equal numbers of generated tokens, on Mini's held-out problems.

    python runs/critic_sampling.py --models FOLDER --problems heldout.jsonl --seeds 0 1 2

FOLDER holds actor/, critic/ and repair/ (what finetune, train-critic and train-repair wrote). Every arm writes the same number of tokens for
every problem (`--budget`, prefixes not counted) and begins with the same samples; each arm and seed gives one JSON file in
runs/results/critic_sampling/ and is left out when it is there; `table.md` is made of them. Hidden tests decide at the end only.
Arms:

    plain            sample until the tokens are used up
    refine           N samples, refine what passes the examples (the paper's prefix), and again until the tokens are used up
    repair-M         the same; where nothing passes, the M best failures are repaired first
    random, log-probability, pooled      refine, with the prefix by chance, before the actor's least sure token, by the critic's pooled reading
"""

import argparse
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from coderl.critic_sampling import Candidate, Rules, Seed, Team, Tree, at_random, by_critic, by_log_probability, search
from coderl.engines.choose import Writer
from coderl.engines.requests import Decoding, Generated, Request
from coderl.evaluation import bootstrap_interval
from coderl.formulas.passk import pass_at_k
from coderl.models.critic import reading_prefixes
from coderl.progress import progress
from coderl.prompts import prompt
from coderl.records import DIFFICULTIES, Problem, Program, Verdict
from coderl.repair import repair_source
from coderl.sandbox import Judge
from coderl.selection import Rule, by_majority, by_mean_log_probability, by_score, ranked
from coderl.solving import behaviours_of, team
from coderl.store import atomic_write, manifest, read_records
from coderl.tokens import decode, encode_prompt

HERE = Path(__file__).resolve().parent
ENDLESS = 1_000  # rounds: the budget ends them
QUARTERS = (0.25, 0.5, 0.75, 1.0)
ALONE = 2  # failed programs of a problem that are repaired in the measurement of repair alone, and attempts at each


class Arm(NamedTuple):
    """How an arm searches: rounds of refining in a cycle, repaired failures (0: no repair), prefix, and whether the critic pools."""

    refine: int
    repaired: int
    prefix: Seed
    pooled: bool = False


ARMS: dict[str, Arm] = {
    "plain": Arm(0, 0, by_log_probability),
    "refine": Arm(1, 0, by_critic),
    "repair-1": Arm(1, 1, by_critic),
    "repair-2": Arm(1, 2, by_critic),
    "repair-4": Arm(1, 4, by_critic),
    "random": Arm(1, 0, at_random),
    "log-probability": Arm(1, 0, by_log_probability),
    "pooled": Arm(1, 0, by_critic, pooled=True),
}
# CodeRL Table 4, all difficulties, gains over its row "none": pass@200, pass@1000, 1@1000 (points of percent)
PAPER = {"refine": (1.40, 1.58, 0.12), "repair-1": (2.26, 3.20, 0.77), "repair-2": (2.34, 3.14, 0.76), "repair-4": (2.30, 2.84, 0.62)}


class Stopwatch:
    """Wall seconds by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def writing(self, engine: Writer, part: str) -> Writer:
        """The engine, its time noted."""

        def timed(requests: Sequence[Request], seed: int, rows: int) -> Iterator[Generated]:
            began = time.perf_counter()
            found = list(engine(requests, seed, rows))
            self.seconds[part] += time.perf_counter() - began
            yield from found

        return timed


class RememberingJudge:
    """The judge of all arms: the same text for the same problem is run once for each kind of tests."""

    def __init__(self, judge: Judge, watch: Stopwatch) -> None:
        self.judge, self.watch = judge, watch
        self.known: dict[tuple[str, str, str], Verdict] = {}

    def grade_many(self, pairs: Iterable[tuple[Problem, Program]], tests: str = "hidden", stop: bool = True) -> Iterator[Verdict]:
        """As `Judge.grade_many`."""
        asked = list(pairs)
        began = time.perf_counter()
        fresh = {(tests, p.id, program.code): (p, program) for p, program in asked if (tests, p.id, program.code) not in self.known}
        for key, verdict in zip(fresh, self.judge.grade_many(fresh.values(), tests, stop), strict=True):
            self.known[key] = verdict
        self.watch.seconds["judging"] += time.perf_counter() - began
        yield from (self.known[tests, problem.id, program.code] for problem, program in asked)


class Study(NamedTuple):
    """Models, problems and settings of all arms."""

    asked: argparse.Namespace
    problems: list[Problem]
    team: Team
    judge: Judge
    remembering: RememberingJudge
    watch: Stopwatch

    @property
    def out(self) -> Path:
        return Path(self.asked.out)

    def team_of(self, arm: Arm) -> Team:
        """The team of an arm."""
        assert self.team.critic is not None
        critic = self.team.critic._replace(critic=reading_prefixes(self.team.critic.critic)) if arm.pooled else self.team.critic
        return self.team._replace(critic=critic, repair=self.team.repair if arm.repaired else None)

    def rules(self, arm: Arm, seed: int) -> Rules:
        """The rules of an arm: all alike but for what the arm is about."""
        prefix = partial(at_random, seed=seed) if arm.prefix is at_random else arm.prefix
        decoding = Decoding(self.asked.temperature, 0.95, 128)
        return Rules(seed, self.asked.samples, max(1, arm.repaired), arm.refine, int(arm.repaired > 0), prefix, True, self.asked.budget, decoding)

    def passes(self, problem: Problem, programs: Iterable[Program]) -> list[bool]:
        """Hidden tests."""
        return [v.is_pass for v in self.remembering.grade_many([(problem, program) for program in programs])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder with actor/, critic/ and repair/")
    parser.add_argument("--problems", type=Path, required=True, help="problems with example and hidden tests (.jsonl)")
    parser.add_argument("--size", type=int, default=400, help="the first so many problems")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of sampling")
    parser.add_argument("--budget", type=int, default=640, help="tokens to write for each problem")
    parser.add_argument("-n", "--samples", type=int, default=8, help="N: programs in each round")
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "critic_sampling")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    problems = read_records(asked.problems, Problem)[: asked.size]
    wanted = [(seed, name) for seed in asked.seeds for name in (*asked.arms, "repair-alone")]
    if any(not (asked.out / f"{name}-{seed}.json").exists() for seed, name in wanted):
        run(asked, problems, wanted)
    table = summary(asked.out, asked.arms, asked.seeds)
    atomic_write(asked.out / "table.md", table)
    print(table)


def run(asked: argparse.Namespace, problems: list[Problem], wanted: list[tuple[int, str]]) -> None:
    """What is not there yet."""
    watch = Stopwatch()
    with Judge(workers=1) as judge:
        remembering = RememberingJudge(judge, watch)
        models = asked.models
        everybody = team(cast(Judge, remembering), models / "actor", models / "critic", models / "repair")
        assert everybody.repair is not None
        everybody = everybody._replace(
            actor=everybody.actor._replace(engine=watch.writing(everybody.actor.engine, "sampling")),
            repair=everybody.repair._replace(engine=watch.writing(everybody.repair.engine, "repairing")),
        )
        study = Study(asked, problems, everybody, judge, remembering, watch)
        for seed, name in wanted:
            path = asked.out / f"{name}-{seed}.json"
            if not path.exists():
                watch.seconds.clear()
                began, cpu = time.perf_counter(), time.process_time()
                found = repair_alone(study, seed) if name == "repair-alone" else run_arm(study, name, seed)
                seconds = {part: round(spent, 1) for part, spent in watch.seconds.items()}
                seconds |= {"all": round(time.perf_counter() - began, 1), "cpu_without_judged_programs": round(time.process_time() - cpu, 1)}
                settings = {k: v for k, v in vars(asked).items() if k in ("budget", "samples", "temperature", "size")}
                who = {key: value for key, value in manifest({}).items() if key in ("versions", "commit", "started")}
                record = {"arm": name, "seed": seed, "settings": settings, "seconds": seconds, **found, "manifest": who}
                atomic_write(path, json.dumps(record, separators=(",", ":")) + "\n")
                print(f"{path.name}: {seconds}", flush=True)


def run_arm(study: Study, name: str, seed: int) -> dict[str, Any]:
    """One arm: scores of every problem."""
    arm = ARMS[name]
    found = {}
    with progress(f"{name}, seed {seed}", total=len(study.problems), unit="problems") as advance:
        for start in range(0, len(study.problems), 128):
            for tree in search(study.team_of(arm), study.problems[start : start + 128], study.rules(arm, seed)):
                found[tree.problem.id] = scores(study, tree)
                advance(1)
    greedy = greedy_passes(study) if name == "plain" else {}
    for problem, passed in greedy.items():
        found[problem]["greedy"] = float(passed)
    tokens = sum(score.pop("tokens") for score in found.values())
    return {"tokens": tokens, "per_problem": dict(sorted(found.items()))}


def scores(study: Study, tree: Tree) -> dict[str, Any]:
    """What one search gave: shares and chances of passing the hidden tests, 0 to 1."""
    candidates = tree.in_play
    correct = study.passes(tree.problem, [c.program for c in candidates])
    right = {c.program.index: passed for c, passed in zip(candidates, correct, strict=True)}
    n, c = len(candidates), sum(correct)
    result: dict[str, Any] = {"difficulty": tree.problem.difficulty, "tokens": tree.tokens, "programs": n}
    result |= {f"pass@{k}": float(pass_at_k(n, c, min(k, n))) if n else 0.0 for k in (1, 5, 10)}
    assert tree.rules.max_tokens
    spent, at = 0, dict.fromkeys(QUARTERS, 0.0)
    for candidate, passed in zip(candidates, correct, strict=True):
        spent += candidate.program.extra["written"]
        for share in QUARTERS:
            if passed and spent <= share * tree.rules.max_tokens:
                at[share] = 1.0
    result |= {f"solved@{share:g}": value for share, value in at.items()}
    result["distinct"] = len({candidate.program.code for candidate in candidates}) / max(1, n)
    passing = [candidate for candidate in candidates if candidate.passes]
    result["right of passing"] = [sum(right[p.program.index] for p in passing), len(passing)]
    for rule_name, rule in rules_of(study, tree.problem, passing).items():
        order = [right[p.program.index] for p in ranked(passing, rule)]
        result |= {f"{k}@all by {rule_name}": float(any(order[:k])) for k in (1, 5)}
    share_right = result["right of passing"][0] / max(1, len(passing))
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in (result | {"1@all by chance": share_right}).items()}


def rules_of(study: Study, problem: Problem, passing: list[Candidate]) -> dict[str, Rule]:
    """How to choose among those that pass the examples; where fewer than two texts do, there is nothing to run for a majority."""
    several = len({candidate.program.code for candidate in passing}) > 1
    began = time.perf_counter()
    behaviours = behaviours_of(study.judge, problem, passing) if several else {}
    study.watch.seconds["running for the majority"] += time.perf_counter() - began
    return {"critic": by_score, "log-probability": by_mean_log_probability, "majority": by_majority(behaviours)}


def greedy_passes(study: Study) -> dict[str, bool]:
    """Hidden tests of the actor's greedy programs."""
    tokenizer = study.team.actor.tokenizer
    known = {p.id: p for p in study.problems}
    requests = [Request(p.id, encode_prompt(tokenizer, prompt(p), 192)[0], (0,), Decoding(temperature=0.0)) for p in study.problems]
    found = {g.key: Program(g.key, decode(tokenizer, g.ids), 0) for g in study.team.actor.engine(requests, 0, 512)}
    return {name: study.passes(known[name], [program])[0] for name, program in found.items()}


class Failure(NamedTuple):
    """A failed sample, and the indices of what is written in its place."""

    tree: Tree
    candidate: Candidate
    indices: tuple[int, ...]

    def groups(self) -> list[str]:
        """What it is counted under."""
        verdict = self.candidate.verdict
        assert verdict is not None
        return ["all", *dict.fromkeys((str(verdict.outcome), str(verdict.error_type or verdict.outcome))), self.tree.problem.difficulty]


def repair_alone(study: Study, seed: int) -> dict[str, Any]:
    """Failed samples, each repaired ALONE times, against as many fresh samples of the same problem: shares that pass the hidden tests."""
    actor, repair = study.team.actor, study.team.repair
    assert repair is not None
    rules = study.rules(ARMS["plain"], seed)._replace(max_tokens=None)
    failures: list[Failure] = []
    requests: dict[str, list[Request]] = {"repair": [], "resampling": []}
    for tree in search(study.team_of(ARMS["plain"]), study.problems, rules):
        for number, candidate in enumerate(list({c.program.code: c for c in tree.candidates if c.fails}.values())[:ALONE]):
            assert candidate.verdict is not None
            first = (number + 1) * 1_000  # indices that nothing else has
            failure = Failure(tree, candidate, tuple(range(first, first + ALONE)))
            failures.append(failure)
            source, _ = repair_source(repair.tokenizer, tree.problem, candidate.program, candidate.verdict, rules.max_repair_tokens)
            requests["repair"].append(Request(tree.problem.id, source, failure.indices, rules.decoding))
            requests["resampling"].append(Request(tree.problem.id, tree.source, failure.indices, rules.decoding))
    count: dict[str, Counter[str]] = defaultdict(Counter)
    for kind, author in (("repair", repair), ("resampling", actor)):
        written = {(g.key, g.sample): g for g in author.engine(requests[kind], seed, 512)}
        for failure in failures:
            problem = failure.tree.problem
            mine = [written[problem.id, index] for index in failure.indices]
            passed = study.passes(problem, [Program(problem.id, decode(author.tokenizer, g.ids), g.sample) for g in mine])
            told = {f"{kind} attempts": len(mine), f"{kind} right": sum(passed), f"{kind} tokens": sum(len(g.ids) for g in mine)}
            for group in failure.groups():
                count[group].update(told)
    return {"groups": {group: dict(counter) for group, counter in sorted(count.items(), key=lambda item: -item[1]["repair attempts"])}}


MEASURES = ("pass@1", "pass@5", "solved@0.5", "solved@1", "1@all by critic", "1@all by log-probability", "1@all by majority", "5@all by critic")


def summary(folder: Path, arms: list[str], seeds: list[int]) -> str:
    """The tables in Markdown: means over problems and seeds; differences from plain sampling, paired over problems."""
    records = {arm: [json.loads((folder / f"{arm}-{seed}.json").read_text(encoding="utf-8")) for seed in seeds] for arm in arms}
    first = records[arms[0]][0]
    names = list(first["per_problem"])
    level = {name: first["per_problem"][name]["difficulty"] for name in names}

    def values(arm: str, measure: str) -> np.ndarray:
        """(P,) means over seeds."""
        return np.mean([[record["per_problem"][name][measure] for name in names] for record in records[arm]], axis=0)

    s = first["settings"]
    lines = [
        f"{len(names)} problems, seeds {', '.join(map(str, seeds))}. Percent.",
        f"{s['budget']} tokens a problem, N = {s['samples']}, temperature {s['temperature']}.",
        "solved@x: a program within that share of the tokens passes. 1@all: the best that passes the examples, chosen by a rule.",
        "",
        "| arm | tokens a problem | programs | distinct | " + " | ".join(MEASURES) + " |",
        "|" + "---|" * (len(MEASURES) + 4),
    ]
    for arm in arms:
        tokens = sum(record["tokens"] for record in records[arm]) / len(seeds) / len(names)
        shares = " | ".join(f"{100 * values(arm, m).mean():.1f}" for m in MEASURES)
        lines.append(f"| {arm} | {tokens:.0f} | {values(arm, 'programs').mean():.1f} | {100 * values(arm, 'distinct').mean():.0f} | {shares} |")
    if "greedy" in first["per_problem"][names[0]]:
        lines += ["", f"The actor's greedy programs: {100 * np.mean([first['per_problem'][n]['greedy'] for n in names]):.1f}."]
    if "plain" in arms:
        lines += differences(arms, values, level, names)
    return "\n".join([*lines, *repair_table(folder, seeds), *cost_table(records, len(names))]) + "\n"


def differences(arms: list[str], values: Any, level: dict[str, str], names: list[str]) -> list[str]:
    """Each arm against plain sampling, and the critic's prefix against the random one; by difficulty for the two headline measures."""

    def difference(first: str, second: str, measure: str, group: str = "") -> str:
        chosen = np.array([not group or level[name] == group for name in names])
        d = (values(first, measure) - values(second, measure))[chosen]
        low, high = bootstrap_interval(d, seed=0)
        return f"{100 * d.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"

    pairs = [(arm, "plain") for arm in arms if arm != "plain"]
    pairs += [(arm, "random") for arm in ("refine", "pooled") if arm in arms and "random" in arms]
    shown = ("pass@1", "solved@1", "1@all by critic", "5@all by critic")
    lines = ["", "Differences, paired over problems, 95 % interval; the paper's gains (Table 4, APPS, 770M) beside.", ""]
    lines += ["| arms | " + " | ".join(shown) + " | paper: pass@200 / pass@1000 / 1@1000 |", "|" + "---|" * (len(shown) + 2)]
    for first, second in pairs:
        paper = " / ".join(f"{gain:+.2f}" for gain in PAPER[first]) if second == "plain" and first in PAPER else "-"
        lines.append(f"| {first} - {second} | " + " | ".join(difference(first, second, m) for m in shown) + f" | {paper} |")
    groups = [group for group in DIFFICULTIES if group in level.values()]
    lines += [
        "",
        "| arms, by difficulty | " + " | ".join(f"{group}: solved@1 | {group}: 1@all" for group in groups) + " |",
        "|" + "---|" * (2 * len(groups) + 1),
    ]
    for first, second in pairs:
        cells = [difference(first, second, m, group) for group in groups for m in ("solved@1", "1@all by critic")]
        lines.append(f"| {first} - {second} | " + " | ".join(cells) + " |")
    return lines


def repair_table(folder: Path, seeds: list[int]) -> list[str]:
    """Repair alone, summed over seeds."""
    total: dict[str, Counter[str]] = defaultdict(Counter)
    for seed in seeds:
        for group, counter in json.loads((folder / f"repair-alone-{seed}.json").read_text(encoding="utf-8"))["groups"].items():
            total[group].update(counter)
    lines = ["", "Repair alone: share of attempts that pass the hidden tests, and tokens written for each program that does.", ""]
    lines += ["| failed programs | attempts | repaired | by resampling | tokens a right program, repair | resampling |", "|---|---|---|---|---|---|"]
    for group, c in total.items():
        cells = [f"{100 * c[f'{k} right'] / c[f'{k} attempts']:.1f}" for k in ("repair", "resampling")]
        costs = [f"{c[f'{k} tokens'] / c[f'{k} right']:.0f}" if c[f"{k} right"] else "-" for k in ("repair", "resampling")]
        lines.append(f"| {group} | {c['repair attempts']} | {' | '.join(cells)} | {' | '.join(costs)} |")
    return lines


def cost_table(records: dict[str, list[dict[str, Any]]], problems: int) -> list[str]:
    """Wall seconds a problem by part; a text that an earlier arm had judged is not judged again, so the first arm pays most."""
    parts = sorted({part for found in records.values() for record in found for part in record["seconds"]})
    lines = ["", "Seconds a problem (wall, one thread; texts judged in an earlier arm are not judged again).", ""]
    lines += ["| arm | " + " | ".join(parts) + " |", "|" + "---|" * (len(parts) + 1)]
    for arm, found in records.items():
        each = [sum(record["seconds"].get(part, 0.0) for record in found) / len(found) / problems for part in parts]
        lines.append(f"| {arm} | " + " | ".join(f"{seconds:.3f}" for seconds in each) + " |")
    return lines


if __name__ == "__main__":
    main()
