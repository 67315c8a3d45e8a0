"""Stage `corpus encode`: a corpus as token ids on disk, once for all pretraining with this tokenizer.

Reads `documents.jsonl` and a tokenizer; writes OUT/ids.bin, OUT/ends.bin and OUT/tokens.json (corpus/token_file.py): 4 bytes a token. A
killed run goes on behind the last document that is whole. TOKENIZERS_PARALLELISM=true uses all cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Config:
    """Tokenize a corpus to disk."""

    corpus: Path
    """documents.jsonl of `corpus collect`"""
    tokenizer: Path
    """folder of a tokenizer, or of a model with one"""
    out: Path
    """folder to write the tokens to"""


def main(config: Config) -> None:
    from ..corpus.documents import Document
    from ..corpus.token_file import read_tokens, write_tokens
    from ..errors import DataError
    from ..progress import progress
    from ..run_directory import RunDirectory, manifest
    from ..store import iterate_records
    from ..tokens import load_tokenizer

    tokenizer = load_tokenizer(config.tokenizer)
    total = sum(1 for _ in iterate_records(config.corpus, Document))
    if not total:
        raise DataError("holds no document; run `coderl corpus collect` again", config.corpus)
    run = RunDirectory(config.out)
    if run.is_done(config):
        print(f"{config.out} is complete already; remove it, or choose another --out, to encode again")
        return
    run.start(manifest(config, [config.corpus, config.tokenizer / "tokenizer.json"]), begun=(run / "ends.bin").exists())
    with progress("tokenizing", total, "documents") as advance:
        shown = 0
        for done in write_tokens(config.out, (one.text for one in iterate_records(config.corpus, Document)), tokenizer):
            advance(done - shown)
            shown = done
    run.finish()
    tokens = read_tokens(config.out)
    print(f"{len(tokens.ends)} documents, {len(tokens.ids) / 1e6:.2f} million tokens -> {config.out}")
