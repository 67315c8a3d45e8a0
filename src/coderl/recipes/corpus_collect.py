"""Stage `corpus collect`: code from folders, JSON Lines and parquet, without what must not or need not be learnt from.

Reads sources one document at a time; writes `OUT/documents.jsonl` (what is kept), `OUT/counts.json` (how much was left out, and why) and
`manifest.json`. Left out: other licences and languages, too short and too long, secrets (corpus/filters.py), duplicates and near
duplicates (corpus/duplicates.py). A killed run goes on behind the last document it kept: each says where in the sources it stood and
what was left out since the one before.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..corpus.filters import PERMISSIVE

if TYPE_CHECKING:
    from ..corpus.documents import Document, Found, Reading
    from ..corpus.duplicates import Seen
    from ..corpus.filters import Wanted
    from ..progress import Advance
    from ..store import AppendStore


@dataclass(frozen=True)
class Config:
    """Collect a corpus for pretraining: filtered by licence, without secrets and duplicates."""

    sources: tuple[Path, ...]
    """folders of source files, and .jsonl, .jsonl.gz and .parquet files (CodeSearchNet, github-code, The Stack) or folders of them"""
    out: Path
    """folder to write documents.jsonl and counts.json to"""
    licences: tuple[str, ...] = PERMISSIVE
    """licences to keep (default: those of CodeRL's GCPY); `unknown` keeps documents that say none, as folders and CodeSearchNet do"""
    languages: tuple[str, ...] = ()
    """languages to keep, by the names that rows give; none: all. Documents that say none are kept"""
    suffixes: tuple[str, ...] = (".py",)
    """source files of a folder that are read"""
    leave_out: tuple[str, ...] = ()
    """paths inside a folder to leave out, with * for anything, e.g. '*/site-packages/*'"""
    text_field: str | None = None
    """field of a row that holds the code; without it the first of original_string, whole_func_string, code, content, text"""
    near: float = 0.85
    """leave out documents whose five-word runs are as similar to an earlier one's (Jaccard); 0 = only equal documents"""
    min_characters: int = 32
    """shortest document"""
    max_characters: int = 1_000_000
    """longest document; longer ones are mostly generated"""


def main(config: Config) -> None:
    from ..corpus.documents import Document, Reading
    from ..corpus.duplicates import Seen
    from ..corpus.filters import Wanted
    from ..errors import DataError
    from ..run_directory import RunDirectory, manifest
    from ..store import AppendStore, atomic_write

    run = RunDirectory(config.out)
    if run.is_done(config):
        print(f"{config.out} is complete already; remove it, or choose another --out, to collect again")
        return
    seen = Seen(config.near)
    path = run / "documents.jsonl"
    run.start(manifest(config, config.sources), begun=path.exists() and path.stat().st_size > 0)
    reading = Reading(config.suffixes, config.leave_out, config.text_field)
    wanted = Wanted(lower(config.licences), lower(config.languages), config.min_characters, config.max_characters)
    with AppendStore(path, Document, lambda one: one.id) as store:
        state = known(path, seen)
        if state.read:
            print(f"{len(store)} documents are there already, of the first {state.read} read")
        with sizes(config.sources, reading) as advance:
            state = collect(config.sources, reading, wanted, seen, store, state, advance)
    kept = len(store)
    told = ", ".join(f"{name} {count}" for name, count in state.dropped.most_common()) or "nothing"
    if not kept:
        advice = "add `unknown` to --licences for documents that say none" if state.dropped["licence"] else "check the options that choose"
        raise DataError(f"no document is left of {state.read} (left out: {told}); {advice}", config.sources[0])
    counts = {"read": state.read, "kept": kept, "characters": state.characters, "left_out": dict(state.dropped.most_common())}
    atomic_write(run / "counts.json", json.dumps(counts, indent=2) + "\n")
    run.finish()
    print(f"{kept} of {state.read} documents, {state.characters / 1e6:.2f} million characters; left out: {told} -> {path}")


class State(NamedTuple):
    """How far a collection is: documents read, characters kept, documents left out by reason."""

    read: int
    characters: int
    dropped: Counter[str]


def lower(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words in lower case, as `Found` has them."""
    return tuple(word.lower() for word in words)


@contextmanager
def sizes(sources: tuple[Path, ...], reading: Reading) -> Iterator[Advance]:
    """Progress in KiB of the sources' files."""
    from ..corpus.documents import source_size
    from ..progress import progress

    with progress("collecting", max(1, source_size(sources, reading) // 1024), "KiB") as advance:
        yield advance


def known(path: Path, seen: Seen) -> State:
    """What an earlier call kept, remembered in `seen`."""
    from ..corpus.documents import Document
    from ..store import iterate_records

    read, characters, dropped = 0, 0, Counter[str]()
    for document in iterate_records(path, Document):
        seen.add(document.text)
        read, characters = int(document.extra["place"]) + 1, characters + len(document.text)
        dropped.update(document.extra["left_out"])
    return State(read, characters, dropped)


def collect(sources: tuple[Path, ...], reading: Reading, wanted: Wanted, seen: Seen, store: AppendStore, state: State, advance: Advance) -> State:
    """Read on behind `state.read` documents and keep what is wanted."""
    from ..corpus.documents import read_sources

    read, characters, dropped = state
    since, size, shown = Counter[str](), 0.0, 0
    for place, found in enumerate(read_sources(sources, reading)):
        size += found.size
        if place < read:
            continue
        reason, document = judged(found, wanted, seen, place, since)
        if document is None:
            since[str(reason)] += 1
        else:
            store.append(document)
            dropped, characters, since = dropped + since, characters + len(document.text), Counter()
        advance(int(size / 1024) - shown, note=f"{len(store)} kept of {place + 1}")
        shown, read = int(size / 1024), place + 1
    return State(read, characters, dropped + since)


def judged(found: Found, wanted: Wanted, seen: Seen, place: int, since: Counter[str]) -> tuple[str | None, Document | None]:
    """Why a document is left out, or the record of one that is kept. Ids of two sources may be the same: the place is part of them."""
    from ..corpus.documents import Document
    from ..corpus.filters import left_out

    reason = left_out(found, wanted) or seen.add(str(found.text))
    if reason or found.text is None:
        return reason, None
    licence = " or ".join(found.licences) or None
    return None, Document(f"{place}:{found.id}", found.text, licence, found.language, {"place": place, "left_out": dict(since)})
