"""What of a corpus is left out: licences, languages, lengths, secrets."""

import pytest

from coderl.corpus.documents import Found
from coderl.corpus.filters import Wanted, left_out, secret_in

FOUND = Found("a.py", "import os\nprint(os.getcwd())\n# a comment\n", ("mit",), "python", 0)

# put together here, so that no scanner of this repository takes them for real ones
SECRETS = {
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "AWS key": "key = 'AKIA" + "ABCDEFGHIJKLMNOP'",
    "GitHub token": "ghp_" + "a1B2" * 9,
    "GitLab token": "glpat-" + "a1B2c3D4e5" * 2,
    "Slack token": "xoxb-" + "1234567890-abc",
    "Google key": "AIza" + "x" * 35,
    "Stripe key": "sk_live_" + "4" * 24,
    "npm token": "npm_" + "a1B2" * 9,
    "model API key": "sk-" + "a1B2" * 12,
    "JSON Web Token": "eyJ" + "a" * 12 + ".eyJ" + "b" * 12 + "." + "c" * 24,
    "password in an address": "postgres://admin:" + "hunter2secret@db.example.org/x",
}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"text": None}, "encoding"),
        ({"licences": ("gpl-3.0",)}, "licence"),
        ({"licences": ()}, "licence"),
        ({"licences": ("gpl-3.0", "mit")}, None),
        ({"language": "go"}, "language"),
        ({"language": None}, None),
        ({"text": "x"}, "short"),
        ({"text": "x = 1\n" * 100}, "long"),
        ({"text": "key = '" + SECRETS["Google key"] + "'"}, "secret"),
    ],
)
def test_why_a_document_is_left_out(changes: dict[str, object], reason: str | None) -> None:
    wanted = Wanted(languages=("python",), shortest=10, longest=500)
    assert left_out(FOUND._replace(**changes), wanted) == reason  # type: ignore[arg-type]


def test_unknown_stands_for_no_licence() -> None:
    assert left_out(FOUND._replace(licences=()), Wanted(licences=("unknown",))) is None
    assert left_out(FOUND, Wanted(licences=("unknown",))) == "licence"


@pytest.mark.parametrize("kind", SECRETS)
def test_each_kind_of_secret_is_found_inside_code(kind: str) -> None:
    assert secret_in(f"TOKEN = '{SECRETS[kind]}'\nprint(TOKEN)\n") == kind


@pytest.mark.parametrize(
    "text",
    [
        "digest = 'da39a3ee5e6b4b0d3255bfef95601890afd80709'",  # a hash is no secret
        "url = 'https://user:{password}@host.example'",
        "url = 'http://example.org:8080/a@b.c'",
        "password = input('password: ')",
        "begin = '-----BEGIN CERTIFICATE-----'",
        "task-" + "a1B2" * 12,
    ],
)
def test_what_looks_a_little_like_a_secret_is_kept(text: str) -> None:
    assert secret_in(text) is None
