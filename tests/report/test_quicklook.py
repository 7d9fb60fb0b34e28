from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from sentinel_match.raster.flags import Reason
from sentinel_match.raster.masks import at_centres
from sentinel_match.report import quicklook

SOURCE = GeoBox(
    (500, 400),
    GeoBox.from_bbox((500_000, 5_000_000, 504_000, 5_005_000), "EPSG:32633", resolution=10).affine,
    "EPSG:32633",
)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:32632"])
@pytest.mark.parametrize("rows", [64, 7])
def test_the_reasons_on_another_grid_are_the_same_however_many_rows_are_read_at_once(
    monkeypatch: pytest.MonkeyPatch, crs: str, rows: int
) -> None:
    reasons = np.random.default_rng(3).integers(0, len(Reason), SOURCE.shape, np.uint8)
    loaded: Any = SimpleNamespace(reasons=reasons, raster=SimpleNamespace(geobox=SOURCE))
    west, south, east, north = SOURCE.pad(60).extent.to_crs(crs).boundingbox  # it reaches beyond on every side
    grid = GeoBox.from_bbox((west, south, east, north), crs, resolution=23)
    whole = at_centres(reasons + np.uint8(1), SOURCE, grid)
    expected = np.where(whole == 0, Reason.NODATA, whole - np.uint8(1))

    monkeypatch.setattr(quicklook, "STRIP_ROWS", rows)

    assert np.mean(quicklook._codes(loaded, grid) == expected) > 0.998  # GDAL places pixels to an eighth of one


def test_no_reason_is_read_for_rows_that_an_image_does_not_reach() -> None:
    class Unread:
        def __getitem__(self, _: object) -> None:
            raise AssertionError("nothing is shown of it")

    loaded: Any = SimpleNamespace(reasons=Unread(), raster=SimpleNamespace(geobox=SOURCE))
    beyond = GeoBox((300, 300), SOURCE.affine * Affine.translation(-900, -900), SOURCE.crs)
    assert {int(Reason.NODATA)} == set(np.unique(quicklook._codes(loaded, beyond)).tolist())
