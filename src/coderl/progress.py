"""How far a stage is: a bar on a terminal, a plain line now and then anywhere else. Everything goes to stderr.

A stage says `with progress("judging", total=400, unit="programs") as advance:` and calls `advance(1, note="acceptance 31 %")`
for each unit done. On a terminal that is one live line (count, rate, time passed, time left, note) that prints of the stage
scroll above; in a log file it is one line at most every ten seconds and one at the end. Not here: results (stages print those to
stdout) and metrics (`run_directory.RunDirectory.log`). A display that cannot be written never stops a stage.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_SECONDS = 10.0  # at most one plain line in this time
RATE_SECONDS = 60.0  # the rate is that of the last minute


class Advance(Protocol):
    """What a stage calls: `n` more units are done; `note` (kept until the next one) is shown behind the numbers."""

    def __call__(self, n: int = 1, note: str = "") -> None: ...


@dataclass
class Meter:
    """Counts units against a clock. `clock` returns seconds."""

    total: int | None
    clock: Callable[[], float]
    done: int = 0
    note: str = ""
    seen: deque[tuple[float, int]] = field(default_factory=deque)
    started: float = 0.0

    def __post_init__(self) -> None:
        self.started = self.clock()
        self.seen.append((self.started, 0))

    def add(self, n: int, note: str) -> None:
        """Count `n` more units; an empty note leaves the old one."""
        now = self.clock()
        self.done += n
        self.note = note or self.note
        if now - self.seen[-1][0] >= 0.1:
            self.seen.append((now, self.done))
        while len(self.seen) > 2 and now - self.seen[1][0] >= RATE_SECONDS:
            self.seen.popleft()

    def elapsed(self) -> float:
        return self.clock() - self.started

    def rate(self) -> float:
        """Units a second over the last minute; 0 as long as nothing is known."""
        since, before = self.seen[0]
        seconds = self.clock() - since
        return (self.done - before) / seconds if seconds > 0 else 0.0

    def left(self) -> float | None:
        """Seconds left at the present rate, or None when that cannot be said."""
        rate = self.rate()
        return (self.total - self.done) / rate if self.total is not None and rate > 0 and self.done <= self.total else None

    def count(self, unit: str) -> str:
        return f"{self.done}{'' if self.total is None else f'/{self.total}'} {unit}"


def spell_rate(rate: float) -> str:
    """A rate in units a second, or seconds a unit when it is slow: "41.2/s", "20.0 s each", "" for 0."""
    if rate <= 0:
        return ""
    return f"{rate:.0f}/s" if rate >= 100 else f"{rate:.1f}/s" if rate >= 0.5 else f"{1 / rate:.1f} s each"


def spell_seconds(seconds: float) -> str:
    """ "2 s", "3:05" (minutes), "1:02:03" (hours)."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def progress(description: str, total: int | None, unit: str) -> Iterator[Advance]:
    """Show how far something is while the block runs; yields `advance(n=1, note="")`.

    Displays may be nested. With an unknown `total` there is a count and a rate but no time left.

    Args:
        description: a verb, e.g. "judging".
        total: how many units there will be, or None.
        unit: what is counted, plural, e.g. "programs".
    """
    meter = Meter(total, time.monotonic)
    console = _console()
    shown = _bar if console.is_terminal and not console.is_dumb_terminal else _plain
    with shown(description, unit, meter) as advance:
        yield advance


@cache
def _console() -> Console:
    """The terminal behind stderr. One for the process: two live displays know of each other through it."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@contextmanager
def _bar(description: str, unit: str, meter: Meter) -> Iterator[Advance]:
    """The live line of a terminal. Prints of the stage scroll above it; a stdout that is a file or a pipe is left alone."""
    from rich.errors import LiveError
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[state]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[rest]}", markup=False),
    )
    display = Progress(*columns, console=_console(), refresh_per_second=4, redirect_stdout=sys.stdout.isatty())
    task = display.add_task(description, total=meter.total, state=meter.count(unit), rest="")

    def advance(n: int = 1, note: str = "") -> None:
        meter.add(n, note)
        left = meter.left()
        rest = ("" if not left else f"{spell_seconds(left)} left", meter.note)
        display.update(task, completed=meter.done, state=_join(meter.count(unit), spell_rate(meter.rate())), rest=_join(*rest))

    try:
        display.start()
    except LiveError:  # rich before 14.1 shows one display at a time; an inner one then prints plain lines above the outer one
        with _plain(description, unit, meter) as plain:
            yield plain
        return
    try:
        yield advance
    finally:
        display.stop()


@contextmanager
def _plain(description: str, unit: str, meter: Meter) -> Iterator[Advance]:
    """Lines for a log: at most one every ten seconds, and one at the end that also tells when the block was left by an error."""
    last = meter.started

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal last
        meter.add(n, note)
        now = meter.clock()
        if now - last >= PLAIN_SECONDS:
            last = now
            left = meter.left()
            _say(description, meter.count(unit), spell_rate(meter.rate()), "" if left is None else f"{spell_seconds(left)} left", meter.note)

    try:
        yield advance
    except BaseException:
        _say(description, f"stopped at {meter.count(unit)}", f"after {spell_seconds(meter.elapsed())}", meter.note)
        raise
    seconds = meter.elapsed()
    mean = meter.done / seconds if seconds > 0 else 0.0
    _say(description, meter.count(unit), f"{spell_seconds(seconds)}", spell_rate(mean), meter.note)


def _join(*parts: str) -> str:
    return "  ".join(part for part in parts if part)


def _say(*parts: str) -> None:
    try:
        print(_join(*parts), file=sys.stderr, flush=True)
    except (OSError, ValueError):  # stderr is a full disk, a broken pipe or closed: the stage goes on
        pass
