"""Arrays on disk that are written and read strip by strip, so that none is ever in memory as a whole."""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from numpy.typing import NDArray

    from sentinel_match.raster.resample import Pixels


def begin_npy(
    stack: ExitStack, path: Path, shape: tuple[int, int], dtype: type[np.generic]
) -> Callable[[NDArray[Any]], object]:
    """Begin a .npy file, and return what writes it from top to bottom, strip by strip."""
    file = stack.enter_context(path.open("wb"))
    head = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)
    return lambda strip: file.write(np.ascontiguousarray(strip, dtype).data)


def read_rows(path: Path, step: int, height: int | None = None) -> Iterator[tuple[int, Pixels]]:
    """Read strips of a .npy file, every ``step`` rows. Mapped anew for each: what a mapping touched stays in memory."""
    for top in range(0, np.load(path, mmap_mode="r").shape[0], step):
        yield top, np.array(np.load(path, mmap_mode="r")[top : top + (height or step)])


def sample_npy(path: Path, most: int, size: int | None = None) -> tuple[Pixels, int]:
    """Read every n-th row and column of a .npy file, and n.

    Args:
        path: of the file.
        most: pixels, about.
        size: pixels that the file is counted for; all it has when not given.
    """
    size = int(np.load(path, mmap_mode="r").size) if size is None else size
    stride = max(1, round(math.sqrt(size / most)))
    step = stride * max(1, 512 // stride)
    return np.vstack([strip[::stride, ::stride] for _, strip in read_rows(path, step)]), stride


def release(*arrays: NDArray[Any] | MaskView) -> None:
    """Give back the memory that mapped files take; what was read of them is read again where it is wanted.

    Of arrays that are no maps nothing happens, nor where the system has no way to ask for it.
    """
    for array in arrays:
        base: Any = array
        if isinstance(array, MaskView):
            release(*array.sources)
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True, eq=False)
class MaskView:
    """A mask that is made of others where it is looked at: each of a whole tile would take 120 MB."""

    shape: tuple[int, ...]
    """(rows, cols)."""
    make: Callable[[Any], NDArray[np.bool_]]
    """Makes what lies at an index."""
    sources: tuple[NDArray[Any], ...] = ()
    """What it is made of."""

    def __getitem__(self, index: Any) -> NDArray[np.bool_]:
        """Make what lies at an index."""
        return self.make(index)
