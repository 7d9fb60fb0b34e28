"""The cache: named by recipe, whole or absent, bounded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sentinel_match import cache as cache_module
from sentinel_match.cache import Cache, digest
from sentinel_match.errors import OutputError


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    return {"keypoints": np.random.default_rng(seed).uniform(size=(100, 2))}


def kilobyte(folder: Path) -> None:
    (folder / "pixels").write_bytes(bytes(1000))


def test_the_same_recipe_is_made_once(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path), []
    for _ in range(3):
        stored = cache.arrays({"kind": "features", "scene": "a"}, lambda: calls.append(1) or arrays())
    assert [1] == calls
    assert arrays()["keypoints"].tolist() == stored["keypoints"].tolist()


def test_another_recipe_is_another_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    one = cache.arrays({"kind": "features", "threshold": 0.1}, lambda: arrays(1))
    two = cache.arrays({"kind": "features", "threshold": 0.2}, lambda: arrays(2))
    assert one["keypoints"].tolist() != two["keypoints"].tolist()


def test_the_order_of_keys_does_not_matter() -> None:
    assert digest({"kind": "a", "b": 1}) == digest({"b": 1, "kind": "a"})


@pytest.mark.parametrize("damage", [b"", b"not a zip at all", None])
def test_a_damaged_entry_is_made_again(tmp_path: Path, damage: bytes | None) -> None:
    cache, recipe = Cache(tmp_path), {"kind": "features"}
    cache.arrays(recipe, arrays)
    (file,) = tmp_path.glob("features/*/arrays.npz")
    content = file.read_bytes()
    middle = len(content) // 2
    # The last case keeps the size and flips one byte: only the zip's checksum can tell
    file.write_bytes(
        content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :] if damage is None else damage
    )
    assert arrays(7)["keypoints"].tolist() == cache.arrays(recipe, lambda: arrays(7))["keypoints"].tolist()


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half.npy").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path).folder({"kind": "scene"}, fail)
    assert [] == [p for p in tmp_path.rglob("*") if p.is_file()]


def test_the_least_recently_used_entries_leave_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for k in range(4):
        path = cache.folder(
            {"kind": "scene", "k": k}, lambda folder: (folder / "pixels").write_bytes(bytes(1000)) and None
        )
        os.utime(path / "recipe.json", (k + 1, k + 1))
    cache.folder({"kind": "scene", "k": 0}, lambda _: pytest.fail("it is there"))
    assert 2000 == cache.prune(2000)
    left = sorted(e.path.name for e in cache.entries())
    assert sorted(digest({"kind": "scene", "k": k}) for k in (0, 3)) == left


def test_a_new_entry_pushes_old_ones_out_when_the_limit_is_reached(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=2500)
    for k in range(4):
        path = cache.folder(
            {"kind": "scene", "k": k}, lambda folder: (folder / "pixels").write_bytes(bytes(1000)) and None
        )
        os.utime(path / "recipe.json", (k + 1, k + 1))
    assert 2 == len(list(cache.entries()))


def test_an_entry_just_used_is_not_pushed_out(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=0)
    paths = [cache.folder({"kind": "scene", "k": k}, kilobyte) for k in range(3)]
    assert all(path.exists() for path in paths)


def test_an_unwritable_cache_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cache folder cannot be used"):
        Cache(tmp_path / "file").folder({"kind": "scene"}, lambda _: None)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def zero_half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def roll(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[-2:] + content[:-2])


def no_json(path: Path) -> None:
    path.write_text("{ not json")


def other_json(path: Path) -> None:
    path.write_text("[null]")


def deep_json(path: Path) -> None:
    path.write_text("[" * 100_000)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip, zero_half, roll, cut, Path.unlink, no_json, other_json, deep_json])
@pytest.mark.parametrize("name", ["pixels.npy", "facts.json", "recipe.json"])
def test_an_entry_damaged_in_any_of_its_files_is_made_again(
    tmp_path: Path, damage: Callable[[Path], object], name: str
) -> None:
    def make(folder: Path) -> None:
        np.save(folder / "pixels.npy", np.random.default_rng(0).uniform(size=(300, 1000)))
        (folder / "facts.json").write_text(json.dumps({"limits": [0, 1], "notes": []}))

    cache = Cache(tmp_path)
    path = cache.folder({"kind": "scene"}, make)
    whole = {file.name: file.read_bytes() for file in path.iterdir() if file.name != "recipe.json"}
    damage(path / name)
    assert path == cache.folder({"kind": "scene"}, make)
    assert whole == {file.name: file.read_bytes() for file in path.iterdir() if file.name != "recipe.json"}
    assert isinstance(json.loads((path / "recipe.json").read_text())["checksums"]["pixels.npy"], int)
    assert [path.name] == [other.name for other in path.parent.iterdir()]


def test_entries_that_have_changed_places_are_made_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    one, other = (cache.folder({"kind": "scene", "k": k}, lambda folder, k=k: number(folder, k)) for k in (1, 2))
    one.rename(tmp_path / "aside")
    other.rename(one)
    (tmp_path / "aside").rename(other)
    for k in (1, 2):
        entry = cache.folder({"kind": "scene", "k": k}, lambda folder, k=k: number(folder, k))
        assert str(k) == (entry / "number").read_text()


def number(folder: Path, k: int) -> None:
    (folder / "number").write_text(str(k))


def test_an_entry_without_checksums_was_made_by_an_earlier_version_and_is_made_again(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path), []
    path = cache.folder({"kind": "scene"}, kilobyte)
    mark = json.loads((path / "recipe.json").read_text())
    del mark["checksums"]
    (path / "recipe.json").write_text(json.dumps(mark))
    cache.folder({"kind": "scene"}, lambda folder: calls.append(1) or kilobyte(folder))
    assert [1] == calls


def test_a_damaged_entry_is_counted_and_pruned_like_any_other(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    no_json(cache.folder({"kind": "scene"}, kilobyte) / "recipe.json")
    assert [1000] == [entry.size for entry in cache.entries()]
    assert 1000 == cache.prune(0)


def test_folders_of_others_are_no_entries_and_stay(tmp_path: Path) -> None:
    (tmp_path / "work" / "stack").mkdir(parents=True)
    (tmp_path / "work" / "stack" / "recipe.json").write_text('{"files": {}}')
    assert 0 == Cache(tmp_path).prune(0)
    assert (tmp_path / "work" / "stack" / "recipe.json").exists()


def test_all_of_an_entry_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(cache_module, "sync", lambda path: synced.append(path.name))
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, target: (synced.append("renamed"), replace(path, target))[1])
    Cache(tmp_path).folder({"kind": "scene"}, kilobyte)
    assert ["pixels", "recipe.json"] == synced[:2]
    assert ["renamed", "scene"] == synced[3:]


def test_an_entry_larger_than_the_limit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=10**9)
    with pytest.raises(OutputError, match=r"entry of 1\.2 GB is more than the 1 GB .* --cache-limit"):
        cache.folder({"kind": "scene"}, lambda _: pytest.fail("it is written"), size=1_200_000_000)
    with pytest.raises(OutputError, match="--cache-limit"):
        Cache(tmp_path, limit=100).arrays({"kind": "features"}, arrays)
    assert [] == [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_entry_larger_than_the_disk_has_free_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 9 * 10**8, 10**8))
    with pytest.raises(OutputError, match=r"takes 0\.108 GB while it is made, and only 0\.1 GB .* free"):
        Cache(tmp_path).folder(
            {"kind": "scene"}, lambda _: pytest.fail("it is written"), size=60 * 10**6, scratch=48 * 10**6
        )


def test_room_is_made_before_a_new_entry_is_written(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=2500)
    old = cache.folder({"kind": "scene", "k": 0}, kilobyte)
    os.utime(old / "recipe.json", (1, 1))

    def make(folder: Path) -> None:
        assert not old.exists()
        (folder / "pixels").write_bytes(bytes(2000))

    cache.folder({"kind": "scene", "k": 1}, make, size=2000)


def test_entries_are_counted_once_and_then_only_after_much_was_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, counted = Cache(tmp_path, limit=100_000), []
    entries = Cache.entries
    monkeypatch.setattr(Cache, "entries", lambda cache: counted.append(1) or entries(cache))
    for k in range(200):
        path = cache.folder({"kind": "scene", "k": k}, kilobyte, size=1000)
        os.utime(path / "recipe.json", (k + 1, k + 1))
        assert sum(entry.size for entry in entries(cache)) <= 100_000
    assert 95 <= len(list(entries(cache)))  # the limit is used
    assert 40 <= len(counted) <= 60  # after each 4 or 5 kB added, a twentieth of the limit


def test_a_disk_that_is_nearly_full_is_not_counted_for_each_new_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, counted = Cache(tmp_path, limit=100_000), []
    entries = Cache.entries
    for k in range(50):
        os.utime(cache.folder({"kind": "scene", "old": k}, kilobyte) / "recipe.json", (k + 1, k + 1))
    disk = 50_500  # beside the entries there is room for half a one

    def usage(_: object) -> shutil._ntuple_diskusage:
        used = sum(entry.size for entry in entries(cache))
        return shutil._ntuple_diskusage(disk, used, disk - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setattr(Cache, "entries", lambda cache: counted.append(1) or entries(cache))
    for k in range(20):
        cache.folder({"kind": "scene", "new": k}, kilobyte, size=1000)
    assert len(counted) <= 12


def test_an_entry_is_as_large_as_all_its_files_at_any_depth(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "a" / "b").mkdir(parents=True)
        for path in (folder / "1", folder / "a" / "2", folder / "a" / "b" / "3"):
            path.write_bytes(bytes(100))

    cache = Cache(tmp_path)
    path = cache.folder({"kind": "scene"}, make)
    assert [(path, "scene", 300)] == [(entry.path, entry.kind, entry.size) for entry in cache.entries()]


def test_who_needs_an_entry_that_another_makes_waits_for_it(tmp_path: Path) -> None:
    made, begun = [], threading.Barrier(4)

    def make(folder: Path) -> None:
        made.append(1)
        time.sleep(0.2)
        kilobyte(folder)

    def need(_: int) -> Path:
        begun.wait()
        return Cache(tmp_path).folder({"kind": "scene"}, make)

    with ThreadPoolExecutor(4) as threads:
        assert 1 == len(set(threads.map(need, range(4))))
    assert [1] == made
    assert [] == list(tmp_path.glob("scene/.making-*"))


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is killed like that on Windows")
def test_nobody_waits_for_a_process_that_was_killed_while_it_made_an_entry(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from sentinel_match.cache import Cache
Cache(Path(sys.argv[1])).folder({"kind": "scene"}, lambda _: os.kill(os.getpid(), signal.SIGKILL))
"""
    subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    assert 1 == len(list(tmp_path.glob("scene/.making-*")))
    Cache(tmp_path).folder({"kind": "scene"}, kilobyte)
    assert [] == list(tmp_path.glob("scene/.making-*"))


def test_entries_in_use_beyond_the_limit_are_not_counted_for_each_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, counted = Cache(tmp_path, limit=40_000), []
    entries = Cache.entries
    monkeypatch.setattr(Cache, "entries", lambda cache: counted.append(1) or entries(cache))
    for k in range(100):
        cache.folder({"kind": "scene", "k": k}, lambda folder: number(folder, 10**999), size=1000)
    assert 100 == len(list(entries(cache)))
    assert len(counted) <= 55
