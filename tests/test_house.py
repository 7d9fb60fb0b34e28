"""The house keeps its own rules."""

from __future__ import annotations

import ast
import importlib
import pickle
import re
import subprocess
import sys
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from sentinel_match import errors

PACKAGE = Path(errors.__file__).parent
# From the words to the whole: a room, which is a folder or a module beside them, imports only rooms before it
ORDER = re.findall(
    r"\w+",
    """wording errors schema scratch atomic parallel cluster memory cache geometry opinions comparison summary products
    raster models matchers matching tiepoints accuracy formats options pipeline fitting images stack locating
    run_folder report job anywhere batch evaluate train testing cli""",
)


@cache
def rooms() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__main__.py")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> set[str]:
    return {module_of(path) for path in rooms()}


@cache
def imports(path: Path) -> set[str]:
    """Modules a module names, also those that only type checkers see."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sentinel_match"):
            base = (node.module or "").removeprefix("sentinel_match").removeprefix(".")
            names = [".".join(filter(None, (base, alias.name))) for alias in node.names]
            found |= {name if name in modules() else base for name in names}
    return found - {""}


def test_a_room_imports_only_rooms_before_it() -> None:
    late = []
    for path in rooms():
        room = room_of(path)
        if room == "__init__":
            continue
        late += [
            (room, other)
            for other in {name.split(".")[0] for name in imports(path)}
            if ORDER.index(other) > ORDER.index(room)
        ]
    assert [] == late


def test_no_module_needs_itself() -> None:
    needs = {module_of(path): imports(path) - {module_of(path)} for path in rooms() if path.name != "__init__.py"}
    free: set[str] = set()
    while fresh := {name for name, others in needs.items() if name not in free and others & set(needs) <= free}:
        free |= fresh
    assert set(needs) == free


def test_the_design_page_knows_every_room_and_names_no_other() -> None:
    page = (PACKAGE / "README.md").read_text(encoding="utf-8")
    table = page.split("## The rooms")[1].split("## Conventions")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert ORDER == sorted(re.findall(r"`(\w+)/?`", "".join(rows)), key=ORDER.index)
    for path in rooms():
        module = path.stem
        known = path.parent == PACKAGE or room_of(path) in {"cli", "evaluate", "testing", "train", "models", "matchers"}
        assert known or module == "__init__" or f"`{module}`" in table, path


def test_no_room_outgrows_one_read() -> None:
    long = {p.name: n for p in rooms() if (n := len(p.read_text(encoding="utf-8").splitlines())) > 360}
    assert {} == long


def test_help_loads_neither_torch_nor_rasterio() -> None:
    code = "import sys; from sentinel_match.cli import main\ntry:\n main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'rasterio', 'kornia', 'numpy', 'odc'} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == done.stderr.strip()


def all_errors() -> list[type[errors.SentinelMatchError]]:
    return [
        e
        for e in vars(errors).values()
        if isinstance(e, type) and issubclass(e, errors.SentinelMatchError) and fields(e)
    ]


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_survives_pickling_and_is_one_sentence(kind: type[errors.SentinelMatchError]) -> None:
    error = kind(
        *(
            ("B04",) if f.name in {"available", "known"} else Path("a/b") if f.type == "Path" else "x"
            for f in fields(kind)
        )
    )
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert str(error) == str(again)
    assert "\n" not in str(error)
    assert str(error).endswith(".")


def test_every_error_is_in_the_tree_that_its_module_draws() -> None:
    drawn = errors.__doc__ or ""
    assert [] == [e.__name__ for e in all_errors() if e.__name__ not in drawn]


def test_every_public_thing_has_a_docstring() -> None:
    bare = []
    for path in rooms():
        for node in tree_of(path).body:
            public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                bare.append(f"{path.name}: {node.name}")
    assert [] == bare


def test_every_module_imports_by_itself() -> None:
    for path in rooms():
        name = ".".join(("sentinel_match", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        importlib.import_module(name)


def test_every_public_name_is_there_and_comes_from_its_room() -> None:
    import sentinel_match

    assert sorted(sentinel_match.__all__) == sorted(sentinel_match._ROOMS)
    for name in sentinel_match.__all__:
        assert sentinel_match._ROOMS[name] in getattr(sentinel_match, name).__module__
    with pytest.raises(AttributeError):
        _ = sentinel_match.no_such_name
