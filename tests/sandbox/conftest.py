"""Judges for the sandbox tests: started once, with small limits, so that programs which never end do not cost much."""

from collections.abc import Iterator

import pytest

from coderl.errors import SandboxError
from coderl.sandbox import Judge, Limits


@pytest.fixture(scope="session")
def judge() -> Iterator[Judge]:
    """Two workers."""
    with Judge(workers=2, limits=Limits(cpu_seconds=0.5, memory_mib=256)) as judge:
        yield judge


@pytest.fixture(scope="session")
def lonely(request: pytest.FixtureRequest) -> Iterator[Judge]:
    """One worker: every program runs in the server that ran the one before. Output of at most 1 MiB. The attacks force a tier."""
    limits = Limits(cpu_seconds=0.3, wall_factor=1.0, memory_mib=256, output_bytes=1 << 20)
    try:
        judge = Judge(workers=1, limits=limits, tiers=getattr(request, "param", "ABC"))
    except SandboxError as error:
        pytest.skip(f"tier {request.param} is not to be had here: {error}")
    with judge:
        yield judge
