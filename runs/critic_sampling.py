"""What critic sampling is worth at equal numbers of generated tokens, on Mini's held-out problems.

    python runs/critic_sampling.py --seeds 0 1 2 3 4      # resumable; what is in runs/results/critic_sampling is only read
    python runs/critic_sampling.py --table                # the table of what is there

A seed has its own problems and models: the actor is CodeRL's of `runs/compare.py` (arm `ours`, made there or here); from its programs for
1,200 problems with tests only that it has not learnt from, judged, a critic of two outcomes and a repair model learn. Every arm then writes
the same number of tokens for every held-out problem (`--budget`, prefixes not counted) and begins with the same samples. Hidden tests decide
at the end only. Each arm and seed gives one JSON file; `table.md` is made of them.
Arms:

    plain            sample until the tokens are used up
    refine           N samples, refine what passes the examples (the paper's prefix), and again until the tokens are used up
    repair-M         the same; where nothing passes, the M best failures are repaired first
    uncut           refine, with the prefix up to the highest score, not cut where failing is likelier (`--cut-below 0`)
    random, log-probability, pooled      refine, with the prefix by chance, before the actor's least sure token, by the critic's pooled reading
    as-long, as-long-uncut               as refine and uncut, with the share kept of another problem's program: chance, at the critic's lengths
    repair-4-uncut                       repair-4 with the prefix of uncut
"""

import argparse
import json
import math
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from compare import BUDGET, HERE, WORK, chosen_rate, paired, shown
from compare import Study as Comparison
from scipy.stats import t

from coderl.critic_sampling import Candidate, Rules, Seed, Team, Tree, at_random, by_critic, by_log_probability, search
from coderl.engines.choose import Writer
from coderl.engines.requests import Decoding, Generated, Request
from coderl.formulas.passk import pass_at_k
from coderl.models.critic import reading_prefixes
from coderl.pipeline import Step, run_steps
from coderl.progress import progress
from coderl.prompts import prompt
from coderl.recipes.demo import PRELOAD, words
from coderl.records import DIFFICULTIES, Problem, Program, Verdict
from coderl.repair import repair_source
from coderl.run_directory import manifest
from coderl.sandbox import Judge
from coderl.selection import Rule, by_majority, by_mean_log_probability, by_score, ranked
from coderl.solving import behaviours_of, team
from coderl.store import atomic_write, read_records, write_records
from coderl.tokens import decode, encode_prompt

RESULTS = HERE / "results" / "critic_sampling"
LEARNT, GIVEN = 1_200, 8  # problems and programs that critic and repair model learn from
QUARTERS = (0.25, 0.5, 0.75, 1.0)
ALONE = "repair-alone"
ATTEMPTS = 2  # failed programs of a problem that are repaired in the measurement of repair alone, and attempts at each


class AsLong:
    """Control: the share of a program that the critic kept of an earlier problem's program of the same difficulty, drawn by chance.

    A longer prefix of a program that passes gives more programs for the tokens and more that pass; this control keeps as much as the critic
    does, and where it cuts says nothing about the program. The first problem of each difficulty has the critic's own share.
    """

    def __init__(self, rule: Seed, difficulties: Mapping[str, str | None], seed: int) -> None:
        self.rule, self.difficulties, self.draw = rule, difficulties, random.Random(seed)
        self.shares: dict[str | None, list[tuple[str, float]]] = defaultdict(list)

    def __call__(self, candidate: Candidate) -> int:
        name, length = candidate.program.problem, len(candidate.ids)
        seen = self.shares[self.difficulties[name]]
        own = (name, self.rule(candidate) / max(1, length))
        _, share = self.draw.choice([one for one in seen if one[0] != name] or [own])
        seen.append(own)
        return round(share * length)


class Arm(NamedTuple):
    """How an arm searches.

    Fields:
        refine: rounds of refining in a cycle. repaired: M, 0 for no repair. prefix: see `Rules`.
        matched: the prefixes are as long as those, but of other problems' programs. pooled: the critic reads prefixes as whole programs.
    """

    refine: int
    repaired: int
    prefix: Seed = by_critic
    matched: bool = False
    pooled: bool = False


UNCUT = partial(by_critic, threshold=0.0)
ARMS: dict[str, Arm] = {
    "plain": Arm(0, 0),
    "refine": Arm(1, 0),
    "repair-1": Arm(1, 1),
    "repair-2": Arm(1, 2),
    "repair-4": Arm(1, 4),
    "random": Arm(1, 0, at_random),
    "as-long": Arm(1, 0, matched=True),
    "log-probability": Arm(1, 0, by_log_probability),
    "pooled": Arm(1, 0, pooled=True),
    "uncut": Arm(1, 0, UNCUT),
    "as-long-uncut": Arm(1, 0, UNCUT, matched=True),
    "repair-4-uncut": Arm(1, 4, UNCUT),
}
# CodeRL Table 4, all difficulties, gains over its row "none": pass@200, pass@1000, 1@1000 (points of percent)
PAPER = {"refine": (1.40, 1.58, 0.12), "repair-1": (2.26, 3.20, 0.77), "repair-2": (2.34, 3.14, 0.76), "repair-4": (2.30, 2.84, 0.62)}


class Models(NamedTuple):
    """The models of one seed: where they lie and which commands make them."""

    seed: int

    @property
    def comparison(self) -> Comparison:
        return Comparison("plateau", self.seed)

    @property
    def folder(self) -> Path:
        return self.comparison.shared / "critic-sampling"

    @property
    def actor(self) -> Path:
        return self.comparison.folder / "ours" / "run" / "actor"

    def beginning(self) -> list[Step]:
        """The actor."""
        return [*self.comparison.beginning(), *self.comparison.learning("ours", chosen_rate("ours"), BUDGET, "ours")]

    def choose(self) -> None:
        """Problems that no round of the actor's training had; the rounds that the budget left out have folders too, without programs."""
        ran = [path.parent for path in self.actor.parent.glob("round-*/programs.jsonl")]
        known = {p.id for folder in ran for p in read_records(folder / "problems.jsonl", Problem)}
        fresh = [p for p in read_records(self.comparison.problems("train_tests_only"), Problem) if p.id not in known]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_records(self.folder / "problems.jsonl", fresh[:LEARNT])

    def learning(self) -> list[Step]:
        """Programs of the actor, judged; the critic and the repair model."""
        name, step = self.comparison.name, self.comparison.step
        files = ("--problems", self.folder / "problems.jsonl", "--programs", self.folder / "programs.jsonl")
        judged = (*files, "--verdicts", self.folder / "verdicts.jsonl")
        drawn = ("-n", GIVEN, "--temperature", 0.9, "--workers", 1, "--seed", self.seed, "--stop-at-first-failure")
        out = ("--out", self.folder / "programs.jsonl", "--verdicts", self.folder / "verdicts.jsonl")
        start = ("--model", self.actor, *judged, "--seed", self.seed)
        critic = ("--outcomes", 2, "--prefix-weight", 1, "--updates", 800, "--batch-tokens", 4096, "--out", self.folder / "critic")
        repair = ("--targets", "both", "--optimiser", "muon", "--learning-rate", 3e-3, "--updates", 600, "--out", self.folder / "repair")
        return [
            step("search-sample", "programs, judged", words("sample", "--model", self.actor, *files[:2], *out, *drawn), name("ours")),
            step("search-critic", "critic of two outcomes", words("train-critic", *start, *critic), name("search-sample")),
            step("search-repair", "repair model", words("train-repair", *start, *repair), name("search-sample")),
        ]


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

    def reading(self, critic: torch.nn.Module) -> None:
        """The critic's passes, their time noted from here on."""

        def before(*_: object) -> None:
            self.seconds["scoring"] -= time.perf_counter()

        def after(*_: object) -> None:
            self.seconds["scoring"] += time.perf_counter()

        critic.register_forward_pre_hook(before)
        critic.register_forward_hook(after)


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
        self.watch.seconds[f"judging, {tests} tests"] += time.perf_counter() - began
        yield from (self.known[tests, problem.id, program.code] for problem, program in asked)


class Study(NamedTuple):
    """Models, problems and settings of all arms."""

    settings: "Settings"
    problems: list[Problem]
    team: Team
    judge: Judge
    remembering: RememberingJudge
    watch: Stopwatch

    def team_of(self, arm: Arm) -> Team:
        """The team of an arm."""
        assert self.team.critic is not None
        critic = self.team.critic._replace(critic=reading_prefixes(self.team.critic.critic)) if arm.pooled else self.team.critic
        return self.team._replace(critic=critic, repair=self.team.repair if arm.repaired else None)

    def rules(self, arm: Arm, seed: int) -> Rules:
        """The rules of an arm: all alike but for what the arm is about."""
        prefix = partial(at_random, seed=seed) if arm.prefix is at_random else arm.prefix
        prefix = AsLong(prefix, {p.id: p.difficulty for p in self.problems}, seed) if arm.matched else prefix
        decoding = Decoding(self.settings.temperature, 0.95, 128)
        limits = (self.settings.samples, max(1, arm.repaired), arm.refine, int(arm.repaired > 0))
        return Rules(seed, *limits, prefix, True, self.settings.budget, decoding)

    def passes(self, problem: Problem, programs: Iterable[Program]) -> list[bool]:
        """Hidden tests."""
        return [v.is_pass for v in self.remembering.grade_many([(problem, program) for program in programs])]


class Settings(NamedTuple):
    """What all arms share: held-out problems of each seed, tokens to write for each, N, temperature."""

    size: int
    budget: int
    samples: int
    temperature: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--size", type=int, default=400, help="the first so many held-out problems of each seed")
    parser.add_argument("--budget", type=int, default=640, help="tokens to write for each problem")
    parser.add_argument("-n", "--samples", type=int, default=8, help="N: programs in each round")
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--arms", nargs="+", choices=[*ARMS, ALONE], default=[*ARMS, ALONE])
    parser.add_argument("--cores", type=int, default=2, help="CPU cores; a seed takes one")
    parser.add_argument("--table", action="store_true", help="only make the table anew")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a killed call keeps what is finished, as Ctrl-C does
    for name in ("size", "budget", "samples", "cores"):
        if getattr(asked, name) < 1:
            parser.error(f"--{name} is {getattr(asked, name)}; it must be at least 1")
    if not asked.temperature > 0:
        parser.error(f"--temperature is {asked.temperature:g}; it must be more than 0")
    settings = Settings(asked.size, asked.budget, asked.samples, asked.temperature)
    for path in (result(arm, seed) for arm in asked.arms for seed in asked.seeds):
        if path.exists() and (made := json.loads(path.read_text(encoding="utf-8"))["settings"]) != settings._asdict():
            parser.error(f"{path} was made with {made}; ask for the same, or move {RESULTS} away")
    missing = {seed: [arm for arm in asked.arms if not result(arm, seed).exists()] for seed in asked.seeds}
    waiting = {} if asked.table else {seed: arms for seed, arms in missing.items() if arms}
    if waiting:
        make([Models(seed) for seed in waiting], asked.cores)
        with ProcessPoolExecutor(asked.cores, mp_context=get_context("spawn")) as pool:
            list(pool.map(partial(run, settings), waiting, waiting.values()))
    text = summary()
    atomic_write(RESULTS / "table.md", text)
    print(text)


def result(arm: str, seed: int) -> Path:
    return RESULTS / arm / f"seed-{seed}.json"


def make(models: Sequence[Models], cores: int) -> None:
    """The models that are not there yet."""
    steps = [step for one in models for step in one.beginning()]
    run_steps(steps, WORK / "critic-sampling", cores, preload=PRELOAD)
    for one in models:
        one.choose()
    run_steps([*steps, *(step for one in models for step in one.learning())], WORK / "critic-sampling", cores, preload=PRELOAD)


def run(settings: Settings, seed: int, arms: Sequence[str]) -> None:
    """Arms of one seed."""
    torch.set_num_threads(1)
    models = Models(seed)
    problems = read_records(models.comparison.problems("heldout"), Problem)[: settings.size]
    watch = Stopwatch()
    with Judge(workers=1) as judge:
        remembering = RememberingJudge(judge, watch)
        folders = (models.actor, models.folder / "critic" / "critic", models.folder / "repair" / "actor")
        everybody = team(cast(Judge, remembering), *folders)
        assert everybody.repair is not None and everybody.critic is not None
        watch.reading(everybody.critic.critic)
        everybody = everybody._replace(
            actor=everybody.actor._replace(engine=watch.writing(everybody.actor.engine, "sampling")),
            repair=everybody.repair._replace(engine=watch.writing(everybody.repair.engine, "repairing")),
        )
        study = Study(settings, problems, everybody, judge, remembering, watch)
        for arm in arms:
            watch.seconds.clear()
            began, cpu = time.perf_counter(), time.process_time()
            found = repair_alone(study, seed) if arm == ALONE else run_arm(study, arm, seed)
            seconds = {part: round(spent, 1) for part, spent in watch.seconds.items()}
            seconds |= {"all": round(time.perf_counter() - began, 1), "cpu_without_judged_programs": round(time.process_time() - cpu, 1)}
            who = {key: value for key, value in manifest({}).items() if key in ("versions", "commit", "started")}
            record = {"arm": arm, "seed": seed, "settings": settings._asdict(), "seconds": seconds, **found, "manifest": who}
            if arm != ALONE:
                record["critic"] = json.loads((models.folder / "critic" / "report.json").read_text(encoding="utf-8"))["held_out"]
            result(arm, seed).parent.mkdir(parents=True, exist_ok=True)
            atomic_write(result(arm, seed), json.dumps(record, separators=(",", ":")) + "\n")
            print(f"{arm}, seed {seed}: {seconds}", flush=True)


def run_arm(study: Study, name: str, seed: int) -> dict[str, Any]:
    """One arm: scores of every problem."""
    arm = ARMS[name]
    rules, found = study.rules(arm, seed), {}
    with progress(f"{name}, seed {seed}", total=len(study.problems), unit="problems") as advance:
        for start in range(0, len(study.problems), 128):
            for tree in search(study.team_of(arm), study.problems[start : start + 128], rules):
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
    result["by origin"] = {
        origin: [sum(right[p.index] for p in mine), len(mine), sum(p.extra["given"] for p in mine), sum(p.tokens or 0 for p in mine)]
        for origin in ("sample", "refine", "repair")
        if (mine := [c.program for c in candidates if c.program.origin == origin])
    }
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
    """Failed samples, each repaired ATTEMPTS times, against as many fresh samples of the same problem: shares that pass the hidden tests."""
    actor, repair = study.team.actor, study.team.repair
    assert repair is not None
    rules = study.rules(ARMS["plain"], seed)._replace(max_tokens=None)
    failures: list[Failure] = []
    requests: dict[str, list[Request]] = {"repair": [], "resampling": []}
    for tree in search(study.team_of(ARMS["plain"]), study.problems, rules):
        for number, candidate in enumerate(list({c.program.code: c for c in tree.candidates if c.fails}.values())[:ATTEMPTS]):
            assert candidate.verdict is not None
            first = (number + 1) * 1_000  # indices that nothing else has
            failure = Failure(tree, candidate, tuple(range(first, first + ATTEMPTS)))
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


Records = Mapping[str, Mapping[int, Any]]  # arm, seed


def summary() -> str:
    """The tables in Markdown: means over seeds; differences from plain sampling, paired over problems."""
    found = {
        arm: {int(p.stem.removeprefix("seed-")): json.loads(p.read_text(encoding="utf-8")) for p in RESULTS.glob(f"{arm}/seed-*.json")}
        for arm in ARMS
    }
    records = {arm: dict(sorted(seeds.items())) for arm, seeds in found.items() if seeds}
    if "plain" not in records:
        return "no results yet\n"
    first = next(iter(records["plain"].values()))
    s, critics = first["settings"], [record["critic"] for record in records["plain"].values()]
    lines = [
        f"Seeds {', '.join(map(str, records['plain']))}, each with its own models and {len(first['per_problem'])} held-out problems.",
        "Percent, means over seeds.",
        f"{s['budget']} tokens a problem, N = {s['samples']}, temperature {s['temperature']}.",
        "solved@x: a program within that share of the tokens passes. 1@all: the best that passes the examples, chosen by a rule.",
        "",
        "| arm | seeds | tokens a problem | programs | distinct | " + " | ".join(MEASURES) + " |",
        "|" + "---|" * (len(MEASURES) + 5),
    ]
    for arm, seeds in records.items():
        tokens = np.mean([record["tokens"] / len(record["per_problem"]) for record in seeds.values()])
        shares = " | ".join(f"{100 * mean_of(seeds, m):.1f}" for m in MEASURES)
        counts = f"{mean_of(seeds, 'programs'):.1f} | {100 * mean_of(seeds, 'distinct'):.0f}"
        lines.append(f"| {arm} | {len(seeds)} | {tokens:.0f} | {counts} | {shares} |")
    right = np.sum([one["right of passing"] for record in records["plain"].values() for one in record["per_problem"].values()], axis=0)
    lines += ["", f"The actor's greedy programs: {100 * mean_of(records['plain'], 'greedy'):.1f}."]
    lines += [f"Of plain's programs that pass the examples {100 * right[0] / right[1]:.1f} % pass the hidden tests."]
    quality = {name: 100 * np.mean([critic[name] for critic in critics]) for name in ("accuracy", "majority", "auc_within")}
    parts = ", ".join(f"{100 * np.mean([critic['auc_within_at'][at] for critic in critics]):.0f}" for at in ("25", "50", "75", "100"))
    lines += [f"The critic on problems that it has not seen: right {quality['accuracy']:.1f} (most frequent outcome {quality['majority']:.1f}); "]
    lines[-1] += f"AUC within a problem {quality['auc_within']:.0f}; after 25, 50, 75, 100 % of the tokens: {parts}."
    lines += [*origin_table(records), *where_nothing_passed(records), *differences(records), *repair_table(), *cost_table(records)]
    return "\n".join(lines) + "\n"


def mean_of(seeds: Mapping[int, Any], measure: str) -> float:
    """Mean over seeds of the mean over problems."""
    return float(np.mean([np.mean([one[measure] for one in record["per_problem"].values()]) for record in seeds.values()]))


def origin_table(records: Records) -> list[str]:
    """What each way of writing gave, summed over seeds and problems."""
    lines = ["", "Programs by origin: how many a problem, percent of them right, percent of a refined program's tokens that its seed gave.", ""]
    lines += [f"| arm | sampled | right | refined | right | kept | kept: {' / '.join(DIFFICULTIES)} | repaired | right |", "|" + "---|" * 9]
    for arm, seeds in records.items():
        problems = [one for record in seeds.values() for one in record["per_problem"].values()]
        cells = []
        for origin in ("sample", "refine", "repair"):
            right, count, given, tokens = of_origin(problems, origin)
            cells += [f"{count / len(problems):.1f}", f"{100 * right / count:.1f}" if count else "-"]
            if origin == "refine":
                parts = [of_origin([one for one in problems if one["difficulty"] == group], origin) for group in DIFFICULTIES]
                cells += [f"{100 * given / tokens:.0f}", " / ".join(f"{100 * part[2] / part[3]:.0f}" for part in parts)] if count else ["-", "-"]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return lines


def of_origin(problems: Sequence[Any], origin: str) -> Any:
    """Programs of one origin over the problems: right ones, all, tokens that seeds gave, all tokens."""
    return np.sum([one["by origin"].get(origin, [0] * 4) for one in problems], axis=0)


def differences(records: Records) -> list[str]:
    """Each arm against plain sampling, and the critic's prefix against those without one; by difficulty for the two headline measures."""
    pairs = [(arm, "plain") for arm in records if arm != "plain"]
    critics = [("refine", "random"), ("refine", "as-long"), ("refine", "log-probability"), ("pooled", "random")]
    critics += [("uncut", "random"), ("uncut", "as-long-uncut"), ("uncut", "refine"), ("as-long", "log-probability")]
    critics += [("repair-4-uncut", "repair-4"), ("repair-4", "repair-1")]
    pairs += [pair for pair in critics if set(pair) <= set(records)]
    measures = ("pass@1", "pass@5", "solved@1", "1@all by critic", "5@all by critic")
    lines = ["", "Differences, paired over problems, 95 % intervals over seeds and problems; the paper's gains (Table 4, APPS, 770M) beside.", ""]
    lines += ["| arms | " + " | ".join(measures) + " | paper: pass@200 / pass@1000 / 1@1000 |", "|" + "---|" * (len(measures) + 2)]
    for first, second in pairs:
        paper = " / ".join(f"{gain:+.2f}" for gain in PAPER[first]) if second == "plain" and first in PAPER else "-"
        lines.append(f"| {first} - {second} | " + " | ".join(shown(paired(records[first], records[second], m)) for m in measures) + f" | {paper} |")
    lines += [
        "",
        "| arms, by difficulty | " + " | ".join(f"{group}: solved@1 | {group}: 1@all" for group in DIFFICULTIES) + " |",
        "|" + "---|" * (2 * len(DIFFICULTIES) + 1),
    ]
    for first, second in pairs:
        cells = [shown(paired(records[first], records[second], m, group)) for group in DIFFICULTIES for m in ("solved@1", "1@all by critic")]
        lines.append(f"| {first} - {second} | " + " | ".join(cells) + " |")
    return lines


def repair_table() -> list[str]:
    """Repair alone, summed over seeds."""
    found = [json.loads(path.read_text(encoding="utf-8"))["groups"] for path in sorted((RESULTS / ALONE).glob("seed-*.json"))]
    lines = ["", "Repair alone: share of attempts that pass the hidden tests, with the 95 % interval of the difference over seeds (Student's t;", ""]
    lines[1] += " of groups that all seeds have 20 attempts in), and tokens written for each program that passes."
    lines += ["| failed programs | attempts | repaired | by resampling | difference | tokens a right program, repair | resampling |"]
    lines += ["|" + "---|" * 7]
    for group in dict.fromkeys(group for groups in found for group in groups):
        each = [Counter(groups[group]) for groups in found if group in groups]
        c = sum(each, Counter())
        gaps = [100 * (one["repair right"] - one["resampling right"]) / one["repair attempts"] for one in each if one["repair attempts"] >= 20]
        gap = f"{np.mean(gaps):+.1f} ± {within(gaps):.1f}" if len(gaps) == len(found) > 1 else "-"
        cells = [f"{100 * c[f'{k} right'] / c[f'{k} attempts']:.1f}" for k in ("repair", "resampling")]
        costs = [f"{c[f'{k} tokens'] / c[f'{k} right']:.0f}" if c[f"{k} right"] else "-" for k in ("repair", "resampling")]
        lines.append(f"| {group} | {c['repair attempts']} | {' | '.join(cells)} | {gap} | {' | '.join(costs)} |")
    return lines


def within(values: Sequence[float]) -> float:
    """Half the 95 % interval of a mean."""
    return float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))


def where_nothing_passed(records: Records) -> list[str]:
    """Of the problems in which the arm with the most repaired programs repaired: its repaired programs beside plain's after the same first ones."""
    arm = "repair-4"
    if arm not in records:
        return []
    repaired, sampled = np.zeros(2), np.zeros(2)
    for seed in set(records[arm]) & set(records["plain"]):
        first = records["plain"][seed]["settings"]["samples"]
        for name, one in records[arm][seed]["per_problem"].items():
            if "repair" in one["by origin"]:
                right, count = records["plain"][seed]["per_problem"][name]["by origin"]["sample"][:2]
                sampled += (right, count - first)
                repaired += one["by origin"]["repair"][:2]
    shares = [f"{100 * right / count:.1f} % of {count:,.0f}" for right, count in (repaired, sampled)]
    told = f"{shares[0]} repaired programs are right ({arm}), {shares[1]} further samples (plain)."
    return ["", f"Where none of the first programs passes the examples: {told}"]


def cost_table(records: Records) -> list[str]:
    """Wall seconds a problem by part, of the arms whose records tell all parts."""
    told = {arm: seeds for arm, seeds in records.items() if all("scoring" in record["seconds"] for record in seeds.values())}
    parts = sorted({part for seeds in told.values() for record in seeds.values() for part in record["seconds"]})
    note = "a text that an earlier arm had judged is not judged again, so plain pays for most; hidden tests are for the table, no part of the search"
    lines = ["", f"Seconds a problem, wall, one thread: {note}.", "", "| arm | " + " | ".join(parts) + " |", "|" + "---|" * (len(parts) + 1)]
    for arm, seeds in told.items():
        each = [np.mean([record["seconds"].get(part, 0.0) / len(record["per_problem"]) for record in seeds.values()]) for part in parts]
        lines.append(f"| {arm} | " + " | ".join(f"{seconds:.3f}" for seconds in each) + " |")
    return lines


if __name__ == "__main__":
    main()
