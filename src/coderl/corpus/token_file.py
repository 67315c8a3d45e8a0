"""A corpus as token ids on disk: written once by a tokenizer, read by memory map, any part of it at once.

A folder with `ids.bin` (uint32, all documents one behind the other; the highest bit says that a word begins here), `ends.bin` (int64, where
each document ends) and `tokens.json`. A document begins with <s>. Four bytes a token, about as much as the text. The ends, 8 bytes a
document, are all of it that is ever held in memory.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..errors import CoderlError, DataError
from ..store import atomic_write, write_failure

BEGINS = np.uint32(1 << 31)
"""The bit of a token that begins a word."""
AT_ONCE = 256  # documents that are tokenized together


class TokenFile(NamedTuple):
    """A tokenized corpus.

    Fields:
        ids: (T,) uint32 with the bit `BEGINS`, not in memory. ends: (D,) int64, one behind the last token of each document.
        tokenizer: digest of the tokenizer's vocabulary (`vocabulary_digest`).
    """

    ids: NDArray[np.uint32]
    ends: NDArray[np.int64]
    tokenizer: str

    def part(self, begin: int, end: int) -> tuple[list[int], list[int]]:
        """Token ids of a part, and the places in it where a word begins; the first token always begins one."""
        raw = np.asarray(self.ids[begin:end])
        first = np.flatnonzero(raw & BEGINS)
        places = first.tolist() if len(first) and first[0] == 0 else [0, *first.tolist()]
        return (raw & ~BEGINS).tolist(), places


def vocabulary_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """What tells one vocabulary from another."""
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()[:16]


def write_tokens(folder: Path, texts: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> Iterator[int]:
    """Tokenize texts into `folder`, going on behind those that an earlier call finished; yields how many documents are there, now and then.

    The same texts in the same order must be given again. A text of no token is a document of none.

    Raises:
        CoderlError: the disk is full, or the tokenizer has neither <s> nor </s>.
    """
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id  # Qwen has an end alone
    if begin is None:
        raise CoderlError(
            "the tokenizer has neither <s> (bos_token) nor </s> (eos_token) to part documents with; make one by `coderl corpus tokenizer`"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        done, length = _mend(folder)
        with (folder / "ids.bin").open("ab") as ids, (folder / "ends.bin").open("ab") as ends:
            yield done
            waiting = iter(texts)
            for _ in itertools.islice(waiting, done):
                pass
            while part := list(itertools.islice(waiting, AT_ONCE)):
                rows = [_with_words(begin, one.ids, one.word_ids) for one in tokenizer.backend_tokenizer.encode_batch(part, add_special_tokens=False)]
                for row in rows:
                    ids.write(row.tobytes())
                ids.flush()
                new = length + np.cumsum([len(row) for row in rows], dtype=np.int64)
                length = int(new[-1])
                ends.write(new.tobytes())
                ends.flush()
                done += len(part)
                yield done
    except OSError as error:
        raise CoderlError(write_failure(folder, error)) from None
    atomic_write(folder / "tokens.json", json.dumps({"tokenizer": vocabulary_digest(tokenizer), "documents": done, "tokens": length}) + "\n")


def _with_words(begin: int, ids: list[int], words: list[int | None]) -> NDArray[np.uint32]:
    """<s> and the ids of a text, with the bit of those that begin a word; special tokens in the text are words of their own."""
    if not ids:
        return np.zeros(0, np.uint32)
    firsts = [word is None or word != before for word, before in zip(words, [None, *words[:-1]])]
    return np.array([begin, *ids], np.uint32) | (np.array([True, *firsts]) * BEGINS)


def _mend(folder: Path) -> tuple[int, int]:
    """Cut what a kill left half written; returns documents and tokens that are whole."""
    ids, ends = folder / "ids.bin", folder / "ends.bin"
    for path in (ids, ends):
        path.touch()
    whole = np.fromfile(ends, np.int64, ends.stat().st_size // 8)
    whole = whole[whole * 4 <= ids.stat().st_size]
    length = int(whole[-1]) if len(whole) else 0
    for path, size in ((ids, 4 * length), (ends, 8 * len(whole))):
        with path.open("rb+") as stream:
            stream.truncate(size)
    return len(whole), length


def read_tokens(folder: Path) -> TokenFile:
    """The corpus that `coderl corpus encode` wrote.

    Raises:
        DataError: no such folder, not finished, broken, or without a token.
    """
    try:
        about = json.loads((folder / "tokens.json").read_text(encoding="utf-8"))
        digest, documents, tokens = str(about["tokenizer"]), int(about["documents"]), int(about["tokens"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError("holds no finished tokens; give the folder that `coderl corpus encode` wrote to its end", folder) from None
    if tokens == 0:
        raise DataError("holds no token; the corpus behind it is empty", folder)
    try:
        ids = np.memmap(folder / "ids.bin", np.uint32, "r", shape=(tokens,))
        ends = np.fromfile(folder / "ends.bin", np.int64)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read ({error}); remove the folder and run `coderl corpus encode` again", folder) from None
    if len(ends) != documents or ends[-1] != tokens:
        raise DataError(f"has {len(ends)} documents where {documents} were written; remove it and run `coderl corpus encode` again", folder)
    return TokenFile(ids, ends, digest)
