"""The terminals of Mini: from the collection to the answer (see mini_parts.py for what the fields mean)."""

from __future__ import annotations

from .mini_parts import DIVISORS, C, N, Terminal, W, natural

# fmt: off
TERMINALS = (
    Terminal("list", (N, W), (), lambda xs, k: list(xs), "{xs}", ("{them}", "{them} in order"), ("reversed",), many=True),
    Terminal("sorted", (N, W, C), (), lambda xs, k: sorted(xs), "sorted({xs})",
             ("{them} in ascending order", "{them} sorted"), ("list", "descending"), many=True),
    Terminal("descending", (N, W), (), lambda xs, k: sorted(xs)[::-1], "sorted({xs}, reverse=True)",
             ("{them} in descending order", "{them} sorted in descending order"), ("sorted", "reversed"), many=True),
    Terminal("reversed", (N, W), (), lambda xs, k: list(xs)[::-1], "{xs}[::-1]",
             ("{them} in reverse order", "{them} from right to left"), ("list", "descending"), many=True, twice=True),
    Terminal("sum", (N,), (), lambda xs, k: sum(xs), "sum({xs})", ("the sum of {them}", "the total of {them}"), ("count", "max"),
             start="0", update="{total} += {x}"),
    Terminal("max", (N, W, C), (), lambda xs, k: max(xs), "max({xs})", ("the maximum of {them}", "the largest of {them}"), ("min",), least=2),
    Terminal("min", (N, W, C), (), lambda xs, k: min(xs), "min({xs})", ("the minimum of {them}", "the smallest of {them}"), ("max",), least=2),
    Terminal("second", (N,), (), lambda xs, k: sorted(xs)[-2], "sorted({xs})[-2]",
             ("the second largest of {them}", "the last but one of {them} after sorting"), ("max",), least=3),
    Terminal("count", (N, W, C), (), lambda xs, k: len(xs), "len({xs})", ("the number of {them}", "how many {bare} there are"), ("distinct",),
             twice=True, start="0", update="{total} += 1"),
    Terminal("distinct", (N, W, C), (), lambda xs, k: len(set(xs)), "len(set({xs}))",
             ("the number of different {bare}", "how many distinct {bare} there are"), ("count",), least=2),
    Terminal("spread", (N,), (), lambda xs, k: max(xs) - min(xs), "max({xs}) - min({xs})",
             ("the difference between the largest and the smallest of {them}", "the maximum minus the minimum of {them}"), ("max",),
             twice=True, least=2),
    Terminal("mean", (N,), (), lambda xs, k: natural(sum(xs)) // len(xs), "sum({xs}) // len({xs})",
             ("the average of {them}, rounded down", "the mean of {them}, rounded down"), ("sum",), twice=True, least=2),
    Terminal("summod", (N,), DIVISORS, lambda xs, k: natural(sum(xs)) % k, "sum({xs}) % {k}",
             ("the sum of {them} modulo {k}", "the remainder of the sum of {them} divided by {k}"), ("sum",)),
    Terminal("parity", (N,), (), lambda xs, k: "YES" if sum(xs) % 2 == 0 else "NO", '"YES" if sum({xs}) % 2 == 0 else "NO"',
             ('"YES" if the sum of {them} is even, else "NO"', '"YES" or "NO": is the sum of {them} even'), ("oddity",)),
    Terminal("last", (N, W, C), (), lambda xs, k: xs[-1], "{xs}[-1]",
             ("the last of {them}", "only the last one of {them}"), ("first",), twice=True, least=2),
    Terminal("joined", (W, C), (), lambda xs, k: "".join(xs), '"".join({xs})',
             ("{them} joined together", "{them} as one string"), ("dashed",), start='""', update="{total} += {x}"),
    Terminal("dashed", (W, C), (), lambda xs, k: "-".join(xs), '"-".join({xs})',
             ('{them} joined with "-"', '{them} with "-" between them'), ("joined",), least=2),
    Terminal("longest", (W,), (), lambda xs, k: max(xs, key=len), "max({xs}, key=len)",
             ("the longest of {them} (the first such)", "the first longest of {them}"), ("max", "shortest"), least=2),
    Terminal("shortest", (W,), (), lambda xs, k: min(xs, key=len), "min({xs}, key=len)",
             ("the shortest of {them} (the first such)", "the first shortest of {them}"), ("min", "longest"), least=2),
)

WRONG_TERMINALS = (
    Terminal("first", (N, W, C), (), lambda xs, k: xs[0], "{xs}[0]", (), twice=True),
    Terminal("oddity", (N,), (), lambda xs, k: "NO" if sum(xs) % 2 == 0 else "YES", '"NO" if sum({xs}) % 2 == 0 else "YES"', ()),
)  # terminals that occur in wrong variants only
# fmt: on
