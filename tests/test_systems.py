"""What Windows and macOS do otherwise, as far as it can be tried on any system."""

from __future__ import annotations

import ast
import errno
import gc
import importlib.util
import os
import shutil
import sys
import types
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

import sentinel_match
from sentinel_match import atomic, scratch
from sentinel_match.cache import Cache
from sentinel_match.cli import main
from sentinel_match.errors import OutputError
from sentinel_match.raster.load import load
from sentinel_match.testing import Landscape, write_product

PACKAGE = Path(sentinel_match.__file__).parent
UNIX = {"resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog", "readline", "crypt"}
"""Modules of Python that Windows does not have."""
CALLS = {"kill", "fork", "mkfifo", "geteuid", "getuid", "symlink", "link", "chown", "SIGKILL", "SIGXFSZ", "alarm"}
"""What ``os`` and ``signal`` offer there not at all, with another meaning, or not to everybody."""


@cache
def trees() -> list[tuple[str, ast.Module]]:
    return [
        (path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for path in PACKAGE.rglob("*.py")
    ]


def of_unix(node: ast.AST) -> list[str | None]:
    """What a part of the code has that Windows has not, but for what it does not come to."""
    foreign: list[str | None] = []
    if isinstance(node, ast.Import):
        foreign += [alias.name for alias in node.names if alias.name in UNIX]
    elif isinstance(node, ast.ImportFrom):
        foreign += [node.module] * (node.module in UNIX)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        foreign += [node.attr] * (node.value.id in {"os", "signal"} and node.attr in CALLS)
    elif (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Compare)
        and ast.unparse(node.test) == "sys.platform == 'win32'"
    ):
        node = ast.Module(node.body, [])
    return foreign + [name for child in ast.iter_child_nodes(node) for name in of_unix(child)]


def test_nothing_is_imported_or_called_that_only_unix_has() -> None:
    assert [] == [(name, foreign) for name, tree in trees() for foreign in of_unix(tree)]
    assert ["fcntl", "kill"] == of_unix(ast.parse("if sys.platform == 'linux':\n import fcntl\nelse:\n os.kill(1, 0)"))


def test_no_file_is_renamed_by_what_windows_refuses_where_the_name_is_taken() -> None:
    renamed = [
        (name, node.lineno)
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "rename"
    ]
    assert {"testing/product.py"} >= {name for name, _ in renamed}  # which looks before whether the name is free


def test_text_has_the_same_bytes_on_every_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "linesep", "\r\n")
    atomic.write_text(tmp_path / "table.csv", "σ\n1\r\n2\n")
    assert "σ\n1\r\n2\n".encode() == (tmp_path / "table.csv").read_bytes()


def test_whether_a_process_lives_is_not_asked_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``os.kill(process, 0)`` ends the process on Windows, and containers have numbers of their own."""
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a signal was sent"))
    monkeypatch.setattr(psutil, "Process", lambda *_: pytest.fail("a process was asked for"))
    (tmp_path / "scene" / ".unfinished-8-x").mkdir(parents=True)
    Cache(tmp_path).prune(0)
    assert (tmp_path / "scene" / ".unfinished-8-x").exists()


def test_locks_of_windows_tell_who_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a ``msvcrt`` of our own: the first byte from where the file stands, refused to any other handle."""
    regions: dict[tuple[int, int], int] = {}

    def locking(handle: int, how: int, size: int) -> None:
        assert (2, 1) == (how, size)
        region = os.fstat(handle).st_ino, os.lseek(handle, 0, os.SEEK_CUR)
        if regions.setdefault(region, handle) != handle:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(LK_NBLCK=2, locking=locking))
    monkeypatch.setattr(sys, "platform", "win32")
    spec = importlib.util.spec_from_file_location("sentinel_match.scratch", PACKAGE / "scratch.py")
    assert spec is not None
    assert spec.loader is not None
    one, other = (importlib.util.module_from_spec(spec) for _ in range(2))
    for process in (one, other):
        monkeypatch.setitem(sys.modules, spec.name, process)
        spec.loader.exec_module(process)
    living = one.Scratch.make(tmp_path)
    other.sweep(tmp_path)
    assert living.content.exists()
    regions.clear()  # its process was killed
    other.sweep(tmp_path)
    assert [] == list(tmp_path.iterdir())


def as_windows_moves(monkeypatch: pytest.MonkeyPatch, *in_use: Path) -> None:
    """No folder is moved that holds a file in use, nor onto another."""
    replace = Path.replace

    def careful(path: Path, target: Path) -> Path:
        if path.is_dir() and (Path(target).exists() or any(path in file.parents for file in in_use)):
            raise PermissionError(13, "Access is denied", str(path))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", careful)


def entry(store: Cache, number: int) -> Path:
    return store.folder({"kind": "scene", "number": number}, lambda folder: kilobyte(folder / "pixels.npy"))


def kilobyte(path: Path) -> None:
    path.write_bytes(bytes(1000))


def test_an_entry_in_use_stays_whole_and_is_not_counted_as_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Cache(tmp_path)
    first, second = entry(store, 1), entry(store, 2)
    as_windows_moves(monkeypatch, first / "pixels.npy")
    assert 1000 == store.prune(0)
    assert [first] == [left.path for left in store.entries()]
    assert not second.exists()
    assert first == store.folder({"kind": "scene", "number": 1}, lambda _: pytest.fail("it is there"))
    assert [first.name] == [path.name for path in first.parent.iterdir()]


def test_an_entry_that_another_process_made_meanwhile_serves_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Cache(tmp_path)
    as_windows_moves(monkeypatch)
    monkeypatch.setattr(scratch, "LONGEST_WAIT_S", 0.0)  # the other one is of this very thread, and waits for nobody

    def slowly(folder: Path) -> None:
        entry(store, 1)
        kilobyte(folder / "pixels.npy")

    path = store.folder({"kind": "scene", "number": 1}, slowly)
    assert 1000 == (path / "pixels.npy").stat().st_size
    assert [path.name] == [other.name for other in path.parent.iterdir()]


def test_a_damaged_entry_in_use_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Cache(tmp_path)
    path = entry(store, 1)
    (path / "pixels.npy").write_bytes(b"short")
    as_windows_moves(monkeypatch, path / "pixels.npy")
    with pytest.raises(OutputError, match="Access is denied"):
        entry(store, 1)
    assert [path.name] == [other.name for other in path.parent.iterdir()]


def test_a_temporary_file_that_is_open_still_hides_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "The process cannot access the file")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match="No space left"), atomic.whole(tmp_path / "ties.gpkg"):
        raise OSError(28, "No space left on device")


@pytest.mark.skipif(not hasattr(psutil.Process, "memory_maps"), reason="macOS does not list what is mapped")
def test_a_scene_without_a_cache_leaves_nothing_though_no_mapped_file_can_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = sentinel_match.read_scene(write_product(tmp_path, Landscape(7), date="2021-05-20", pixels=120))
    rmtree = shutil.rmtree

    def as_windows_removes(path: Path, **how: Any) -> None:
        mapped = {Path(region.path) for region in psutil.Process().memory_maps()}
        if not any(path in file.parents for file in mapped):
            rmtree(path, **how)

    monkeypatch.setattr(shutil, "rmtree", as_windows_removes)
    image = load(scene)
    folder = Path(str(image.reasons.filename)).parent  # type: ignore[attr-defined]
    pixels = image.raster.pixels
    del image
    gc.collect()
    assert folder.exists()
    del pixels
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize("charset", ["cp1252", "utf-8"])
def test_what_is_piped_is_utf_8_whatever_the_code_page(tmp_path: Path, charset: str) -> None:
    write_product(tmp_path / "Jürgen Łódź", Landscape(7), date="2021-05-20", pixels=120)
    done = CliRunner(charset=charset).invoke(main, ["scenes", str(tmp_path), "--json"])
    assert 0 == done.exit_code, done.exception
    assert "Łódź" in done.stdout_bytes.decode("utf-8")


def test_names_of_cache_entries_are_legal_everywhere(tmp_path: Path) -> None:
    path = Cache(tmp_path).folder({"kind": "scene", "file": "C:\\a?<>|*.SAFE"}, lambda _: None)
    assert set(path.name) <= set("0123456789abcdef")
    assert not set(scratch.UNFINISHED) & set('<>:"/\\|?*')
