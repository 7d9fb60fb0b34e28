"""Arrays on disk, named by the recipe that makes them.

An entry's name is the hash of everything its content depends on, so nothing goes stale and nothing needs invalidating:
a changed input is a new name. Entries are made under a temporary name and renamed, so they are whole or absent; one
that turns out damaged is removed and made again. The least recently used ones leave when the cache outgrows its
limit; on Windows those stay that somebody has open.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.errors import OutputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Recipe = Mapping[str, object]
"""What an entry depends on, JSON-able; ``kind`` says in one word what it is."""

MARK = "recipe.json"
UNFINISHED = ".unfinished-"
IN_USE_S = 600
"""Entries used so recently are not removed to make room."""
ABANDONED_S = 24 * 3600
"""An unfinished folder older than this belongs to a process that was killed."""


@dataclass(frozen=True)
class Cache:
    """A folder of entries; safe for several processes at once.

    Examples:
        >>> from pathlib import Path
        >>> from sentinel_match import Cache, Options, match_scenes
        >>> cache = Cache(Path("cache"))
        >>> ties = match_scenes("LEFT.SAFE", "RIGHT.SAFE", Options(matcher="phase"), cache=cache)
        >>> any(cache.entries())  # the next pair with one of these scenes is quicker
        True
    """

    root: Path
    limit: int = 20 * 2**30
    """Bytes the entries may take together."""

    @staticmethod
    def default() -> Cache:
        """Return the user's cache: the folder ``SENTINEL_MATCH_CACHE``, or the system's for caches."""
        import pooch

        return Cache(Path(os.environ.get("SENTINEL_MATCH_CACHE") or pooch.os_cache("sentinel-match")))

    def folder(self, recipe: Recipe, make: Callable[[Path], None]) -> Path:
        """Return the folder that ``make`` fills for this recipe, made now if it is not there.

        Args:
            recipe: what the content depends on.
            make: fills the empty folder it is given.

        Raises:
            OutputError: the cache cannot be written (disk full, no permission).
        """
        path = self.root / str(recipe["kind"]) / digest(recipe)
        if _whole(path):
            # Recently used: the last to be pruned
            with contextlib.suppress(OSError):
                os.utime(path / MARK)
            return path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = _unfinished_beside(path)
        except OSError as error:
            raise OutputError(self.root, f"the cache folder cannot be used ({error.strerror or error})") from error
        try:
            make(unfinished)
            files = [file for file in sorted(unfinished.rglob("*")) if file.is_file()]
            sizes = {file.relative_to(unfinished).as_posix(): file.stat().st_size for file in files}
            content = json.dumps({"recipe": recipe, "files": sizes}, default=str)
            (unfinished / MARK).write_text(content, encoding="utf-8")
            _publish(unfinished, path)
        except OSError as error:
            raise OutputError(self.root, f"{error.strerror or error}; free some space or set --cache") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        self.prune(self.limit, idle=IN_USE_S)
        return path

    def arrays(self, recipe: Recipe, make: Callable[[], Mapping[str, NDArray[Any]]]) -> Mapping[str, NDArray[Any]]:
        """Return the named arrays of this recipe, made now if they are not there.

        Raises:
            OutputError: the cache cannot be written.
        """

        def fill(folder: Path) -> None:
            np.savez(folder / "arrays.npz", **make())  # type: ignore[arg-type]

        for attempt in (1, 2):
            path = self.folder(recipe, fill)
            try:
                with np.load(path / "arrays.npz", allow_pickle=False) as stored:
                    return dict(stored)
            except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
                # zipfile's checksum says the entry is damaged: make it again, once
                _discard(path)
                if attempt == 2:
                    raise OutputError(path, f"the entry cannot be read back ({error}): is the disk damaged?") from error
        raise AssertionError("unreachable")

    def entries(self) -> Iterator[Entry]:
        """List all finished entries."""
        for mark in self.root.glob(f"*/*/{MARK}"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                content = json.loads(mark.read_text(encoding="utf-8"))
                yield Entry(mark.parent, mark.parent.parent.name, sum(content["files"].values()), mark.stat().st_mtime)

    def prune(self, limit: int, idle: float = 0) -> int:
        """Remove the least recently used entries until at most ``limit`` bytes remain.

        Args:
            limit: bytes.
            idle: entries used within so many seconds stay, since somebody may be about to open them.

        Returns:
            The bytes freed.
        """
        for stale in self.root.glob(f"*/{UNFINISHED}*"):
            if _abandoned(stale):
                shutil.rmtree(stale, ignore_errors=True)
        entries = sorted(self.entries(), key=lambda entry: entry.used)
        total, freed = sum(entry.size for entry in entries), 0
        for entry in entries:
            if total - freed <= limit:
                break
            if time.time() - entry.used >= idle and _discard(entry.path):
                freed += entry.size
        return freed


@dataclass(frozen=True)
class Entry:
    """One finished entry of a cache."""

    path: Path
    kind: str
    size: int
    """Bytes."""
    used: float
    """When it was last used, seconds since 1970."""


def digest(recipe: Recipe) -> str:
    """Name a recipe: the same on every machine and in every order of keys."""
    text = json.dumps(recipe, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _unfinished_beside(path: Path) -> Path:
    """Make a new folder beside an entry, of this process."""
    return Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{os.getpid()}-", dir=path.parent))


def _publish(unfinished: Path, path: Path) -> None:
    """Give a filled folder its name, in place of a damaged entry.

    Raises:
        OSError: the damaged one cannot be moved, because somebody has it open (Windows).
    """
    if not _whole(path):
        _discard(path)
    try:
        unfinished.replace(path)
    except OSError:
        # Another process may have been faster; its entry is as good as ours
        if not _whole(path):
            raise


def _discard(path: Path) -> bool:
    """Remove an entry, and tell whether it is gone: Windows removes nothing that somebody has open.

    It is moved aside first, so that nobody meets half of it, and what cannot be moved stays whole.
    """
    try:
        aside = _unfinished_beside(path)
    except OSError:
        return False
    try:
        path.replace(aside / path.name)
    except OSError:
        return False
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return True


def _abandoned(unfinished: Path) -> bool:
    """Tell whether nobody fills this folder any more: its process is gone, or it is too old to be true."""
    import psutil

    try:
        process = int(unfinished.name.removeprefix(UNFINISHED).split("-")[0])
        # Not os.kill(process, 0), by which Unix asks and Windows ends the process
        return not psutil.pid_exists(process) or time.time() - unfinished.stat().st_mtime > ABANDONED_S
    except (OSError, ValueError):
        return True


def _whole(path: Path) -> bool:
    """Check whether an entry is there with every file at its size."""
    try:
        content = json.loads((path / MARK).read_text(encoding="utf-8"))
        return all((path / name).stat().st_size == size for name, size in content["files"].items())
    except (OSError, ValueError, KeyError, AttributeError):
        return False
