"""The five problems that were published with CodeRL, laid out as there: the scores as a pickle again."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
from pathlib import Path

import numpy as np


def published(data: Path, target: Path, only: str = "") -> Path:
    """Copy the published folders (or `only` one) to `target`."""
    for folder in sorted((data / "apps_coderl_sample" / "train").iterdir()):
        if only in ("", folder.name):
            (target / folder.name).mkdir(parents=True)
            for file in folder.iterdir():
                shutil.copyfile(file, target / folder.name / file.name)
            packed = target / folder.name / "gen_solutions_critic_scores.json.gz"
            scores = json.loads(gzip.decompress(packed.read_bytes()))
            scores["error_hidden_states"] = np.array(scores["error_hidden_states"], dtype=np.float32)
            scores["pred_error_type"] = np.array(scores["pred_error_type"])
            packed.with_name("gen_solutions_critic_scores.pkl").write_bytes(pickle.dumps(scores))
            packed.unlink()
    return target
