"""What one program may use, and the part of the sandbox's job that says so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..records import Problem


@dataclass(frozen=True)
class Limits:
    """What one program may use. A problem's own `limits` (cpu_seconds, memory_mib) come first."""

    cpu_seconds: float = 4.0
    """CPU time for each test, seconds (the tester of APPS and CodeRL: 4 s of wall time)"""
    wall_factor: float = 3.0
    """wall time for each test: this times cpu_seconds, plus one second; ends programs that wait instead of computing"""
    memory_mib: int = 512
    """address space beyond the bare interpreter's, MiB"""
    output_bytes: int = 16 << 20
    """longest standard output or encoded result of one test, bytes"""

    @property
    def wall_seconds(self) -> float:
        return self.wall_factor * self.cpu_seconds + 1.0

    def times(self, factor: float) -> Limits:
        """With that much more CPU time, and the wall time that goes with it."""
        return replace(self, cpu_seconds=factor * self.cpu_seconds)

    def of(self, problem: Problem) -> Limits:
        """With the problem's own limits in place."""
        own = problem.limits or {}
        return replace(self, cpu_seconds=float(own.get("cpu_seconds", self.cpu_seconds)), memory_mib=int(own.get("memory_mib", self.memory_mib)))

    def job(self) -> dict[str, Any]:
        """The part of a job that says how much may be used."""
        return {
            "cpu_seconds": self.cpu_seconds,
            "wall_seconds": self.wall_seconds,
            "memory_bytes": self.memory_mib << 20,
            "output_bytes": self.output_bytes,
            "file_bytes": self.output_bytes + 1,
        }


DEFAULT = Limits()
