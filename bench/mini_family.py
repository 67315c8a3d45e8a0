"""The numbers of docs/mini.md: skeletons, what generation accepts, rate, token lengths, mistakes caught. Run: python bench/mini_family.py"""

from __future__ import annotations

import time
from random import Random

from tokenizers import ByteLevelBPETokenizer

from coderl.problems.mini import MiniSplits, generate
from coderl.problems.mini_compose import SHAPES, skeletons
from coderl.problems.mini_mistakes import draw_samples, find_mistakes
from coderl.problems.mini_sources import SOURCES
from coderl.prompts import prompt
from coderl.records import DIFFICULTIES

SAMPLES = 700  # compositions of each difficulty


def main() -> None:
    began = time.process_time()
    splits = generate(0)
    seconds = time.process_time() - began
    print(f"generate(0): {sum(map(len, splits))} problems in {seconds:.1f} CPU s, {sum(map(len, splits)) / seconds:.0f} a second")
    for name, problems in splits._asdict().items():
        different = {level: len({p.extra["skeleton"] for p in problems if p.difficulty == level}) for level in DIFFICULTIES}
        print(f"  {name}: {len(problems)} problems, skeletons {different}")
    print_lengths(splits)
    for difficulty in DIFFICULTIES:
        print_family(difficulty)


def print_lengths(splits: MiniSplits) -> None:
    tokenizer = ByteLevelBPETokenizer()
    programs = [code for problem in splits.train for code in problem.solutions]
    tokenizer.train_from_iterator([*map(prompt, splits.train), *programs], vocab_size=1024, min_frequency=2, show_progress=False)
    everything = [problem for problems in splits for problem in problems]
    for name, texts in (
        ("statements with starter code", [problem.statement + "\n" + problem.starter_code for problem in everything]),
        ("prompts", list(map(prompt, everything))),
        ("programs", programs),
    ):
        lengths = sorted(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))
        print(
            f"  {name}: mean {sum(lengths) / len(lengths):.0f}, p95 {lengths[len(lengths) * 95 // 100]}, min {lengths[0]}, max {lengths[-1]} tokens"
        )


def print_family(difficulty: str) -> None:
    random = Random(f"bench/{difficulty}")
    total = sum(len(skeletons(source, shape)) for source in SOURCES for shape in SHAPES[difficulty])
    samples = draw_samples(difficulty, SAMPLES, random)
    accepted = [sample for sample in samples if sample.cases is not None]
    found = [find_mistakes(spec, cases, random) for spec, cases in accepted if cases is not None]
    wrong, missed = sum(len(f.wrong) for f in found), sum(len(f.missed) for f in found)
    print(
        f"{difficulty}: {total} skeletons, {len(accepted)} of {len(samples)} random compositions accepted; "
        f"of {wrong} wrong variants the hidden tests catch {100 * (1 - missed / wrong):.2f} %"
    )


if __name__ == "__main__":
    main()
