"""Progress: plain lines at their times, a live bar on a terminal, and never a stage stopped by its display."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from coderl.progress import Meter, _plain, progress, spell_rate, spell_seconds


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_time_left() -> None:
    clock = Clock()
    meter = Meter(100, clock)
    assert meter.left() is None and meter.rate() == 0
    clock.now += 10
    meter.add(20, "")
    assert meter.rate() == pytest.approx(2.0)  # 20 units in 10 s
    assert meter.left() == pytest.approx(40.0)  # 80 left at 2/s


def test_rate_is_that_of_the_last_minute() -> None:
    clock = Clock()
    meter = Meter(None, clock)
    for _ in range(30):  # 30 units a second for 30 s, then 1 a second for 90 s
        clock.now += 1
        meter.add(30, "")
    for _ in range(90):
        clock.now += 1
        meter.add(1, "")
    assert meter.rate() == pytest.approx(1.0)
    assert meter.left() is None  # no total


def test_more_than_the_total_shows_no_time_left() -> None:
    clock = Clock()
    meter = Meter(5, clock)
    clock.now += 1
    meter.add(6, "")
    assert meter.left() is None


def test_memory_is_bounded() -> None:
    clock = Clock()
    meter = Meter(None, clock)
    for _ in range(100_000):
        clock.now += 0.01
        meter.add(1, "")
    assert len(meter.seen) <= 602  # at most one sample in 0.1 s of the last 60 s


@pytest.mark.parametrize("rate, text", [(0, ""), (412.3, "412/s"), (41.24, "41.2/s"), (0.5, "0.5/s"), (0.05, "20.0 s each")])
def test_rates_in_words(rate: float, text: str) -> None:
    assert spell_rate(rate) == text


@pytest.mark.parametrize("seconds, text", [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (185, "3:05"), (3723, "1:02:03"), (-1, "0 s")])
def test_seconds_in_words(seconds: float, text: str) -> None:
    assert spell_seconds(seconds) == text


def test_plain_lines_come_at_most_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with _plain("judging", "programs", Meter(400, clock)) as advance:
        for _ in range(320):
            clock.now += 1 / 32
            advance(1, note="acceptance 31 %")
        clock.now += 5
        advance(80)
    assert capsys.readouterr().err.splitlines() == [
        "judging  320/400 programs  32.0/s  2 s left  acceptance 31 %",  # 320 in 10 s; 80 left take 2.5 s
        "judging  400/400 programs  15 s  26.7/s  acceptance 31 %",  # 400 in 15 s
    ]


def test_plain_line_tells_where_an_error_stopped_it(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with pytest.raises(KeyboardInterrupt):
        with _plain("judging", "programs", Meter(400, clock)) as advance:
            clock.now += 3
            advance(7)
            raise KeyboardInterrupt
    assert capsys.readouterr().err == "judging  stopped at 7/400 programs  after 3 s\n"


def test_off_a_terminal_nothing_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("judging", total=3, unit="programs") as advance:
        print("a result")
        advance(3, note="done")
    captured = capsys.readouterr()
    assert captured.out == "a result\n"
    assert re.fullmatch(r"judging  3/3 programs  0 s  .*done\n", captured.err)


def test_a_display_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as broken:
        monkeypatch.setattr(sys, "stderr", broken)
        with progress("judging", total=1, unit="programs") as advance:
            advance(1)
        monkeypatch.undo()
        try:
            broken.close()
        except OSError:  # what it still held cannot be written either
            pass


STAGE = """
from coderl.progress import progress
with progress("outer", total=4, unit="rounds") as advance:
    for i in range(4):
        with progress("inner", total=2, unit="steps") as step:
            step(2, note="a note")
        print(f"result {i} of [bold]")
        advance(1)
"""


def on_terminal(stdout: Path | None) -> str:
    """Run STAGE with stderr (and stdout unless it is a file) on a terminal; returns what the terminal received."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with stdout.open("w") if stdout else os.fdopen(os.dup(follower), "w") as out:
        process = subprocess.Popen([sys.executable, "-c", STAGE], stdout=out, stderr=follower, env=environment)
    os.close(follower)
    received = b""
    while True:
        try:
            block = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        received += block
    os.close(leader)
    assert process.wait() == 0, received.decode()
    return received.decode()


def test_a_terminal_shows_a_bar_above_which_prints_scroll() -> None:
    text = on_terminal(None)
    assert "4/4 rounds" in text and "a note" in text and "\x1b[" in text
    for i in range(4):  # each print on a line of its own: cleared before, newline behind
        assert re.search(rf"(\x1b\[2K|\n|\r)result {i} of \[bold\]\r?\n", text)


def test_with_a_bar_shown_piped_results_stay_clean(tmp_path: Path) -> None:
    text = on_terminal(tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text() == "".join(f"result {i} of [bold]\n" for i in range(4))
    assert "4/4 rounds" in text and "result" not in text


def test_importing_progress_imports_no_rich() -> None:
    code = "import coderl.progress, sys; assert 'rich' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
