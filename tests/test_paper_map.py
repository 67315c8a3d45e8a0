"""docs/paper-map.md is complete and true: every public formula has a row, and every row names things that exist."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAP = ROOT / "docs" / "paper-map.md"
FORMULAS = ROOT / "src" / "coderl" / "formulas"
COLUMNS = ["equation", "function", "tests", "differs"]


def rows(text: str) -> list[dict[str, str]]:
    """The cells of every table row, by column."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert all(len(row) == len(COLUMNS) for row in cells), f"a row does not have the columns {COLUMNS}"
    return [dict(zip(COLUMNS, row)) for row in cells if row != COLUMNS]


def functions_of(path: Path) -> set[str]:
    """Names of the functions at the top of a file."""
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def public_formulas() -> set[str]:
    files = [path for path in sorted(FORMULAS.glob("*.py")) if path.name != "__init__.py"]
    return {f"formulas.{path.stem}.{name}" for path in files for name in functions_of(path) if not name.startswith("_")}


def exists(name: str) -> bool:
    module, _, attribute = f"coderl.{name}".rpartition(".")
    try:
        return hasattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError:
        return False


def test_exists(name: str) -> bool:
    path, _, function = name.partition("::")
    return (ROOT / "tests" / path).is_file() and function in functions_of(ROOT / "tests" / path)


test_exists.__test__ = False


def complaints(text: str) -> list[str]:
    """What is wrong with the map, in words."""
    found, named = [], set()
    for row in rows(text):
        functions, tests = re.findall(r"`([^`]+)`", row["function"]), re.findall(r"`([^`]+)`", row["tests"])
        named.update(functions)
        if not functions or not tests:
            found.append(f"the row {row['equation']!r} needs a function and a test")
        if not row["differs"]:
            found.append(f"the row {row['equation']!r} does not say in what it differs (a dash means: in nothing)")
        found += [f"there is no function coderl.{name}" for name in functions if not exists(name)]
        found += [f"there is no test tests/{name}" for name in tests if not test_exists(name)]
    return found + [f"coderl.{name} has no row" for name in sorted(public_formulas() - named)]


def test_every_public_formula_has_a_row_and_every_row_is_true():
    assert complaints(MAP.read_text(encoding="utf-8")) == []


def test_every_equation_of_coderl_has_a_row():
    cells = " ".join(row["equation"] for row in rows(MAP.read_text(encoding="utf-8").split("\n## Used by all")[0].split("\n## B-Coder")[0]))
    numbers = {int(n) for n in re.findall(r"\((\d+)\)", cells)}
    for low, high in re.findall(r"\((\d+)\) to \((\d+)\)", cells):
        numbers |= set(range(int(low), int(high) + 1))
    assert numbers == set(range(1, 15))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("`formulas.coderl.critic_loss`", "`formulas.coderl.critic_losses`", "there is no function coderl.formulas.coderl.critic_losses"),
        ("`formulas.coderl.critic_loss`", "`formulas.coderl.critic_losses`", "coderl.formulas.coderl.critic_loss has no row"),
        ("`formulas.coderl.critic_loss`", "`formulas.nowhere.critic_loss`", "there is no function coderl.formulas.nowhere.critic_loss"),
        ("::test_critic_loss_by_hand", "::test_gone", "there is no test tests/formulas/test_coderl.py::test_gone"),
        ("`formulas/test_masks.py::test_length_mask_by_hand`", "", "needs a function and a test"),
    ],
)
def test_the_check_finds_what_is_wrong(old, new, words):
    text = MAP.read_text(encoding="utf-8")
    assert old in text
    assert any(words in complaint for complaint in complaints(text.replace(old, new)))
