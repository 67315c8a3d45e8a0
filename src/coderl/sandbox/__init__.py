"""The judge: runs programs nobody trusts against unit tests, and decides from data alone. See docs/judge.md.

What holds: a program sees its inputs only. What it should give stays in the judge's process, or, where the problem brings code of its
own (tests that are code, a checker function), in a process that shares nothing with the program's; what the program gives is plain
data; no exit code, object or exception of its own is a pass. It has no network, no files but a scratch folder, no other process, and
ends with its limits. Who attacks: the program, with all it can do in Python and by system calls. Who is trusted: the kernel, this
package, and, with care, the problem: its code is confined like a program, but believed in what it says.
What does not hold: holes in the kernel; reading files in tier C, everything in tier D; verdicts whose `trust` is "child" (code over
the program's own objects runs beside it); timing, caches, and guessing where answers are few. A failure of the judge itself is a
verdict without outcome, never a pass.

judge.py        Judge: programs in, verdicts out, in order, several at a time; limits.py, gate.py (one alone)
sheet.py        the verdict of one program, from its reports
plan.py         a problem's tests as what goes into the sandbox and what decides outside; prepare.py makes it
codeplan.py     the same for tests that are code; assertions.py turns `assert f(1) == 2` into calls and a check on their results,
                unroll.py (with closures.py) does so for tests with loops and variables
testcode.py     which other test code may run apart from the program; relay.py runs it so, and checker functions
line.py         what the judge and one sandboxed process say to each other during such a test
comparators.py  when a result equals the expected one: strict, apps
behaviour.py    what programs give where nobody knows what is right, to be compared with each other
forkserver.py   start, feed and end one sandbox process
tiers.py        which isolation this machine gives: found out by trying
inside/         what runs in the sandbox
"""

from .behaviour import behaviours
from .judge import Judge
from .limits import Limits

__all__ = ["Judge", "Limits", "behaviours"]
