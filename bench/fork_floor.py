"""What a fork costs here before anything is judged: the bound below which no judge with a fork for each program can go.

    python -S -s -P -B bench/fork_floor.py {bare,warm}

Forks this interpreter by the C library's `fork`, as the fork server does, ends the child at once, waits for it, 300 times. `bare`: with
what it needs for that; `warm`: with the modules that the fork server has imported. Prints CPU-ms of parent and child together and page
faults, both for one fork (best of three).
"""

import gc
import os
import resource
import sys
import time
from pathlib import Path

FORKS = 300
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src" / "coderl" / "sandbox"))

from inside import kernel  # noqa: E402  (from the folder that the sandbox runs from, with nothing of coderl around it)


def used() -> tuple[float, int]:
    """CPU seconds and page faults so far, of this process and of its children that have ended."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime, own.ru_minflt + ended.ru_minflt


def one_round() -> tuple[float, float]:
    before = used()
    for _ in range(FORKS):
        pid = kernel.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    after = used()
    return (after[0] - before[0]) * 1000 / FORKS, (after[1] - before[1]) / FORKS


def main() -> None:
    if sys.argv[1] == "warm":
        from inside import server, warmth  # noqa: F401  (the server's modules are part of what is forked)

        warmth.warm()
    gc.disable()
    gc.collect()
    gc.freeze()
    cost, faults = min(one_round() for _ in range(3))
    print(f"{cost:.3f} {faults:.0f}")


if __name__ == "__main__":
    main()
