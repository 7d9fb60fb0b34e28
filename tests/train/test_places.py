"""Ground for training: what is seen twice, what is kept apart, and crops whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from rasterio.warp import transform_geom
from shapely.geometry import mapping, shape

from sentinel_match.errors import NothingToLearn
from sentinel_match.raster import raster
from sentinel_match.raster.raster import Raster
from sentinel_match.testing import Landscape
from sentinel_match.train import Ground, Place, gather, hold_out
from sentinel_match.train.crops import Crops, Cutting, held_out_crops

GROUND = Landscape(seed=3)
SIZE = 96


def picture(
    path: Path, season: str, east: float = 300_000, wide: int = 900, shift: tuple[float, float] = (0, 0)
) -> None:
    """A georeferenced raster of 20 m, whose content lies (x, y) pixels beside where it should."""
    box = GeoBox((600, wide), Affine(20, 0, east, 0, -20, 5_600_000), "EPSG:32633")
    pixels = GROUND.render(box, season, displacement=(20 * shift[0], -20 * shift[1]))
    raster.write(Raster(pixels, np.ones(pixels.shape, bool), box), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dates of one place, and two of its neighbour, which shows the same fields for 200 pixels."""
    folder = tmp_path_factory.mktemp("archive")
    picture(folder / "33UUU_20210520.tif", "spring")
    picture(folder / "33UUU_20210917.tif", "autumn", shift=(0.4, -1.3))
    picture(folder / "33UVU_20210520.tif", "spring", east=314_000, wide=700)
    picture(folder / "33UVU_20210801.tif", "summer", east=314_000, wide=700)
    picture(folder / "elsewhere_20210801.tif", "summer", east=500_000, wide=300)
    return folder


@pytest.fixture(scope="module")
def places(folder: Path) -> tuple[Place, ...]:
    found, refused = gather([folder])
    assert () == refused
    return found


@pytest.fixture(scope="module")
def ground(places: tuple[Place, ...]) -> Ground:
    return hold_out(places, 0.45)


def test_dates_of_one_ground_are_one_place_and_a_single_date_is_none(places: tuple[Place, ...]) -> None:
    assert ["33UUU", "33UVU"] == [p.name for p in places]
    assert ("2021-05-20", "2021-09-17") == places[0].dates
    assert 20 == round(places[0].gsd)


def test_the_shift_of_a_date_is_measured(places: tuple[Place, ...]) -> None:
    assert (0, 0) == places[0].pictures[0].shift
    assert np.abs(np.subtract(places[0].pictures[1].shift, (0.4, -1.3))).max() < 0.1


def test_no_ground_is_in_two_splits(ground: Ground) -> None:
    """Every pixel of the Earth that training may see is compared with every one that is held out."""
    grid = GeoBox((700, 2200), Affine(20, 0, 299_000, 0, -20, 5_601_000), "EPSG:32633")
    seen = {True: np.zeros(grid.shape, bool), False: np.zeros(grid.shape, bool)}
    for place in ground.places:
        for picture in place.pictures:
            for held_out, map_ in seen.items():
                cells = ground.cells(picture, held_out=held_out)
                col, row = (int(v) for v in ~grid.affine * (picture.geobox.affine.c, picture.geobox.affine.f))
                pixels = cells.repeat(8, 0).repeat(8, 1)[: picture.geobox.shape.y, : picture.geobox.shape.x]
                map_[row : row + pixels.shape[0], col : col + pixels.shape[1]] |= pixels
    assert not (seen[True] & seen[False]).any()
    assert seen[True].any()
    assert seen[False].any()


def test_a_neighbours_overlap_with_held_out_ground_serves_no_training(ground: Ground) -> None:
    first, second = ground.places
    inside = rasterize(
        [transform_geom("EPSG:4326", "EPSG:32633", mapping(ground.held_out))],
        second.pictures[0].geobox.shape,
        transform=second.pictures[0].geobox.affine,
    )
    cells = ground.cells(second.pictures[0], held_out=False).repeat(8, 0).repeat(8, 1)[:600, :700]
    assert inside[:, :190].all()  # the east of the first place
    assert not (cells & (inside == 1)).any()
    assert first.pictures[0].geobox != second.pictures[0].geobox


def test_a_named_place_is_kept_out_whole(places: tuple[Place, ...]) -> None:
    ground = hold_out(places, 0, ["33UVU"])
    assert not ground.cells(places[1].pictures[0], held_out=False).any()
    assert {"33UUU"} == Crops(ground, Cutting(SIZE)).names
    assert "33UVU" in Crops(ground, Cutting(SIZE), held_out=True).names
    assert shape(mapping(ground.held_out)).area > 0


def test_an_unknown_place_is_refused_with_the_names_there_are(places: tuple[Place, ...]) -> None:
    with pytest.raises(ValueError, match="no place is named Rome; there are 33UUU, 33UVU"):
        hold_out(places, 0.3, ["Rome"])


def test_a_single_image_teaches_nothing(folder: Path) -> None:
    with pytest.raises(NothingToLearn, match="there is one picture only"):
        gather([folder / "elsewhere_20210801.tif"])


def test_ground_too_small_for_a_crop_teaches_nothing(places: tuple[Place, ...]) -> None:
    with pytest.raises(NothingToLearn, match="the held-out ground holds no two pictures of 96 x 96 pixels"):
        Crops(hold_out(places, 0), Cutting(SIZE), held_out=True)


def test_what_is_held_out_is_judged_by_smaller_crops_where_it_is_narrow(places: tuple[Place, ...]) -> None:
    as_is, changed = held_out_crops(
        hold_out(places, 0.4), Cutting(256, farthest=4.0), 0
    )  # 360 columns, where turned crops need 364
    assert 192 == as_is.size == changed.size
    assert (2, 1, 192, 192) == as_is.sample(2).left.shape


def test_a_crop_shows_the_displacement_it_states(places: tuple[Place, ...]) -> None:
    """Measured by phase correlation, on the date whose georeference is off."""
    from sentinel_match.matchers.correlation import Correlator, part, peaks

    crops = Crops(hold_out(places[:1], 0), Cutting(SIZE, farthest=4), augment=False, seed=5)
    batch = crops.sample(12)
    errors = []
    for k in range(12):
        middle = np.full((1, 2), SIZE // 2, float)
        sides = [
            part([side[k, 0].numpy()], valid[k, 0].numpy() > 0, middle, 40, "intensity", torch.device("cpu"))
            for side, valid in ((batch.left, batch.left_valid), (batch.right, batch.right_valid))
        ]
        top = peaks(Correlator(*sides, 64, "intensity").surfaces(middle, middle, 7).height)
        errors.append(np.hypot(*(top.shift[0] - batch.shift[k].numpy())))
    assert np.median(errors) < 0.3
    assert np.abs(batch.shift.numpy()).max() > 2


def test_crops_are_the_same_for_the_same_seed_and_go_on_where_they_were(ground: Ground) -> None:
    one, other = (Crops(ground, Cutting(SIZE), seed=4) for _ in range(2))
    one.sample(3)
    other.resume(one.state())
    first, second = one.sample(3), other.sample(3)
    for left, right in zip((*first, *first.waves), (*second, *second.waves), strict=True):
        assert left is first.waves or torch.equal(left, right)


def test_what_is_hidden_from_either_side_is_not_clear(ground: Ground) -> None:
    batch = Crops(ground, Cutting(SIZE), seed=1).sample(24)
    assert ((batch.clear == 0) | (batch.left_valid > 0)).all()
    assert 0 < float(batch.clear.mean()) < 1
    assert (batch.left_valid == 0).any(), "some clouds are known to a mask"
    assert not batch.left[batch.left_valid == 0].any()
