"""The released CodeRL's data files: read as published, written back the same, and pickles that must not run anything."""

import collections
import gzip
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coderl.errors import DataError
from coderl.problems.pickles import read_pickle
from coderl.problems.reindent import reindent
from coderl.problems.released import Judged, Scores, read_judged, read_scores, write_judged, write_scores
from coderl.records import Outcome, Program, Verdict


def scores_of(folder: Path) -> dict[str, Any]:
    """The published scores of a folder, with arrays as in the published pickle."""
    with gzip.open(folder / "gen_solutions_critic_scores.json.gz", "rt", encoding="utf-8") as stream:
        data = json.load(stream)
    data["error_hidden_states"] = np.array(data["error_hidden_states"], dtype=np.float32)
    data["pred_error_type"] = np.array(data["pred_error_type"])
    return data


def test_published_programs_are_read_and_written_back_as_they_are(data_dir: Path, tmp_path: Path) -> None:
    outcomes: collections.Counter[str] = collections.Counter()
    for folder in sorted((data_dir / "apps_coderl_sample" / "train").iterdir()):
        for name, origin in (("gen_solutions.json", "sample"), ("baseline_solutions.json", "greedy")):
            judged = read_judged(folder / name, "apps/train/" + folder.name, origin)
            outcomes.update(str(one.verdict.outcome) for one in judged)
            write_judged(tmp_path / name, judged, baseline=origin == "greedy")
            assert json.loads((tmp_path / name).read_text()) == json.loads((folder / name).read_text())
    assert len(outcomes) == 4 and sum(outcomes.values()) == 83 + 5


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_published_scores_are_read_and_written_back_as_they_are(data_dir: Path, tmp_path: Path, protocol: int) -> None:
    data = scores_of(data_dir / "apps_coderl_sample" / "train" / "2404")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(data, protocol=protocol))
    scores = read_scores(tmp_path / "a.pkl")
    assert scores.logits.shape == (len(data["code"]), 512, 4) and scores.logits.dtype == np.float32
    write_scores(tmp_path / "b.pkl", scores)
    with (tmp_path / "b.pkl").open("rb") as stream:
        again = pickle.load(stream)  # as their code reads it
    assert set(again) == set(data)
    for name in ("code", "prompt", "gt_error_type"):
        assert again[name] == data[name]
    assert np.array_equal(again["error_hidden_states"], data["error_hidden_states"])
    assert np.array_equal(again["pred_error_type"], data["pred_error_type"])


def test_outcomes_and_words_by_hand(tmp_path: Path) -> None:
    verdicts = [
        (Verdict("p", 0, Outcome.COMPILE_ERROR, "SyntaxError"), -2, "syntaxerror"),
        (Verdict("p", 1, Outcome.RUNTIME_ERROR, "Timeout"), -1, "timeout"),
        (Verdict("p", 2, Outcome.FAILED_TEST), False, "failed unit tests"),
        (Verdict("p", 3, Outcome.PASSED_TEST), True, "passed unit tests"),
    ]
    judged = [Judged(Program("p", "x", v.index), v) for v, _, _ in verdicts]
    write_judged(tmp_path / "g.json", judged, baseline=False)
    assert json.loads((tmp_path / "g.json").read_text()) == [{"code": "x", "result": r, "error_type": w} for _, r, w in verdicts]
    read = read_judged(tmp_path / "g.json", "p", "sample")
    assert [one.verdict.outcome for one in read] == [v.outcome for v, _, _ in verdicts]
    assert [one.verdict.error_type for one in read] == ["syntaxerror", "timeout", None, None]


def test_a_harness_error_cannot_be_written(tmp_path: Path) -> None:
    lost = Judged(Program("p", "x", 0), Verdict("p", 0, None, harness_error="judge died"))
    with pytest.raises(DataError, match="has no outcome"):
        write_judged(tmp_path / "g.json", [lost], baseline=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "must be a list"),
        ("[3]", "entry 0 is 3"),
        ('[{"code": "x"}]', "has the result None"),
        ('[{"code": "x", "result": 1}]', "has the result 1"),
    ],
)
def test_broken_programs_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "g.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_judged(tmp_path / "g.json", "p", "sample")


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch coderl-pickle-ran",)


class _Reads:
    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (str, "join")


class _Fills:
    def __reduce__(self) -> tuple[Any, ...]:
        return np.ndarray([0]).__reduce__()[0], (np.ndarray, (10**13,), b"b")


class _Encodes:
    def __reduce__(self) -> tuple[Any, ...]:
        import _codecs

        return _codecs.encode, ("x", "rot13")


class _Objects:
    """The kind of objects with flags that deny it: numpy would take the bytes of such an array as addresses."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0)


class _Number:
    def __reduce__(self) -> tuple[Any, ...]:
        return np.float32(0).__reduce__()[0], (_Objects(), b"\0" * 8)


class _Buffer:
    def __reduce__(self) -> tuple[Any, ...]:
        return np.zeros(1).__reduce_ex__(5)[0], (b"\0" * 8, _Objects(), (1,), "C")


class _Filled:
    def __init__(self, kind: Any, shape: Any, data: Any) -> None:
        self.state = (1, shape, kind, False, data)

    def __reduce__(self) -> tuple[Any, ...]:
        return np.ndarray([0]).__reduce__()[0], (np.ndarray, (0,), b"b"), self.state


class _Allocates:
    def __init__(self, what: Any) -> None:
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        return self.what, (1 << 10,)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("value", [_Number(), _Buffer(), _Filled(_Objects(), (1,), b"\0" * 8)])
def test_bytes_are_not_taken_as_objects(tmp_path: Path, value: Any, protocol: int) -> None:
    (tmp_path / "p.pkl").write_bytes(pickle.dumps([value], protocol=protocol))
    with pytest.raises(DataError, match="of the kind 'O8'; it must be of plain numbers or texts"):
        read_pickle(tmp_path / "p.pkl")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (_Allocates(bytes), "not a whole pickle"),
        (_Allocates(np.ndarray), "as numpy does not write it"),
        (np.ndarray, "holds a function or a type"),
        (np.dtype, "holds a function or a type"),
        (_Filled(np.dtype("f4"), (2,), b"\0" * 4), "holds 4 bytes for an array of shape"),
        (_Filled(np.dtype("f4"), (-1,), b"\0" * 4), "must be of numbers from 0 up"),
        (_Filled(np.dtype("f4"), (0, 10**30), b""), "not a whole pickle"),
        (_Filled(np.dtype("f4"), (1,), [1.0]), "not made of bytes"),
        (np.zeros(2, dtype=[("a", "f4")]), "of the kind 'V4'"),
        (np.zeros(2, dtype="M8[s]"), "of the kind 'M8'"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_are_made_of_the_bytes_that_are_there(tmp_path: Path, value: Any, message: str, protocol: int) -> None:
    (tmp_path / "p.pkl").write_bytes(pickle.dumps([value], protocol=protocol))
    with pytest.raises(DataError, match=message):
        read_pickle(tmp_path / "p.pkl")


@pytest.mark.parametrize("state", [b"}X\x01\0\0\0aK\x01s", b"N}X\x01\0\0\0aK\x01s\x86"])
@pytest.mark.parametrize("name", [b"_codecs\nencode", b"numpy\ndtype", b"numpy\nndarray", b"numpy.core.multiarray\nscalar"])
def test_a_pickle_writes_into_no_function(tmp_path: Path, name: bytes, state: bytes) -> None:
    """`name`, a = 1 as its attribute, in both forms that BUILD knows, then the number 1 as the pickle's value."""
    (tmp_path / "p.pkl").write_bytes(b"\x80\x02c" + name + b"\n" + state + b"b0K\x01.")
    with pytest.raises(DataError, match="writes into a function or a type"):
        read_pickle(tmp_path / "p.pkl")


def test_arrays_of_every_layout_are_read(tmp_path: Path) -> None:
    arrays: list[Any] = [np.arange(6, dtype=kind).reshape(2, 3) for kind in ("<i2", ">i4", "u1", "<f2", ">f8", "c8")]
    arrays += [np.asfortranarray(arrays[0]), np.array(3.5), np.zeros((0, 3)), np.array([True, False]), np.array([b"ab", b"c"]), np.array(["x", "äß"])]
    shared: list[Any] = [arrays[0], (arrays[0],)]
    for protocol in range(2, 6):
        (tmp_path / "p.pkl").write_bytes(pickle.dumps([arrays, shared, {"in": shared}], protocol=protocol))
        read, again, holder = read_pickle(tmp_path / "p.pkl")
        for found, wanted in zip(read, arrays, strict=True):
            assert type(found) is np.ndarray and found.dtype == wanted.dtype and np.array_equal(found, wanted)
        assert again is holder["in"] and again[0] is again[1][0] and again[0].flags.writeable
    shared.append(shared)
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(shared))
    found = read_pickle(tmp_path / "p.pkl")
    assert found[2] is found


@pytest.mark.parametrize("value", [_Runs(), _Reads(), _Fills(), _Encodes(), collections.OrderedDict(a=1), np.array([{"a": _Runs()}], dtype=object)])
@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_that_wants_to_run_something_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, protocol: int) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.pkl").write_bytes(pickle.dumps({"code": value}, protocol=protocol))
    with pytest.raises(DataError):
        read_pickle(tmp_path / "p.pkl")
    assert not (tmp_path / "coderl-pickle-ran").exists()


def test_plain_values_are_read(tmp_path: Path) -> None:
    value: dict[str, Any] = {
        "a": [1, 2.5, None, True, "x", b"y", (1,), {3}],
        "n": np.float32(0.25),
        "i": np.arange(6).reshape(2, 3),
        "s": np.array(["ä"]),
    }
    for protocol in range(2, 6):
        (tmp_path / "p.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
        read = read_pickle(tmp_path / "p.pkl")
        assert read["a"] == value["a"] and read["n"] == 0.25
        assert np.array_equal(read["i"], value["i"]) and np.array_equal(read["s"], value["s"])


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"no pickle", b"\x80\x04]\x94(K\x01"])
def test_a_torn_pickle_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.pkl").write_bytes(content)
    with pytest.raises(DataError, match="not a whole pickle"):
        read_pickle(tmp_path / "p.pkl")


def small(**changes: Any) -> dict[str, Any]:
    return {
        "code": [[1, 5, 2, -100]],
        "prompt": [[1, 2]],
        "gt_error_type": [3],
        "pred_error_type": np.array([3]),
        "error_hidden_states": np.zeros((1, 4, 4), np.float32),
    } | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"code": None}, "field 'code' is no array"),
        ({"gt_error_type": [3, 3]}, "has 1 programs and 2 rows of gt_error_type"),
        ({"error_hidden_states": np.zeros((1, 3, 4), np.float32)}, r"must be \(programs, tokens, 4\)"),
        ({"gt_error_type": [4]}, "outcomes from 4 to 4"),
        ({"code": [[1], [1, 2]]}, "field 'code' is no array"),
    ],
)
def test_scores_that_do_not_fit_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(small(**changes)))
    with pytest.raises(DataError, match=message):
        read_scores(tmp_path / "p.pkl")


def test_scores_in_memory_and_back(tmp_path: Path) -> None:
    scores = Scores(np.array([[1, -100]]), np.array([[1, 2]]), np.array([0]), np.array([2]), np.ones((1, 2, 4), np.float32))
    write_scores(tmp_path / "a" / "p.pkl", scores)
    assert all(np.array_equal(a, b) for a, b in zip(read_scores(tmp_path / "a" / "p.pkl"), scores, strict=True))


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("if a:\n  b\n", "if a:\n\tb\n"),
        ("x", "x\n"),
        ("", ""),
        ("if a:\n\n   \n    b\n       c", "if a:\n\n   \n\tb\n\t   c\n"),
        ("\tx\n  y\n", "\tx\n  y\n"),
    ],
)
def test_reindent_by_hand(code: str, wanted: str) -> None:
    assert reindent(code) == wanted
    assert reindent(wanted) == wanted
