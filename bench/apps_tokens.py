"""Tokens of APPS's training problems with CodeT5's tokenizer: the means that runs/costs.py and the batches of the recipes rest on.

    python bench/apps_tokens.py APPS TOKENIZER     APPS: folder of problem folders; TOKENIZER: folder somewhere below which its vocabulary lies

Prompts of at most 600 tokens; solutions, of which those of more than 512 tokens are counted and left out of the mean, as in training.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean

from coderl.problems import apps
from coderl.prompts import prompt
from coderl.tokens import encode_program, encode_prompt, load_tokenizer

SOURCE, TARGET = 600, 512


def main(problems: Path, tokenizer: Path) -> None:
    vocabulary = sorted(tokenizer.rglob("*vocab.json"))
    if not vocabulary:
        sys.exit(f"apps_tokens.py: {tokenizer} has no vocabulary of CodeT5 (*vocab.json) in it")
    codet5 = load_tokenizer(vocabulary[0].parent)
    prompts, programs, long = [], [], 0
    for problem in apps.load(problems):
        prompts.append(len(encode_prompt(codet5, prompt(problem), SOURCE)[0]))
        for code in problem.solutions:
            ids, cut = encode_program(codet5, code, TARGET)
            long += cut
            if not cut:
                programs.append(len(ids))
    solutions = len(programs) + long
    print(f"{len(prompts)} problems, prompts of at most {SOURCE} tokens: mean {mean(prompts):.0f}")
    print(f"{solutions} solutions, {long} of more than {TARGET} tokens ({100 * long / solutions:.1f} %); mean of the others {mean(programs):.0f}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python bench/apps_tokens.py APPS TOKENIZER")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
