"""Files: whole lines survive, old files survive a failed write, errors name file and line."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coderl.errors import CoderlError, DataError
from coderl.records import Problem, Program
from coderl.run_directory import RunDirectory
from coderl.store import AppendStore, atomic_write, dump_line, iterate_records, read_records, write_records


def program(index: int, code: str = "pass") -> Program:
    return Program("p", code, index)


def key(record: Program) -> tuple[str, int]:
    return record.problem, record.index


def store(path: Path) -> AppendStore:
    return AppendStore(path, Program, key)


def test_round_trip(tmp_path: Path) -> None:
    records = [program(i, code="print('é\\n☃\u2028')\n\x00\\") for i in range(3)]
    assert write_records(tmp_path / "deep" / "er" / "p.jsonl", records) == 3
    assert read_records(tmp_path / "deep" / "er" / "p.jsonl", Program) == records


@settings(max_examples=50)
@given(st.text(st.characters(), max_size=20))
def test_any_text_is_one_utf8_line(text: str) -> None:
    """Lone surrogates too: JSON files of other tools hold them."""
    for value in (text, text + "\ud800"):
        line = dump_line({"code": value})
        assert line.endswith("\n") and "\n" not in line[:-1]
        assert json.loads(line.encode("utf-8").decode("utf-8")) == {"code": value}


def test_blank_lines_are_skipped_but_counted(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('\n{"problem": "p", "code": "c"}\n  \n{"problem": "p"}\n')
    with pytest.raises(DataError, match=r"p\.jsonl:4: program lacks the required field 'code'"):
        read_records(path, Program)


@pytest.mark.parametrize(
    "line, words",
    [
        (b'{"problem": "p", "code": ', "not JSON"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"[" * 200_000, "JSON nested too deeply to read"),
        (b'"text"', "a program must be a JSON object"),
    ],
)
def test_a_bad_line_is_told_with_its_number(tmp_path: Path, line: bytes, words: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"problem": "p", "code": "c"}\n' + line + b"\n")
    with pytest.raises(DataError) as caught:
        read_records(path, Program)
    assert str(caught.value).startswith(f"{path}:2: ") and words in str(caught.value)


def test_missing_file_folder_and_empty_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_records(tmp_path / "absent.jsonl", Program)
    with pytest.raises(DataError, match=r"is a folder|cannot be opened"):
        read_records(tmp_path, Program)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match="holds no program records"):
        read_records(tmp_path / "empty.jsonl", Program)
    assert read_records(tmp_path / "empty.jsonl", Program, allow_empty=True) == []


def test_a_large_file_is_read_line_by_line(tmp_path: Path) -> None:
    write_records(tmp_path / "p.jsonl", [program(0), program(1)])
    with (tmp_path / "p.jsonl").open("a") as stream:
        stream.write("broken\n")
    records = iterate_records(tmp_path / "p.jsonl", Program)
    assert [next(records).index, next(records).index] == [0, 1]


def test_append_and_reopen(tmp_path: Path) -> None:
    with store(tmp_path / "p.jsonl") as out:
        out.append(program(0))
        out.append(program(1))
    with store(tmp_path / "p.jsonl") as out:
        assert len(out) == 2 and ("p", 1) in out and ("p", 2) not in out
        out.append(program(2))
    assert [r.index for r in read_records(tmp_path / "p.jsonl", Program)] == [0, 1, 2]


def test_a_key_is_appended_once(tmp_path: Path) -> None:
    with store(tmp_path / "p.jsonl") as out:
        out.append(program(0))
        with pytest.raises(ValueError, match="already holds"):
            out.append(program(0))
    assert len(read_records(tmp_path / "p.jsonl", Program)) == 1


@pytest.mark.parametrize("whole", [0, 1, 3])
@pytest.mark.parametrize("torn_bytes", [1, 30, 70_000, 200_000])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, whole: int, torn_bytes: int) -> None:
    path = tmp_path / "p.jsonl"
    good = "".join(dump_line(program(i).to_json()) for i in range(whole))
    torn = dump_line(program(9, code="x" * 300_000).to_json())[:torn_bytes]
    path.write_text(good + torn)
    with store(path) as out:
        assert len(out) == whole
        out.append(program(9))
    assert [r.index for r in read_records(path, Program)] == [*range(whole), 9]


def test_a_whole_file_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    write_records(path, [program(i) for i in range(3)])
    before = path.read_bytes()
    store(path).close()
    assert path.read_bytes() == before


def test_a_broken_line_in_the_middle_is_an_error_and_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("broken\n" + dump_line(program(0).to_json()))
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"p\.jsonl:1: not JSON"):
        store(path)
    assert path.read_bytes() == before


WRITER = """
    import sys
    from coderl.records import Program
    from coderl.store import AppendStore

    with AppendStore(sys.argv[1], Program, lambda r: r.index) as out:
        for index in range(len(out), 10**9):
            out.append(Program("p", "x" * 5000, index))
            print(index, flush=True)
"""


def test_kill_9_loses_nothing_that_was_whole(tmp_path: Path) -> None:
    """What the writer had said it wrote is there after SIGKILL, twice over, without gap or double."""
    path = tmp_path / "p.jsonl"
    said = -1
    for _ in range(2):
        writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(50):
            said = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        said = max([said, *(int(line) for line in writer.stdout.read().split("\n")[:-1])])
        assert writer.wait() == -signal.SIGKILL
        writer.stdout.close()
        store(path).close()
        indices = [r.index for r in read_records(path, Program)]
        assert indices == list(range(len(indices))) and len(indices) > said


def test_atomic_write_keeps_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    atomic_write(path, "old")

    def parts():  # type: ignore[no-untyped-def]
        yield "half of the new"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(CoderlError, match=r"out\.json: cannot be written \(No space left on device\)"):
        atomic_write(path, parts())
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_atomic_write_leaves_no_half_file_when_a_record_fails(tmp_path: Path) -> None:
    def records():  # type: ignore[no-untyped-def]
        yield program(0)
        raise RuntimeError("a stage broke")

    with pytest.raises(RuntimeError, match="a stage broke"):
        write_records(tmp_path / "p.jsonl", records())
    assert list(tmp_path.iterdir()) == []


def test_atomic_write_replaces(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a", "old")
    atomic_write(tmp_path / "a", ["n", "ew"])
    assert (tmp_path / "a").read_text() == "new"


@pytest.fixture
def full() -> Path:
    """A device on which every write fails as on a full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is absent")
    return Path("/dev/full")


FULL = "/dev/full: cannot be written .No space left on device.; what was finished is kept: free space .*run the same command again"


def test_a_full_disk_is_one_sentence_when_appending(full: Path) -> None:
    with pytest.raises(CoderlError, match=FULL):
        with store(full) as out:
            out.append(program(0))


def test_a_full_disk_is_one_sentence_when_writing_whole(full: Path) -> None:
    with pytest.raises(CoderlError, match=FULL):
        write_records(full, [program(0)])


def test_a_device_is_written_to_and_not_replaced() -> None:
    null = Path("/dev/null")
    if not null.is_char_device():
        pytest.skip("/dev/null is absent")
    write_records(null, [program(0)])
    with store(null) as out:
        out.append(program(0))
    assert null.is_char_device()


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for attempt in (atomic_write, lambda path, _: store(path), lambda path, _: RunDirectory(path)):
        with pytest.raises(CoderlError, match="cannot be written"):
            attempt(tmp_path / "file" / "below", "text")


def test_records_of_another_kind_are_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "p.jsonl", [program(0)])
    with pytest.raises(DataError, match=r"p\.jsonl:1: problem lacks the required field 'id'"):
        read_records(tmp_path / "p.jsonl", Problem)


def test_two_records_of_the_same_identity_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    write_records(path, [program(0), program(1), program(0)])
    with pytest.raises(DataError, match=r"p\.jsonl: holds two program records for p #0; each may be there once"):
        read_records(path, Program)
    write_records(path, [Problem("a", "s", "stdin"), Problem("a", "t", "stdin")])
    with pytest.raises(DataError, match="holds two problem records for a;"):
        read_records(path, Problem)


def test_programs_without_an_index_may_repeat(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"task_id": "HumanEval/0", "completion": "x"}\n' * 2)
    assert len(read_records(tmp_path / "p.jsonl", Program)) == 2


def test_what_is_in_the_way_is_told(tmp_path: Path) -> None:
    with pytest.raises(CoderlError, match="it is a folder"):
        atomic_write(tmp_path, "text")
    (tmp_path / "file").write_text("")
    with pytest.raises(CoderlError, match="a file is where a folder is needed"):
        RunDirectory(tmp_path / "file")


def test_a_second_writer_of_a_store_is_refused(tmp_path):
    from coderl.records import Program
    from coderl.store import AppendStore

    with AppendStore(tmp_path / "s.jsonl", Program, lambda p: p.index):
        with pytest.raises(CoderlError, match="written by another process"):
            AppendStore(tmp_path / "s.jsonl", Program, lambda p: p.index)
    with AppendStore(tmp_path / "s.jsonl", Program, lambda p: p.index) as store:
        store.append(Program("p", "x", 0))


def test_a_second_writer_leaves_alone_what_the_first_is_writing(tmp_path):
    path = tmp_path / "p.jsonl"
    with AppendStore(path, Program, lambda p: (p.problem, p.index)):
        path.write_text('{"problem": "a", "index": 0, "co')  # half a line: the rest is on its way
        with pytest.raises(CoderlError, match="being written by another process"):
            AppendStore(path, Program, lambda p: (p.problem, p.index))
        assert path.read_text() == '{"problem": "a", "index": 0, "co'
