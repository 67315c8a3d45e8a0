"""The interface of the engines: what is refused, and the random streams."""

import numpy as np
import pytest

from coderl.engines.requests import Decoding, Generated, Request, check_requests, stream_key, uniforms
from coderl.errors import UsageError

GOOD = Request("p", (3, 4), (0,), Decoding(max_tokens=4), (5,))


@pytest.mark.parametrize(
    "request_, message",
    [
        (GOOD._replace(prompt=()), "the prompt of 'p' is empty"),
        (GOOD._replace(prefix=(5, 5, 5, 5)), r"has 4 tokens; it must be shorter than max_tokens \(4\)"),
        (GOOD._replace(prompt=(3, 10)), "id 10; ids must be from 0 to 9"),
        (GOOD._replace(prefix=(-1,)), "id -1; ids must be from 0 to 9"),
        (GOOD._replace(decoding=Decoding(temperature=-1)), "temperature is -1; it must be"),
        (GOOD._replace(decoding=Decoding(temperature=float("nan"))), "temperature is nan; it must be"),
        (GOOD._replace(decoding=Decoding(top_p=0)), "top_p is 0; it must be"),
        (GOOD._replace(decoding=Decoding(top_p=1.5)), "top_p is 1.5; it must be"),
        (GOOD._replace(decoding=Decoding(max_tokens=0)), "max_tokens is 0; it must be"),
    ],
)
def test_impossible_requests_are_refused(request_, message):
    check_requests([GOOD], vocabulary=10, rows=1)
    with pytest.raises(UsageError, match=message):
        check_requests([GOOD, request_], vocabulary=10, rows=1)


def test_no_rows_are_refused():
    with pytest.raises(UsageError, match="rows is 0; it must be at least 1"):
        check_requests([], vocabulary=10, rows=0)


def test_finish_says_why_a_program_ended():
    assert Generated("p", 0, (3, 2), (0.0, 0.0), (0.0, 0.0), cut=False).finish == "stop"
    assert Generated("p", 0, (3, 3), (0.0, 0.0), (0.0, 0.0), cut=True).finish == "length"


def test_uniforms_are_splitmix64():
    def slow(stream, position):
        m = 2**64 - 1
        z = (stream + 0x9E3779B97F4A7C15 * (position + 1)) & m
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & m
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & m
        return ((z ^ (z >> 31)) >> 11) / 2**53

    streams = [stream_key(0, "a", i) for i in range(50)]
    for position in (0, 1, 77):
        assert uniforms(np.array(streams, dtype=np.uint64), position).tolist() == [slow(s, position) for s in streams]
    positions = np.arange(50)
    assert uniforms(np.array(streams, dtype=np.uint64), positions).tolist() == [slow(s, p) for s, p in zip(streams, positions.tolist())]
    assert len(set(streams)) == 50
    many = uniforms(np.arange(20000, dtype=np.uint64), 3)
    assert abs(many.mean() - 0.5) < 0.01 and many.min() >= 0 and many.max() < 1
