"""The house rules that a machine can check: floors, cycles, sizes, what a stage imports before it is called, shapes of Configs.

A new module is placed in FLOORS by whoever adds it; until then a test fails.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "coderl"
LONGEST_FUNCTION = 90
LONGEST_FILE = 450
MOST_FIELDS = 20

# A module may import from lower floors and from its own. A folder's name stands for what is in it.
FLOORS: dict[str, int] = {
    "": 0,
    "errors": 0,
    "records": 0,
    "store": 0,
    "run_directory": 0,
    "progress": 0,
    "formulas": 1,
    "problems": 2,
    "corpus": 2,
    "prompts": 2,
    "tokens": 2,
    "chat": 2,
    "sandbox": 2,
    "models": 2,
    "engines": 2,
    "examples": 3,
    "sampling": 3,
    "grading": 3,
    "scoring": 3,
    "released_scores": 3,
    "exporting": 3,
    "published": 3,
    "frozen": 3,
    "ranking": 3,
    "standins": 3,
    "critic_quality": 3,
    "signals": 3,
    "repair": 3,
    "selection": 3,
    "solving": 3,
    "handed_in": 3,
    "crew": 3,
    "rollouts": 3,
    "reuse": 3,
    "fitting": 3,
    "machine": 3,
    "muon": 2,
    "evaluation": 3,
    "trials": 3,
    "pretraining": 3,
    "drift": 3,
    "evidence": 3,
    "diagnosis": 3,
    "critic_sampling": 3,
    "pipeline": 4,
    "recipes": 4,
    "report": 5,
    "bounds": 5,
    "config_files": 5,
    "cli": 5,
    "__main__": 5,
}
# The report stage is a recipe that calls the report folder, floor 5, when it runs; `coderl.solve` is imported when it is asked for.
UPWARD = {("recipes.report", "report"), ("", "solving")}
HEAVY = {"torch", "transformers", "tokenizers", "safetensors", "plotly", "scipy", "rich"}
PURE = {"__future__", "collections", "dataclasses", "functools", "itertools", "math", "typing", "numpy", "scipy", "torch"}
NAMES_NOT_WANTED = {"utils", "util", "common", "helpers", "helper", "misc", "manager", "base"}


class Import(NamedTuple):
    """One import statement: the module it names (own ones without "coderl."), its line, and where it stands."""

    module: str
    own: bool
    line: int
    at_top: bool
    types_only: bool


@cache
def modules() -> dict[str, Path]:
    """Own modules by name without "coderl."; a package is named as its folder."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text(encoding="utf-8"))


def names_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(node: ast.AST, at_top: bool = True, types_only: bool = False) -> Iterator[tuple[ast.AST, bool, bool]]:
    """Every import statement below `node`, with whether it runs when the module is imported and whether it is for types alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_top, types_only
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from statements(child, at_top and not inside, types_only or names_types_only(child))


@cache
def imports(name: str) -> tuple[Import, ...]:
    """All imports of a module, also those inside functions; `from . import x` counts as the module x where there is one."""
    found = []
    package = name if modules()[name].name == "__init__.py" else name.rpartition(".")[0]
    for node, at_top, types_only in statements(tree(name)):
        assert isinstance(node, ast.Import | ast.ImportFrom)
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            up = package.split(".") if package else []
            base = ".".join(["coderl", *up[: len(up) - node.level + 1]]) if node.level else ""
            whole = ".".join(part for part in (base, node.module or "") if part)
            inner = [f"{whole}.{alias.name}" for alias in node.names]
            targets = [i if i.removeprefix("coderl.") in modules() and i.startswith("coderl") else whole for i in inner]
        for target in dict.fromkeys(targets):
            own = target == "coderl" or target.startswith("coderl.")
            found.append(Import(target.removeprefix("coderl").removeprefix(".") if own else target, own, node.lineno, at_top, types_only))
    return tuple(found)


def floor(name: str) -> int:
    folder = name.split(".")[0]
    assert folder in FLOORS, f"src/coderl/{name.replace('.', '/')} has no floor yet: give {folder!r} one in tests/test_layers.py"
    return FLOORS[folder]


@pytest.mark.parametrize("name", modules())
def test_imports_go_down(name: str) -> None:
    wrong = [
        f"line {i.line}: {i.module} (floor {floor(i.module)})"
        for i in imports(name)
        if i.own and floor(i.module) > floor(name) and (name, i.module.split(".")[0]) not in UPWARD
    ]
    assert not wrong, f"{name} (floor {floor(name)}) imports from above: {wrong}"


@pytest.mark.parametrize("name", modules())
def test_own_imports_exist(name: str) -> None:
    assert [i for i in imports(name) if i.own and i.module not in modules()] == []


def test_there_is_no_import_cycle() -> None:
    """Depth-first search over all imports, those inside functions and for types included."""
    state: dict[str, str] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if state.get(name) == "done":
            return
        assert state.get(name) != "open", " -> ".join([*path[path.index(name) :], name])
        state[name] = "open"
        for i in imports(name):
            if i.own and i.module and i.module != name:
                visit(i.module, (*path, name))
        state[name] = "done"

    for name in modules():
        visit(name, ())
    assert len(state) == len(modules())


@pytest.mark.parametrize("name", [n for n in modules() if n.startswith("formulas")])
def test_formulas_are_pure(name: str) -> None:
    foreign = {i.module.split(".")[0] for i in imports(name) if not i.own}
    assert foreign <= PURE, f"{name} imports {foreign - PURE}"
    assert all(i.module.split(".")[0] in ("formulas", "errors") for i in imports(name) if i.own)


def loaded_with(name: str, seen: set[str] | None = None) -> set[str]:
    """Names of foreign packages that importing `name` imports through own modules; parents of a module are imported with it."""
    seen = set() if seen is None else seen
    if name in seen:
        return set()
    seen.add(name)
    found = loaded_with(name.rpartition(".")[0], seen) if name else set()
    for i in imports(name):
        if i.at_top and not i.types_only:
            found |= loaded_with(i.module, seen) if i.own else {i.module.split(".")[0]}
    return found


@pytest.mark.parametrize("name", [n for n in modules() if n.split(".")[0] in ("recipes", "cli", "bounds", "config_files", "__main__", "progress")])
def test_help_loads_nothing_heavy(name: str) -> None:
    """What `coderl STAGE --help` imports."""
    assert loaded_with(name) & HEAVY == set()


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name in modules():
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node


def test_no_function_is_too_long() -> None:
    lengths = {f"{name}.{f.name}": (f.end_lineno or f.lineno) - f.lineno + 1 for name, f in functions()}
    assert len(lengths) > 50
    assert {k: v for k, v in lengths.items() if v > LONGEST_FUNCTION} == {}


def test_no_file_is_too_long() -> None:
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert {k: v for k, v in lengths.items() if v > LONGEST_FILE} == {}


def test_no_file_is_named_after_nothing() -> None:
    assert [name for name in modules() if name.rpartition(".")[2] in NAMES_NOT_WANTED] == []


@pytest.mark.parametrize("name", modules())
def test_every_module_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(tree(name)), f"{name} has no docstring"


def test_every_public_class_and_function_of_a_module_says_what_it_is() -> None:
    """Except what runs inside the sandbox, which is nobody's interface, and the `main` of a stage, which its module explains."""
    missing = []
    for name in modules():
        for node in [] if name.startswith("sandbox.inside") else tree(name).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith(("_", "main")) and not ast.get_docstring(node):
                missing.append(f"{name}.{node.name}")
    assert missing == []


def test_inheritance_is_for_modules_exceptions_and_data_types_only() -> None:
    """Allowed bases: nn.Module, exceptions, and what makes a data type or a protocol (NamedTuple, Enum, Protocol, Record, ctypes, list, ast), and
    the unpickler, which can be held to plain data in no other way."""
    allowed = {
        "Module",
        "NamedTuple",
        "TypedDict",
        "Protocol",
        "StrEnum",
        "IntEnum",
        "Enum",
        "Generic",
        "Record",
        "Structure",
        "list",
        "expr",
        "NodeTransformer",
        "NodeVisitor",
        "Optimizer",
        "Unpickler",
    }
    other = []
    for name in modules():
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base).split("[")[0].rpartition(".")[2] for base in node.bases}
                other += [f"{name}.{node.name}({b})" for b in bases if b not in allowed and not b.endswith(("Error", "Exception", "Interrupt"))]
    assert other == []


def configs() -> list[tuple[str, ast.ClassDef]]:
    """Dataclasses of recipes that a stage is configured by, found from the stage table's own file."""
    from coderl.cli import STAGES

    wanted = {(f"recipes.{s.module}", s.config) for s in STAGES.values()}
    return [
        (name, node)
        for name in modules()
        if name.startswith("recipes.")
        for node in tree(name).body
        if isinstance(node, ast.ClassDef) and (name, node.name) in wanted
    ]


@pytest.mark.parametrize("name, config", configs(), ids=lambda v: v if isinstance(v, str) else v.name)
def test_a_config_is_frozen_small_and_explained(name: str, config: ast.ClassDef) -> None:
    assert any(ast.unparse(d).replace(" ", "") == "dataclass(frozen=True)" for d in config.decorator_list), "not a frozen dataclass"
    fields = [(i, node) for i, node in enumerate(config.body) if isinstance(node, ast.AnnAssign)]
    assert len(fields) <= MOST_FIELDS
    for i, node in fields:
        below = config.body[i + 1] if i + 1 < len(config.body) else None
        text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
        assert isinstance(text, str) and text.strip(), f"{name}.{config.name}.{ast.unparse(node.target)} has no docstring under it"
        assert ast.unparse(node.target) not in ("config", "debug"), "a flag of the command line itself"


def test_tests_mirror_the_source() -> None:
    """tests/<folder>/ exists for a folder of the source only; test file names are unique (there are no packages of tests)."""
    here = Path(__file__).resolve().parent
    folders = {p.name for p in here.iterdir() if p.is_dir() and not p.name.startswith(("_", "."))}
    assert folders <= {p.name for p in SOURCE.iterdir() if p.is_dir()}
    names = [p.name for p in here.rglob("test_*.py")]
    assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)
