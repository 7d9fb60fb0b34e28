"""Ground that moves: out of the correction where a user asks for stable ground, and in an image of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner

from sentinel_match import Options, TiePoints, match_scenes, read_ties, write, write_displacement, write_motion
from sentinel_match.cli import main
from sentinel_match.errors import NoMatch

EAST, NORTH, SIDE = 300_000.0, 5_900_040.0, 640
PATCH = slice(300, 360)
"""Rows and columns of what moves, 60 x 60 pixels of 10 m."""
SHIFT, MOVED = np.array([6.4, -3.2]), np.array([20.0, 0.0])
"""Metres: of all ground, and of the patch besides."""


def textured(dx: float = 0.0, dy: float = 0.0) -> np.ndarray:
    """Texture of 20 to 80 m, moved by pixels to the right and down."""
    rng = np.random.default_rng(4)
    noise = [cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), sigma) for sigma in (1.2, 4)]
    image = sum(part / part.std() for part in noise)
    return cv2.warpAffine(image, np.array([[1, 0, dx], [0, 1, dy]]), (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=2)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two images of ground of which a patch moves, and a mask of the ground that does not."""
    folder = tmp_path_factory.mktemp("moving")
    shift = SHIFT / (10, -10)
    left, right = textured(), textured(*shift)
    right[PATCH, PATCH] = textured(*(shift + MOVED / (10, -10)))[PATCH, PATCH]
    stable = np.ones((SIDE, SIDE), np.uint8)
    stable[PATCH, PATCH] = 0
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, EAST, 0, -10, NORTH), "width": SIDE, "height": SIDE}
    noise = np.random.default_rng(9)
    for name, pixels in (("left", left), ("right", right)):
        numbers = np.clip(3000 + 400 * (pixels + noise.normal(0, 0.05, pixels.shape)), 1, 10_000).astype(np.uint16)
        with rasterio.open(folder / f"{name}.tif", "w", driver="GTiff", count=1, dtype="uint16", **place) as file:
            file.write(numbers, 1)
    with rasterio.open(folder / "stable.tif", "w", driver="GTiff", count=1, dtype="uint8", **place) as file:
        file.write(stable, 1)
    return folder / "left.tif", folder / "right.tif", folder / "stable.tif"


def matched(scenes: tuple[Path, Path, Path], stable: Path | str | None) -> TiePoints:
    return match_scenes(*scenes[:2], Options(matcher="phase", stable=stable))


@pytest.fixture(scope="module", params=["mask", "auto"])
def kept(scenes: tuple[Path, Path, Path], request: pytest.FixtureRequest) -> TiePoints:
    return matched(scenes, scenes[2] if request.param == "mask" else "auto")


def middle() -> np.ndarray:
    """Places in the midst of the patch, which windows see alone."""
    x, y = np.meshgrid(np.arange(320, 341, 5), np.arange(320, 341, 5))
    return np.column_stack([EAST + 10 * x.ravel(), NORTH - 10 * y.ravel()])


def around() -> np.ndarray:
    """Places on all ground but within 80 m of the patch."""
    x, y = np.meshgrid(np.arange(30, SIDE - 30, 10), np.arange(30, SIDE - 30, 10))
    still = (np.maximum(np.abs(x - 330), np.abs(y - 330)) > 38).ravel()
    return np.column_stack([EAST + 10 * x.ravel(), NORTH - 10 * y.ravel()])[still]


def test_the_correction_on_stable_ground_knows_nothing_of_what_moves(kept: TiePoints) -> None:
    for at in (around(), middle()):
        assert np.abs(kept.transform.shift(at) - SHIFT).max() < 0.5  # 0.05 px


def test_motion_is_an_image_with_the_error_that_stable_ground_shows(kept: TiePoints, tmp_path: Path) -> None:
    write_motion(kept, tmp_path / "motion.tif")
    with rasterio.open(tmp_path / "motion.tif") as file:
        assert ("east", "north", "sigma") == file.descriptions
        moved = np.array(list(file.sample(middle())))
        still = np.array(list(file.sample(around())))
        tags = file.tags()
    assert np.abs(np.median(moved[:, :2], axis=0) - MOVED).max() < 0.15 * 20
    assert np.abs(np.median(still[:, :2], axis=0)).max() < 0.2
    assert (moved[:, 2] > 0).all()
    error = kept.summary.motion.stable
    assert np.hypot(error.mean_east, error.mean_north) < 0.3
    assert error.rmse_east < 1.0
    assert f"{error.rmse_east:g}" == tags["STABLE_RMSE_EAST"]


def test_a_file_of_points_keeps_the_motion(kept: TiePoints, tmp_path: Path) -> None:
    write(kept, tmp_path / "ties.geojson")
    write_motion(kept, tmp_path / "one.tif")
    write_motion(read_ties(tmp_path / "ties.geojson"), tmp_path / "other.tif")
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "other.tif").read_bytes()


def test_without_stable_ground_the_field_follows_what_moves(scenes: tuple[Path, Path, Path], tmp_path: Path) -> None:
    ties = matched(scenes, None)
    assert "field" == ties.transform.kind
    assert ties.summary.motion is None
    assert np.abs(np.median(ties.transform.shift(middle()), axis=0) - SHIFT - MOVED).max() < 0.15 * 20
    with pytest.raises(ValueError, match="do not tell stable ground"):
        write_motion(ties, tmp_path / "motion.tif")
    write_displacement(ties, tmp_path / "displacement.tif")


@pytest.mark.parametrize(
    ("moves", "said"),
    [
        (True, r"\d\.\d % of the points lie on it or beside it"),
        (False, "none was found: no patch of less than a quarter"),
    ],
)
def test_automatic_stable_ground_says_whether_any_ground_moves(
    scenes: tuple[Path, Path, Path], moves: bool, said: str, tmp_path: Path
) -> None:
    right = scenes[1]
    if not moves:
        right = tmp_path / "still.tif"
        pixels = np.clip(3000 + 400 * textured(*(SHIFT / (10, -10))), 1, 10_000).astype(np.uint16)
        with rasterio.open(scenes[1]) as file, rasterio.open(right, "w", **file.profile) as other:
            other.write(pixels, 1)
    words = ["match", str(scenes[0]), str(right), "--stable", "auto", "--matcher", "phase"]
    outputs = ["-o", f"{tmp_path}/ties.geojson", "--displacement", f"{tmp_path}/displacement.tif"]
    shown = CliRunner().invoke(main, [*words, *outputs])
    assert re.search(rf"moving ground +{said}", shown.stdout), shown.output
    summary = json.loads((tmp_path / "ties.geojson").read_text())["summary"]
    assert re.match(said, summary["moving_ground"])
    assert summary["moving_ground"] == read_ties(tmp_path / "ties.geojson").summary.comparison.moving_ground


def test_a_run_says_it_of_each_pair(scenes: tuple[Path, Path, Path], tmp_path: Path) -> None:
    pair = [str(path) for path in scenes[:2]]
    out = ["-o", f"{tmp_path}/out", "--cache", f"{tmp_path}/cache", "--no-project"]
    done = CliRunner().invoke(main, ["run", *pair, *out, "--stable", "auto", "--matcher", "phase"])
    assert re.search(r"moving ground of left__right: \d\.\d % of the points", done.stdout), done.output
    assert re.search(r"Moving ground</dt><dd>\d\.\d % of the points", (tmp_path / "out" / "report.html").read_text())


def test_ground_too_small_to_tell_what_moves_says_so(scenes: tuple[Path, Path, Path], tmp_path: Path) -> None:
    for path in scenes[:2]:
        with rasterio.open(path) as file:
            pixels, profile = file.read(1)[:96, :96], {**file.profile, "width": 96, "height": 96}
        with rasterio.open(tmp_path / path.name, "w", **profile) as file:
            file.write(pixels, 1)
    pair = [str(tmp_path / path.name) for path in scenes[:2]]
    done = CliRunner().invoke(
        main, ["match", *pair, "-o", f"{tmp_path}/t.csv", "--stable", "auto", "--matcher", "phase"]
    )
    assert re.search("moving ground +it cannot be told: too few single windows", done.stdout), done.output


def test_the_command_writes_motion_beside_the_displacement(scenes: tuple[Path, Path, Path], tmp_path: Path) -> None:
    left, right, stable = map(str, scenes)
    outputs = ["-o", f"{tmp_path}/ties.geojson", "--displacement", f"{tmp_path}/displacement.tif"]
    said = CliRunner().invoke(
        main, ["match", left, right, *outputs, "--stable", stable, "--matcher", "phase", "--json"]
    )
    assert 0 == said.exit_code, said.output
    assert (tmp_path / "motion.tif").is_file()
    assert json.loads(said.stdout)["motion"]["stable"]["nodes"] > 1000


STABLE_THAT_CANNOT_BE = {
    "nothing": ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}, "marks no ground of the left"),
    "a line": ({"type": "LineString", "coordinates": [[12.1, 53.2], [12.2, 53.1]]}, "points or lines, and no polygons"),
}


@pytest.mark.parametrize("name", list(STABLE_THAT_CANNOT_BE))
def test_stable_ground_that_is_none_is_told_before_anything_is_matched(
    name: str, scenes: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    geometry, reason = STABLE_THAT_CANNOT_BE[name]
    mask = tmp_path / "stable.geojson"
    mask.write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": geometry}))
    done = CliRunner().invoke(main, ["match", *map(str, scenes[:2]), "-o", f"{tmp_path}/t.csv", "--stable", str(mask)])
    assert 1 == done.exit_code
    assert reason in " ".join(done.output.split())
    assert not (tmp_path / "t.csv").exists()


def test_stable_ground_too_small_to_fit_is_refused_with_its_count(
    scenes: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    with rasterio.open(scenes[2]) as file:
        mask, profile = np.zeros_like(file.read(1)), file.profile
    mask[100:160, 100:160] = 1
    with rasterio.open(tmp_path / "small.tif", "w", **profile) as file:
        file.write(mask, 1)
    with pytest.raises(NoMatch, match=r"only \d windows? lies? on stable ground|only \d windows lie on stable ground"):
        matched(scenes, tmp_path / "small.tif")


@pytest.fixture(scope="module")
def glacier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Ground of which a disc of 110 px moves by 2 px, with a third of the texture that its surroundings have."""
    folder = tmp_path_factory.mktemp("glacier")
    y, x = np.mgrid[:SIDE, :SIDE]
    disc = np.hypot(x - 320, y - 320) < 55
    left, right = textured(), np.where(disc, textured(2.0, 0.0), textured())
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, EAST, 0, -10, NORTH), "width": SIDE, "height": SIDE}
    noise = np.random.default_rng(9)
    for name, pixels in (("left", left), ("right", right)):
        shown = np.where(disc, 0.3 * pixels, pixels) + noise.normal(0, 0.15, pixels.shape)
        with rasterio.open(folder / f"{name}.tif", "w", driver="GTiff", count=1, dtype="uint16", **place) as file:
            file.write(np.clip(3000 + 400 * shown, 1, 10_000).astype(np.uint16), 1)
    return folder / "left.tif", folder / "right.tif"


def test_a_glacier_less_distinct_than_its_surroundings_is_followed_and_not_taken_for_wrong_peaks(
    glacier: tuple[Path, Path],
) -> None:
    ties = match_scenes(*glacier, Options(matcher="phase"))
    on_it = np.hypot(*(ties.left_px - 320).T) < 40
    assert ties.inlier[on_it].mean() > 0.8
    assert "field" == ties.transform.kind
    assert np.abs(np.median(ties.transform.shift(middle()), axis=0) - (20, 0)).max() < 3


def test_a_glacier_less_distinct_than_its_surroundings_is_found_to_move(glacier: tuple[Path, Path]) -> None:
    ties = match_scenes(*glacier, Options(matcher="phase", stable="auto"))
    assert re.search("of the points lie on it", ties.summary.comparison.moving_ground)
    assert np.abs(np.median(ties.summary.motion.field.shift(middle()), axis=0) - (20, 0)).max() < 3
