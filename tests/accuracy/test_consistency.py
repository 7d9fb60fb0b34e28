"""Whether one displacement is what both images show: patterns, ghosts, periods, parts that moved apart, short waves."""

from __future__ import annotations

import json
from contextlib import chdir

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter, shift

from sentinel_match import Options, TiePoints, match_scenes
from sentinel_match.accuracy.consistency import consistency, one_way
from sentinel_match.accuracy.ecc import second_estimate
from sentinel_match.cli import main
from sentinel_match.errors import NoMatch
from sentinel_match.geometry.ellipse import Ellipses
from sentinel_match.geometry.transform import PlaneTransform, Transform
from sentinel_match.opinions import OneWay
from sentinel_match.raster.raster import Raster
from sentinel_match.testing.adversaries import KINDS, adversary
from sentinel_match.testing.noise import octaves
from sentinel_match.testing.patterns import PATTERNS
from sentinel_match.testing.tribunal import tried
from sentinel_match.testing.witness import MARGIN, Adversary, Field, Ground, by, shown, still

SIDE, GSD = 320, 10.0
RNG = np.random.default_rng
NONE, SEEN = np.zeros(2), 3.0


def land(seed: int) -> np.ndarray:
    x = np.arange(SIDE + 2 * MARGIN) * GSD
    return 0.5 + 0.2 * np.asarray(octaves(seed, 20, 2560, 0.7).at(x, x), float)


HERE, ELSEWHERE = land(3), land(4)


def pair(moved: Field | None, pattern: str = "", strength: float = 0.0, seed: int = 0) -> Adversary:
    """One ground, moved, or two grounds; under a pattern; each with noise of its own."""
    rng = RNG(seed)
    left, right = shown(HERE), shown(HERE, moved) if moved else shown(ELSEWHERE)
    if pattern:
        drawn = strength * HERE.std() * PATTERNS[pattern](left.shape, rng)
        left, right = left + drawn, right + drawn
    left, right = (image + rng.normal(0, 0.01, image.shape) for image in (left, right))
    return Adversary("", "", left, right, moved)


def raster(image: np.ndarray) -> Raster:
    grid = GeoBox(image.shape, from_origin(400_000, 5_000_000, GSD, GSD), "EPSG:32633")
    return Raster(image.astype(np.float32), np.ones(image.shape, bool), grid)


def shifted(x: float, y: float) -> Transform:
    """A model of pixels to the right and down."""
    matrix = np.eye(3)
    matrix[:2, 2] = x * GSD, -y * GSD
    return Transform(PlaneTransform("translation", matrix, np.zeros(2)))


def matched(one: Adversary, tmp_path, model: str | None = None) -> TiePoints:
    for name, image in (("left", one.left), ("right", one.right)):
        profile = {"driver": "GTiff", "height": image.shape[0], "width": image.shape[1], "count": 1, "dtype": "uint16"}
        grid = from_origin(400_000, 5_000_000, GSD, GSD)
        with rasterio.open(tmp_path / f"{name}.tif", "w", crs="EPSG:32633", transform=grid, **profile) as target:
            target.write(np.rint(300 + 2000 * image).clip(0, 65535).astype("u2"), 1)
    return match_scenes(tmp_path / "left.tif", tmp_path / "right.tif", Options(matcher="phase", model=model))


def test_ground_that_moved_is_borne_out_by_coarse_and_fine_detail_alike() -> None:
    one = pair(by(np.array([2.3, -1.6])))
    said = consistency(raster(one.left), raster(one.right), shifted(2.3, -1.6), NONE, SEEN)
    assert said.windows >= 9
    assert said.octaves[2].coherence > 0.95
    assert said.pull_m < 0.02 * GSD
    assert () == said.doubts(GSD)
    assert not said.only_fine


def test_coarse_detail_contradicts_a_model_that_fine_detail_was_drawn_to() -> None:
    one = pair(by(np.array([0.6, 0.0])), "noise", 0.3)
    said = consistency(raster(one.left), raster(one.right), shifted(0.2, 0.0), NONE, SEEN)
    assert said.pulled(GSD)
    assert said.octaves[1].dx_m == pytest.approx(0.4 * GSD, abs=0.15 * GSD)


def test_what_is_left_uncorrected_on_purpose_is_no_contradiction() -> None:
    one = pair(by(np.array([1.5, -1.0])))
    said = consistency(raster(one.left), raster(one.right), shifted(0, 0), np.array([1.5, 1.0]) * GSD, SEEN)
    assert said.pull_m < 0.1 * GSD


def test_nothing_but_finest_detail_agrees_where_only_the_pattern_is_the_same() -> None:
    one = pair(None, "noise", 0.5)
    assert consistency(raster(one.left), raster(one.right), shifted(0, 0), NONE, SEEN).only_fine


def changed(share: float, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """One ground whose coarse detail another has replaced in the right image, as seasons do; nothing moved."""
    left, other = shown(HERE), shown(ELSEWHERE)
    rng = RNG(seed)
    coarse = gaussian_filter(other, 3) - gaussian_filter(left, 3)
    return tuple(image + rng.normal(0, 0.002, left.shape) for image in (left, left + share * coarse))


@pytest.mark.parametrize(("aside", "suspect"), [(0.0, True), (0.4, False)])
def test_what_agrees_at_whole_pixels_and_best_in_fine_detail_may_be_a_pattern(aside: float, *, suspect: bool) -> None:
    """Ground under two seasons lies at any fraction of a pixel, and a pattern on the grid at none."""
    left, right = changed(0.9)
    right = shift(right, (0, aside), order=5, mode="nearest")
    found = consistency(raster(left), raster(right), shifted(aside, 0), NONE, 0.0)
    assert found.on_grid == suspect
    assert bool([reason for reason in found.doubts(GSD) if "whole pixels" in reason]) == suspect


def test_noise_that_both_share_is_told_where_there_is_no_ground() -> None:
    """It agrees as well in detail of every length, and no ground does."""
    shared = 0.5 + RNG(1).normal(0, 0.01, (SIDE, SIDE))
    left, right = (raster(shared + RNG(seed).normal(0, 0.004, shared.shape)) for seed in (2, 3))
    assert consistency(left, right, shifted(0, 0), NONE, 0.0).on_grid


def test_ground_that_agrees_best_in_coarse_detail_is_no_pattern_at_whole_pixels() -> None:
    same = pair(still)
    assert not consistency(raster(same.left), raster(same.right), shifted(0, 0), NONE, 0.0).on_grid


@pytest.mark.parametrize("seed", [7, 11])
def test_fields_whose_crops_have_changed_agree_by_their_edges_alone(seed: int) -> None:
    """One field further on the edges agree as well, so nothing is sure, though no second answer stands out."""
    one = adversary("crops", Ground(HERE, HERE, ELSEWHERE), RNG(seed))
    x, y = one.true(np.array([[5.0, 5.0]]))[0]
    said = consistency(raster(one.left), raster(one.right), shifted(x, y), NONE, 0.0)
    assert said.only_edges
    assert said.rival is None
    assert any("edges alone" in reason for reason in said.doubts(GSD))


def test_a_wave_that_the_model_does_not_follow_is_told_by_its_size() -> None:
    one = pair(lambda x, y: np.stack([0.9 * np.sin(2 * np.pi * x / 36), 0 * y]))
    said = consistency(raster(one.left), raster(one.right), shifted(0, 0), NONE, SEEN)
    assert said.unfollowed_m == pytest.approx(0.9 / np.sqrt(2) * GSD, rel=0.25)


@pytest.mark.parametrize("hidden", ["noise", "blur"])
def test_noise_and_blur_are_no_displacement(hidden: str) -> None:
    from scipy.ndimage import gaussian_filter

    one = pair(still)
    right = one.right + RNG(1).normal(0, 0.08, one.right.shape) if hidden == "noise" else gaussian_filter(one.right, 2)
    left, right = raster(one.left), raster(right)
    seen = second_estimate(left, right, shifted(0, 0), 0.0).least_scatter_m
    assert 0 == consistency(left, right, shifted(0, 0), NONE, seen).unfollowed_m


def test_a_ghost_is_a_rival_and_where_it_lies_is_said() -> None:
    one = pair(by(np.array([7.0, -5.0])))
    mixed = 0.6 * one.right + 0.4 * one.left
    said = consistency(raster(one.left), raster(mixed), shifted(7, -5), NONE, SEEN)
    assert said.rival is not None
    assert (said.rival.dx_m, said.rival.dy_m) == pytest.approx((-7 * GSD, -5 * GSD), abs=GSD)


def test_a_second_estimator_sees_a_wave_of_64_pixels_that_was_smoothed_away() -> None:
    one = pair(lambda x, y: np.stack([0.75 * np.sin(2 * np.pi * x / 64), 0 * y]))
    said = second_estimate(raster(one.left), raster(one.right), shifted(0, 0), 0.0)
    assert said.agrees  # on the whole nothing remains
    assert said.least_scatter_m > 0.3 * GSD
    assert said.sees_more(0.2 * GSD, GSD)
    quiet = second_estimate(raster(pair(still).left), raster(pair(still).right), shifted(0, 0), 0.0)
    assert quiet.scatter_m < 0.05 * GSD
    assert not quiet.sees_more(0.05 * GSD, GSD)


def test_a_shift_that_remains_the_same_everywhere_does_not_vary() -> None:
    """Halves of windows that search by themselves each end at a part of it, and differ from window to window."""
    said = second_estimate(raster(pair(still).left), raster(pair(by(np.array([1.5, 0.5]))).right), shifted(1, 0), 0.0)
    assert not said.agrees
    assert said.scatter_m < 0.05 * GSD


def test_what_follows_a_wave_is_confirmed_and_what_is_too_stiff_meets_nothing(tmp_path) -> None:
    one = pair(lambda x, y: np.stack([0.75 * np.sin(2 * np.pi * x / 64), 0 * y]))
    said = matched(one, tmp_path).summary
    assert "field" == said.transform.kind
    assert said.second.agrees
    assert not said.doubtful
    stiff = matched(one, tmp_path, model="translation").summary
    assert ": meets" not in stiff.verdict
    assert stiff.hold_out.ce95_interval[1] > 0.7 * GSD or stiff.doubtful


def test_points_that_a_pattern_holds_in_place_are_overruled_by_edges(tmp_path) -> None:
    with pytest.raises(
        NoMatch, match=r"second estimator \(ECC.*they contradict each other beyond what both are sure of"
    ):
        matched(pair(by(np.array([3.3, -2.6])), "noise", 0.6), tmp_path)


def test_a_pattern_alone_is_refused_with_its_reason(tmp_path) -> None:
    with pytest.raises(NoMatch, match="pattern of the sensor or of the file"):
        matched(pair(None, "noise", 0.5), tmp_path)


def test_parts_that_moved_apart_promise_nothing_and_both_are_named(tmp_path) -> None:
    middle = SIDE * 0.45

    def moved(x, y):
        return np.stack([np.where(x > middle, 3.0, -3.0), 0 * y])

    summary = matched(pair(moved), tmp_path).summary
    assert summary.doubtful
    assert summary.verdict == f"doubtful: {summary.doubt}"
    assert summary.verdict.endswith(", so nothing is promised")
    other = summary.comparison.consistency.other
    assert other is not None
    assert abs(other.dx_m - summary.median_dx_m) == pytest.approx(6 * GSD, abs=GSD)
    assert other.share == pytest.approx(0.45, abs=0.1)


def ripples(turn: float, longer: float = 1.0) -> Adversary:
    """Texture of one direction, moved by 5 pixels along itself and by 0.2 across."""
    y, x = np.mgrid[: SIDE + 2 * MARGIN, : SIDE + 2 * MARGIN].astype(float)
    across = np.array([np.cos(turn), np.sin(turn)])
    u = x * across[0] + y * across[1]
    waves = [np.sin(2 * np.pi * u / (longer * length) + length) for length in (9.3, 13.1, 17.7, 24.9, 37.0)]
    image, shift = 0.5 + 0.1 * sum(waves), 5.0 * np.array([-across[1], across[0]]) + 0.2 * across
    sides = [
        side + RNG(k).normal(0, 0.01, side.shape) for k, side in enumerate((shown(image), shown(image, by(shift))))
    ]
    return Adversary("", "", *sides, by(shift), across)


@pytest.mark.parametrize("turn", [0.4, 2.0])
def test_what_lies_along_ripples_is_not_known_and_the_direction_is_said(turn: float, tmp_path) -> None:
    one = ripples(turn)
    ties = matched(one, tmp_path)
    good = ties.inlier
    said = {name: values[good] for name, values in ties.columns().items()}
    crest = np.degrees(np.arctan2(-np.sin(turn), -np.cos(turn))) % 180  # azimuth: rows run south
    assert np.abs((said["sigma_azimuth_deg"] - crest + 90) % 180 - 90).max() < 3
    assert said["sigma_major_m"].min() >= 4 * GSD  # how far was searched
    assert np.median(said["sigma_minor_m"]) < 1 * GSD
    errors = ties.shift[good] / GSD * (1, -1) - one.true(ties.left_px[good])
    assert (np.abs(errors @ one.across) * GSD < 3 * said["sigma_minor_m"]).mean() > 0.95
    assert (np.hypot(*errors.T) * GSD < 3 * said["sigma_major_m"]).mean() > 0.95
    assert ties.summary.doubtful
    assert (
        f"what lies along {ties.summary.comparison.consistency.one_way.azimuth_deg:.0f} degrees" in ties.summary.verdict
    )


def test_ripples_that_no_window_measures_are_known_in_one_direction_all_the_same(tmp_path) -> None:
    ties = matched(ripples(0.9, longer=3.0), tmp_path)
    assert (ties.columns()["sigma_major_m"] >= 4 * GSD).all()
    assert ties.summary.comparison.consistency.one_way.azimuth_deg == pytest.approx(np.degrees(0.9), abs=3)


def test_ground_with_texture_along_every_direction_has_circles(tmp_path) -> None:
    ties = matched(pair(by(np.array([2.3, -1.6]))), tmp_path)
    said = ties.columns()
    assert np.array_equal(said["sigma_major_m"], said["sigma_minor_m"])
    assert said["sigma_m"] == pytest.approx(said["sigma_minor_m"])
    assert ties.summary.comparison.consistency.one_way is None


def test_points_that_a_pattern_draws_say_so_in_sigma_or_promise_nothing(tmp_path) -> None:
    shift = np.array([0.35, 0.0])
    ties = matched(pair(by(shift), "noise", 0.3), tmp_path)
    errors = np.abs(ties.shift[ties.inlier] - shift * GSD * (1, -1))
    off = float(np.median(errors[:, 0]))
    assert off > 0.03 * GSD  # they are drawn
    assert ties.summary.doubtful or off < 3 * np.median(ties.sigma_m[ties.inlier])


def test_every_sigma_of_drawn_points_holds_what_draws_them_and_ce95_says_how_much_that_is(tmp_path) -> None:
    matched(pair(by(np.array([0.35, 0.0])), "noise", 0.3), tmp_path)
    outputs = ["-o", "ties.geojson", "--displacement", "shift.tif", "--stable", "auto", "--json"]
    with chdir(tmp_path):
        said = CliRunner().invoke(main, ["match", "left.tif", "right.tif", "--matcher", "phase", *outputs])
        again = CliRunner().invoke(main, ["fit", "ties.geojson", "-o", "again.geojson", "--json"])
        shown = CliRunner().invoke(main, ["fit", "ties.geojson", "-o", "again.geojson", "--displacement", "again.tif"])
        images = [rasterio.open(name).read(3) for name in ("shift.tif", "again.tif", "motion.tif")]
    assert (1, 1) == (said.exit_code, again.exit_code)
    pull = json.loads(said.stdout)["consistency"]["pull_m"]
    assert pull > 0.1 * GSD
    for summary in (json.loads(said.stdout), json.loads(again.stdout)):
        assert min(summary["shift_sigma_m"]) >= pull
        assert summary["hold_out"]["allowance"] == pytest.approx(pull, abs=1e-3)
        assert summary["hold_out"]["ce95"] > summary["hold_out"]["allowance"]
    for sigma in images:
        assert np.nanmin(sigma) > 0.99 * pull
    assert f"{pull:.2f} m of each allow for coarse detail" in " ".join(shown.stdout.split())
    assert "doubtful: the images lie" in said.stderr
    assert "doubtful: doubtful" not in said.stderr


def test_a_stack_of_drawn_points_says_so_in_its_record_and_on_the_terminal(tmp_path) -> None:
    summary = matched(pair(by(np.array([0.35, 0.0])), "noise", 0.3), tmp_path).summary
    with chdir(tmp_path):
        words = ["--matcher", "phase", "-o", "ties.gpkg"]
        assert 1 == CliRunner().invoke(main, ["match", "left.tif", "right.tif", *words]).exit_code
        done = CliRunner().invoke(main, ["prepare", "ties.gpkg", "-o", "stack"])
        record = json.loads((tmp_path / "stack" / "prepare.json").read_text())
    assert 0 == done.exit_code, done.output
    assert f"verdict on the tie points: {summary.verdict}" in done.stdout
    assert (summary.verdict, list(summary.doubts)) == (record["verdict"], record["doubts"])
    assert record["doubts"][0].startswith("coarse detail lies")


def test_a_frame_and_a_legend_are_left_out_and_the_ground_is_matched(tmp_path) -> None:
    one = pair(by(np.array([1.4, 0.8])))
    drawn = np.where(RNG(2).random((SIDE // 4, SIDE // 4)) < 0.3, 0.0, 1.0).repeat(4, 0).repeat(4, 1)
    burnt = np.zeros((SIDE, SIDE), bool)
    burnt[:12], burnt[-12:], burnt[:, :12], burnt[:, -12:], burnt[12:100, 12:140] = (True,) * 5
    left, right = (np.where(burnt, drawn, image) for image in (one.left, one.right))
    ties = matched(Adversary("", "", left, right, one.moved), tmp_path)
    assert any("same in both images to the last digit" in note for note in ties.summary.comparison.left.notes)
    at = ties.left_px[ties.inlier]
    assert not burnt[tuple((at[:, ::-1]).astype(int).T)].any()
    assert np.median(ties.shift[ties.inlier], 0) == pytest.approx((14, -8), abs=0.5)
    with pytest.raises(NoMatch):
        other = np.where(burnt, drawn, pair(None).right)
        matched(Adversary("", "", left, other, None), tmp_path)


def test_every_kind_of_adversary_knows_its_truth() -> None:
    ground = Ground(HERE, HERE, ELSEWHERE)
    for k, kind in enumerate(KINDS):
        one = adversary(kind, ground, RNG(k))
        assert one.kind == kind
        assert one.left.shape == one.right.shape
        assert np.isfinite(one.left).all()
        assert np.isfinite(one.right).all()
        places = RNG(k).uniform(60, SIDE - 60, (20, 2))
        if one.moved is None:
            assert np.isinf(one.errors(places, np.zeros((20, 2)))).all()
        else:
            assert np.abs(one.errors(places, one.true(places))).max() < 1e-9


def unknown(azimuth: list[float], major: list[float]) -> OneWay | None:
    one = Ellipses(np.array(major), np.ones(len(major)), np.array(azimuth))
    return one_way(one, np.ones(len(major), bool), 40.0)


def test_the_direction_that_most_points_do_not_know_is_said() -> None:
    said = unknown([178.0, 4.0, 0.0], [40.0, 40.0, 1.0])  # axes: 178 and 4 are neighbours
    assert (said.share, said.azimuth_deg) == (0.667, 1.0)
    assert unknown([10.0, 0.0, 0.0], [40.0, 1.0, 1.0]) is None
    assert unknown([10.0, 100.0], [40.0, 40.0]).azimuth_deg is None


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wrong_in_silence(kind: str, tmp_path) -> None:
    outcome = tried(adversary(kind, Ground(HERE, HERE, ELSEWHERE), RNG(5)), tmp_path)
    assert "SILENT" != outcome.name, outcome
    if kind == "honest":
        assert "right" == outcome.name, outcome
    if "other ground" in kind:
        assert outcome.name in {"refused", "warned"}, outcome
