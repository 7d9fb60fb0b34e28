"""The cache: named by recipe, whole or absent, bounded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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


def test_what_a_killed_process_left_is_swept_but_not_what_a_living_one_fills(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    for owner in (gone.pid, os.getpid()):
        (tmp_path / "scene" / f".unfinished-{owner}-x").mkdir(parents=True)
    Cache(tmp_path).prune(0)
    assert [f".unfinished-{os.getpid()}-x"] == [p.name for p in (tmp_path / "scene").iterdir()]
