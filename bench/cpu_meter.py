"""CPU time of a whole process tree, orphans and managers included. Linux only.

Best is a control group of its own (cgroup v1 `cpuacct`, nanoseconds, counts everything that was ever started inside). Where that cannot
be made, the tree is summed from /proc: every live process below this one, with what its own ended children took (10 ms steps; a
process that nobody waited for is lost). `Meter.how` says which it was.
"""

import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup/cpuacct")


class Meter:
    """`seconds()`: CPU time so far of this process and everything that it started. Close it before the process ends."""

    def __init__(self) -> None:
        self._before = _GROUPS / _own_group()
        self._group: Path | None = _GROUPS / f"coderl-bench-{os.getpid()}"
        try:
            self._group.mkdir()
            (self._group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            self._group = None
        self.how = "/proc, summed over the process tree" if self._group is None else "a cpuacct control group"

    def seconds(self) -> float:
        if self._group is not None:
            return int((self._group / "cpuacct.usage").read_text()) / 1e9
        return sum(_of_process(pid) for pid in tree(os.getpid()))

    def close(self) -> None:
        """Back to the group where this process came from."""
        if self._group is not None:
            (self._before / "cgroup.procs").write_text(str(os.getpid()))
            self._group.rmdir()


def _own_group() -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if "cpuacct" in names.split(","):
            return path.lstrip("/")
    return ""


def _fields(pid: int) -> list[str]:
    """Those of /proc/PID/stat behind the name: state, parent, .."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def _of_process(pid: int) -> float:
    fields = _fields(pid)
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def tree(root: int) -> set[int]:
    """`root` and all live processes below it, zombies included."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _fields(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, todo = {root}, [root]
    while todo:
        new = children.get(todo.pop(), [])
        found.update(new)
        todo += new
    return found
