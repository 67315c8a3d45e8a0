"""Documents that were there before: the same text, or nearly the same.

The same: equal but for white space. Nearly: the estimated Jaccard similarity of their sets of five words in a row is at least a threshold
(MinHash, Broder 1997; candidates by locality-sensitive hashing, both datasketch's). The first of such documents is kept. What is
remembered is 16 bytes a document, 0.5 KiB of hash values and its place in the index, never a text.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import CoderlError

if TYPE_CHECKING:
    from datasketch import MinHash
    from numpy.typing import NDArray

SHINGLE = 5
"""Words in a row that are compared together."""
HASHES = 128
"""Hash values of a document; the similarity is known to about 1 / sqrt(128) = 9 points."""
_WORD = re.compile(r"\w+|[^\w\s]")
_SPACE = re.compile(r"\s+")


class Seen:
    """The documents that were there before.

    Args:
        threshold: similarity from which a document counts as nearly the same, more than 0 and below 1; 0 = only equal ones are found.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._digests: set[bytes] = set()
        self._hashes: dict[int, NDArray[np.uint32]] = {}
        if threshold:
            try:
                from datasketch import MinHashLSH
            except ImportError:
                raise CoderlError("finding near duplicates needs datasketch: pip install 'coderl[corpus]', or take --near 0") from None
            # candidates are looked at again below, so too many of them cost little and a missed one is lost
            self._index = MinHashLSH(threshold=threshold, num_perm=HASHES, weights=(0.1, 0.9))

    def add(self, text: str) -> Literal["duplicate", "near duplicate"] | None:
        """None, and the text is remembered; or what it is of one that was there before."""
        digest = hashlib.blake2b(_SPACE.sub(" ", text).strip().encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in self._digests:
            return "duplicate"
        sketch = _sketch(text) if self.threshold else None
        if sketch is not None:
            values = sketch.hashvalues.astype(np.uint32)
            alike = (float(np.mean(self._hashes[other] == values)) for other in self._index.query(sketch))
            if max(alike, default=0.0) >= self.threshold:
                return "near duplicate"
            self._index.insert(len(self._hashes), sketch)
            self._hashes[len(self._hashes)] = values
        self._digests.add(digest)
        return None


def shingles(text: str) -> set[str]:
    """All runs of five words of a text; a word is letters and digits, or one sign. Empty where there are fewer than five."""
    found = _WORD.findall(text)
    return {" ".join(found[i : i + SHINGLE]) for i in range(len(found) - SHINGLE + 1)}


def _sketch(text: str) -> MinHash | None:
    from datasketch import MinHash

    parts = shingles(text)
    if not parts:
        return None
    sketch = MinHash(num_perm=HASHES, seed=1)
    sketch.update_batch([part.encode("utf-8", "surrogatepass") for part in sorted(parts)])
    return sketch
