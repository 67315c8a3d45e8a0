"""What of a corpus is left out, and why: licence, language, length, secrets. Duplicates are in duplicates.py.

Secrets are found by their fixed shapes (a vendor's prefix and length, the head of a private key), in one pass over the text. Not by
detect-secrets: it is made for one's own repository, judges line by line, and its entropy rules take hashes, test vectors and long
names for secrets, which would empty a corpus of code. So passwords that look like words are not found.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .documents import Found

PERMISSIVE = ("mit", "apache-2", "apache-2.0", "bsd-3-clause", "bsd-2-clause", "cc0-1.0", "unlicense", "isc")
"""Licences of CodeRL's GCPY corpus (Le et al. 2022); "apache-2" there is apache-2.0 in the data."""
UNKNOWN = "unknown"
"""Stands for documents whose source says no licence: folders of files, CodeSearchNet."""

_SECRETS = {
    "private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
    "AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z_]{82})\b",
    "GitLab token": r"\bglpat-[0-9A-Za-z_-]{20}\b",
    "Slack token": r"\bxox[abprs]-[0-9A-Za-z-]{10,}",
    "Slack hook": r"hooks\.slack\.com/services/T[0-9A-Z]+/B[0-9A-Z]+/[0-9A-Za-z]{20,}",
    "Google key": r"\bAIza[0-9A-Za-z_-]{35}",
    "Stripe key": r"\b[rs]k_live_[0-9A-Za-z]{24,}",
    "PyPI token": r"\bpypi-AgEIcHlwaS5vcmc[0-9A-Za-z_-]{50,}",
    "npm token": r"\bnpm_[0-9A-Za-z]{36}\b",
    "model API key": r"\bsk-(?:ant-|proj-)?[0-9A-Za-z_-]{40,}",
    "SendGrid key": r"\bSG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}",
    "JSON Web Token": r"\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{20,}",
    "password in an address": r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@'\"{}<>$%]{1,64}:[^\s/:@'\"{}<>$%]{6,64}@[\w-]+\.[\w.-]+",
}
_ANY_SECRET = re.compile("|".join(f"(?P<s{number}>{pattern})" for number, pattern in enumerate(_SECRETS.values())))


class Wanted(NamedTuple):
    """Which documents are kept.

    Fields:
        licences: lower case; `UNKNOWN` for those that say none. Of a document with several licences one must be among them.
        languages: lower case; () for all. Documents that say none are kept.
        shortest, longest: characters.
    """

    licences: tuple[str, ...] = PERMISSIVE
    languages: tuple[str, ...] = ()
    shortest: int = 32
    longest: int = 1_000_000


def left_out(found: Found, wanted: Wanted) -> str | None:
    """Why a document is left out, or None: "encoding", "language", "licence", "short", "long", "secret"."""
    if found.text is None:
        return "encoding"
    if wanted.languages and found.language and found.language not in wanted.languages:
        return "language"
    if not set(found.licences or (UNKNOWN,)) & set(wanted.licences):
        return "licence"
    if len(found.text) < wanted.shortest:
        return "short"
    if len(found.text) > wanted.longest:
        return "long"
    return "secret" if secret_in(found.text) else None


def secret_in(text: str) -> str | None:
    """What kind of secret the text holds, or None."""
    found = _ANY_SECRET.search(text)
    return list(_SECRETS)[int(str(found.lastgroup)[1:])] if found else None
