"""Judges for the sandbox tests: started once, with small limits, so that programs which never end do not cost much."""

from collections.abc import Iterator

import pytest

from coderl.sandbox import Judge, Limits


@pytest.fixture(scope="session")
def judge() -> Iterator[Judge]:
    """Two workers."""
    with Judge(workers=2, limits=Limits(cpu_seconds=0.5, memory_mib=256)) as judge:
        yield judge


@pytest.fixture(scope="session")
def lonely() -> Iterator[Judge]:
    """One worker: every program runs in the server that ran the one before. Output of at most 1 MiB."""
    with Judge(workers=1, limits=Limits(cpu_seconds=0.3, wall_factor=1.0, memory_mib=256, output_bytes=1 << 20)) as judge:
        yield judge
