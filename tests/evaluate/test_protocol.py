"""Evaluation: pairs, known displacements, the protocol with its controls, the report, the command."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from sentinel_match.cli import main
from sentinel_match.errors import BadList, ExtraMissing, NoMatch
from sentinel_match.evaluate import (
    Diary,
    Record,
    Sampling,
    controls,
    displaced,
    figures,
    listing,
    metrics,
    parse_method,
    prepare,
    protocol,
    read_list,
    run,
    samples,
    summarise,
    warped,
)
from sentinel_match.evaluate.foreign import MIDDLE, ForeignMethod
from sentinel_match.geometry import transform
from sentinel_match.matching import subpixel
from sentinel_match.matching.correspondences import Correspondences, MatchInput, Method
from sentinel_match.products.filters import Filters
from sentinel_match.raster.raster import Raster
from sentinel_match.testing import Landscape, write_product

SIDE = 256
PLACE = GeoBox((SIDE, SIDE), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633")
HOW = Sampling(displacement=3.0, seed=4)


@pytest.fixture
def quick_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """One fit to few points: the median over several takes most of a run, and is not what a run is here to prove."""
    monkeypatch.setattr(protocol, "RANSAC_SEEDS", 1)
    monkeypatch.setattr(protocol, "FIT_AT_MOST", 200)


@cache
def image(season: str = "summer", displacement: tuple[float, float] = (0.0, 0.0), place: GeoBox = PLACE) -> Raster:
    pixels = Landscape(3).render(place, season, displacement=displacement)
    low, high = np.percentile(pixels, (0.5, 99.5))
    return Raster(np.clip((pixels - low) / (high - low), 0, 1), np.ones(place.shape, bool), place)


def store(path: Path, raster: Raster, **facts: object) -> Path:
    rows, cols = raster.pixels.shape
    numbers = np.where(raster.valid, 1 + 4000 * raster.pixels, 0).astype(np.uint16)
    profile = {"driver": "GTiff", "height": rows, "width": cols, "count": 1, "dtype": "uint16", "nodata": 0}
    with rasterio.open(path, "w", crs=str(raster.geobox.crs), transform=raster.geobox.affine, **profile) as file:
        file.write(numbers, 1)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spring and summer of one ground, its classes, and a list."""
    out = tmp_path_factory.mktemp("evaluate")
    store(out / "left.tif", image("spring"))
    # The ground is shown 3 m east and 7 m north of where it is: content moves by (+0.3, -0.7) px
    store(out / "right.tif", image("summer", (3.0, 7.0)))
    classes = Landscape(3).classes(PLACE)
    profile = {"driver": "GTiff", "height": SIDE, "width": SIDE, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(out / "classes.tif", "w", transform=PLACE.affine, **profile) as file:
        file.write(classes, 1)
    write_list(out / "pairs.csv", {})
    return out


def write_list(path: Path, changes: dict[str, str], drop: str | None = None) -> Path:
    row = {"set": "invented", "place": "here", "left": "left.tif", "right": "right.tif", "band": "1"}
    row |= {"dx_px": "0.3", "dy_px": "-0.7", "season_gap": "31-90 d", **changes}
    if drop:
        del row[drop]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    return path


def measured_against(truth: np.ndarray, left: Raster, right: Raster) -> np.ndarray:
    """Median (x, y) difference of phase correlation to the truth, around points well inside."""
    at = np.array([(x, y) for x in range(64, 200, 12) for y in range(64, 200, 12)], float)
    found = subpixel.measure(left, right, at, metrics.project(truth, at))
    assert found.ok.sum() > 50
    return np.median((found.right - metrics.project(truth, found.left))[found.ok], axis=0)


@pytest.mark.parametrize("shift", [(0.25, -0.7), (-2.5, 1.2), (2.8, 2.3)])
def test_content_is_where_the_truth_says_to_a_fiftieth_of_a_pixel(shift: tuple[float, float]) -> None:
    ground = image()
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
    apart = measured_against(matrix, ground, displaced.moved(ground, matrix))
    assert np.abs(apart).max() < 0.02


def test_a_moved_image_agrees_with_the_ground_rendered_there() -> None:
    # independent of any resampling: the landscape itself is displaced by (+12 m, -21 m), which is (1.2, 2.1) px
    matrix = np.array([[1, 0, 1.2], [0, 1, 2.1], [0, 0, 1]])
    made, real = displaced.moved(image(), matrix), image(displacement=(12.0, -21.0))
    assert np.abs(measured_against(np.eye(3), real, made)).max() < 0.02
    assert np.abs(measured_against(matrix, image(), real)).max() < 0.02


@pytest.mark.parametrize("warp", ["rotation:90", "rotation:180"])
def test_quarter_turns_are_exact(warp: str) -> None:
    ground = image()
    matrix = displaced.warp_matrix(warp, ground.valid.shape, 0, "")
    turned = displaced.moved(ground, matrix)
    inner = np.s_[8:-8, 8:-8]
    expected = np.rot90(ground.pixels, -1 if warp.endswith("90") else 2)
    assert np.abs(expected - turned.pixels)[inner].max() < 1e-3
    assert turned.valid[inner].all()


@pytest.mark.parametrize("warp", ["rotation:15", "rotation:45", "scale:0.7", "scale:1.4", "affine", "perspective"])
def test_a_warp_shows_at_each_place_what_the_truth_says(warp: str) -> None:
    rows, cols = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    slope = Raster((rows / 640 + cols / 320).astype(np.float32), np.ones((SIDE, SIDE), bool), PLACE)
    matrix = displaced.warp_matrix(warp, (SIDE, SIDE), 5, "pair")
    made = displaced.moved(slope, matrix)
    y, x = np.nonzero(made.valid)
    back = metrics.project(np.linalg.inv(matrix), np.column_stack([x, y]) + 0.5)
    assert made.valid.mean() > 0.3
    assert np.abs(back[:, 1] / 640 + back[:, 0] / 320 - made.pixels[y, x]).max() < 1e-3


def test_an_unknown_warp_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no warp 'spiral'.*rotation:DEGREES"):
        displaced.warp_matrix("spiral", (4, 4), 0, "")


def test_pieces_meet_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = displaced.warp_matrix("rotation:15", (SIDE, SIDE), 0, "")
    whole = displaced.moved(image(), matrix)
    monkeypatch.setattr(displaced, "PIECE_SIDE_PX", 100)
    pieces = displaced.moved(image(), matrix)
    assert np.array_equal(whole.valid, pieces.valid)
    assert np.abs(whole.pixels - pieces.pixels).max() < 1e-5


def test_a_moved_pixel_is_valid_only_far_from_anything_invalid() -> None:
    ground = image()
    hole = np.ones((SIDE, SIDE), bool)
    hole[100:110, 150:160] = False
    poisoned = Raster(np.where(hole, ground.pixels, 50).astype(np.float32), hole, PLACE)
    matrix = np.array([[1, 0, 1.5], [0, 1, 0.4], [0, 0, 1]])
    made, clean = displaced.moved(poisoned, matrix), displaced.moved(ground, matrix)
    y, x = np.nonzero(~made.valid[20:-20, 20:-20])
    assert (97, 112, 148, 163) == (y.min() + 20, y.max() + 20, x.min() + 20, x.max() + 20)
    assert not made.valid[100:111, 151:162].any()
    assert not made.valid[:3].any()
    # the 50 under the mask leaks nowhere
    assert np.abs(made.pixels - clean.pixels)[made.valid].max() < 0.02


def test_displacements_are_seeded_bounded_and_never_whole() -> None:
    drawn = np.array([displaced.displacement(3.0, 1, f"pair {k}") for k in range(200)])
    assert displaced.displacement(3.0, 1, "pair 7") == tuple(drawn[7])
    assert not np.array_equal(displaced.displacement(3.0, 2, "pair 7"), drawn[7])
    assert np.abs(drawn).max() < 3
    assert np.abs(drawn - np.round(drawn)).min() >= 0.2 - 1e-9
    assert np.abs(drawn).min() >= 1.2 - 1e-9


def test_labels_move_with_the_pixels() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[5, 7] = 6
    there = displaced.moved_labels(labels, np.array([[1, 0, 2.2], [0, 1, -1.3], [0, 0, 1]]))
    assert (6, 1) == (there[4, 9], np.count_nonzero(there))


def test_the_truth_of_a_sample_holds_with_list_shift_and_displacement(folder: Path, tmp_path: Path) -> None:
    # one season on both sides: between spring and summer the lit slopes change, and correlation sees 0.06 px
    store(tmp_path / "left.tif", image("summer"))
    shutil.copy(folder / "right.tif", tmp_path)
    (listed,) = read_list(write_list(tmp_path / "pairs.csv", {}))
    sample = prepare(listed, HOW)
    assert np.abs(measured_against(sample.truth, sample.left.images[0], sample.right.images[0])).max() < 0.02
    prior = sample.prior[:2, 2]
    assert np.hypot(*(sample.truth[:2, 2] - prior)) > 1
    assert sample.right.geobox == PLACE


def test_a_tile_half_a_pixel_off_the_lattice_is_brought_to_it(tmp_path: Path) -> None:
    off = GeoBox((SIDE, SIDE), Affine(10, 0, 500_105, 0, -10, 4_999_895), "EPSG:32633")
    store(tmp_path / "right.tif", image("summer", place=off))
    store(tmp_path / "left.tif", image("summer"))
    (listed,) = read_list(write_list(tmp_path / "pairs.csv", {"dx_px": "0", "dy_px": "0"}))
    sample = prepare(listed, HOW)
    assert np.abs(measured_against(sample.truth, sample.left.images[0], sample.right.images[0])).max() < 0.02


def test_classes_of_a_list_mask_and_inform_and_can_be_left_out(folder: Path) -> None:
    path = write_list(folder / "classes.csv", {"left_classes": "classes.tif", "right_classes": "classes.tif"})
    sample = prepare(read_list(path)[0], HOW)
    assert sample.left.side().context is not None
    assert sample.left.side(semantics=False).context is None
    bare = sample.left.side(masks=False).images[0]
    assert np.array_equal(sample.left.known, bare.valid)


@pytest.mark.parametrize(
    ("changes", "drop", "said"),
    [
        ({}, "dx_px", "no column dx_px"),
        ({"dx_px": "much"}, None, "line 2: dx_px must be a number"),
        ({"dx_px": "nan"}, None, "line 2: .* finite"),
        ({"right": "absent.tif"}, None, "line 2: there is no file"),
        ({"left": ""}, None, "line 2 names no left image"),
        ({"warp": "spiral"}, None, "line 2: there is no warp"),
    ],
)
def test_a_list_that_cannot_be_used_says_where(
    folder: Path, changes: dict[str, str], drop: str | None, said: str
) -> None:
    with pytest.raises(BadList, match=said):
        read_list(write_list(folder / "broken.csv", changes, drop))


def test_an_empty_or_absent_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("set,place,left,right,band,dx_px,dy_px\n")
    with pytest.raises(BadList, match="lists no pair"):
        read_list(tmp_path / "empty.csv")
    with pytest.raises(BadList, match="cannot be read"):
        read_list(tmp_path / "absent.csv")


def test_warps_multiply_the_pairs_and_keep_names_apart(folder: Path) -> None:
    listed = warped(read_list(folder / "pairs.csv"), ["rotation:45", "rotation:45", "none"])
    assert ["none", "rotation:45"] == [pair.warp for pair in listed]
    assert 2 == len({pair.name for pair in listed})


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products of one tile, the ground of the second one shown 6.4 m east and 18.1 m north of where it is."""
    out = tmp_path_factory.mktemp("archives")
    write_product(out, Landscape(7), date="2021-05-20", pixels=360)
    write_product(out, Landscape(7), date="2021-09-17", pixels=360, displacement=(6.4, 18.1))
    return out


def test_the_georeference_of_archives_is_corrected_before_it_is_taken_for_the_truth(archives: Path) -> None:
    (pair,), refused = listing.list_archives([archives], Filters(), "B04")
    assert not refused
    records = protocol.run([pair], [protocol.parse_method("phase")], samples.Sampling())
    phase, prior = ({r.method: r for r in records if r.kind == "pair"}[name] for name in ("phase", "prior"))
    assert phase.precision_1 > 0.95
    assert phase.believed_precision_1 > 0.95
    assert phase.shift_error_m < 1
    assert prior.precision_1 == 0
    assert prior.shift_error_m > 19.2  # what the georeference errs by, and the displacement on top of it


def test_archives_whose_shift_cannot_be_measured_are_left_out_and_never_judged(tmp_path: Path) -> None:
    write_product(tmp_path, Landscape(7), date="2021-05-20", pixels=180)
    write_product(tmp_path, Landscape(8), date="2021-09-17", pixels=180)
    arguments = ["evaluate", str(tmp_path), "-o", str(tmp_path / "out"), "--method", "phase", "--band", "B04"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "None of 1 pairs could be evaluated" in result.output
    said = " ".join(result.output.split())
    assert "is left out" in said
    assert re.search(r"true shift could not be measured \(.+\): list the pair in a CSV", said)


def test_methods_are_written_with_switches() -> None:
    tested = parse_method("sift:unguided:nomasks")
    assert ("sift", False, False, True) == (tested.method.name, tested.method.guided, tested.masks, tested.semantics)
    assert ("auto", True, True, False) == (
        (auto := parse_method("auto:nosemantics")).method.name,
        auto.method.guided,
        auto.masks,
        auto.semantics,
    )
    with pytest.raises(ValueError, match="no switch 'quick'"):
        parse_method("sift:quick")


@pytest.fixture(scope="module")
def sample(folder: Path) -> samples.Sample:
    return prepare(read_list(folder / "pairs.csv")[0], HOW)


def answer(
    sample: samples.Sample, left: np.ndarray, right: np.ndarray, believed: np.ndarray, matrix: np.ndarray | None
) -> protocol.Answer:
    model = None if matrix is None else transform.PlaneTransform("translation", matrix, np.zeros(2))
    n = len(left)
    found = Correspondences(
        left,
        right,
        np.ones(n),
        np.full(n, "x"),
        (np.repeat(left, 2, axis=0), right),
        believed,
        model,
        "" if model else "nothing agrees",
    )
    return protocol.Answer("x", found)


def test_a_perfect_answer_gets_perfect_marks_and_shuffled_it_gets_none(sample: samples.Sample) -> None:
    left = metrics.check_points(sample.covisible)
    right = metrics.project(sample.truth, left)
    east, south = sample.truth[:2, 2] * 10
    truth = np.array([[1, 0, east], [0, 1, -south], [0, 0, 1.0]])
    record = protocol.judge(sample, answer(sample, left, right, np.ones(len(left), bool), truth))
    assert ("matched", 1.0, 1.0, 0.5) == (record.status, record.precision_1, record.coverage, record.matching_score_3)
    assert 0 == pytest.approx(record.corner.homography, abs=1e-6)
    assert 0 == pytest.approx(record.corner.believed, abs=1e-6)
    assert 0 == pytest.approx(record.rmse_m, abs=1e-6)
    assert record.shuffled_3 < 0.01


def test_a_wrong_model_is_measured_in_metres_and_a_missing_one_is_infinite(sample: samples.Sample) -> None:
    left = metrics.check_points(sample.covisible)
    half = np.arange(len(left)) % 2 == 0
    right = metrics.project(sample.truth, left) + np.where(half[:, None], 0, (0, 2.0))
    east, south = sample.truth[:2, 2] * 10
    off = np.array([[1, 0, east + 30], [0, 1, -south + 40], [0, 0, 1.0]])
    record = protocol.judge(sample, answer(sample, left, right, half, off))
    assert (50.0, 50.0, 5.0) == pytest.approx((record.rmse_m, record.shift_error_m, record.corner.believed))
    assert (0.5, 1.0, 1.0) == pytest.approx(
        (record.precision_1, record.precision_3, record.believed_precision_1), abs=0.01
    )
    silent = protocol.judge(sample, answer(sample, left[:0], right[:0], half[:0], None))
    assert ("no match", "nothing agrees", 0.0, 0.0) == (
        silent.status,
        silent.reason,
        silent.precision_1,
        silent.coverage,
    )
    assert all(map(math.isinf, (*silent.corner, silent.rmse_m)))


def failing(left: MatchInput, right: MatchInput, method: Method) -> Correspondences:
    raise NoMatch("left", "right", "this one always fails")


@pytest.mark.usefixtures("quick_fits")
def test_a_method_that_raises_is_a_failure_with_a_reason_and_the_others_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = protocol.correspond
    monkeypatch.setattr(protocol, "correspond", lambda a, b, m: failing(a, b, m) if m.cells == 1 else honest(a, b, m))
    broken = parse_method("sift")
    broken = replace(broken, label="broken", method=replace(broken.method, cells=1))
    records = run(read_list(folder / "pairs.csv"), [broken, parse_method("sift")], HOW)
    mine = [r for r in records if r.method == "broken"]
    assert {"failed"} == {r.status for r in mine}
    assert "this one always fails" in mine[0].reason
    own = {s.method: s for s in summarise(records) if s.set == "all" and not s.stratum}
    assert (0.0, 0.0, 1) == (own["broken"].precision_1, own["broken"].auc.believed.at_3, own["broken"].failed)
    assert own["sift"].precision_3 > 0.5
    # the controls of the same run
    by_name = {c.method: c for c in controls(records)}
    sift = by_name["sift"]
    assert (1, 1, 1, 1) == (sift.identical, sift.perfect, sift.unrelated, sift.refused)
    assert sift.shuffled_3 < 0.05
    # georeference without an image: never within a pixel, so it is no answer
    assert 0.0 == own["prior"].precision_1
    assert (0.0, 0.0, 1.0) == (own["prior"].coverage, own["prior"].success, own["prior"].wrong)
    assert own["prior"].median_shift_error_m > 10


@pytest.mark.usefixtures("quick_fits")
def test_records_survive_being_written_and_read_back(folder: Path, tmp_path: Path) -> None:
    listed = read_list(folder / "pairs.csv")
    diary = Diary(tmp_path)
    first = run(listed, [], HOW, diary=diary)
    diary.path.write_text(diary.path.read_text() + '{"key": "cut sho')
    before = diary.path.read_text()
    assert first == run(listed, [], HOW, diary=diary)
    assert before == diary.path.read_text()
    other = run(listed, [], replace(HOW, seed=5), diary=diary)
    assert len(first) + len(other) == len(diary.read())
    assert list(other) == [record for record in diary.read().values() if record not in first]


def test_a_record_is_flat_in_files_and_whole_again_when_read(sample: samples.Sample) -> None:
    left = metrics.check_points(sample.covisible)
    right = metrics.project(sample.truth, left)
    record = protocol.judge(sample, answer(sample, left, right, np.ones(len(left), bool), None))
    columns = json.loads(json.dumps(record.to_dict()))
    models = ("translation", "similarity", "affine", "homography", "believed")
    assert [f"corner_{model}" for model in models] == [name for name in columns if name.startswith("corner")]
    assert record == Record.from_dict(columns)
    with pytest.raises(KeyError):
        Record.from_dict({name: value for name, value in columns.items() if name != "corner_affine"})


def evaluated(folder: Path, out: Path, *arguments: str) -> tuple[int, str, str]:
    command = ["-q", "evaluate", str(folder / "pairs.csv"), "-o", str(out), "--cache", str(out / "cache"), *arguments]
    done = CliRunner().invoke(main, command)
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.usefixtures("quick_fits")
def test_the_command_measures_reports_draws_and_goes_on(folder: Path, tmp_path: Path) -> None:
    code, said, complaints = evaluated(folder, tmp_path, "--method", "sift", "--json", "--figures")
    assert (0, "") == (code, complaints)
    sift = next(s for s in json.loads(said)["summary"] if s["method"] == "sift" and s["set"] == "invented")
    assert 1 == sift["pairs"]
    assert sift["precision_3"] > 0.5
    rows = list(csv.DictReader((tmp_path / "records.csv").read_text().splitlines()))
    assert {("prior", "pair"), ("sift", "pair"), ("sift", "identity"), ("sift", "unrelated")} <= {
        (r["method"], r["kind"]) for r in rows
    }
    assert "31-90 d" == rows[0]["stratum season_gap"]
    for name in ("sets.png", "corners.png"):
        assert cv2.imread(str(tmp_path / name)).std() > 1
    diary = Diary(tmp_path).path
    lines = len(diary.read_text().splitlines())
    code, said, _ = evaluated(folder, tmp_path, "--method", "sift")
    assert (0, lines) == (code, len(diary.read_text().splitlines()))
    assert "identity" in said


@pytest.mark.usefixtures("quick_fits")
def test_a_method_whose_weights_are_absent_is_not_available_and_never_zero(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTINEL_MATCH_WEIGHTS", str(tmp_path / "none"))
    code, _, complaints = evaluated(folder, tmp_path, "--method", "loftr-outdoor")
    assert 0 == code
    assert "not available: loftr-outdoor" in complaints
    with (tmp_path / "summary.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "loftr-outdoor"]
    assert [("not available", "")] == [(r["status"], r["precision_1"]) for r in rows]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--method", "no-such"), "no matcher 'no-such'"),
        (("--method", "sift:quick"), "no switch 'quick'"),
        (("--warp", "spiral"), "no warp 'spiral'"),
    ],
)
def test_wrong_usage_is_one_sentence(folder: Path, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    code, _, complaints = evaluated(folder, tmp_path, *arguments)
    assert code
    assert said in complaints


def test_figures_without_matplotlib_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(ExtraMissing, match=r"sentinel-match\[plot\]"):
        figures.draw(tmp_path, [])


# Fields


@settings(max_examples=50, deadline=None)
@given(st.floats(60, 500), st.floats(0.1, 4), st.integers(0, 1000))
def test_a_field_maps_back_what_it_maps(length: float, size: float, seed: int) -> None:
    moved_by = np.array([[1, 0, 3.3], [0, 1, -1.7], [0, 0, 1.0]])
    bent = displaced.warp_of(f"field:{length}:{size}", (300, 400), seed, "a pair", moved_by)
    points = np.random.default_rng(seed).uniform(-50, 400, (100, 2))
    assert np.allclose(points, metrics.project_back(bent, metrics.project(bent, points)), atol=1e-9)
    assert np.abs(metrics.project(bent, points) - metrics.project(moved_by, points)).max() <= size + 1e-9


def test_the_content_of_a_bent_image_lies_where_the_truth_says(folder: Path) -> None:
    pair = replace(read_list(folder / "pairs.csv")[0], warp="field:160:2")
    sample = prepare(pair, HOW)
    left, right = sample.left.images[0], sample.right.images[0]
    at = np.array([(x, y) for x in range(64, 200, 12) for y in range(64, 200, 12)], float)
    found = subpixel.measure(left, right, at, metrics.project(sample.truth, at))
    assert found.singles is not None
    alone = found.singles.ok & (found.singles.distinct > 0.5)
    off = (found.left + found.singles.whole - metrics.project(sample.truth, found.left))[alone]
    assert alone.sum() > 50
    assert np.abs(np.median(off, axis=0)).max() < 0.1
    # A mapping without the field is told from it
    assert isinstance(sample.truth, metrics.Bent)
    straight = metrics.project(sample.truth.matrix, found.left)[alone]
    beside = (found.left + found.singles.whole)[alone] - straight
    assert np.std(off, axis=0).max() < 0.5 < np.std(beside, axis=0).max()


@pytest.mark.parametrize("warp", ["field", "field:100", "field:a:b", "field:10:5", "field:0:1"])
def test_a_field_that_folds_or_has_no_figures_is_refused(warp: str) -> None:
    with pytest.raises(ValueError, match="there is no warp"):
        displaced.warp_of(warp, (10, 10), 0, "", np.eye(3))


@pytest.mark.parametrize(
    ("warp", "kind"), [("affine", "affine"), ("perspective", "homography"), ("none", "similarity")]
)
def test_what_is_right_of_a_slanted_pair_is_believed(folder: Path, warp: str, kind: str) -> None:
    sample = prepare(replace(read_list(folder / "pairs.csv")[0], warp=warp), HOW)
    assert kind == sample.model
    left = np.random.default_rng(0).uniform(20, SIDE - 20, (200, 2))
    right = metrics.project(sample.truth, left)

    def perfect(_: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return left - MIDDLE, right - MIDDLE, np.ones(200)

    answer = ForeignMethod("perfect", perfect, []).answer(sample)
    assert answer.inlier.all()
    assert kind == answer.model.kind  # type: ignore[union-attr]


def test_methods_of_the_package_are_told_the_same_kind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = prepare(replace(read_list(folder / "pairs.csv")[0], warp="perspective"), HOW)
    told = []
    monkeypatch.setattr(protocol, "correspond", lambda _left, _right, method: told.append(method.model))
    parse_method("sift:everywhere").answer(sample)
    assert ["homography"] == told
