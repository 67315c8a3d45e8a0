"""The judge's end of its line to a process: what may be wrong with what comes, and with what does not come."""

import socket
import time
from collections.abc import Iterator

import pytest

from coderl.sandbox.inside.frames import FRAME
from coderl.sandbox.line import Broken, Line, Said


class Quiet:
    """A server that says nothing, until `end` is closed."""

    def __init__(self) -> None:
        self.mine, self.end = socket.socketpair()

    def fileno(self) -> int:
        return self.mine.fileno()

    def has_events(self) -> bool:
        return False


@pytest.fixture
def server() -> Iterator[Quiet]:
    quiet = Quiet()
    yield quiet
    quiet.mine.close()
    quiet.end.close()


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line(seconds=0.2, limit=100)
    yield line
    line.close()


def test_a_message_comes_whole_also_in_pieces(line: Line, server: Quiet) -> None:
    text = FRAME.pack(15, 3) + b'{"status":"ok"}' + b"[1]"
    line.theirs.sendall(text[:10])
    with pytest.raises(Broken):  # before any question
        line.ask(b"{}", server)
    line.theirs.sendall(text[10:])
    assert line.hear(server) == Said({"status": "ok"}, b"[1]")


def test_what_is_too_long_or_no_message_is_broken(server: Quiet) -> None:
    for head, blob, rest, kind in (
        (2, 101, b"{}", "OutputLimit"),
        (1 << 20, 0, b"", "BrokenReport"),
        (2, 0, b"[]", "BrokenReport"),
        (1, 0, b"{", "BrokenReport"),
    ):
        line = Line(seconds=5.0, limit=100)
        line.theirs.sendall(FRAME.pack(head, blob) + rest)
        with pytest.raises(Broken) as caught:
            line.hear(server)
        assert caught.value.kind == kind
        line.close()


def test_waiting_counts_over_all_messages_and_starts_anew_where_asked(line: Line, server: Quiet) -> None:
    start = time.monotonic()
    assert line.hear(server) is None
    assert 0.2 <= time.monotonic() - start < 5
    assert line.left <= 0
    line.fresh()
    assert line.left == 0.2


def test_a_cut_line_or_a_server_that_speaks_ends_the_waiting(server: Quiet) -> None:
    line = Line(seconds=60.0, limit=100)
    line.theirs.close()
    server.end.sendall(b"x")
    assert line.ask(b"{}", server) is None
    assert line.left > 0
    line.close()


def test_a_process_that_does_not_read_costs_its_time_and_no_more(line: Line) -> None:
    start = time.monotonic()
    line.say(b"x" * (8 << 20))
    assert time.monotonic() - start < 5
    assert line.left <= 0
