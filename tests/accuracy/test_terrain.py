"""Errors of heights: told by the direction in which they move the ground, and only where they can be told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.warp import calculate_default_transform, reproject
from scipy.ndimage import gaussian_filter

from sentinel_match import Options, TiePoints, read_ties, run
from sentinel_match.accuracy.ground import Ground
from sentinel_match.accuracy.relief import height_relations
from sentinel_match.accuracy.terrain import Parallax, split, terrain_effect
from sentinel_match.cli import main
from sentinel_match.cli.terminal import print_summary
from sentinel_match.errors import BadHeights
from sentinel_match.geometry import halves, lattice
from sentinel_match.products.angles import ViewAngles
from sentinel_match.raster.heights import Heights, read_heights
from sentinel_match.run_folder import TIES
from sentinel_match.testing import InventedProduct, Landscape
from sentinel_match.testing.terrain import Terrain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from sentinel_match.comparison import TerrainEffect

SHAPE, STEP, CRS = (60, 60), 80.0, "EPSG:32633"
NOISE = 0.5
"""Metres."""


def views(east: float, north: float) -> ViewAngles:
    tangent = np.broadcast_to([east, north], (3, 3, 2)).astype(float)
    return ViewAngles(tangent, (400_000.0, 5_800_000.0), (5000.0, 5000.0), CRS)


def smooth(seed: int, width: float = 3.0) -> NDArray[np.float64]:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), width)
    return field / field.std()


def ground(shift: NDArray[np.float64], noise: float = NOISE) -> Ground:
    """A displacement as it would be measured."""
    x, y = np.meshgrid(400_000 + STEP * np.arange(SHAPE[1]), 5_800_000 - STEP * np.arange(SHAPE[0]))
    rng, full = np.random.default_rng(9), np.ones(SHAPE, bool)
    own, moved = rng.normal(0, noise, (2, *SHAPE, 2)), shift + 6.4
    shared = np.sqrt(halves.SHARED_NOISE * halves.NOISE_RATIO / 2) * rng.normal(0, noise, (*SHAPE, 2))
    answers = halves.Answers(
        moved + shared + own.mean(0), moved + shared + own[0], moved + shared + own[1], full / NOISE**2, full
    )
    in_pixels = answers._replace(whole=answers.whole / 10, one=answers.one / 10, other=answers.other / 10)
    field = lattice.estimate(in_pixels, 8)
    metres = replace(
        field,
        whole=field.whole * 10,
        one=field.one * 10,
        other=field.other * 10,
        variance=field.variance * 100,
        unseen=field.unseen * 100,
    )
    return Ground(np.stack([x, y], -1), full, full, answers, metres, 10.0, (0, 0), full, np.full(SHAPE, 320.0))


def told(place: Ground, left: ViewAngles, right: ViewAngles) -> TerrainEffect:
    effect = terrain_effect(place, Parallax.of(place.at, left, right, CRS))
    assert effect is not None
    return effect


EAST, WEST = views(0.18, -0.04), views(-0.18, 0.04)


def test_errors_of_heights_are_told_in_metres() -> None:
    error = 8 * smooth(1)
    effect = told(ground(error[..., None] * [-0.36, 0.08]), EAST, WEST)
    assert effect.detected
    assert [20.9, 282.5, 0.369] == pytest.approx(
        [effect.views_deg, effect.azimuth_deg, effect.shift_per_metre], abs=0.1
    )
    assert [8, 8] == pytest.approx([effect.nmad_m, effect.rms_m], abs=2)
    assert effect.along_m == pytest.approx(8 * 0.369, rel=0.1)
    assert effect.across_m is not None
    assert effect.across_m < 0.3
    assert effect.share is not None
    assert effect.share > 0.95
    assert effect.correlation is not None
    assert effect.correlation > 0.9
    assert "the height model errs by" in effect.verdict


def test_the_sign_is_that_of_model_less_ground() -> None:
    bare = ground(np.zeros((*SHAPE, 2)))
    hill = 12 * np.exp(-((bare.at - bare.at[30, 30]) ** 2).sum(-1) / 2 / 500**2)
    place = ground(hill[..., None] * [-0.36, 0.08])
    parts = split(place, Parallax.of(place.at, EAST, WEST, CRS))
    assert parts.height[30, 30] == pytest.approx(12, abs=1)
    assert parts.height[5, 5] == pytest.approx(0, abs=1)
    assert np.abs(parts.across).max() < 0.6


def test_what_moves_in_every_direction_is_no_terrain() -> None:
    effect = told(ground(2 * np.stack([smooth(1), smooth(2)], -1)), EAST, WEST)
    assert effect.detected is False
    assert effect.share is not None
    assert effect.share_sigma is not None
    assert abs(effect.share - 0.5) < 3 * effect.share_sigma
    assert "no errors of heights show" in effect.verdict
    across = told(ground(2 * smooth(1)[..., None] * [0.2, 0.9]), EAST, WEST)
    assert across.detected is False
    assert across.share is not None
    assert across.share < 0.1


@pytest.mark.parametrize("noise", [0.05, 0.5, 2.0])
def test_noise_is_no_terrain_and_says_what_could_hide_in_it(noise: float) -> None:
    effect = told(ground(np.zeros((*SHAPE, 2)), noise), EAST, WEST)
    assert effect.detected is False
    assert effect.limit_m is not None
    assert 0 < effect.limit_m < 3 * noise


def test_views_from_one_side_cannot_tell() -> None:
    effect = told(ground(smooth(1)[..., None] * [0.36, 0.08]), EAST, views(0.178, -0.042))
    assert effect.detected is None
    assert effect.nmad_m is None
    assert "cannot show" in effect.verdict


def test_where_nobody_says_from_where_nothing_is_told() -> None:
    place = ground(np.zeros((*SHAPE, 2)))
    off = replace(EAST, corner=(0.0, 0.0))
    assert terrain_effect(place, Parallax.of(place.at, off, WEST, CRS)) is None


def products(folder: Path, terrain: Terrain, pixels: int = 420) -> tuple[InventedProduct, InventedProduct]:
    """Two orbits over one tile."""
    left = InventedProduct(
        landscape=Landscape(3, terrain=terrain), date="2023-05-14", view=10.5, pixels=pixels, masks=False
    )
    right = replace(left, date="2023-05-17", orbit=65, view=-10.5, displacement=(6.4, 18.1))
    for product in (left, right):
        product.write(folder)
    return left, right


def matched(folder: Path, terrain: Terrain) -> tuple[TiePoints, float]:
    """Tie points of a run of two orbits, read back, and the RMSE of their correction in pixels inside a rim."""
    pair = products(folder / "archive", terrain)
    run(folder / "archive", folder / "out", Options(matcher="phase"))
    ties = read_ties(next((folder / "out").rglob(TIES)))
    box = ties.left.geobox
    assert box is not None
    bounds = box.boundingbox
    axes = [
        np.arange(low + 320, high - 320, 40.0)
        for low, high in ((bounds.left, bounds.right), (bounds.bottom, bounds.top))
    ]
    place = np.array(np.meshgrid(*axes))
    moved = [p.look.displacement if callable(p.look.displacement) else _by(p.look.displacement) for p in pair]
    at = place
    for _ in range(4):  # the ground that the left image shows there
        at = place - moved[0](*at)
    off = ties.transform(place.reshape(2, -1).T) - (at + moved[1](*at)).reshape(2, -1).T
    return ties, float(np.sqrt((off**2).sum(1).mean())) / ties.gsd


def _by(shift: tuple[float, float]) -> Callable[..., NDArray[np.float64]]:
    return lambda x, _: np.multiply.outer(shift, np.ones(x.shape))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("orbits")


@pytest.fixture(scope="module")
def two_orbits(folder: Path) -> tuple[TiePoints, float]:
    return matched(folder, Terrain(3, error_m=16.0))


def test_two_orbits_over_wrong_heights_are_corrected(two_orbits: tuple[TiePoints, float]) -> None:
    ties, error = two_orbits
    assert "field" == ties.transform.kind
    assert error < 0.08
    assert ties.summary.comparison is not None
    effect = ties.summary.comparison.terrain
    assert effect is not None
    assert effect.detected
    assert effect.share is not None
    assert effect.share > 0.8


def test_two_orbits_over_right_heights_stay_as_they_are(tmp_path: Path) -> None:
    ties, error = matched(tmp_path, Terrain(3, error_m=0.0))
    assert error < 0.02
    assert ties.summary.comparison is not None
    effect = ties.summary.comparison.terrain
    assert effect is not None
    assert effect.detected is False


def test_the_page_the_terminal_and_the_files_say_it(
    two_orbits: tuple[TiePoints, float], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = two_orbits[0].summary
    assert summary.comparison is not None
    assert summary.comparison.terrain is not None
    verdict = summary.comparison.terrain.verdict
    assert "the height model errs by" in verdict
    print_summary("left", "right", summary)
    assert verdict[:60] in " ".join(capsys.readouterr().out.split())
    assert verdict[1:] in (folder / "out" / "report.html").read_text(encoding="utf-8")
    record = json.loads(next((folder / "out").rglob(TIES)).read_text(encoding="utf-8"))
    assert verdict in json.dumps(record, ensure_ascii=False)


def relations(place: Ground, altitude: NDArray[np.float64], parts: dict[str, tuple[float, float]]) -> dict[str, Any]:
    directions = {name: np.broadcast_to(unit, place.at.shape) for name, unit in parts.items()}
    slope = np.degrees(np.arctan(np.hypot(*np.gradient(altitude, STEP))))
    found = height_relations(place, directions, Heights(altitude, slope))
    return {f"{one.of} {one.part}": one for one in found}


def test_a_shift_that_grows_with_altitude_is_told() -> None:
    altitude = 500 + 100 * smooth(4)
    lean = np.stack(np.meshgrid(np.linspace(0, 2, 60), np.linspace(0, 1, 60)), -1)  # a plane over the map besides
    found = relations(ground(0.01 * altitude[..., None] * [1, 0] + lean), altitude, {"east": (1, 0), "north": (0, 1)})
    assert ["altitude east", "altitude north", "slope east", "slope north"] == list(found)
    along = found["altitude east"]
    assert along.related
    assert along.gain_m == pytest.approx(1, abs=3 * along.gain_sigma_m + 0.01)
    assert along.verdict.endswith("m per 100 m to the east")
    medians = [one.median_m for one in along.bins]
    assert 8 == len(medians)
    assert sorted(medians) == medians
    assert all(one.interval_m[0] < one.median_m < one.interval_m[1] for one in along.bins)
    assert not found["altitude north"].related
    assert found["altitude north"].verdict.startswith("no relation to the north")


@pytest.mark.parametrize("width", [1.5, 4])
def test_smooth_fields_agree_by_chance_and_are_seldom_called_related(width: float) -> None:
    related = []
    for k in range(20):
        place = ground(smooth(k, width)[..., None] * [1, 0], 0.05)
        related += [relations(place, 100 * smooth(50 + k, width), {"east": (1, 0)})["altitude east"].related]
    assert sum(related) <= 4


def test_flat_ground_has_no_relation() -> None:
    assert {} == relations(ground(np.zeros((*SHAPE, 2))), 100 + smooth(1), {"east": (1, 0)})


def test_heights_of_any_crs_are_laid_on_the_nodes(tmp_path: Path) -> None:
    terrain, place = Terrain(2), ground(np.zeros((*SHAPE, 2)))
    box = GeoBox.from_bbox((399_000, 5_794_000, 406_000, 5_801_000), crs=CRS, resolution=20)
    model = terrain.write(tmp_path / "dem.tif", box)
    turned = tmp_path / "degrees.tif"
    with rasterio.open(model) as source:
        transform, width, height = calculate_default_transform(source.crs, "EPSG:4326", 350, 350, *source.bounds)
        shape = {"width": width, "height": height, "count": 1, "dtype": "float32", "nodata": -9999}
        with rasterio.open(turned, "w", "GTiff", crs="EPSG:4326", transform=transform, **shape) as target:
            reproject(rasterio.band(source, 1), rasterio.band(target, 1), resampling=Resampling.bilinear)
    truth = terrain.height(place.at[0, :, 0], place.at[:, 0, 1])
    for path in (model, turned):
        heights = read_heights(path, place.at, CRS)
        assert heights.altitude == pytest.approx(truth, abs=25)
        assert np.abs(heights.altitude - truth).mean() < 4
        assert 2 < np.median(heights.slope) < 30


NO_MODELS: dict[str, Callable[[Path], object]] = {
    "absent": lambda path: None,
    "no raster": lambda path: path.write_text("heights"),
    "a program": lambda path: path.write_text("<VRTDataset><x/></VRTDataset>"),
    "nowhere": lambda path: cv2.imwrite(str(path), np.zeros((9, 9), np.uint8)),
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("how", NO_MODELS)
def test_what_is_no_height_model_is_told(tmp_path: Path, how: str) -> None:
    path = tmp_path / "dem.tif"
    NO_MODELS[how](path)
    with pytest.raises(BadHeights, match=r"height model .*dem\.tif cannot be used"):
        read_heights(path, ground(np.zeros((*SHAPE, 2))).at, CRS)


def test_a_height_model_goes_from_the_command_line_to_the_page(tmp_path: Path) -> None:
    terrain = Terrain(3, error_m=2.0, error_per_height=0.02)
    left, _ = products(tmp_path / "archive", terrain)
    bounds = left.grids["T33UUU"].boundingbox
    model = terrain.write(tmp_path / "my <dem>.tif", GeoBox.from_bbox(tuple(bounds), crs=CRS, resolution=30))
    out = tmp_path / "out"
    result = CliRunner().invoke(
        main, ["run", str(tmp_path / "archive"), "-o", str(out), "--matcher", "phase", "--dem", str(model)]
    )
    assert 0 == result.exit_code, result.output
    ties = read_ties(next(out.rglob(TIES)))
    assert ties.summary.comparison is not None
    effect = ties.summary.comparison.terrain
    assert effect is not None
    assert model.name == effect.dem
    altitude = next(one for one in effect.relations if (one.of, one.part) == ("altitude", "along"))
    assert altitude.related
    assert altitude.gain_m == pytest.approx(100 * 0.02 * 0.371, abs=0.25)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "my &lt;dem&gt;.tif" in page
    assert 'aria-label="Shift against altitude and slope"' in page
    again = CliRunner().invoke(
        main, ["run", str(tmp_path / "archive"), "-o", str(out), "--matcher", "phase", "--dem", str(model)]
    )
    assert "kept" in again.output
