"""Points of a displacement field that a person edited: the field stays, claims hold, and nothing is believed alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner

from sentinel_match import TiePoints, read_ties
from sentinel_match.cli import main
from sentinel_match.testing import Landscape, write_product

EAST, NORTH, SIDE = 300_000.0, 5_900_040.0, 640
WAVE, HIGH = 128.0, 0.6
"""Pixels: length of a wave along y, and its amplitude in x."""


def truth(at: np.ndarray) -> np.ndarray:
    """The displacement of the invented pair, metres east and north."""
    row = (NORTH - at[:, 1]) / 10
    return np.column_stack([10 * HIGH * np.sin(2 * np.pi * row / WAVE), np.zeros(len(at))])


def textured(moves: float) -> np.ndarray:
    rng = np.random.default_rng(4)
    noise = [cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), sigma) for sigma in (1.2, 4)]
    image = sum(part / part.std() for part in noise).astype(np.float32)
    x, y = np.meshgrid(np.arange(SIDE, dtype=np.float32), np.arange(SIDE, dtype=np.float32))
    shift = moves * np.sin(2 * np.pi * (y + 0.5) / WAVE)
    return cv2.remap(image, (x - shift).astype(np.float32), y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)


def cli(*words: object) -> str:
    outcome = CliRunner().invoke(main, [str(word) for word in words])
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


@pytest.fixture(scope="module")
def matched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The points of a pair whose ground moves as a wave, as `match` writes them."""
    folder = tmp_path_factory.mktemp("wave")
    noise = np.random.default_rng(9)
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, EAST, 0, -10, NORTH), "width": SIDE, "height": SIDE}
    for name, moves in (("left", 0.0), ("right", HIGH)):
        pixels = textured(moves) + noise.normal(0, 0.1, (SIDE, SIDE))
        with rasterio.open(folder / f"{name}.tif", "w", driver="GTiff", count=1, dtype="uint16", **place) as file:
            file.write(np.clip(3000 + 400 * pixels, 1, 10_000).astype(np.uint16), 1)
    out = folder / "ties.geojson"
    cli("match", folder / "left.tif", folder / "right.tif", "--matcher", "phase", "-o", out)
    assert "field" == read_ties(out).transform.kind
    return out


def after(matched: Path, folder: Path, edit: Callable[[list[dict]], list[dict]], *words: str) -> TiePoints:
    """Edit the features of a file, and fit again from the command line."""
    collection = json.loads(matched.read_text())
    collection["features"] = edit(collection["features"])
    (folder / "edited.geojson").write_text(json.dumps(collection))
    cli("fit", folder / "edited.geojson", "-o", folder / "again.geojson", *words)
    return read_ties(folder / "again.geojson")


def errors(ties: TiePoints) -> tuple[np.ndarray, np.ndarray]:
    """How far a transform errs at places that both images show, and the standard deviation that it states there."""
    at = ties.uncertainty.nodes[3:-3, 3:-3].reshape(-1, 2)
    return np.hypot(*(ties.transform.shift(at) - truth(at)).T), ties.uncertainty.at(at)[0]


def hole(feature: dict, side: float = 800.0) -> bool:
    """Tell whether a point lies in a square in the middle."""
    own = feature["properties"]
    middle = np.array([EAST + 5 * SIDE, NORTH - 5 * SIDE])
    return bool(np.abs(np.array([own["left_x"], own["left_y"]]) - middle).max() < side / 2)


def test_a_deleted_row_leaves_the_field_and_lowers_no_claim(matched: Path, tmp_path: Path) -> None:
    before = read_ties(matched)
    again = after(matched, tmp_path, lambda features: features[:400] + features[401:])
    assert "field" == again.transform.kind
    assert np.hypot(*(again.transform(again.left_xy) - before.transform(again.left_xy)).T).max() < 0.6
    for claim in ("ce90", "ce95"):
        assert getattr(again.summary.hold_out, claim) >= getattr(before.summary.hold_out, claim)
        interval = f"{claim}_interval"
        assert getattr(again.summary.hold_out, interval)[1] >= getattr(before.summary.hold_out, interval)[1]
    assert min(np.subtract(again.summary.shift_sigma_m, before.summary.shift_sigma_m)) >= 0
    assert again.inlier.sum() >= before.inlier.sum() - 5


@pytest.mark.parametrize("side", [300.0, 800.0, 1600.0])
def test_truth_stays_below_the_claim_where_points_were_deleted(matched: Path, tmp_path: Path, side: float) -> None:
    again = after(matched, tmp_path, lambda features: [f for f in features if not hole(f, side)])
    assert "field" == again.transform.kind
    off, sigma = errors(again)
    assert np.percentile(off, 95) <= again.summary.hold_out.ce95_interval[1]
    assert np.percentile(off / sigma, 95) < 3.5  # 2.4 of two normal errors
    inside = np.abs(again.uncertainty.nodes[3:-3, 3:-3].reshape(-1, 2) - [EAST + 5 * SIDE, NORTH - 5 * SIDE])
    inside = inside.max(1) < side / 2
    assert np.sqrt((off[inside] ** 2).mean() / 2) < 1.5 * np.sqrt((sigma[inside] ** 2).mean())


def test_a_fit_of_what_was_fitted_says_the_same(matched: Path, tmp_path: Path) -> None:
    def reject(features: list[dict]) -> list[dict]:
        for feature in filter(hole, features):
            feature["properties"]["inlier"] = False
            feature["properties"]["reason"] = ""
        return features

    one = after(matched, tmp_path, reject)
    two = after(tmp_path / "again.geojson", tmp_path, lambda features: features)
    assert "field" == one.transform.kind == two.transform.kind
    assert np.abs(one.transform(one.left_xy) - two.transform(one.left_xy)).max() < 0.01
    assert abs(one.summary.hold_out.ce95 - two.summary.hold_out.ce95) < 0.01


def test_a_moved_row_is_not_believed_against_its_neighbourhood(matched: Path, tmp_path: Path) -> None:
    def move(features: list[dict]) -> list[dict]:
        lon, lat = features[400]["geometry"]["coordinates"]
        features[400]["geometry"]["coordinates"] = [lon + 0.0005, lat]  # about 34 m
        return features

    before, again = read_ties(matched), after(matched, tmp_path, move)
    assert "field" == again.transform.kind
    assert before.inlier[400]
    assert not again.inlier[400]
    assert np.hypot(*(again.transform(before.left_xy) - before.transform(before.left_xy)).T).max() < 0.6


def test_a_row_whose_right_end_is_put_elsewhere_is_not_believed(matched: Path, tmp_path: Path) -> None:
    def put(features: list[dict]) -> list[dict]:
        features[400]["properties"]["right_x"] += 25.0
        return features[1:]

    again = after(matched, tmp_path, put)
    assert read_ties(matched).inlier[400]
    assert not again.inlier[399]


def test_an_edit_of_points_of_one_shift_lowers_no_claim(tmp_path: Path) -> None:
    pair = [
        write_product(tmp_path, Landscape(7), date=date, pixels=480, displacement=by)
        for date, by in (("2021-05-20", (0, 0)), ("2021-06-10", (6.4, 18.1)))
    ]
    cli("match", *pair, "--matcher", "phase", "-o", tmp_path / "ties.geojson")
    before = read_ties(tmp_path / "ties.geojson")
    again = after(tmp_path / "ties.geojson", tmp_path, lambda features: features[1:])
    assert again.summary.hold_out.ce95_interval[1] >= before.summary.hold_out.ce95_interval[1]


def test_a_stiff_model_that_is_asked_for_claims_what_it_leaves(matched: Path, tmp_path: Path) -> None:
    again = after(matched, tmp_path, lambda features: features[1:], "--model", "translation")
    assert "translation" == again.transform.kind
    off, _ = errors(again)
    assert np.percentile(off, 95) <= again.summary.hold_out.ce95_interval[1]


def test_points_without_a_field_say_that_a_stiff_model_is_fitted(matched: Path, tmp_path: Path) -> None:
    cli("fit", matched, "-o", tmp_path / "points.csv")
    said = cli("fit", tmp_path / "points.csv", "-o", tmp_path / "again.geojson")
    assert "points.csv holds no displacement field, only points, so a stiff model is fitted to them" in said
    assert "holds no displacement field" not in cli("fit", matched, "-o", tmp_path / "same.geojson")


def test_a_field_that_is_asked_for_needs_no_fit_of_points_first(tmp_path: Path) -> None:
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, EAST, 0, -10, NORTH), "width": 220, "height": 220}
    for name, moves in (("left", 0.0), ("right", HIGH)):
        pixels = textured(moves)[:220, :220]
        with rasterio.open(tmp_path / f"{name}.tif", "w", driver="GTiff", count=1, dtype="uint16", **place) as file:
            file.write(np.clip(3000 + 400 * pixels, 1, 10_000).astype(np.uint16), 1)
    words = ("--matcher", "phase", "--model", "field", "-o", tmp_path / "ties.geojson")
    cli("match", tmp_path / "left.tif", tmp_path / "right.tif", *words)
    ties = read_ties(tmp_path / "ties.geojson")
    assert "field" == ties.transform.kind
    at = ties.left_xy[ties.inlier]
    assert (
        np.percentile(np.hypot(*(ties.transform.shift(at) - truth(at)).T), 95) < ties.summary.hold_out.ce95_interval[1]
    )


def test_motion_has_an_asset_beside_the_displacement(tmp_path: Path) -> None:
    pair = [
        write_product(tmp_path, Landscape(7), date=date, pixels=480, displacement=by)
        for date, by in (("2021-05-20", (0, 0)), ("2021-06-10", (6.4, 18.1)))
    ]
    cli("match", *pair, "--matcher", "phase", "--stable", "auto", "-o", tmp_path / "ties.geojson")
    cli("prepare", tmp_path / "ties.geojson", "-o", tmp_path / "stack")
    assets = json.loads((tmp_path / "stack" / "right.json").read_text())["assets"]
    assert (tmp_path / "stack" / "motion.tif").exists()
    motion, displacement = assets["motion"], assets["displacement"]
    assert "./motion.tif" == motion["href"]
    assert displacement["roles"] == motion["roles"]
    assert displacement["type"] == motion["type"]
    assert 3 == len(motion["raster:bands"])
    assert "Motion of the ground against stable ground, with its uncertainty" == motion["title"]


@pytest.fixture(scope="module")
def sheared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The points of a pair that is sheared by 1.2 px from north to south, as `match` writes them."""
    folder = tmp_path_factory.mktemp("shear")
    rng, noise = np.random.default_rng(4), np.random.default_rng(9)
    image = sum(cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), sigma) * 4 * sigma for sigma in (1.2, 4))
    x, y = np.meshgrid(np.arange(SIDE, dtype=np.float32), np.arange(SIDE, dtype=np.float32))
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, EAST, 0, -10, NORTH), "width": SIDE, "height": SIDE}
    for name, moves in (("left", 0.0), ("right", 1.2)):
        to_x = (x - moves * (y + 0.5) / SIDE).astype(np.float32)
        shown = cv2.remap(image.astype(np.float32), to_x, y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
        pixels = shown + noise.normal(0, 0.1, shown.shape)
        with rasterio.open(folder / f"{name}.tif", "w", driver="GTiff", count=1, dtype="uint16", **place) as file:
            file.write(np.clip(3000 + 400 * pixels, 1, 10_000).astype(np.uint16), 1)
    out = folder / "ties.geojson"
    cli("match", folder / "left.tif", folder / "right.tif", "--matcher", "phase", "-o", out)
    assert "field" != read_ties(out).transform.kind
    return out


@pytest.mark.parametrize("deepest", [900.0, 1800.0])
def test_a_strip_that_is_left_of_the_points_proves_nothing_of_the_rest(
    sheared: Path, tmp_path: Path, deepest: float
) -> None:
    """The proof, the second estimator, the coverage and the image of the displacement are of all ground."""
    before = read_ties(sheared)
    again = after(
        sheared, tmp_path, lambda features: [f for f in features if f["properties"]["left_y"] > NORTH - deepest]
    )
    at = again.uncertainty.nodes[3:-3, 3:-3].reshape(-1, 2)
    assert again.uncertainty.shape == before.uncertainty.shape
    off = np.hypot(
        *(again.transform.shift(at) - np.column_stack([12 * (NORTH - at[:, 1]) / 10 / SIDE, 0 * at[:, 0]])).T
    )
    assert np.percentile(off, 95) <= again.summary.hold_out.ce95_interval[1]
    assert np.percentile(off / again.uncertainty.at(at)[0], 95) < 3.5
    compared = again.summary.comparison
    assert compared.coverage.share < 0.5
    assert compared.coverage.extrapolated_share > 0.3
    left_over = np.median(again.transform.shift(at) - before.transform.shift(at), 0)
    second, first = compared.second, before.summary.comparison.second
    change = np.subtract((second.after_dx_m, second.after_dy_m), (first.after_dx_m, first.after_dy_m))
    assert change == pytest.approx(-left_over, abs=0.1)
    if np.abs(left_over).max() > 2:
        assert again.summary.doubtful
