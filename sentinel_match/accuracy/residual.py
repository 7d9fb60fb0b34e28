"""The shift that is left between two images on one grid, by an estimator that no tie point was made with.

In windows of its own the enhanced correlation coefficient is maximised: see :mod:`sentinel_match.accuracy.requirement`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.accuracy import ecc
from sentinel_match.accuracy.ecc import SIDE
from sentinel_match.geometry.robust import nmad
from sentinel_match.raster.jp2 import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from sentinel_match.raster.resample import Pixels

LOOKS = 400
"""Windows, at most, about."""


def residual(
    left: Callable[[Window], Pixels], rights: Mapping[str, Callable[[Window], Pixels]], clear: NDArray[np.bool_]
) -> dict[str, Any]:
    """How far versions of the right image lie off the left one: medians over the windows in which all can be measured.

    Args:
        left: gives a window of the left image, NaN where there is nothing.
        rights: gives one of each version, by its name.
        clear: (rows, cols) valid in both images.

    Returns:
        ``looks`` (windows tried) and ``answers``; where these are enough, for each version the medians ``dx_px`` (east)
        and ``dy_px`` (north), right minus left, with their standard errors ``sigma_dx_px`` and ``sigma_dy_px`` and the
        scatter ``nmad_x_px`` and ``nmad_y_px`` of single windows.
    """
    places = [Window(int(y), int(x), SIDE, SIDE) for x, y in ecc.places(clear, _step(clear.shape))]
    found = np.full((len(rights), len(places), 2), np.nan)
    for k, place in enumerate(places):
        one = _cut(left(place), clear[place.roi])
        for j, right in enumerate(rights.values()):
            moved = ecc.aligned(one, _cut(right(place), clear[place.roi]))
            if moved is None:
                break
            found[j, k] = moved * (1, -1)
    answered = np.isfinite(found).all((0, 2))
    said: dict[str, Any] = {
        "estimator": "ECC",
        "window_px": SIDE,
        "looks": len(places),
        "answers": int(answered.sum()),
    }
    if answered.sum() < ecc.FEWEST:
        return said
    alone = max(1.0, answered.sum() * min(1.0, _step(clear.shape) / SIDE) ** 2)  # what overlaps errs alike
    for name, values in zip(rights, found[:, answered], strict=True):
        scatter = [nmad(values[:, k]) for k in (0, 1)]
        median = np.median(values, axis=0)
        error = [round(float(1.2533 * s / np.sqrt(alone)), 4) for s in scatter]
        said[name] = {
            **{f"d{axis}_px": round(float(v), 4) for axis, v in zip("xy", median, strict=True)},
            **{f"sigma_d{axis}_px": v for axis, v in zip("xy", error, strict=True)},
            **{f"nmad_{axis}_px": round(v, 4) for axis, v in zip("xy", scatter, strict=True)},
        }
    return said


def _step(shape: tuple[int, ...]) -> int:
    """Pixels between windows: in a small image they overlap by half."""
    return max(SIDE // 2, int(np.sqrt(shape[0] * shape[1] / LOOKS)))


def _cut(pixels: Pixels, clear: NDArray[np.bool_]) -> ecc.MaskedWindow:
    valid = clear & np.isfinite(pixels)
    return ecc.MaskedWindow(np.where(valid, pixels, np.float32(0)), valid)
