"""The straight line on invented products with known displacement."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from sentinel_match import batch, matchers
from sentinel_match.cache import Cache
from sentinel_match.errors import MissingBand, NoGeoreference, NoMatch, NoOverlap, NothingClear, TooFine
from sentinel_match.geometry import grids
from sentinel_match.matching import inputs
from sentinel_match.matching.correspondences import Correspondences
from sentinel_match.matching.refining import thinned, with_matches
from sentinel_match.matching.subpixel import Measurements
from sentinel_match.matching.view import View, turned
from sentinel_match.options import Options
from sentinel_match.pipeline import match_scenes
from sentinel_match.products.catalogue import read_scene
from sentinel_match.products.filters import Filters
from sentinel_match.products.scene import Scene
from sentinel_match.raster import raster
from sentinel_match.raster.transitions import Semantics
from sentinel_match.testing import Landscape, truncate, write_product
from sentinel_match.tiepoints import TiePoints

GROUND = Landscape(seed=7)
TRUTH = (6.4, 18.1)


def quick(**options: object) -> Options:
    return Options(matcher=matchers.create("sift"), candidates=1000, cells=2, **options)


BARE = batch.Files(report=False, project=False)
"""Pages and projects have tests of their own."""


def quiet(_what: str, _done: int, _of: int) -> None:
    return


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scene]:
    """One tile in spring and autumn, the autumn image displaced; the next zone; far away; all cloud."""
    folder = tmp_path_factory.mktemp("archive")

    def make(name: str, **facts: object) -> Scene:
        return read_scene(write_product(folder / name, GROUND, **{"pixels": 720, **facts}))

    return {
        "spring": make("spring", date="2021-05-20", bands=("B04", "B08", "B11")),
        "autumn": make("autumn", date="2021-09-17", displacement=TRUTH, pixels=(660, 600), zip="stored"),
        "far": make("far", date="2021-05-20", tile="T31TCJ"),
        "cloudy": make("cloudy", date="2021-08-01", sky=1.0),
        "elsewhere": read_scene(write_product(folder / "elsewhere", Landscape(seed=99), date="2021-06-11", pixels=720)),
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a quarter of that tile in spring and autumn: what files are kept does not depend on the ground."""
    folder = tmp_path_factory.mktemp("small")
    write_product(folder, GROUND, date="2021-05-20", pixels=360)
    write_product(folder, GROUND, date="2021-09-17", pixels=360, displacement=TRUTH)
    return folder


@pytest.fixture(scope="module")
def ties(products: dict[str, Scene]) -> TiePoints:
    return match_scenes(products["spring"], products["autumn"], quick())


def test_the_known_displacement_is_recovered_to_a_twentieth_of_a_pixel(ties: TiePoints) -> None:
    assert ties.inlier.sum() > 400
    assert np.abs(np.median(ties.shift[ties.inlier], axis=0) - TRUTH).max() < 0.5
    assert np.hypot(*(ties.shift[ties.inlier] - TRUTH).T).max() < 10
    assert (ties.left_xy[:, 0] >= 300_000).all()


def test_learned_matching_recovers_it_too_and_says_who_found_what(products: dict[str, Scene]) -> None:
    learned = Options(matcher=matchers.create("aliked+lightglue"), cells=1, candidates=1000)
    ties = match_scenes(products["spring"], products["autumn"], learned)
    assert np.abs(np.median(ties.shift[ties.inlier], axis=0) - TRUTH).max() < 0.5
    assert {"aliked+lightglue", "grid"} == set(ties.method)
    assert ties.summary.comparison.by_method["aliked+lightglue"] > 20


def test_the_cascade_says_who_found_and_who_confirmed_and_which_method_supplied_each_region(
    products: dict[str, Scene],
) -> None:
    ties = match_scenes(products["spring"], products["autumn"], Options(cells=2, candidates=1000))
    assert np.abs(np.median(ties.shift[ties.inlier], axis=0) - TRUTH).max() < 0.5
    assert "phase, confirmed by sift" == ties.summary.comparison.matcher.verdict
    assert {"phase", "grid"} <= set(ties.method)
    counted = [sum(region.methods.values()) for region in ties.summary.comparison.regions]
    assert ties.inlier.sum() == sum(counted)


def test_native_pixels_are_those_of_each_band(products: dict[str, Scene], ties: TiePoints) -> None:
    left, right = products["spring"], products["autumn"]
    for scene, pixels, metres in ((left, ties.left_px, ties.left_xy), (right, ties.right_px, ties.right_xy)):
        affine = scene.band("B04").geobox.affine
        again = np.column_stack([affine.c + 10 * pixels[:, 0], affine.f - 10 * pixels[:, 1]])
        assert np.abs(again - metres).max() < 1e-6


def test_swapping_the_scenes_swaps_the_sign(products: dict[str, Scene]) -> None:
    back = match_scenes(products["autumn"], products["spring"], quick())
    assert np.abs(np.median(back.shift[back.inlier], axis=0) + TRUTH).max() < 0.5


def test_the_same_inputs_give_the_same_points(products: dict[str, Scene], ties: TiePoints) -> None:
    again = match_scenes(products["spring"], products["autumn"], quick())
    assert np.array_equal(ties.right_xy, again.right_xy)
    assert ties.inlier.tolist() == again.inlier.tolist()


def test_a_coarser_resolution_finds_the_same_metres(products: dict[str, Scene]) -> None:
    ties = match_scenes(products["spring"], products["autumn"], quick(resolution=20.0))
    assert 20.0 == ties.gsd
    assert np.abs(np.median(ties.shift[ties.inlier], axis=0) - TRUTH).max() < 1.0


def test_products_of_neighbouring_zones_are_matched_on_the_left_ones_grid(tmp_path: Path) -> None:
    # The same ground in zone 32 and in zone 33, whose grids are turned against one another by several degrees
    from pyproj import Transformer

    ground = Landscape(seed=7, crs="EPSG:32633")
    corner = Transformer.from_crs("EPSG:32633", "EPSG:32632", always_xy=True).transform(310_000, 5_600_000)
    origin = tuple(round(v / 60) * 60 for v in corner)
    left = read_scene(
        write_product(tmp_path / "l", ground, date="2021-05-20", origin=(300_000, 5_600_040), pixels=1020)
    )
    right = read_scene(
        write_product(tmp_path / "r", ground, date="2021-05-25", tile="T32UQB", origin=origin, pixels=1020)
    )
    ties = match_scenes(left, right, quick())
    assert np.abs(np.median(ties.shift[ties.inlier], axis=0)).max() < 0.5


def test_a_left_raster_whose_units_are_no_metres_still_gives_metres(products: dict[str, Scene], tmp_path: Path) -> None:
    import rasterio
    from rasterio.warp import Resampling, calculate_default_transform, reproject

    paths = []
    for name in ("spring", "autumn"):
        source = raster.read(products[name], "B04")
        rows, cols = source.valid.shape
        bounds = source.geobox.boundingbox
        transform, width, height = calculate_default_transform("EPSG:32633", "EPSG:4326", cols, rows, *bounds)
        out = np.zeros((height, width), np.float32)
        reproject(
            np.where(source.valid, source.pixels, np.nan).astype(np.float32),
            out,
            src_transform=source.geobox.affine,
            src_crs="EPSG:32633",
            dst_transform=transform,
            dst_crs="EPSG:4326",
            src_nodata=np.nan,
            dst_nodata=np.nan,
            resampling=Resampling.cubic,
        )
        paths.append(tmp_path / f"{name}.tif")
        facts = {"count": 1, "dtype": "float32", "crs": "EPSG:4326", "transform": transform, "nodata": np.nan}
        with rasterio.open(paths[-1], "w", driver="GTiff", width=width, height=height, **facts) as file:
            file.write(out, 1)
    ties = match_scenes(read_scene(paths[0]), read_scene(paths[1]), quick())
    assert "EPSG:32633" == ties.crs
    assert np.abs(np.median(ties.shift[ties.inlier], axis=0) - TRUTH).max() < 1.0


def test_each_point_of_the_lattice_says_how_much_ground_it_averages(ties: TiePoints) -> None:
    assert ties.support_m is not None
    grid = ties.inlier & (ties.method == "grid")
    support = ties.support_m[grid]
    # Half a window of 32 px of 10 m at least, and no more than the widest average: one shift moves all of this ground
    assert 160 <= support.min()
    assert support.max() < 2.4 * 8 * 140 + 160
    assert np.median(support) > 500


def test_the_same_ground_on_two_dates_that_lies_still_is_left_as_it_is(
    products: dict[str, Scene], ties: TiePoints, tmp_path: Path
) -> None:
    still = read_scene(write_product(tmp_path, GROUND, date="2021-06-19", pixels=720))
    untouched = match_scenes(products["spring"], still, quick())
    assert "none" == untouched.transform.kind
    assert "nothing is corrected, for they agree" in untouched.summary.verdict
    asked = match_scenes(products["spring"], products["autumn"], quick(model="none"))
    assert np.array_equal(asked.left_xy, asked.transform(asked.left_xy))
    assert "nothing is corrected, as was asked" in asked.summary.verdict
    assert asked.summary.hold_out is not None
    assert asked.summary.hold_out.ce95 > np.hypot(*TRUTH)
    assert asked.inlier.sum() > 0.9 * ties.inlier.sum()


def test_a_resolution_finer_than_the_image_is_refused(products: dict[str, Scene]) -> None:
    with pytest.raises(TooFine, match=r"--resolution 5\.0 .*is finer"):
        match_scenes(products["spring"], products["autumn"], quick(resolution=5.0))


def test_a_point_that_contradicts_the_model_has_no_score(ties: TiePoints) -> None:
    beyond = ties.residual_m > ties.summary.tolerance_m + 0.001
    assert (ties.score[beyond] == 0).all()
    assert (ties.score[ties.inlier] >= 0.9).all()


def test_scenes_that_do_not_meet_are_refused(products: dict[str, Scene]) -> None:
    with pytest.raises(NoOverlap, match="do not overlap"):
        match_scenes(products["spring"], products["far"], quick())


def test_a_scene_under_cloud_is_refused_with_the_share_of_cloud(products: dict[str, Scene]) -> None:
    with pytest.raises(NothingClear, match="cloud"):
        match_scenes(products["spring"], products["cloudy"], quick())


def test_another_landscape_is_no_match(products: dict[str, Scene]) -> None:
    with pytest.raises(NoMatch, match="No match"):
        match_scenes(products["spring"], products["elsewhere"], quick())


def test_a_band_that_one_scene_lacks_is_refused_by_name(products: dict[str, Scene]) -> None:
    with pytest.raises(MissingBand, match="B08"):
        match_scenes(products["spring"], products["autumn"], quick(band="B08"))


def test_an_image_without_position_is_refused(products: dict[str, Scene], tmp_path: Path) -> None:
    import rasterio

    path = tmp_path / "nowhere.png"
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(path, "w", driver="PNG", width=64, height=64, count=1, dtype="uint8") as file,
    ):
        file.write(np.full((1, 64, 64), 7, "uint8"))
    with pytest.raises(NoGeoreference, match="no georeference"):
        match_scenes(read_scene(path), read_scene(path), quick())


def test_a_run_keeps_what_is_done_and_redoes_what_changed(small: Path, tmp_path: Path) -> None:
    out, cache = tmp_path / "out", Cache(tmp_path / "cache")
    first = batch.run(small, out, quick(), Filters(), cache=cache, files=BARE)
    assert ["matched"] == [o.status for o in first.outcomes]
    files = {p: p.stat().st_mtime_ns for p in out.rglob("*.geojson") if p.parent != out}
    again = batch.run(small, out, quick(), Filters(), cache=cache, files=BARE)
    assert ["kept"] == [o.status for o in again.outcomes]
    assert files == {p: p.stat().st_mtime_ns for p in files}
    assert first.outcomes[0].summary.inliers == again.outcomes[0].summary.inliers
    other = batch.run(small, out, quick(seed=1), Filters(), cache=cache, files=BARE)
    assert ["matched"] == [o.status for o in other.outcomes]
    next(iter(files)).write_text("{")  # a result that was harmed is not kept
    assert ["matched"] == [
        o.status for o in batch.run(small, out, quick(seed=1), Filters(), cache=cache, files=BARE).outcomes
    ]


def test_a_moved_georeference_is_another_input(small: Path, tmp_path: Path) -> None:
    import rasterio

    archive, out, cache = tmp_path / "archive", tmp_path / "out", Cache(tmp_path / "cache")
    archive.mkdir()
    for name, path in zip(("spring", "autumn"), sorted(small.iterdir()), strict=True):
        raster.write(raster.read(read_scene(path), "B04"), archive / f"{name}.tif")
    # The georeference in a side file: the image itself stays as it is
    with rasterio.open(archive / "autumn.tif") as file:
        pixels, a = file.read(1, masked=True).filled(0), file.transform
    (archive / "autumn.tif").unlink()
    facts = {"width": pixels.shape[1], "height": pixels.shape[0], "count": 1, "dtype": "float32", "nodata": 0}
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(archive / "autumn.tif", "w", driver="GTiff", **facts) as file,
    ):
        file.write(pixels, 1)
    for east in (0, 20):
        numbers = ", ".join(str(v) for v in (a.c + east, a.a, 0, a.f, 0, a.e))
        side = f"<PAMDataset><SRS>EPSG:32633</SRS><GeoTransform>{numbers}</GeoTransform></PAMDataset>"
        (archive / "autumn.tif.aux.xml").write_text(side)
        (outcome,) = batch.run(archive, out, quick(), Filters(), cache=cache, files=BARE).outcomes
        assert "matched" == outcome.status, outcome.error
        sign = 1 if "autumn" in outcome.right else -1
        assert abs(sign * outcome.summary.median_dx_m - TRUTH[0] - east) < 0.5


def test_a_pair_that_failed_is_not_tried_again(tmp_path: Path) -> None:
    archive, out, cache = tmp_path / "archive", tmp_path / "out", Cache(tmp_path / "cache")
    write_product(archive, GROUND, date="2021-05-20", pixels=360)
    write_product(archive, Landscape(seed=99), date="2021-06-11", pixels=360)
    said: list[str] = []
    for _ in range(2):
        result = batch.run(archive, out, quick(), cache=cache, progress=lambda *what: said.append(what[0]), files=BARE)
        (outcome,) = result.outcomes
        assert "No match between" in outcome.error
    assert 3 == said.count("read")  # begun, left and right, in the first run only


def test_one_bad_product_never_ends_a_run(tmp_path: Path) -> None:
    archive, out = tmp_path / "archive", tmp_path / "out"
    write_product(archive, GROUND, date="2021-05-20", pixels=360)
    write_product(archive, GROUND, date="2021-09-17", pixels=360)
    torn = write_product(archive, GROUND, date="2021-07-01", pixels=360)
    truncate(next(torn.rglob("*_B04.jp2")), 0.5)
    (archive / "download.zip").write_text("<html>Your session has expired</html>")
    result = batch.run(archive, out, quick(), Filters(), cache=Cache(tmp_path / "cache"), files=BARE)
    assert ["download.zip", torn.name] == [r.path.name for r in result.catalogue.refused]
    assert "damaged: it has" in str(result.catalogue.refused[1].error)
    assert ["matched"] == [o.status for o in result.outcomes]
    assert not result.clean
    record = json.loads((out / "run.json").read_text())
    assert record["peak_memory_bytes"] > 0
    assert all(i["sha256"] and i["bytes"] for i in record["inputs"])
    assert not list(out.rglob(".unfinished*"))


def test_a_pair_that_fails_is_reported_and_the_others_are_matched(tmp_path: Path) -> None:
    archive, out = tmp_path / "archive", tmp_path / "out"
    write_product(archive, GROUND, date="2021-05-20", pixels=360)
    write_product(archive, GROUND, date="2021-09-17", pixels=360)
    write_product(archive, Landscape(seed=99), date="2021-06-11", pixels=360)  # the same place, but other ground
    result = batch.run(archive, out, quick(), Filters(all_pairs=True), cache=Cache(tmp_path / "cache"), files=BARE)
    assert ["failed", "failed", "matched"] == sorted(o.status for o in result.outcomes)
    assert all("No match between" in o.error for o in result.outcomes if o.status == "failed")
    assert 1 == len(list(out.rglob("tiepoints.geojson")))


def test_a_scenes_features_are_made_once_whatever_its_pairs(small: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    spring, autumn = (read_scene(path) for path in sorted(small.iterdir()))
    for right in (autumn, spring):
        match_scenes(spring, right, quick(), cache)
    kinds = [entry.kind for entry in cache.entries()]
    assert 2 == kinds.count("scene")
    assert kinds.count("features") <= 4
    before = {e.path: e.path.stat().st_mtime_ns for e in cache.entries()}
    match_scenes(autumn, spring, quick(), cache)
    assert before == {e.path: e.path.stat().st_mtime_ns for e in cache.entries()}


def test_common_band_prefers_red(products: dict[str, Scene]) -> None:
    assert "B04" == inputs.common_band(products["spring"], products["autumn"], None)


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, Scene]:
    """Two L2A products with two bands each: they know what lies where."""
    folder = tmp_path_factory.mktemp("l2a")
    facts = {"level": "L2A", "bands": ("B04", "B08"), "pixels": 480}
    return (
        read_scene(write_product(folder, GROUND, date="2021-05-20", **facts)),
        read_scene(write_product(folder, GROUND, date="2021-09-17", displacement=TRUTH, **facts)),
    )


def test_every_tie_point_tells_its_classes_and_the_summary_counts_them(classified: tuple[Scene, Scene]) -> None:
    ties = match_scenes(*classified, quick())
    assert ties.left_class is not None
    assert ties.right_class is not None
    assert [len(ties.inlier)] * 2 == [len(ties.left_class), len(ties.right_class)]
    compared = ties.summary.comparison
    assert ("SCL", "SCL") == (compared.left.classes_from, compared.right.classes_from)
    counts = compared.classes
    assert len(ties.inlier) == sum(one.points for one in counts.values())
    assert ties.inlier.sum() == sum(one.inliers for one in counts.values())
    alike = ties.left_class == ties.right_class
    assert alike.sum() == sum(one.points for name, one in counts.items() if " > " not in name)
    fields = (ties.left_class == "vegetation") & (ties.right_class == "bare")
    assert fields.sum() == counts["vegetation > bare"].points


def test_a_map_of_classes_tells_the_classes_of_products_that_have_none(
    products: dict[str, Scene], tmp_path: Path
) -> None:
    import rasterio

    box = products["spring"].band("B04").geobox
    codes = np.full(box.shape, 10, np.uint8)  # WorldCover: trees
    codes[:, box.shape[1] // 2 :] = 80  # and water
    path = tmp_path / "worldcover.tif"
    facts = {"count": 1, "dtype": "uint8", "crs": str(box.crs), "transform": box.affine}
    with rasterio.open(path, "w", driver="GTiff", width=box.shape[1], height=box.shape[0], **facts) as file:
        file.write(codes, 1)
    wanted = Semantics(maps=(path,), table="worldcover")
    ties = match_scenes(products["spring"], products["autumn"], quick(semantics=wanted))
    assert ties.left_class is not None
    middle = box.affine.c + 10 * (box.shape[1] // 2)
    sure = np.abs(ties.left_xy[:, 0] - middle) > 20
    expected = np.where(ties.left_xy[:, 0] < middle, "vegetation", "water")
    assert np.array_equal(expected[sure], ties.left_class[sure])


@pytest.mark.parametrize("band", ["B04,B08", "NDVI"])
def test_several_bands_and_an_index_find_the_same_shift(classified: tuple[Scene, Scene], band: str) -> None:
    ties = match_scenes(*classified, quick(band=band))
    assert [band, band] == [ties.band, ties.summary.band]
    assert ties.inlier.sum() > 200
    assert np.abs(np.median(ties.shift[ties.inlier], axis=0) - TRUTH).max() < 1.0


def test_a_turned_image_gives_the_matches_as_they_were_found(products: dict[str, Scene], tmp_path: Path) -> None:
    left, right = (raster.read(products[name], "B04") for name in ("spring", "autumn"))
    low, high = np.percentile(right.pixels, (1, 99))
    turn = turned(View.of(((right.pixels - low) / (high - low)).clip(0.01, 1), right.valid), 30)
    grid = GeoBox(turn.valid.shape, right.geobox.affine, right.geobox.crs)
    raster.write(left, tmp_path / "left.tif")
    raster.write(raster.Raster(turn.pixels, turn.valid, grid), tmp_path / "turned.tif")
    scenes = [read_scene(tmp_path / name) for name in ("left.tif", "turned.tif")]
    ties = match_scenes(*scenes, Options(guided=False, candidates=1000))
    assert (
        "turned by 30." in ties.summary.comparison.matcher.verdict
        or "by 29.9" in ties.summary.comparison.matcher.verdict
    )
    assert "grid" not in ties.method
    assert ties.inlier.sum() > 20
    unturned = turn.to_image(grids.transformed(~grid.affine, ties.right_xy[ties.inlier]))
    shown = grids.transformed(right.geobox.affine, unturned)
    error = shown - ties.left_xy[ties.inlier] - TRUTH
    assert np.hypot(*np.median(error, axis=0)) < 5
    assert np.hypot(*error.T).max() < 25


def example_found(count: int = 40) -> Correspondences:
    """Matches on a line, 2 pixels apart, the later the surer; every fourth is not believed."""
    left = np.column_stack([np.arange(count) * 2.0, np.full(count, 5.0)])
    method = np.array(["phase", "sift", "says"])[np.arange(count) % 3]
    score, believed = np.linspace(0.1, 0.9, count), np.arange(count) % 4 != 0
    return Correspondences(left, left + (3.0, 1.0), score, method, (left, left), believed)


def test_matches_are_thinned_to_the_surest_of_each_square_and_none_is_lost() -> None:
    found = example_found()
    thin = thinned(found, 16.0)
    assert len(found) == len(thin)
    assert found.left is thin.left
    expected = [max(k for k in np.flatnonzero(found.inlier) if found.left[k, 0] // 16 == square) for square in range(5)]
    assert expected == np.flatnonzero(thin.inlier).tolist()
    nothing = thinned(replace(found, inlier=np.zeros(40, bool)), 16.0)
    assert not nothing.inlier.any()


def test_a_match_that_could_not_be_measured_is_added_as_it_was_found() -> None:
    found = example_found()
    n = int(found.inlier.sum())
    place = np.arange(n) // 2  # two matches share a place
    places = np.full((n // 2 + 8, 2), 50.0)
    ok = np.arange(len(places)) % 2 == 0
    nothing = replace(Measurements.nothing(places, places + 9), ok=ok)
    measured, method = with_matches(nothing, np.full(len(places), "grid", "U64"), found, place)
    origin = np.flatnonzero(found.inlier)[~ok[place]]
    added = slice(len(places), None)
    assert len(places) + len(origin) == len(measured) == len(method)
    assert ok.tolist() == measured.ok[: len(places)].tolist()
    assert measured.ok[added].all()
    assert not measured.refined[added].any()
    assert np.array_equal(found.right[origin], measured.right[added])
    assert np.array_equal(found.score[origin], measured.distinct[added])
    sigma = {"phase": 0.2, "sift": 0.4, "says": 0.7}
    assert [sigma[name] for name in found.method[origin]] == measured.sigma[added].tolist()
    assert found.method[origin].tolist() == measured.feature[added].tolist() == method[added].tolist()


def test_a_pair_is_done_when_all_its_files_are_there_and_what_qgis_writes_into_them_stays(
    small: Path, tmp_path: Path
) -> None:
    import sqlite3

    def go(*, geopackage: bool = True) -> str:
        files = batch.Files(geopackage=geopackage, report=False, project=False)
        done = batch.run(small, tmp_path / "out", quick(), cache=Cache(tmp_path / "cache"), files=files)
        return done.outcomes[0].status

    assert "matched" == go(geopackage=False)
    (ties,) = (tmp_path / "out").rglob("tiepoints.geojson")
    names = {"displacement.tif", "tiepoints.geojson", "tiepoints.qml", "pair.json"}
    assert names == {p.name for p in ties.parent.iterdir()}
    assert "kept" == go(geopackage=False)
    assert "matched" == go()
    assert "kept" == go(geopackage=False)
    package = ties.parent / "tiepoints.gpkg"
    with sqlite3.connect(package) as database:  # as QGIS does when a user edits
        database.execute("CREATE TABLE notes AS SELECT styleQML FROM layer_styles")
    database.close()
    assert "kept" == go()
    (ties.parent / "tiepoints.qml").write_text("a user's own style")
    assert "kept" == go()
    package.write_bytes(package.read_bytes()[:-4096])
    assert "matched" == go()
    assert not list(ties.parent.glob("*~"))
    for name in ("quicklook.json", "masks.tif"):
        (ties.parent / name).write_text("of the points that were")
    ties.write_text(ties.read_text() + " ")
    later = (ties.parent / "pair.json").stat().st_mtime + 60
    os.utime(ties, (later, later))
    assert "matched" == go()
    assert {*names, "tiepoints.gpkg", "tiepoints.geojson~"} == {p.name for p in ties.parent.iterdir()}
    (ties.parent / "tiepoints.qml").unlink()
    assert "matched" == go()
    assert package.is_file()
