"""Fixtures for all tests: where the real data and the golden numbers lie, one torch thread, and no colours."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _folder(variable: str, default: str) -> Path:
    folder = Path(os.environ.get(variable, ROOT / default))
    if not folder.is_dir():
        pytest.skip(f"{variable} is not set and {default} is absent: real data are not part of the project")
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with MBPP, HumanEval and APPS; a test that asks for it is skipped where it is absent."""
    return _folder("CODERL_DATA", "../shared/data")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Numbers computed by the released CodeRL code; a test that asks for it is skipped where it is absent."""
    return _folder("CODERL_GOLDEN", "../shared/golden")
