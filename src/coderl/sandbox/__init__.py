"""The judge: runs programs nobody trusts against unit tests, and decides from data alone. See docs/judge.md.

judge.py        Judge, Limits: programs in, verdicts out, in order, several at a time
plan.py         a problem's tests as what goes into the sandbox and what decides outside
assertions.py   `assert f(1) == 2` turned into calls and a check on their results
comparators.py  when a result equals the expected one: strict, apps
forkserver.py   start, feed and end one sandbox process
tiers.py        which isolation this machine gives: found out by trying
inside/         what runs in the sandbox
"""

from .judge import Judge
from .limits import Limits

__all__ = ["Judge", "Limits"]
