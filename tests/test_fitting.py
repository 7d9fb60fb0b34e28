"""What a person says of points holds; a bad file says which row; nothing edited, nothing changed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
from click.testing import CliRunner

from sentinel_match import fitting
from sentinel_match.cli import main
from sentinel_match.errors import BadPoints, NoMatch
from sentinel_match.fitting import fit, read_ties
from sentinel_match.formats import write
from sentinel_match.formats.geojson import dumps, write_geojson
from sentinel_match.formats.header import SceneIdentity
from sentinel_match.geometry.ellipse import Ellipses
from sentinel_match.tiepoints import TiePoints


@pytest.fixture
def geojson(ties: TiePoints, tmp_path: Path) -> Callable[[Callable[[list[dict]], None]], Path]:
    """A file of ours after an edit."""

    def make(edit: Callable[[list[dict]], None]) -> Path:
        write_geojson(ties, tmp_path / "edited.geojson")
        collection = json.loads((tmp_path / "edited.geojson").read_text())
        edit(collection["features"])
        (tmp_path / "edited.geojson").write_text(json.dumps(collection))
        return tmp_path / "edited.geojson"

    return make


def test_nothing_edited_gives_the_same_model_and_the_same_proof(ties: TiePoints, tmp_path: Path) -> None:
    truth = ties.transform
    for suffix in (".geojson", ".gpkg"):
        write.write(ties, tmp_path / f"ties{suffix}")
        again = fitting.fit(tmp_path / f"ties{suffix}")
        assert ties.transform.kind == again.transform.kind
        found = again.transform
        assert np.abs(found(ties.left_xy) - truth(ties.left_xy)).max() < 0.001
        assert abs(ties.summary.hold_out.ce90 - again.summary.hold_out.ce90) < 0.02
        assert np.abs(ties.left_px - again.left_px).max() < 0.001
        assert (ties.left.id, ties.right.id, ties.band) == (again.left.id, again.right.id, again.band)
        # The fixture calls three good points outliers; judged anew they are good again
        assert again.inlier.sum() >= ties.inlier.sum()


def test_what_is_fitted_again_from_its_own_result_stays(ties: TiePoints, tmp_path: Path) -> None:
    write.write(ties, tmp_path / "one.gpkg")
    one = fitting.fit(tmp_path / "one.gpkg")
    write.write(one, tmp_path / "two.gpkg")
    two = fitting.fit(tmp_path / "two.gpkg")
    assert one.inlier.tolist() == two.inlier.tolist()
    assert np.allclose(one.residual_m, two.residual_m, atol=1e-3)


def test_a_deleted_point_is_gone(ties: TiePoints, geojson: Callable[..., Path]) -> None:
    def delete(features: list[dict]) -> None:
        del features[10:13]

    again = fitting.fit(geojson(delete))
    assert len(ties) - 3 == len(again)
    assert 3 == again.summary.edits.deleted


def test_a_point_rejected_by_hand_takes_no_part_now_and_later(
    ties: TiePoints, geojson: Callable[..., Path], tmp_path: Path
) -> None:
    k = int(np.flatnonzero(ties.inlier)[20])

    def reject(features: list[dict]) -> None:
        features[k]["properties"]["inlier"] = False

    again = fitting.fit(geojson(reject))
    assert (False, "by hand") == (again.inlier[k], again.reason[k])
    assert 1 == again.summary.edits.rejected_by_hand
    write.write(again, tmp_path / "again.gpkg")
    third = fitting.fit(tmp_path / "again.gpkg")
    assert (False, "by hand") == (third.inlier[k], third.reason[k])


def test_a_point_taken_back_by_hand_is_believed(ties: TiePoints, geojson: Callable[..., Path]) -> None:
    k = int(np.flatnonzero(~ties.inlier)[0])

    def take_back(features: list[dict]) -> None:
        features[k]["properties"] |= {"inlier": True, "right_x": features[k]["properties"]["right_x"] + 9.0}

    again = fitting.fit(geojson(take_back))
    assert (True, "by hand") == (again.inlier[k], again.reason[k])
    assert again.residual_m[k] > 5


def test_a_moved_point_has_its_left_end_moved_and_its_right_end_kept(
    ties: TiePoints, geojson: Callable[..., Path]
) -> None:
    k = int(np.flatnonzero(ties.inlier)[7])

    def move(features: list[dict]) -> None:
        features[k]["geometry"]["coordinates"][1] += 0.0001

    again = fitting.fit(geojson(move))
    assert 1 == again.summary.edits.moved
    step = again.left_xy[k] - ties.left_xy[k]
    assert abs(np.hypot(*step) - 11.13) < 0.05
    assert np.abs(again.right_xy[k] - ties.right_xy[k]).max() < 0.001
    assert np.allclose(again.left_px[k] - ties.left_px[k], step * (0.1, -0.1), atol=0.01)
    assert "by hand" == again.method[k]
    assert not again.inlier[k]  # eleven metres off everything around it


def table(path: Path, ties: TiePoints, change: dict[tuple[int, str], str] | None = None) -> Path:
    """Points of another program: other names, and nothing else."""
    rows = [
        dict(zip(("E", "N", "E2", "N2"), (f"{v:.3f}" for v in (*p, *q)), strict=True))
        for p, q in zip(ties.left_xy[ties.inlier], ties.right_xy[ties.inlier], strict=True)
    ]
    for (k, name), value in (change or {}).items():
        rows[k][name] = value
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, ("E", "N", "E2", "N2"))
        out.writeheader()
        out.writerows(rows)
    return path


COLUMNS = {"left_x": "E", "left_y": "N", "right_x": "E2", "right_y": "N2"}


def test_points_of_another_program_are_fitted_by_a_column_map(ties: TiePoints, tmp_path: Path) -> None:
    path = table(tmp_path / "points.csv", ties)
    again = fitting.fit(path, columns=COLUMNS, crs="EPSG:32633")
    assert np.abs(np.array([getattr(again.summary, f"median_d{a}_m") for a in "xy"]) - (6.4, 18.1)).max() < 0.5
    assert again.summary.hold_out.points > 100
    assert "corrected" in again.summary.verdict


def test_control_points_of_qgis_come_back(ties: TiePoints, tmp_path: Path) -> None:
    write.write(ties, tmp_path / "ties.points")
    again = fitting.fit(tmp_path / "ties.points")
    assert "EPSG:32633" == again.crs
    assert np.abs(np.median(again.shift, axis=0) - (6.4, 18.1)).max() < 0.5


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_degrees_and_mercator_become_metres_of_their_zone(ties: TiePoints, tmp_path: Path, crs: str) -> None:
    from pyproj import Transformer

    to_degrees = Transformer.from_crs("EPSG:32633", crs, always_xy=True)
    with (tmp_path / "points.csv").open("w") as file:
        file.write("left_x,left_y,right_x,right_y\n")
        for p, q in zip(ties.left_xy, ties.right_xy, strict=True):
            file.write(",".join(f"{v:.9f}" for v in (*to_degrees.transform(*p), *to_degrees.transform(*q))) + "\n")
    again = fitting.fit(tmp_path / "points.csv", crs=crs)
    # T33UUU begins at 12 degrees east: the zone is the same
    assert "EPSG:32633" == again.crs
    assert np.abs(again.left_xy - ties.left_xy).max() < 0.01


def test_pixels_beside_metres_are_refused(ties: TiePoints, tmp_path: Path) -> None:
    with (tmp_path / "points.csv").open("w") as file:
        file.write("left_x,left_y,right_x,right_y\n")
        for p, q in zip(ties.left_xy, ties.right_px, strict=True):
            file.write(",".join(f"{v:.9f}" for v in (*p, *q)) + "\n")
    with pytest.raises(BadPoints, match="they are not in one CRS"):
        fitting.fit(tmp_path / "points.csv", crs="EPSG:32633")


def test_reasons_of_another_program_decide_nothing(ties: TiePoints, tmp_path: Path) -> None:
    with (tmp_path / "points.csv").open("w") as file:
        file.write("left_x,left_y,right_x,right_y,inlier,reason\n")
        for k, (p, q) in enumerate(zip(ties.left_xy, ties.right_xy, strict=True)):
            far = 300 if k < 10 else 0
            file.write(
                ",".join(f"{v:.3f}" for v in (*p, *(q + far))) + ("," + ("true,ok" if k else "false,blunder")) + "\n"
            )
    again = fitting.fit(tmp_path / "points.csv", crs="EPSG:32633")
    assert not again.inlier[:10].any()
    assert (0, 1) == (again.summary.edits.kept_by_hand, again.summary.edits.rejected_by_hand)


def test_a_point_rejected_by_hand_keeps_its_uncertainty_through_many_fits(
    ties: TiePoints, geojson: Callable[..., Path], tmp_path: Path
) -> None:
    k = int(np.flatnonzero(ties.inlier)[20])

    def reject(features: list[dict]) -> None:
        features[k]["properties"]["inlier"] = False

    path, sigma = geojson(reject), []
    for n in range(3):
        again = fitting.fit(path)
        sigma.append(float(again.sigma_m[k]))
        path = tmp_path / f"{n}.geojson"
        write.write(again, path)
    assert max(sigma) / min(sigma) < 1.05


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({(15, "E2"): "abc"}, r"Row 17 of .*points\.csv cannot be used: right_x is 'abc', not a number"),
        ({(0, "N"): ""}, r"Row 2 of .*: it has no left_y"),
        ({(3, "N"): "nan"}, r"Row 5 of .*: left_y is 'nan', not a number"),
    ],
)
def test_a_bad_value_says_which_row(
    ties: TiePoints, tmp_path: Path, change: dict[tuple[int, str], str], said: str
) -> None:
    with pytest.raises(BadPoints, match=said):
        fitting.fit(table(tmp_path / "points.csv", ties, change), columns=COLUMNS, crs="EPSG:32633")


def test_a_bad_file_says_what_is_wrong(ties: TiePoints, tmp_path: Path) -> None:
    path = table(tmp_path / "points.csv", ties)
    with pytest.raises(BadPoints, match="give it with `fit --crs"):
        fitting.fit(path, columns=COLUMNS)
    with pytest.raises(BadPoints, match=r"no column Y, only E, E2, N, N2"):
        fitting.fit(path, columns={"left_y": "Y"}, crs="EPSG:32633")
    with pytest.raises(BadPoints, match="is no CRS"):
        fitting.fit(path, columns=COLUMNS, crs="EPSG:nonsense")
    (tmp_path / "short.csv").write_text("left_x,left_y,right_x,right_y\n1,2,3,4\n1,2,3\n")
    with pytest.raises(BadPoints, match=r"Row 3 of .*: it has 3 values where the header has 4"):
        fitting.fit(tmp_path / "short.csv", crs="EPSG:32633")
    (tmp_path / "empty.geojson").write_text('{"type":"FeatureCollection","features":[]}')
    with pytest.raises(BadPoints, match="it holds no points"):
        fitting.fit(tmp_path / "empty.geojson")
    (tmp_path / "no.gpkg").write_text("no GeoPackage")
    with pytest.raises(BadPoints, match="it cannot be read"):
        fitting.fit(tmp_path / "no.gpkg")
    (tmp_path / "half.geojson").write_text('{"type":"FeatureColl')
    with pytest.raises(BadPoints, match="it cannot be read"):
        fitting.fit(tmp_path / "half.geojson")


def test_points_that_agree_on_nothing_are_no_match(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = "\n".join(",".join(f"{v:.2f}" for v in rng.uniform(4e5, 4.1e5, 4)) for _ in range(200))
    (tmp_path / "points.csv").write_text(f"left_x,left_y,right_x,right_y\n{rows}\n")
    with pytest.raises(NoMatch):
        fitting.fit(tmp_path / "points.csv", crs="EPSG:32633")


TURN = {
    "translation": np.zeros((2, 2)),
    "similarity": np.array([[0, 1e-3], [-1e-3, 0]]),
    "affine": np.array([[1e-3, 5e-4], [2e-3, -1e-3]]),
}


def control_points(path: Path, count: int, kind: str, wrong: int = 0) -> Path:
    """Ground control points on two metres, of images that differ by a model of a kind; the first ones are blunders."""
    rng = np.random.default_rng(count + 1)
    left = np.array([400_000.0, 5_800_000.0]) + rng.uniform(0, 20_000, (count, 2))
    right = left + (6.4, 18.1) + (left - left.mean(0)) @ TURN[kind] + rng.normal(0, 2, (count, 2))
    right[:wrong] += rng.uniform(200, 9000, (wrong, 2))
    rows = (",".join(f"{v:.2f}" for v in row) for row in np.column_stack([left, right]).tolist())
    path.write_text("\n".join(["left_x,left_y,right_x,right_y", *rows]) + "\n")
    return path


@pytest.mark.parametrize("kind", TURN)
@pytest.mark.parametrize("count", [6, 12, 19])
def test_a_few_control_points_fit_what_they_bear_and_promise_what_they_can(
    count: int, kind: str, tmp_path: Path
) -> None:
    path = control_points(tmp_path / "gcps.csv", count, kind)
    for asked in (None, kind):
        again = fit(path, crs="EPSG:32633", model=asked)
        assert (kind, count) == (again.transform.kind, int(again.inlier.sum()))
        assert f"corrected by {count} points" in again.summary.verdict
        assert "so few promise nothing of other ground, 20 can" in again.summary.verdict
        assert "meets" not in again.summary.verdict


def test_what_a_few_points_do_not_bear_is_not_fitted(tmp_path: Path) -> None:
    path = control_points(tmp_path / "gcps.csv", 8, "translation", wrong=2)
    assert [False] * 2 + [True] * 6 == fit(path, crs="EPSG:32633").inlier.tolist()
    with pytest.raises(BadPoints, match="2 of its points take part, and 3 are needed for a translation, 4 for a simil"):
        fit(control_points(tmp_path / "gcps.csv", 2, "translation"), crs="EPSG:32633")
    with pytest.raises(NoMatch, match="model affine, which takes at least 6"):
        fit(control_points(tmp_path / "gcps.csv", 5, "affine"), crs="EPSG:32633", model="affine")
    with pytest.raises(NoMatch):
        fit(control_points(tmp_path / "gcps.csv", 10, "translation", wrong=6), crs="EPSG:32633")


def test_a_circular_error_cannot_be_required_of_a_few_points(tmp_path: Path) -> None:
    path = control_points(tmp_path / "gcps.csv", 6, "translation")
    command = ["fit", str(path), "--crs", "EPSG:32633", "-o", str(tmp_path / "x.csv"), "--require"]
    refused = CliRunner().invoke(main, [*command, "CE95=100m"])
    assert 1 == refused.exit_code
    assert "there is no such figure: the points do not suffice" in refused.output
    assert 0 == CliRunner().invoke(main, [*command, "POINTS=6"]).exit_code


def test_products_are_found_from_another_folder(
    ties: TiePoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ties.left.path.parent
    monkeypatch.chdir(folder)
    named = [replace(scene, path=Path(scene.path.name)) for scene in (ties.left, ties.right)]
    relative = _as_summed(replace(ties, left=named[0], right=named[1]))
    write.write(relative, tmp_path / "ties.geojson")
    collection = json.loads((tmp_path / "ties.geojson").read_text())
    assert str(folder / ties.left.path.name) == collection["left"]["path"]
    monkeypatch.chdir(tmp_path)
    assert ties.left.bands == read_ties(tmp_path / "ties.geojson").left.bands
    # Older files say it from where one stood: the folder of the file, or one around it
    old = tmp_path / "old"
    (old / "results").mkdir(parents=True)
    for scene in (ties.left, ties.right):
        (old / scene.path.name).symlink_to(scene.path)
    for side, scene in (("left", ties.left), ("right", ties.right)):
        collection[side]["path"] = scene.path.name
    (old / "results" / "ties.geojson").write_text(json.dumps(collection))
    again = read_ties(old / "results" / "ties.geojson")
    assert (ties.left.bands != (), ties.right.id) == (again.left.bands != (), again.right.id)
    assert again.left.path.exists()


@pytest.mark.parametrize("path", [".", "..", "a/..", "/"])
def test_no_folder_is_searched_for_a_product_without_a_name(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[Path] = []
    monkeypatch.setattr("sentinel_match.formats.header.read_scene", searched.append)
    scene = SceneIdentity("S2A", path).scene(tmp_path)
    assert ([], "S2A", ()) == (searched, scene.id, scene.bands)


def test_the_command_reads_edits_and_writes_every_suffix(ties: TiePoints, tmp_path: Path) -> None:
    write.write(ties, tmp_path / "ties.gpkg")
    arguments = ["fit", tmp_path / "ties.gpkg", "-o", tmp_path / "again.geojson", "-o", tmp_path / "again.gpkg"]
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert 0 == done.exit_code, done.output
    assert "nothing edited" in done.output
    assert {"again.geojson", "again.qml", "again.gpkg"} <= {p.name for p in tmp_path.iterdir()}
    assert 0 < pyogrio.read_info(tmp_path / "again.gpkg", layer="tiepoints")["features"]
    bad = table(tmp_path / "points.csv", ties, {(15, "E2"): "abc"})
    columns = ",".join(f"{ours}={theirs}" for ours, theirs in COLUMNS.items())
    failed = CliRunner().invoke(
        main, ["fit", str(bad), "-o", str(tmp_path / "x.csv"), "--columns", columns, "--crs", "EPSG:32633"]
    )
    assert 1 == failed.exit_code
    assert "right_x is 'abc', not a number" in failed.output
    assert 2 == CliRunner().invoke(main, ["fit", str(bad), "-o", "x.csv", "--columns", "left_x"]).exit_code


# What was fitted comes back


@pytest.mark.parametrize("suffix", [".geojson", ".json", ".gpkg"])
def test_a_file_that_holds_everything_gives_the_same_tie_points_back(
    ties: TiePoints, suffix: str, tmp_path: Path
) -> None:
    whole = replace(_as_summed(ties), **_flat(ties))
    write.write(whole, tmp_path / f"ties{suffix}")
    again = read_ties(str(tmp_path / f"ties{suffix}"))
    assert _axes(whole) == pytest.approx(_axes(again), rel=1e-3, abs=max(1e-12, 0.01 * (suffix != ".gpkg")))
    assert json.loads(dumps(whole.summary.to_dict())) == json.loads(dumps(again.summary.to_dict()))
    assert (whole.left.id, whole.right.id, whole.crs) == (again.left.id, again.right.id, again.crs)
    assert whole.left.bands == again.left.bands  # the products are where they were
    atol = 0 if suffix == ".gpkg" else 1e-3
    numbers = ("left_xy", "right_xy", "left_px", "right_px", "sigma_m", "score", "residual_m", "quality", "support_m")
    for name in numbers:
        assert np.allclose(getattr(whole, name), getattr(again, name), rtol=0, atol=atol, equal_nan=True), name
    for name in ("inlier", "method", "feature", "reason"):
        assert np.array_equal(getattr(whole, name), getattr(again, name)), name
    at = whole.left_xy + 1234.5
    assert np.array_equal(whole.transform(at), again.transform(at))
    assert whole.summary.uncertainty == again.summary.uncertainty


@pytest.mark.parametrize("suffix", sorted(set(write.WRITERS) - {".geojson", ".json", ".gpkg"}))
def test_the_other_formats_give_their_points_back_and_a_transform_fitted_again(
    ties: TiePoints, suffix: str, tmp_path: Path
) -> None:
    ties = replace(ties, **_flat(ties))
    write.write(ties, tmp_path / f"ties{suffix}")
    again = read_ties(tmp_path / f"ties{suffix}")
    if suffix in {".csv", ".fgb"}:
        (major, minor, azimuth), (now, across, turn) = _axes(ties), _axes(again)
        assert now / across == pytest.approx(major / minor, rel=0.01)
        assert turn == pytest.approx(azimuth, abs=0.01)
    assert ties.crs == again.crs
    at = ties.left_xy[ties.inlier]
    apart = np.hypot(*(ties.transform(at) - again.transform(at)).T)
    assert np.median(apart) < 0.3
    assert len(again) in {len(ties), int(ties.inlier.sum())}
    assert again.inlier.sum() > 0.95 * ties.inlier.sum()


def test_points_edited_since_are_not_read_as_fitted(ties: TiePoints, geojson: Callable[..., Path]) -> None:
    path = geojson(lambda features: features.__delitem__(slice(3)))
    with pytest.raises(BadPoints, match="edited after the correction was fitted"):
        read_ties(path)


def test_a_damaged_summary_is_named(ties: TiePoints, tmp_path: Path) -> None:
    write.write(ties, tmp_path / "ties.geojson")
    content = json.loads((tmp_path / "ties.geojson").read_text())
    del content["summary"]["fitting"]
    (tmp_path / "ties.geojson").write_text(json.dumps(content))
    with pytest.raises(BadPoints, match="its summary has no fitting"):
        read_ties(tmp_path / "ties.geojson")


def test_points_of_unknown_products_name_no_folder(ties: TiePoints, tmp_path: Path) -> None:
    write.write(ties, tmp_path / "ties.csv")
    write.write(read_ties(tmp_path / "ties.csv"), tmp_path / "again.geojson")
    again = read_ties(tmp_path / "again.geojson")
    assert ("left of ties.csv", ()) == (again.left.id, again.left.bands)
    assert not again.left.path.exists()


@pytest.mark.parametrize("wrong", [None, 7, ["ties.gpkg"]])
def test_what_is_no_path_is_refused_at_once(wrong: object) -> None:
    for read in (read_ties, fit):
        with pytest.raises(TypeError, match="is no path: give a str or a Path"):
            read(wrong)


def test_a_file_that_is_not_there_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadPoints, match="there is no such file"):
        fit(tmp_path / "nothing.geojson")


def _flat(ties: TiePoints) -> dict[str, Any]:
    """Ellipses, and the standard deviation per axis that they make."""
    count = np.arange(len(ties))
    ellipse = Ellipses(1.5 + 0.01 * count, 0.5 + 0.002 * count, 3.0 * count % 180)
    return {"ellipse": ellipse, "sigma_m": ellipse.sigma}


def _axes(ties: TiePoints) -> np.ndarray:
    return np.array([ties.columns()[name] for name in ("sigma_major_m", "sigma_minor_m", "sigma_azimuth_deg")])


def test_a_file_without_ellipses_has_circles(geojson: Callable[[Callable[[list[dict]], None]], Path]) -> None:
    def older(features: list[dict]) -> None:
        for feature in features:
            for name in ("sigma_major_m", "sigma_minor_m", "sigma_azimuth_deg"):
                del feature["properties"][name]

    again = fitting.fit(geojson(older))
    major, minor, azimuth = _axes(again)
    assert np.array_equal(major, again.sigma_m)
    assert np.array_equal(minor, again.sigma_m)
    assert np.isnan(azimuth).all()


def _as_summed(ties: TiePoints) -> TiePoints:
    """The fixture calls three inliers outliers; here the summary knows."""
    return replace(ties, summary=replace(ties.summary, inliers=int(ties.inlier.sum())))


@pytest.mark.parametrize("count", [6, 60])
@pytest.mark.parametrize("drag", [(300_000.0, 0.0), (500_000.0, -4e6)])
@pytest.mark.parametrize("end", [(0, 1), (2, 3)])
def test_a_point_dragged_across_the_world_makes_no_set_unprovable(
    count: int, drag: tuple[float, float], end: tuple[int, int], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    left = rng.uniform(0, 20_000, (count, 2)) + (300_000, 5_790_000)
    rows = np.column_stack([left, left + (6, 18) + rng.normal(0, 0.6, left.shape)])
    rows[0, list(end)] += drag
    path = tmp_path / "points.csv"
    np.savetxt(path, rows, "%.3f", ",", header="left_x,left_y,right_x,right_y", comments="")
    ties = fit(path, crs="EPSG:32633")
    assert count - 1 == ties.inlier.sum()
    assert ties.summary.hold_out is not None
    assert ties.summary.hold_out.rmse < 2
    assert "too close together" not in ties.summary.verdict


def test_control_points_along_one_line_fit_what_a_line_bears(tmp_path: Path) -> None:
    left = np.column_stack([np.linspace(300_000, 308_000, 6), np.linspace(5_790_000, 5_798_000, 6)])
    path = tmp_path / "points.csv"
    np.savetxt(
        path, np.column_stack([left, left + (6, 18)]), "%.3f", ",", header="left_x,left_y,right_x,right_y", comments=""
    )
    assert "translation" == fit(path, crs="EPSG:32633").transform.kind
    assert "similarity" == fit(path, crs="EPSG:32633", model="similarity").transform.kind
    with pytest.raises(NoMatch, match="lie on one spot or line"):
        fit(path, crs="EPSG:32633", model="affine")


def test_points_on_one_spot_are_one(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("left_x,left_y,right_x,right_y\n" + "300000,5790000,300006,5790018\n" * 6)
    with pytest.raises(NoMatch, match="6 of 6 points agree at first, and 1 independent point"):
        fit(path, crs="EPSG:32633")


def test_deleting_points_does_not_take_back_what_the_images_said(ties: TiePoints, tmp_path: Path) -> None:
    compared = ties.summary.comparison
    assert compared is not None
    pulled = replace(compared, consistency=replace(compared.consistency, pull_m=5.0, pull_dx_m=5.0))
    path = tmp_path / "ties.geojson"
    write_geojson(replace(ties, summary=replace(ties.summary, comparison=pulled)), path)
    record = json.loads(path.read_text(encoding="utf-8"))
    record["features"] = record["features"][1:]
    path.write_text(json.dumps(record), encoding="utf-8")
    again = fit(path)
    assert again.summary.doubtful
    assert "coarse detail lies +5.00 m east" in again.summary.verdict
    assert again.summary.hold_out is not None
    assert again.summary.hold_out.ce95 >= 5.0
    assert (again.sigma_m[again.inlier] >= 5.0).all()
