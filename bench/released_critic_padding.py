"""What the published critic scores say with and without their padding: predictions and accuracy, a line per problem.

    python bench/released_critic_padding.py $CODERL_DATA/apps_coderl_sample/train

Reads `gen_solutions_critic_scores.json.gz` of every problem folder (states of all 512 positions, labels, outcomes).
"""

import gzip
import json
import sys
from pathlib import Path

import torch

from coderl.formulas.masks import IGNORE, masked_max


def main(folder: Path) -> None:
    totals = torch.zeros(4, dtype=torch.long)
    print("problem  programs  right, all positions  right, padding masked  prediction changed")
    for path in sorted(folder.glob("*/gen_solutions_critic_scores.json.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            scores = json.load(stream)
        states, outcomes = torch.tensor(scores["error_hidden_states"]), torch.tensor(scores["gt_error_type"])
        everywhere = states.amax(dim=1).argmax(-1)
        masked = masked_max(states, torch.tensor(scores["code"]) != IGNORE).argmax(-1)
        row = torch.stack([torch.tensor(len(outcomes)), (everywhere == outcomes).sum(), (masked == outcomes).sum(), (everywhere != masked).sum()])
        totals += row
        print(path.parent.name, *row.tolist(), sep="\t")
    print("all", *totals.tolist(), sep="\t")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
