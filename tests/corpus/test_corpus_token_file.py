"""Token files: what is written is what the tokenizer says, and a kill at any byte is mended."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from coderl.corpus import token_file
from coderl.corpus.token_file import read_tokens, vocabulary_digest, write_tokens
from coderl.errors import DataError
from coderl.tokens import train_tokenizer

TEXTS = [f"def function_{i}(value):\n    return value + {i}\n" for i in range(9)] + ["", "x"]
TOKENIZER = train_tokenizer(TEXTS, 300, sentinels=4)


def write(folder: Path, texts: list[str]) -> list[int]:
    return list(write_tokens(folder, texts, TOKENIZER))


def test_ids_word_beginnings_and_ends_are_those_of_the_tokenizer(tmp_path: Path) -> None:
    write(tmp_path, TEXTS)
    tokens = read_tokens(tmp_path)
    assert len(tokens.ends) == len(TEXTS) and tokens.tokenizer == vocabulary_digest(TOKENIZER)
    begin = 0
    for text, end in zip(TEXTS, tokens.ends.tolist()):
        ids, first = tokens.part(begin, end) if end > begin else ([], [])
        encoded = TOKENIZER(text, add_special_tokens=False)
        words = encoded.word_ids()
        assert ids == ([1, *encoded["input_ids"]] if text else [])  # <s>, then the text; an empty text is nothing
        assert first == ([0] + [i + 1 for i, word in enumerate(words) if i == 0 or word != words[i - 1]] if text else [])
        begin = end
    assert any(len(tokens.part(0, 40)[1]) < 40 for _ in [0])  # some words have several tokens


def test_a_part_begins_with_a_word_wherever_it_is_cut(tmp_path: Path) -> None:
    write(tmp_path, TEXTS)
    tokens = read_tokens(tmp_path)
    inside = next(i for i in range(len(tokens.ids)) if not tokens.ids[i] & token_file.BEGINS)
    ids, first = tokens.part(inside, inside + 6)
    assert first[0] == 0 and len(ids) == 6


def test_a_killed_writing_goes_on_from_any_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_file, "AT_ONCE", 2)
    assert write(tmp_path / "whole", TEXTS) == [0, 2, 4, 6, 8, 10, 11]
    good = {name: (tmp_path / "whole" / name).read_bytes() for name in ("ids.bin", "ends.bin", "tokens.json")}
    for ids, ends in ((0, 0), (10, 8), (150, 21), (150, 80), (len(good["ids.bin"]), 40), (len(good["ids.bin"]), 5)):
        torn = tmp_path / "torn"
        shutil.rmtree(torn, ignore_errors=True)
        torn.mkdir()
        (torn / "ids.bin").write_bytes(good["ids.bin"][:ids])
        (torn / "ends.bin").write_bytes(good["ends.bin"][:ends])
        with pytest.raises(DataError, match="holds no finished tokens"):
            read_tokens(torn)
        assert write(torn, TEXTS)[0] <= ends // 8
        assert {name: (torn / name).read_bytes() for name in good} == good


def test_what_is_broken_or_empty_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "empty", [])
    with pytest.raises(DataError, match="holds no token"):
        read_tokens(tmp_path / "empty")
    write(tmp_path / "short", TEXTS)
    np.fromfile(tmp_path / "short" / "ends.bin", np.int64)[:-1].tofile(tmp_path / "short" / "ends.bin")
    with pytest.raises(DataError, match="has 10 documents where 11 were written"):
        read_tokens(tmp_path / "short")
    (tmp_path / "short" / "ids.bin").write_bytes(b"1234")
    with pytest.raises(DataError, match="cannot be read"):
        read_tokens(tmp_path / "short")


def test_vocabularies_are_told_apart() -> None:
    assert vocabulary_digest(train_tokenizer(TEXTS, 299, sentinels=5)) != vocabulary_digest(TOKENIZER)
