"""The pages tell the truth: links lead somewhere, commands use flags that exist, every stage is described."""

import dataclasses
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest

from coderl.cli import STAGES

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", t)]
    assert [t for t in targets if t and not (page.parent / t).exists()] == []


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every `coderl ...` line in the page's code blocks, continued lines joined, comments and [ ] taken away."""
    for block in re.findall(r"```[a-z]*\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.strip().removeprefix("$ ")
            if not line.startswith("coderl "):
                continue
            words = shlex.split(re.sub(r"[\[\]]", " ", line), comments=True)
            if words[:1] == ["coderl"] and "STAGE" not in words:
                yield words[1:]


def flags(stage: str) -> set[str]:
    """All flags of a stage, those of every stage included."""
    config = getattr(importlib.import_module(f"coderl.recipes.{STAGES[stage].module}"), STAGES[stage].config)
    found = {"--config", "--debug", "--help"}
    hints = get_type_hints(config, include_extras=True)
    for field in dataclasses.fields(config):
        name = field.name.replace("_", "-")
        found |= {f"--{name}", f"--no-{name}"} if hints[field.name] is bool else {f"--{name}"}
        if dataclasses.is_dataclass(kind := get_type_hints(config)[field.name]):
            found |= {
                flag for part in dataclasses.fields(kind) for flag in (f"--{part.name}".replace("_", "-"), f"--no-{part.name}".replace("_", "-"))
            }
        if get_origin(hints[field.name]) is Annotated:
            found |= {alias for extra in get_args(hints[field.name])[1:] for alias in getattr(extra, "aliases", None) or ()}
    return found


CALLS = [(page, words) for page in PAGES for words in commands(page)]


def test_there_are_commands_to_check() -> None:
    assert len(CALLS) > 10


@pytest.mark.parametrize("page, words", CALLS, ids=lambda v: v.name if isinstance(v, Path) else "-".join(v[:2]))
def test_commands_use_stages_and_flags_that_exist(page: Path, words: list[str]) -> None:
    if words[0].startswith("--"):
        assert words[0] in ("--help", "--version")
        return
    stage = next((name for name in STAGES if words[: len(name.split())] == name.split()), None)
    assert stage, f"{page.name}: no stage {' '.join(words[:2])!r}"
    used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert used <= flags(stage), f"{page.name}: {stage} has no {used - flags(stage)}"


def test_every_stage_is_in_the_page_of_the_command_line() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    assert [name for name in STAGES if f"`{name}`" not in table and f"`{name.split()[-1]}`" not in table] == []


def test_the_config_file_of_the_page_fits_its_stage() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    block = re.search(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    assert block
    given = tomllib.loads(block[1])
    from coderl.recipes.sample import Config

    assert given and set(given) <= {f.name for f in dataclasses.fields(Config)}
