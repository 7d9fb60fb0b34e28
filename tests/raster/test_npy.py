"""Arrays on disk say the same before and after their memory was given back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sentinel_match.raster.npy import MaskView, release


def test_what_was_released_is_read_again(tmp_path: Path) -> None:
    array = np.arange(1_000_000, dtype=np.int32).reshape(1000, 1000)
    np.save(tmp_path / "a.npy", array)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert 999_999 == mapped[-1, -1]
    release(mapped, np.asarray(mapped)[10:20], array)
    assert np.array_equal(array, mapped)


def test_a_mask_is_made_where_it_is_looked_at() -> None:
    asked = []

    def make(index: object) -> np.ndarray:
        asked.append(index)
        return np.eye(4, dtype=bool)[index]  # type: ignore[call-overload, no-any-return]

    view = MaskView((4, 4), make)
    assert [True, False] == view[1, 1:3].tolist()
    assert 1 == len(asked)
    release(view)
