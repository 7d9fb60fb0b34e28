"""Arrays on disk, named by the recipe that makes them.

An entry's name is the hash of everything its content depends on, so nothing goes stale and nothing needs invalidating:
a changed input is a new name. Entries are made under a temporary name, synced and renamed, so they are whole or absent.
Each file's checksum is compared whenever its entry is used, and a damaged entry is removed and made again. The least
recently used ones leave when the cache outgrows its limit; on Windows those stay that somebody has open.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.atomic import checksum, sync
from sentinel_match.errors import OutputError
from sentinel_match.schema import A_PATH, ArgumentKind, check_fields
from sentinel_match.scratch import WAIT_S, Scratch, alone, sweep, time_of
from sentinel_match.wording import in_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

Recipe = Mapping[str, object]
"""What an entry depends on, JSON-able; ``kind`` says in one word what it is."""

MARK = "recipe.json"
IN_USE_S = 600
"""Entries used so recently are not removed to make room."""
HEARD_S = 90.0
"""Within which every machine hears of what another has made: clients of NFS believe for up to 60 s (nfs(5), acdirmax)
that a folder is as they have seen it."""
ENTRY_NAME = re.compile("[0-9a-f]{32}")
"""What :func:`digest` gives: a folder of another name is somebody else's."""
SLACK = 20
"""The part of its limit that a cache grows by until its entries are counted again, because other processes add some
too, and that is freed beyond what must be: to count 8,000 entries takes a fifth of a second of a core."""


@dataclass(frozen=True)
class _Count:
    """What the entries of a cache take."""

    size: int
    """Bytes when they were counted, and what this process has added since."""
    enough: int
    """Bytes up to which they need not be counted again."""


@dataclass(frozen=True)
class Cache:
    """A folder of entries; safe for several processes at once, of several machines too.

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
    """Bytes the entries may take together; several processes that add some at once exceed it by a twentieth each."""

    def __post_init__(self) -> None:
        """Fail now at what cannot be used.

        Raises:
            TypeError, ValueError: the folder is no path, the limit no number of bytes.
        """
        check_fields(self, {"root": A_PATH, "limit": ArgumentKind(Integral, "a number of bytes", lambda n: n >= 0)})
        object.__setattr__(self, "root", Path(self.root))

    @staticmethod
    def default() -> Cache:
        """Return the user's cache: the folder ``SENTINEL_MATCH_CACHE``, or the system's for caches."""
        import pooch

        return Cache(Path(os.environ.get("SENTINEL_MATCH_CACHE") or pooch.os_cache("sentinel-match")))

    def folder(self, recipe: Recipe, make: Callable[[Path], None], *, size: int = 0, scratch: int = 0) -> Path:
        """Return the folder that ``make`` fills for this recipe, made now if it is not there, or not as it was made.

        Args:
            recipe: what the content depends on.
            make: fills the empty folder it is given.
            size: bytes that the content takes, as far as it is known before; room is made for them first.
            scratch: bytes that it takes besides while it is made.

        Raises:
            OutputError: the cache cannot be written (disk full, no permission), or may not hold so much.
        """
        path = self.root / str(recipe["kind"]) / digest(recipe)
        if _found(path):
            return path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with alone(path):  # who is about to make the same waits and finds it
                if not _found(path):
                    self._make(path, recipe, make, size, scratch)
        except OSError as error:
            raise OutputError(self.root, f"the cache folder cannot be used ({error.strerror or error})") from error
        return path

    def _make(self, path: Path, recipe: Recipe, make: Callable[[Path], None], size: int, scratch: int) -> None:
        """Make an entry; see :meth:`folder`."""
        self._make_room(size, scratch)
        unfinished = (held := Scratch.make(path.parent)).content
        try:
            make(unfinished)
            files = [file for file in sorted(unfinished.rglob("*")) if file.is_file()]
            names = [file.relative_to(unfinished).as_posix() for file in files]
            content = {
                "recipe": recipe,
                "files": (sizes := {name: file.stat().st_size for name, file in zip(names, files, strict=True)}),
                "checksums": {name: checksum(file) for name, file in zip(names, files, strict=True)},
            }
            (unfinished / MARK).write_text(json.dumps(content, default=str), encoding="utf-8")
            for written in (*files, unfinished / MARK, unfinished):
                sync(written)
            _publish(unfinished, path)
        except OSError as error:
            stood_still = "another process took it for left behind, because this machine stood still: run it again"
            remedy = "free some space or set --cache (cache= in Python)" if unfinished.parent.exists() else stood_still
            raise OutputError(self.root, f"{in_words(error)}; {remedy}") from error
        finally:
            held.remove()
        self._keep_to_limit(added=sum(sizes.values()))

    def arrays(self, recipe: Recipe, make: Callable[[], Mapping[str, NDArray[Any]]]) -> Mapping[str, NDArray[Any]]:
        """Return the named arrays of this recipe, made now if they are not there.

        Raises:
            OutputError: the cache cannot be written.
        """

        def fill(folder: Path) -> None:
            content = make()
            self._make_room(sum(array.nbytes for array in content.values()))
            np.savez(folder / "arrays.npz", **content)  # type: ignore[arg-type]

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
        """List all finished entries, those too that are damaged."""
        for kind in _folders(self.root):
            for folder in _folders(kind.path):
                with contextlib.suppress(OSError):
                    if ENTRY_NAME.fullmatch(folder.name):
                        path = Path(folder.path)
                        used = (path / MARK).stat().st_mtime
                        yield Entry(path, kind.name, _size(folder.path), used)

    def prune(self, limit: int, idle: float = 0) -> int:
        """Remove the least recently used entries until at most ``limit`` bytes remain.

        Args:
            limit: bytes.
            idle: entries used within so many seconds stay, since somebody may be about to open them.

        Returns:
            The bytes freed.
        """
        return self._prune(limit, limit, idle)

    def _prune(self, limit: int, target: int, idle: float) -> int:
        """Remove the least recently used entries until ``target`` bytes remain, where they take more than ``limit``."""
        for kind in self.root.glob("*/"):
            sweep(kind)
        entries = sorted(self.entries(), key=lambda entry: entry.used)
        total, freed = sum(entry.size for entry in entries), 0
        now = time_of(self.root) if total > limit else 0.0  # the clock of all machines that use it
        for entry in entries if total > limit else []:
            if total - freed > target and now - entry.used >= idle and _discard(entry.path):
                freed += entry.size
        left, slack = total - freed, self.limit // SLACK
        # Beyond the limit is only what is in use: to count it again for each new entry would free nothing
        enough = left + slack if left > self.limit else min(left + slack, self.limit)
        with _COUNTING:
            _COUNTS[self] = _Count(left, enough)
        return freed

    def _keep_to_limit(self, *, added: int = 0, coming: int = 0) -> None:
        """Make room if the entries may take more than the limit, or may have become many unseen.

        Args:
            added: bytes that this process has just added.
            coming: bytes that it is about to add.
        """
        with _COUNTING:
            if (count := _COUNTS.get(self)) is not None:
                count = _COUNTS[self] = _Count(count.size + added, count.enough)
        if count is None or count.size + coming > count.enough:
            self._prune(self.limit - coming, self.limit - coming - self.limit // SLACK, IN_USE_S)

    def _make_room(self, size: int, scratch: int = 0) -> None:
        """Make room for an entry, before anything of it is written.

        Raises:
            OSError: nothing tells how full the disk is.
            OutputError: there is not so much room.
        """
        if not size:
            return
        if size > self.limit:
            raise OutputError(
                self.root,
                f"an entry of {_gigabytes(size)} is more than the {_gigabytes(self.limit)} that the cache may hold; "
                "raise --cache-limit (limit= of Cache in Python), or take a coarser --resolution",
            )
        self._keep_to_limit(coming=size)
        missing = (needed := size + scratch) - shutil.disk_usage(self.root).free
        if missing > 0:
            there = sum(entry.size for entry in self.entries())
            self._prune(there - missing, there - missing - self.limit // SLACK, IN_USE_S)
        free = shutil.disk_usage(self.root).free
        if free < needed:
            raise OutputError(
                self.root,
                f"an entry takes {_gigabytes(needed)} while it is made, and only {_gigabytes(free)} of the disk are "
                "free; free some space, set --cache (cache= in Python), or take a coarser --resolution",
            )


_COUNTS: dict[Cache, _Count] = {}
"""What this process knows of each cache."""
_COUNTING = threading.Lock()


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


def _publish(unfinished: Path, path: Path) -> None:
    """Give a filled folder its name, in place of a damaged entry.

    Raises:
        OSError: the damaged one cannot be moved, because somebody has it open (Windows).
    """
    if path.exists() and not _whole(path):
        _discard(path)
    try:
        unfinished.replace(path)
        sync(path.parent)
    except OSError as error:
        # Another process may have been faster; its entry is as good as ours, once this machine hears of it
        latest = time.monotonic() + (HEARD_S if error.errno in {errno.ENOTEMPTY, errno.EEXIST} else 0)
        while not _whole(path):
            if time.monotonic() > latest:
                raise
            time.sleep(WAIT_S)


def _discard(path: Path) -> bool:
    """Remove an entry, and tell whether it is gone: Windows removes nothing that somebody has open.

    It is moved aside first, so that nobody meets half of it, and what cannot be moved stays whole.
    """
    try:
        aside = Scratch.make(path.parent)
    except OSError:
        return False
    try:
        path.replace(aside.content / path.name)
    except OSError:
        return False
    finally:
        aside.remove()
    return True


def _found(path: Path) -> bool:
    """Tell whether an entry is there as it was made; if so, it is the last to be pruned."""
    if not _whole(path):
        return False
    with contextlib.suppress(OSError):
        os.utime(path / MARK)
    return True


def _whole(path: Path) -> bool:
    """Check whether an entry is there with every file as it was made, and under the name of its own recipe."""
    try:
        content = json.loads((path / MARK).read_text(encoding="utf-8"))
        sizes, checksums = content["files"], content["checksums"]
        if digest(content["recipe"]) != path.name:  # an entry that was moved, by whatever restored the cache
            return False
        return all((path / name).stat().st_size == size for name, size in sizes.items()) and all(
            checksum(path / name) == checksums[name] for name in sizes
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return False


def _folders(path: Path | str) -> list[os.DirEntry[str]]:
    """List the folders in a folder; none where it cannot be read."""
    try:
        with os.scandir(path) as within:
            return [one for one in within if one.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _size(folder: str) -> int:
    """Add up the bytes of an entry without its mark.

    Raises:
        OSError: it is gone.
    """
    with os.scandir(folder) as within:
        return sum(
            _size(one.path) if one.is_dir(follow_symlinks=False) else one.stat(follow_symlinks=False).st_size
            for one in within
            if one.name != MARK
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"
