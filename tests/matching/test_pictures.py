"""Pictures as people have them: winter and summer, as a negative, of another band, framed, with a legend, as a JPEG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

from sentinel_match.images import ImageMatcher
from sentinel_match.images.source import view_of
from sentinel_match.matchers import Arrays, Matches
from sentinel_match.matchers.aliked import AlikedLightGlue
from sentinel_match.matchers.loftr import LoFTR
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.matching.attempt import Search
from sentinel_match.matching.orientation import describe
from sentinel_match.matching.sweep import Sighting, sweep
from sentinel_match.matching.unguided import relate
from sentinel_match.matching.view import View, turned
from sentinel_match.testing.checks import example_pair

OFFSET = (12.0, -9.0)
"""Columns and rows by which the right picture shows the same ground further right and down."""


def grey(shared: Path, date: str, band: int, col: int = 40, row: int = 40) -> np.ndarray:
    """A picture of 300 px of the reservoir of Boadella, whose water level and forests differ."""
    with rasterio.open(shared / "boadella_10m" / f"{date}_12bands.tif") as file:
        pixels = file.read(band, window=((row, row + 300), (col, col + 300))).astype(np.float32)
    low, high = np.percentile(pixels, (0.5, 99.5))
    return np.clip((pixels - low) / (high - low) * 255, 0, 255).astype(np.uint8)


def as_in_a_report(picture: np.ndarray) -> np.ndarray:
    """A frame, a legend and text over the ground, and all of it as a JPEG of low quality."""
    framed = cv2.rectangle(picture.copy(), (6, 6), (293, 293), 255, 3)
    framed[230:280, 20:120] = 255
    cv2.putText(framed, "Sentinel-2", (24, 260), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 0, 1)
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", framed, [cv2.IMWRITE_JPEG_QUALITY, 25])[1], 0))


def mirrored(picture: np.ndarray) -> np.ndarray:
    return picture[:, ::-1]


def seen(left: np.ndarray, right: np.ndarray) -> Sighting:
    return sweep(describe(view_of(left)), describe(view_of(right)), (1.0, 1.0))


@pytest.mark.real
@pytest.mark.parametrize(
    ("band", "change"),
    [(4, np.array), (4, np.invert), (8, np.array), (11, np.array), (4, as_in_a_report)],
    ids=["winter and summer", "negative", "red and near infrared", "red and short-wave", "report"],
)
def test_a_real_place_is_found_in_summer(band: int, change: Callable[[np.ndarray], np.ndarray], shared: Path) -> None:
    winter = grey(shared, "20200128", 4)
    left = as_in_a_report(winter) if change is as_in_a_report else winter
    sighting = seen(left, change(grey(shared, "20220601", band, 40 - int(OFFSET[0]), 40 - int(OFFSET[1]))))
    assert sighting.found
    assert abs(sighting.angle) < 1
    assert sighting.matrix[:2, 2] == pytest.approx(OFFSET, abs=4)


@pytest.mark.real
def test_a_mirrored_real_place_is_refused(shared: Path) -> None:
    """Of one date: whatever agrees but for the mirror agrees to the last digit."""
    picture = grey(shared, "20220601", 4)
    assert seen(picture, picture).found
    assert not seen(picture, mirrored(picture)).found


@pytest.mark.real
def test_what_reports_add_to_pictures_is_no_ground(shared: Path) -> None:
    here = grey(shared, "20220601", 4)
    with rasterio.open(shared / "etna_17m" / "20170306_13bands.tif") as file:
        there = file.read(4, window=((100, 400), (100, 400))).astype(np.float32)
    elsewhere = np.clip(255 * (there - there.min()) / np.ptp(there), 0, 255).astype(np.uint8)
    assert not seen(as_in_a_report(here), as_in_a_report(elsewhere)).found


def test_a_mirrored_picture_is_no_match_and_says_why() -> None:
    pair = example_pair(shift=(0.0, 0.0), size=200)
    result = ImageMatcher().match_images(pair.left, mirrored(pair.right))
    assert result.model is None
    assert "no angle, scale and offset shows more of the same than unrelated ground does" in result.why


@pytest.mark.parametrize("kind", [LoFTR, AlikedLightGlue], ids=lambda kind: kind.name)
def test_a_learned_matcher_sees_the_right_picture_turned_upright_and_is_told_where_to_look(
    kind: type[LoFTR] | type[AlikedLightGlue], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[np.ndarray] = []
    priors: list[GeometricPrior | None] = []

    def look(_self: object, pixels: np.ndarray, _valid: np.ndarray) -> Arrays:
        shown.append(pixels)
        return {"keypoints": np.empty((0, 2))}

    def tell(_self: object, _left: Arrays, _right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        priors.append(prior)
        return Matches.none()

    monkeypatch.setattr(kind, "describe", look)
    monkeypatch.setattr(kind, "match", tell)
    pair = example_pair(shift=(0.0, 0.0), size=256)
    right = turned(View.of(pair.right, pair.right_valid), 70)
    relation = relate(View.of(pair.left, pair.left_valid), View.of(right.pixels, right.valid), Search(kind()))
    assert relation.model is not None  # by another matcher, as this one finds nothing
    left, upright = shown
    assert np.corrcoef(left[40:-40, 40:-40].ravel(), upright[40:-40, 40:-40].ravel())[0, 1] > 0.7
    (prior,) = priors
    assert prior is not None
    assert prior.radius < 20
    middle = np.array([[128.0, 128.0]])
    assert prior.expected(middle) == pytest.approx(middle, abs=4)
