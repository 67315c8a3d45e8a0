"""Reading a corpus: folders, JSON Lines, gzip and parquet, by the field names of the published sets."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coderl.corpus.documents import Found, Reading, read_sources, source_files, source_size
from coderl.errors import DataError

CODE_SEARCH_NET: dict[str, object] = {
    "repo": "a/b",
    "path": "b/c.py",
    "language": "python",
    "original_string": "def f():\n    return 1\n",
    "code": "return 1",
}
GITHUB_CODE: dict[str, object] = {"code": "x = 1\n", "repo_name": "a/b", "path": "c.py", "language": "Python", "license": "MIT", "size": 6}
STACK: dict[str, object] = {"content": "y = 2\n", "lang": "Python", "max_stars_repo_licenses": ["Apache-2.0", "MIT"]}


def read(*sources: Path, reading: Reading | None = None) -> list[Found]:
    return list(read_sources(sources, reading or Reading()))


def write_json(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_folder_is_read_in_one_order_and_by_suffix(tmp_path: Path) -> None:
    for name, text in {"b/z.py": "z", "b/a.py": "a", "a.py": "first", "b/note.txt": "no", "test/t.py": "t"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = read(tmp_path, reading=Reading(leave_out=("*/test/*",)))
    assert [(one.id, one.text) for one in found] == [("a.py", "first"), ("b/a.py", "a"), ("b/z.py", "z")]
    assert found[0].licences == () and found[0].language is None
    assert sum(one.size for one in found) == source_size([tmp_path], Reading(leave_out=("*/test/*",))) == 7


def test_text_that_is_not_utf8_has_no_text_and_line_ends_are_newlines(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes("x = 'ü'\r\n".encode("latin-1"))
    (tmp_path / "b.py").write_bytes("\ufeffx = 'ü'\r\ny\r\n".encode())
    assert [one.text for one in read(tmp_path)] == [None, "x = 'ü'\ny\n"]


@pytest.mark.parametrize(
    ("row", "text", "licences", "language"),
    [
        (CODE_SEARCH_NET, "def f():\n    return 1\n", (), "python"),
        (GITHUB_CODE, "x = 1\n", ("mit",), "python"),
        (STACK, "y = 2\n", ("apache-2.0", "mit"), "python"),
        ({"text": "z"}, "z", (), None),
    ],
)
def test_rows_of_the_published_sets(row: dict[str, object], text: str, licences: tuple[str, ...], language: str | None, tmp_path: Path) -> None:
    lines = write_json(tmp_path / "rows.jsonl", [row, row])
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(lines.read_bytes()))
    table = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([row, row]), table)
    for path in (lines, packed, table):
        found = read(path)
        assert [one._replace(size=0) for one in found] == [Found(f"{path.name}:{n}", text, licences, language, 0) for n in (1, 2)]
        assert sum(one.size for one in found) <= path.stat().st_size
    assert len(read(tmp_path)) == 6  # a folder of data files


def test_half_a_character_in_a_row_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"code": "a\\ud800"}\n{"code": "b\\r\\n"}\n')
    assert [one.text for one in read(tmp_path / "rows.jsonl")] == [None, "b\n"]


def test_another_field_by_name(tmp_path: Path) -> None:
    path = write_json(tmp_path / "rows.jsonl", [CODE_SEARCH_NET])
    assert [one.text for one in read(path, reading=Reading(text_field="code"))] == ["return 1"]


def test_a_parquet_file_is_read_in_parts(tmp_path: Path) -> None:
    """More rows than are taken at once, in order."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"code": [str(n) for n in range(700)]}), path, row_group_size=300)
    found = read(path)
    assert [one.text for one in found] == [str(n) for n in range(700)]
    assert sum(one.size for one in found) == pytest.approx(path.stat().st_size)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"code": "a"}\n{"code": ', "bad.jsonl:2: not JSON"),
        ("[1]\n", "bad.jsonl:1: not a JSON object"),
        ('{"body": "a"}\n', "has no field original_string or whole_func_string or code or content or text; it has body: name one by --text-field"),
        ('{"code": 3}\n', "field 'code' is 3; it must be a string"),
    ],
)
def test_a_broken_row_is_told_by_file_and_line(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(text)
    with pytest.raises(DataError, match=words):
        read(tmp_path / "bad.jsonl")


def test_broken_files_and_places(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    (tmp_path / "bad.jsonl.gz").write_bytes(gzip.compress(b'{"code": "a"}\n' * 99)[:40])
    (tmp_path / "note.txt").write_text("a")
    (tmp_path / "empty").mkdir()
    for name, words in {
        "bad.parquet": "cannot be read as parquet",
        "bad.jsonl.gz": "the compressed file is broken",
        "note.txt": "a file of an unknown kind",
        "empty": "holds no file that ends in .py",
        "nowhere": "no such file or folder",
    }.items():
        with pytest.raises(DataError, match=words) as error:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
    assert source_files(tmp_path / "bad.parquet", Reading()) == [tmp_path / "bad.parquet"]
