"""Stage `corpus tokenizer`: train a tokenizer on a corpus, on problems, or on both: for a new language or vocabulary.

Byte-level BPE in the style of RoBERTa, as CodeT5's: any text can be written with it, indentation included. Behind its entries stand the
sentinels <extra_id_99> .. <extra_id_0> of masked span prediction. Texts are read one at a time; what is held is how often each word occurs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Config:
    """Train a byte-level BPE tokenizer."""

    out: Path
    """folder to write, a Hugging Face tokenizer"""
    corpus: Path | None = None
    """documents.jsonl of `corpus collect`"""
    problems: tuple[Path, ...] = ()
    """problems files (.jsonl): their prompts and reference solutions are learnt from too"""
    vocabulary: int = 32000
    """entries, special ones included, sentinels not (CodeT5: 32,000)"""
    sentinels: int = 100
    """how many <extra_id_N> stand behind the entries (CodeT5, T5: 100)"""


def main(config: Config) -> None:
    from ..errors import UsageError
    from ..tokens import save_tokenizer, sentinel_ids, train_tokenizer, vocabulary_size

    if config.corpus is None and not config.problems:
        raise UsageError("nothing to learn from; give --corpus, --problems, or both")
    tokenizer = train_tokenizer(texts(config), config.vocabulary, config.sentinels)
    save_tokenizer(tokenizer, config.out)
    marks = len(sentinel_ids(tokenizer))
    print(f"{vocabulary_size(tokenizer) - marks} entries (asked {config.vocabulary}) and {marks} sentinels -> {config.out}")


def texts(config: Config) -> Iterator[str]:
    """Documents, then prompts and references.

    Raises:
        DataError: a file cannot be read or holds nothing.
    """
    from ..corpus.documents import Document
    from ..errors import DataError
    from ..progress import progress
    from ..prompts import prompt
    from ..records import Problem
    from ..store import iterate_records, read_records

    with progress("reading", None, "texts") as advance:
        if config.corpus:
            empty = True
            for document in iterate_records(config.corpus, Document):
                empty = False
                advance()
                yield document.text
            if empty:
                raise DataError("holds no document; run `coderl corpus collect` again", config.corpus)
        for path in config.problems:
            for problem in read_records(path, Problem):
                advance()
                yield from (prompt(problem), *problem.solutions)
