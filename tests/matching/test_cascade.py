"""From two images to correspondences that are believed, on invented ground whose displacement is known."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy.ndimage import gaussian_filter

from sentinel_match import matchers
from sentinel_match.cache import Cache
from sentinel_match.errors import WeightsMissing
from sentinel_match.geometry import grids
from sentinel_match.matchers import Arrays, Matches, create
from sentinel_match.matchers.phase import Phase
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.matchers.sift import Sift
from sentinel_match.matching import cascade, cells
from sentinel_match.matching.cascade import CHECKING_MATCHER, DECIDING_MATCHER, HELPING_MATCHER, correspond
from sentinel_match.matching.correspondences import Correspondences, MatchInput, Method
from sentinel_match.matching.view import View, turned
from sentinel_match.models.weights import Weights
from sentinel_match.raster.landcover import Class
from sentinel_match.raster.raster import Raster
from sentinel_match.raster.transitions import Context
from sentinel_match.testing import Landscape

SHIFT = (7.3, -4.6)
GROUND = Landscape(seed=7)
QUICK = Phase(spacing=16, device="cpu")


def box(rows: int = 320, cols: int = 320, row: int = 96, col: int = 96) -> GeoBox:
    """Pixels of 10 m, counted from the corner of a cell: by default the middle of one."""
    corner = 60 * cells.CELL_SIDE + col, 1000 * cells.CELL_SIDE - row
    return GeoBox((rows, cols), Affine(10, 0, 10 * corner[0], 0, -10, 10 * corner[1]), "EPSG:32633")


def image(
    season: Any = "summer",
    shift: tuple[float, float] = (0.0, 0.0),
    grid: GeoBox | None = None,
    band: str = "B04",
    ground: Landscape = GROUND,
) -> Raster:
    """What shows the ground (x, y) pixels further right and down than it is."""
    grid = grid or box()
    pixels = ground.render(grid, season, band, displacement=(10 * shift[0], -10 * shift[1]))
    low, high = np.percentile(pixels, (1, 99))
    return Raster(((pixels - low) / (high - low)).clip(0, 1), np.ones(grid.shape, bool), grid)


SUMMER, AUTUMN = MatchInput((image(),)), MatchInput((image("autumn", SHIFT),))
ELSEWHERE = MatchInput((image(ground=Landscape(seed=99)),))


def errors(
    matches: Correspondences, left: MatchInput, right: MatchInput, shift: tuple[float, float] = SHIFT
) -> np.ndarray:
    """Measure (N,) pixels by which each correspondence misses the truth."""
    p, q = grids.to_metres(left.first.geobox, matches.left), grids.to_metres(right.first.geobox, matches.right)
    return np.hypot(*((q - p) / (10, -10) - shift).T)


def model_error(matches: Correspondences, left: MatchInput, shift: tuple[float, float] = SHIFT) -> float:
    """Measure the pixels by which the model misses the truth at worst, over the image."""
    assert matches.model is not None, matches.why
    rows, cols = left.first.valid.shape
    corners = grids.to_metres(left.first.geobox, np.array([[0, 0], [cols, 0], [0, rows], [cols, rows]], float))
    return float(np.hypot(*(matches.model.shift(corners) / (10, -10) - shift).T).max())


@pytest.fixture
def unlearned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the weights of the learned method, which also makes tests quick."""
    monkeypatch.setattr(
        cascade,
        "available_matcher",
        lambda name, device: None if name in {HELPING_MATCHER, DECIDING_MATCHER} else cascade.matchers.create(name),
    )


# One method, or several


def test_the_cascade_is_right_where_it_believes_and_says_who_confirmed() -> None:
    matches = correspond(SUMMER, AUTUMN)
    assert "phase, confirmed by sift" == matches.why
    assert model_error(matches, SUMMER) < 0.3
    error = errors(matches, SUMMER, AUTUMN)
    assert matches.inlier.sum() > 500
    assert error[matches.inlier].max() < 1.3
    assert (error[matches.inlier] < 1).mean() > 0.99
    assert {"phase", "sift"} == set(matches.method[matches.inlier])
    assert 1 == matches.cells


@pytest.mark.parametrize("matcher", [QUICK, Sift()], ids=lambda m: m.name)
def test_a_single_method_answers_for_itself(matcher: matchers.Matcher) -> None:
    matches = correspond(SUMMER, AUTUMN, Method(matcher))
    assert {matcher.name} == set(matches.method)
    assert "" == matches.why
    assert model_error(matches, SUMMER) < 0.5
    assert (errors(matches, SUMMER, AUTUMN)[matches.inlier] < 2.3).all()
    assert matches.inlier.sum() > 100
    assert len(matches.keypoints[0]) >= len(matches) / 2
    assert (len(matches.keypoints[1]) == 0) == isinstance(matcher, Phase)  # it may answer with any position


def test_the_same_images_give_the_same_answer() -> None:
    first, second = (correspond(SUMMER, AUTUMN, Method(QUICK)) for _ in range(2))
    assert np.array_equal(first.right, second.right)
    assert np.array_equal(first.inlier, second.inlier)


def holed(side: MatchInput, seed: int, col: int = 0) -> MatchInput:
    """The same with a third of it masked, in blots; they lie some columns further right."""
    blots = gaussian_filter(np.random.default_rng(seed).normal(size=(400, 400)), 6)[40:360, 40 - col : 360 - col]
    valid = side.first.valid & (blots < np.quantile(blots, 0.66))
    return MatchInput((Raster(side.first.pixels * valid, valid, side.first.geobox),))


def test_masks_that_are_alike_do_not_make_other_ground_the_same() -> None:
    matches = correspond(holed(SUMMER, 1), holed(ELSEWHERE, 1))
    assert matches.model is None, matches.why


@pytest.mark.parametrize("col", [0, 7])
def test_masks_that_are_alike_do_not_draw_the_same_ground_to_them(col: int) -> None:
    """Seven columns aside they lie as the ground does."""
    matches = correspond(holed(SUMMER, 1), holed(AUTUMN, 1, col))
    assert model_error(matches, SUMMER) < 0.4


def test_swapping_the_sides_turns_the_shift_around() -> None:
    back = correspond(AUTUMN, SUMMER, Method(QUICK))
    assert model_error(back, AUTUMN, (-SHIFT[0], -SHIFT[1])) < 0.3


def test_other_ground_that_fools_one_method_is_no_match_and_says_why(unlearned: None) -> None:
    matches = correspond(SUMMER, MatchInput((image(ground=Landscape(seed=136)),)))
    assert matches.model is None, matches.why
    assert not matches.inlier.any()
    assert "chance alone would do" in matches.why


@pytest.mark.parametrize("matcher", [QUICK, Sift()], ids=lambda m: m.name)
def test_other_ground_is_no_match_for_a_single_method_either(matcher: matchers.Matcher) -> None:
    matches = correspond(SUMMER, ELSEWHERE, Method(matcher))
    assert matches.model is None
    assert not matches.inlier.any()
    assert matches.why


@pytest.mark.parametrize("name", ["sift", "aliked+lightglue", "disk+lightglue", "phase", "superpoint", "loftr"])
def test_no_method_makes_a_shift_of_unrelated_ground(name: str, request: pytest.FixtureRequest) -> None:
    """Networks that learnt nothing deliver nonsense with conviction, which is the hardest to refuse."""
    untrained = name in {"superpoint", "loftr"}
    matcher = request.getfixturevalue(name) if untrained else create(name)
    slow = name in {"aliked+lightglue", "disk+lightglue", "loftr"}
    for seed in (136,) if slow else (99, 136, 5):
        matches = correspond(SUMMER, MatchInput((image(ground=Landscape(seed=seed)),)), Method(matcher))
        assert matches.model is None
        assert "chance alone would do" in matches.why or "the matcher found" in matches.why


def test_progress_is_told_of_every_method_from_none_to_all(unlearned: None) -> None:
    heard: list[tuple[str, int, int]] = []
    correspond(SUMMER, AUTUMN, progress=lambda *what: heard.append(what))
    assert ["match (phase)", "match (sift)"] == list(dict.fromkeys(what for what, _, _ in heard))
    assert {("match (phase)", 0, 1), ("match (phase)", 1, 1), ("match (sift)", 1, 1)} <= set(heard)


# Masks


@pytest.mark.parametrize("method", [Method(), Method(guided=False), Method(QUICK)], ids=["auto", "unguided", "phase"])
def test_what_is_wholly_hidden_matches_nothing(method: Method, unlearned: None) -> None:
    raster = SUMMER.first
    hidden = MatchInput((Raster(raster.pixels, np.zeros_like(raster.valid), raster.geobox),))
    for left, right in ((hidden, AUTUMN), (AUTUMN, hidden), (hidden, hidden)):
        matches = correspond(left, right, method)
        assert matches.model is None
        assert "image is clear" in matches.why
        assert not matches.inlier.any()


def test_no_correspondence_lies_on_what_is_hidden(unlearned: None) -> None:
    valid = np.ones(box().shape, bool)
    valid[100:300, 150:400] = False
    rasters = SUMMER.first, AUTUMN.first
    poisoned = np.where(valid, rasters[0].pixels, np.float32(0.9))
    left = MatchInput((Raster(poisoned, valid, rasters[0].geobox),))
    matches = correspond(left, AUTUMN)
    x, y = matches.left.astype(int).T
    assert valid[y, x].all()
    assert model_error(matches, left) < 0.3
    assert "phase, confirmed by sift" == matches.why


# Who decides when methods disagree


@dataclass(frozen=True)
class Says:
    """A plug-in that finds the ground displaced by what it was told, whatever the images show."""

    x: float
    y: float

    name: ClassVar[str] = "says"
    summary: ClassVar[str] = "always the same"
    weights: ClassVar[tuple[Weights, ...]] = ()

    @property
    def recipe(self) -> Mapping[str, object]:
        return {"x": self.x, "y": self.y}

    def check(self) -> None:
        return

    def describe(self, pixels: np.ndarray, valid: np.ndarray) -> Arrays:
        rows, cols = valid.shape
        x, y = np.meshgrid(np.arange(40.5, cols - 40, 24), np.arange(40.5, rows - 40, 24))
        return {"keypoints": np.column_stack([x.ravel(), y.ravel()])}

    def match(self, left: Arrays, right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        points = left["keypoints"]
        expected = prior.expected(points) if prior else points
        return Matches(points, expected + (self.x, self.y), np.full(len(points), 0.9))


def plug_in(monkeypatch: pytest.MonkeyPatch, witness: Says, learned: Says | None) -> None:
    """Other methods under the names of the cascade."""

    def create(name: str, **_: object) -> matchers.Matcher:
        chosen: Any = {CHECKING_MATCHER: witness, HELPING_MATCHER: None, DECIDING_MATCHER: learned}[name]
        if chosen is None:
            raise WeightsMissing(name, "learned.pth", "any licence", "fetch them")
        named: matchers.Matcher = type("Named", (Says,), {"name": name})(chosen.x, chosen.y)
        return named

    monkeypatch.setattr(matchers, "create", create)


def test_two_methods_that_contradict_each_other_and_no_third_are_no_match(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, Says(30, 10), None)
    matches = correspond(SUMMER, AUTUMN, Method(reach=100))
    assert matches.model is None
    assert not matches.inlier.any()
    assert matches.contradicted
    assert "phase and sift find different shifts, and nothing decides between them" == matches.why
    assert {"phase", "sift"} == set(matches.method)


def test_a_third_method_decides_between_two_that_contradict_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, Says(30, 10), Says(*SHIFT))
    matches = correspond(SUMMER, AUTUMN, Method(reach=100))
    assert "phase, confirmed by loftr" == matches.why
    assert model_error(matches, SUMMER) < 0.3
    assert not matches.inlier[matches.method == CHECKING_MATCHER].any()


def test_three_methods_with_three_answers_are_no_match(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, Says(30, 10), Says(-25, 15))
    matches = correspond(SUMMER, AUTUMN, Method(reach=100))
    assert matches.model is None
    assert matches.contradicted


def test_a_method_that_is_alone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade, "available_matcher", lambda *_: None)
    blind = type("Blind", (Says,), {"name": CHECKING_MATCHER, "match": lambda *_: Matches.none()})(0, 0)
    monkeypatch.setattr(matchers, "create", lambda *_, **__: blind)
    matches = correspond(SUMMER, AUTUMN)
    assert "phase alone" == matches.why
    assert model_error(matches, SUMMER) < 0.3


# A georeference that is wrong, or not wanted


def rotated(side: MatchInput, degrees: float) -> tuple[MatchInput, View]:
    """The image turned clockwise under a georeference that knows nothing of it."""
    turn = turned(View.of(side.first.pixels, side.first.valid), degrees)
    return MatchInput((Raster(turn.pixels.astype(np.float32), turn.valid, box(*turn.valid.shape)),)), turn


def turned_miss(matches: Correspondences, turn: View) -> np.ndarray:
    return np.hypot(*(turn.to_image(matches.right) - matches.left - SHIFT).T)


def test_a_turned_image_is_found_and_the_user_is_warned(unlearned: None, caplog: pytest.LogCaptureFixture) -> None:
    right, turn = rotated(AUTUMN, 30)
    with caplog.at_level(logging.WARNING):
        matches = correspond(SUMMER, right)
    assert matches.model is not None
    assert "sift without a prior, turned by 30." in matches.why or "turned by 29.9" in matches.why
    assert ["the georeference is off, beyond what was searched within 500 m: " + matches.why] == caplog.messages
    error = turned_miss(matches, turn)[matches.inlier]
    assert len(error) > 50
    assert np.median(error) < 0.7


def test_a_slight_turn_that_blinds_dense_methods_is_undone_by_a_search() -> None:
    right, turn = rotated(AUTUMN, 12)
    matches = correspond(SUMMER, right)
    assert "loftr without a prior, turned by 12.0 degrees, confirmed by phase" == matches.why
    error = turned_miss(matches, turn)[matches.inlier]
    assert len(error) > 300
    assert np.median(error) < 0.5
    assert (error < 1.5).mean() > 0.95


def test_without_a_prior_a_quarter_turn_is_found_and_nobody_is_warned(
    unlearned: None, caplog: pytest.LogCaptureFixture
) -> None:
    right, turn = rotated(AUTUMN, 90)
    matches = correspond(SUMMER, right, Method(guided=False))
    assert matches.model is not None
    assert "turned by 90.0 degrees" in matches.why or "turned by 89.9" in matches.why
    assert [] == caplog.messages
    assert np.median(turned_miss(matches, turn)[matches.inlier]) < 0.7


def test_reach_is_in_metres_and_beyond_it_the_search_warns(unlearned: None, caplog: pytest.LogCaptureFixture) -> None:
    far = (60.0, -10.0)
    grid = box(400, 400, 56, 56)
    left, right = MatchInput((image(grid=grid),)), MatchInput((image("autumn", far, grid),))
    near = correspond(left, right, Method(reach=1000))
    assert model_error(near, left, far) < 0.5
    assert [] == caplog.messages
    unguided = correspond(left, right, Method(reach=100))
    assert model_error(unguided, left, far) < 0.7
    assert ["the georeference is off, beyond what was searched within 100 m: " + unguided.why] == caplog.messages
    assert correspond(left, right, Method(QUICK, reach=100)).model is None


def test_a_single_method_never_searches_without_a_prior(caplog: pytest.LogCaptureFixture) -> None:
    matches = correspond(SUMMER, rotated(AUTUMN, 90)[0], Method(QUICK))
    assert matches.model is None
    assert [] == caplog.messages


# Cells, bands, extents, classes


@dataclass(frozen=True)
class Counted(Says):
    """Says, and keeps the size of what it was shown."""

    name: ClassVar[str] = "counted"
    shown: ClassVar[list[tuple[int, ...]]] = []

    def describe(self, pixels: np.ndarray, valid: np.ndarray) -> Arrays:
        self.shown.append(pixels.shape)
        return super().describe(pixels, valid)


def test_a_cell_is_described_once_whatever_pairs_its_scene_is_in(tmp_path: Path) -> None:
    grid, cache, Counted.shown[:] = box(512, 1024, 0, 0), Cache(tmp_path), []
    sides = [
        MatchInput((image(season, grid=grid),), recipe={"season": season}) for season in ("summer", "autumn", "winter")
    ]
    method = Method(Counted(0, 0))
    fresh = correspond(sides[0], sides[1], method, cache)
    assert 4 == len(Counted.shown)
    kept = correspond(sides[0], sides[1], method, cache)
    assert 4 == len(Counted.shown)
    assert np.array_equal(fresh.right, kept.right)
    correspond(sides[2], sides[0], method, cache)
    assert 6 == len(Counted.shown)
    correspond(sides[2], sides[0], Method(Counted(1, 0)), cache)  # another method
    assert 10 == len(Counted.shown)
    assert ["features"] * 10 == [entry.kind for entry in cache.entries()]


def test_a_side_without_recipe_keeps_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    correspond(SUMMER, AUTUMN, Method(Says(0, 0)), cache)
    assert [] == list(cache.entries())


def test_bands_are_kept_apart_in_the_cache_and_add_up(tmp_path: Path) -> None:
    left, right = (
        MatchInput(tuple(image(s, d, band=b) for b in ("B04", "B08")), recipe={"season": s})
        for s, d in (("summer", (0.0, 0.0)), ("autumn", SHIFT))
    )
    cache = Cache(tmp_path)
    single = correspond(SUMMER, AUTUMN, Method(QUICK))
    double = correspond(left, right, Method(QUICK), cache)
    assert 4 == len(list(cache.entries()))
    assert len(double.keypoints[0]) == 2 * len(single.keypoints[0])
    assert len(double) > 1.5 * len(single)
    assert model_error(double, left) < 0.3
    again = correspond(left, right, Method(QUICK), cache)
    assert np.array_equal(double.right, again.right)


def test_the_extents_may_differ(unlearned: None) -> None:
    left = MatchInput((image(grid=box(400, 340, 60, 70)),))
    right = MatchInput((image("autumn", SHIFT, grid=box(360, 420, 97, 33)),))
    for method in (Method(QUICK), Method()):
        matches = correspond(left, right, method)
        assert model_error(matches, left) < 0.4
        error = errors(matches, left, right)
        assert (error[matches.inlier] < 2.3).all()
        assert ((matches.left >= 0) & (matches.left <= (340, 400))).all()


def test_every_correspondence_is_found_in_one_cell_only() -> None:
    grid = box(300, 600, 100, 200)
    left, right = MatchInput((image(grid=grid),)), MatchInput((image("autumn", SHIFT, grid),))
    matches = correspond(left, right, Method(QUICK))
    assert matches.cells > 1
    assert len(matches) == len(np.unique(matches.left, axis=0))
    x, _ = matches.left.T
    border = cells.CELL_SIDE - 200  # where two cells meet
    assert (np.abs(x - border) < 32).sum() > 30


def test_at_most_so_many_cells_are_looked_at() -> None:
    grid = box(300, 600, 100, 200)
    left, right = MatchInput((image(grid=grid),)), MatchInput((image("autumn", SHIFT, grid),))
    matches = correspond(left, right, Method(QUICK, cells=1))
    assert 1 == matches.cells
    places = np.floor((matches.left + grids.origin_of(grid)[::-1]) / cells.CELL_SIDE)
    assert 1 == len(np.unique(places, axis=0))


@pytest.mark.parametrize("matcher", [QUICK, Sift(max_keypoints=600)], ids=lambda m: m.name)
def test_classes_are_cut_like_the_images_they_belong_to(matcher: matchers.Matcher) -> None:
    grid = box(300, 700, 100, 100)
    lies = np.full(grid.shape, Class.VEGETATION, np.uint8)
    cloud = lies.copy()
    cloud[:, 400:480] = Class.CLOUD
    left, right = image(grid=grid), image("autumn", SHIFT, grid)
    for cloudy in (0, 1):
        contexts = [Context(cloud if k == cloudy else lies) for k in (0, 1)]
        matches = correspond(MatchInput((left,), contexts[0]), MatchInput((right,), contexts[1]), Method(matcher))
        assert model_error(matches, MatchInput((left,))) < 0.5
        x = (matches.left, matches.right)[cloudy][:, 0]
        assert not ((x >= 400) & (x < 480)).any()
        assert ((x >= 360) & (x < 400)).sum() > 4
        assert ((x >= 480) & (x < 520)).sum() > 4


def test_the_matcher_of_the_cascade_is_the_registered_one() -> None:
    assert [Phase, Sift] == [type(create(name)) for name in (cascade.STARTING_MATCHER, cascade.CHECKING_MATCHER)]


def test_what_lies_where_takes_part_even_where_no_position_is_known() -> None:
    """All left ground is water, all right ground too, but for a strip: no point may be matched into the strip."""
    left, right = image(), image(shift=SHIFT)
    water = np.full(box().shape, Class.WATER, np.uint8)
    strip = water.copy()
    strip[:, 120:200] = Class.BARE
    plain = correspond(MatchInput((left,)), MatchInput((right,)), Method(Sift(), guided=False))
    with_classes = correspond(
        MatchInput((left,), Context(water)), MatchInput((right,), Context(strip)), Method(Sift(), guided=False)
    )

    def in_strip(matches: Correspondences) -> int:
        return int(((matches.right[:, 0] > 135) & (matches.right[:, 0] < 185)).sum())

    assert 0 == in_strip(with_classes) < in_strip(plain)
