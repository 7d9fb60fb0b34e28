"""Tables of others are read as they are, or refused by row, member and value."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from click.testing import CliRunner

from sentinel_match.cli import main
from sentinel_match.errors import BadPoints
from sentinel_match.fitting import fit, read_ties
from sentinel_match.formats import write
from sentinel_match.formats.read import read_table
from sentinel_match.tiepoints import TiePoints

CRS = "EPSG:32633"
SHIFT = (6.4, 18.1)


@pytest.fixture
def cases(shared: Path) -> Path:
    """Real files of points that were refused, or skip."""
    folder = shared.parent / "cases" / "points"
    if not folder.is_dir():
        pytest.skip(f"no cases in {folder}")
    return folder


def ends(count: int = 60, seed: int = 0) -> np.ndarray:
    """(N, 4) both ends of points that lie apart, with errors of a metre."""
    rng = np.random.default_rng(seed)
    left = np.array([400_000.0, 5_800_000.0]) + rng.uniform(0, 20_000, (count, 2))
    return np.column_stack([left, left + SHIFT + rng.normal(0, 1, (count, 2))])


HEADER = ["left_x", "left_y", "right_x", "right_y"]


def text(rows: np.ndarray, separator: str = ",", decimal: str = ".", header: list[str] = HEADER) -> str:
    lines = [separator.join(f"{v:.3f}".replace(".", decimal) for v in row) for row in rows.tolist()]
    return "\n".join([separator.join(header), *lines]) + "\n"


def is_shifted(ties: TiePoints) -> bool:
    return bool(np.abs(np.median(ties.shift[ties.inlier], axis=0) - SHIFT).max() < 0.6)


@pytest.mark.parametrize(
    ("name", "points"),
    [("arosics.csv", 200), ("latin1.csv", 200), ("m9999.csv", 190), ("multi.gpkg", 458), ("nullgeom.geojson", 199)]
    + [("spaces.txt", 200)],
)
def test_real_files_of_others_are_fitted(cases: Path, name: str, points: int) -> None:
    ties = fit(cases / name, crs=CRS)
    assert points == len(ties)
    assert is_shifted(ties)


@pytest.mark.parametrize(
    ("separator", "decimal"), [(";", ","), ("\t", ","), (" ", "."), ("   ", ","), ("|", "."), (" \t ", ".")]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_text_of_any_country_gives_the_same_numbers(
    separator: str, decimal: str, encoding: str, tmp_path: Path
) -> None:
    rows = ends()
    path = tmp_path / "points.csv"
    path.write_bytes(text(rows, separator, decimal, [*HEADER[:3], "right_y"]).replace("\n", "\r\n").encode(encoding))
    table = read_table(path)
    assert np.allclose(np.column_stack([table.numbers(name) for name in HEADER]), rows, atol=1e-3)


def test_remarks_in_an_old_encoding_and_quoted_decimal_commas_are_read(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_bytes(
        'left_x,left_y,right_x,right_y,Bemerkung\n"343140,5","5850860,2","343146,7","5850878,3",Brücke\n'.encode(
            "cp1252"
        )
    )
    table = read_table(path)
    assert (343140.5, "Brücke") == (table.numbers("left_x")[0], table.words("Bemerkung")[0])
    path.write_text("sep=;\nleft_x;left_y;right_x;right_y;\n343.140,5;5.850.860,2;343146,7;5850878,3;\n")
    assert [343140.5, 5850860.2] == [read_table(path).numbers(name)[0] for name in ("left_x", "left_y")]
    path.write_text("# left_x left_y right_x right_y\n1 2 3 4\n")
    assert [1.0] == read_table(path).numbers("left_x").tolist()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1 2 3 4\n5 6 7 8\n", r"Row 1 of .*: it holds numbers where the names of the columns must stand"),
        ("left_x\n1\n", "names 1 column, 'left_x': left_x, left_y, right_x and right_y at least"),
        ("left_x,left_y,right_x,right_y\n1,5,2,5,3,5,4,5\n", "decimal commas need semicolons"),
        ('left_x,left_y,right_x,right_y\n"1,234",2,3,4\n' * 1, "left_x is '1,234', not a number"),
    ],
)
def test_text_that_is_no_table_says_what_to_write(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text(content)
    with pytest.raises(BadPoints, match=said):
        fit(tmp_path / "points.csv", crs=CRS)


def test_shifts_of_arosics_correct_the_right_image(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = ends()
    shift = rows[:, :2] - rows[:, 2:]
    shift[3] = -9999
    lines = [
        f"{k},{x:.1f},{y:.1f},{dx:.4f},{dy:.4f},80,{k == 5}"
        for k, ((x, y), (dx, dy)) in enumerate(zip(rows[:, :2].tolist(), shift.tolist(), strict=True))
    ]
    header = "POINT_ID,X_MAP,Y_MAP,X_SHIFT_M,Y_SHIFT_M,RELIABILITY,OUTLIER"
    (tmp_path / "CoRegPoints.csv").write_text("\n".join([header, *lines]) + "\n")
    ties = fit(tmp_path / "CoRegPoints.csv", crs=CRS)
    assert is_shifted(ties)
    assert 59 == len(ties)
    assert not ties.inlier[4]  # the sixth row, which AROSICS calls an outlier; the fourth is left out
    assert (
        "1 of 60 rows have -9999 for X_SHIFT_M: AROSICS measured nothing there, and are left out: row 5" in caplog.text
    )


@pytest.mark.parametrize("number", ["-9999", "-9999.0", "-32768"])
def test_rows_without_a_measurement_are_named_and_left_out(
    number: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = text(ends()).splitlines()
    for row in (4, 9):
        lines[row - 1] = ",".join([*lines[row - 1].split(",")[:2], number, number])
    (tmp_path / "points.csv").write_text("\n".join(lines))
    assert 58 == len(fit(tmp_path / "points.csv", crs=CRS))
    assert "and are left out: row 4, row 9" in caplog.text
    (tmp_path / "points.csv").write_text("\n".join([lines[0], lines[3]]))
    with pytest.raises(BadPoints, match="all its 1 rows have"):
        fit(tmp_path / "points.csv", crs=CRS)


def layer(path: Path, rows: np.ndarray, shapes: list[object], kind: str) -> Path:
    pyogrio.raw.write(
        path, np.asarray(shapely.to_wkb(np.array(shapes, object)), object), list(rows.T.copy()), HEADER,
        driver="GPKG", geometry_type=kind, crs=CRS,
    )  # fmt: skip
    return path


def test_a_multipoint_of_one_is_a_point_and_one_of_two_is_none(tmp_path: Path) -> None:
    rows = ends()
    shapes: list[object] = [shapely.MultiPoint([row[:2]]) for row in rows.tolist()]
    assert is_shifted(fit(layer(tmp_path / "one.gpkg", rows, shapes, "MultiPoint")))
    shapes[6] = shapely.MultiPoint([rows[6, :2], rows[7, :2]])
    with pytest.raises(BadPoints, match=r"Row 7 of .*: its geometry is a MultiPoint of 2, and no Point"):
        fit(layer(tmp_path / "two.gpkg", rows, shapes, "MultiPoint"))


def test_rows_without_a_geometry_are_counted_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = ends()
    shapes: list[object] = [shapely.Point(row[:2]) for row in rows.tolist()]
    shapes[6] = None
    assert 59 == len(fit(layer(tmp_path / "gap.gpkg", rows, shapes, "Point")))
    assert "1 of 60 rows have no geometry and are left out: row 7" in caplog.text
    # Where no row has one, the columns say where the points are
    assert 60 == len(fit(layer(tmp_path / "none.gpkg", rows, [None] * 60, "Point"), crs=CRS))


# What is read is checked


@pytest.fixture
def damaged(ties: TiePoints, tmp_path: Path) -> Callable[[Callable[[dict], None]], Path]:
    """A file of ours that somebody has damaged."""

    def make(damage: Callable[[dict], None]) -> Path:
        write.write(ties, tmp_path / "ties.geojson")
        collection = json.loads((tmp_path / "ties.geojson").read_text())
        damage(collection)
        (tmp_path / "ties.geojson").write_text(json.dumps(collection))
        return tmp_path / "ties.geojson"

    return make


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("sigma_m", 0, "sigma_m is 0, and must be from 1e-06 to 1,000,000"),
        ("sigma_m", 1e-300, "sigma_m is 1e-300, and must be"),
        ("sigma_m", -3, "sigma_m is -3, and must be"),
        ("sigma_m", float("inf"), "sigma_m is inf, not a number"),
        ("sigma_m", [1], r"sigma_m is \[1\], not a number"),
        ("left_x", 1e300, r"left_x is 1e\+300, and must be from -100,000,000 to 100,000,000"),
        ("left_x", True, "left_x is True, not a number"),
        ("right_y", 10**400, "right_y is 1000.*not a number"),
        ("quality", 80, "quality is 80, and must be from 0 to 1"),
        ("inlier", {}, "inlier is {}, neither true nor false"),
        ("method", {"a": 1}, "method is {'a': 1}, and must be a word"),
        ("method", "x" * 10 + "[" * 5, ""),
    ],
)
def test_an_odd_value_is_refused_by_row_member_and_value(
    damaged: Callable[..., Path], name: str, value: object, said: str
) -> None:
    def damage(collection: dict) -> None:
        collection["features"][3]["properties"][name] = value

    path = damaged(damage)
    if not said:
        fit(path)
        return
    with pytest.raises(BadPoints, match=f"Row 4 of .*: {said}"):
        fit(path)


@pytest.mark.parametrize("odd", [5, "x", [], [1], True])
def test_odd_members_of_a_collection_are_refused(damaged: Callable[..., Path], odd: object) -> None:
    with pytest.raises(BadPoints, match=r"Row 4 of .*, and must be a Feature"):
        fit(damaged(lambda c: c["features"].__setitem__(3, odd)))
    with pytest.raises(BadPoints, match=r"Row 4 of .*: its properties are .*, and must be an object"):
        fit(damaged(lambda c: c["features"][3].__setitem__("properties", odd)))
    with pytest.raises(BadPoints, match=r"Row 4 of .*: its geometry is .*, and no Point"):
        fit(damaged(lambda c: c["features"][3].__setitem__("geometry", odd)))
    if odd:
        with pytest.raises(BadPoints, match=r"Row 4 of .*: its coordinates are .*: they are no numbers"):
            fit(damaged(lambda c: c["features"][3]["geometry"].__setitem__("coordinates", odd)))
        with pytest.raises(BadPoints, match=r"its crs .* is no CRS"):
            fit(damaged(lambda c: c.__setitem__("crs", odd)))


@pytest.mark.parametrize("place", [[500, 95], [1e300, 1]])
def test_places_off_the_map_are_refused_by_row(damaged: Callable[..., Path], place: list[float]) -> None:
    with pytest.raises(BadPoints, match=r"Row 4 of .*: its coordinates are (500, 95|1e\+300, 1), and "):
        fit(damaged(lambda c: c["features"][3]["geometry"].__setitem__("coordinates", place)))


@pytest.mark.parametrize(
    ("members", "value", "said"),
    [
        (("fitting", "radius_m"), 1e9, r"summary\.fitting\.radius_m is 1e\+09, and must be from 0\.001 to 100,000"),
        (("fitting", "seed"), -1, r"summary\.fitting\.seed is -1"),
        (("fitting", "plane"), "cube", r"summary\.fitting\.plane is 'cube', and must be one of translation"),
        (("gsd_m",), 0, r"summary\.gsd_m is 0"),
        (("points",), 1.5, r"summary\.points is 1\.5, and must be a whole number"),
        (("sigma_factors",), {"phase": 0}, r"summary\.sigma_factors\.phase is 0"),
        (("model", "matrix"), [[1]], r"summary\.model\.matrix is \[\[1\]\], and must be a list of 3"),
        (("hold_out",), 5, r"summary\.hold_out is 5, and must be an object"),
        (("regions",), [{"bounds": [1]}], r"summary\.regions\[0\]\.bounds is \[1\], and must be a list of 4"),
        ((), [], r"summary is \[1\]|has no summary"),
    ],
)
def test_a_damaged_summary_is_named_by_member_and_value_and_its_points_are_still_fitted(
    damaged: Callable[..., Path], members: tuple[str, ...], value: object, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    def damage(collection: dict) -> None:
        holder, names = collection, ("summary", *members)
        for name in names[:-1]:
            holder = holder[name]
        holder[names[-1]] = value

    path = damaged(damage)
    with pytest.raises(BadPoints, match=said):
        read_ties(path)
    assert is_shifted(fit(path))
    assert "are fitted as those of another program" in caplog.text


@pytest.mark.parametrize("depth", [500, 2000, 300_000])
def test_nesting_without_end_is_refused_in_one_sentence(depth: int, tmp_path: Path) -> None:
    (tmp_path / "deep.geojson").write_text('{"type":"FeatureCollection","features":' + "[" * depth + "]" * depth + "}")
    with pytest.raises(BadPoints, match=r"nested too deeply|must be a Feature"):
        fit(tmp_path / "deep.geojson")
    (tmp_path / "deep.toml").write_text("[match]\nband = " + "[" * depth + "]" * depth)
    done = CliRunner().invoke(main, ["--config", str(tmp_path / "deep.toml"), "matchers"])
    assert 2 == done.exit_code
    assert "deep.toml" in done.output
    assert "must be one value or a list" in done.output or "nested too deeply" in done.output


def test_a_file_that_only_points_elsewhere_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "points.gpkg"
    path.write_text(
        '<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>/etc/hosts</SrcDataSource></OGRVRTLayer>'
        "</OGRVRTDataSource>"
    )
    with pytest.raises(BadPoints, match="give the file that holds them"):
        fit(path)


def test_nothing_is_left_beside_a_file_that_is_read(ties: TiePoints, tmp_path: Path) -> None:
    write.write(ties, tmp_path / "tiepoints.gpkg")
    fit(tmp_path / "tiepoints.gpkg")
    assert ["tiepoints.gpkg"] == [p.name for p in tmp_path.iterdir()]


def test_many_points_are_fitted_in_seconds(tmp_path: Path) -> None:
    rows = ends(150_000)
    np.savetxt(tmp_path / "many.csv", rows, fmt="%.2f", delimiter=",", header=",".join(HEADER), comments="")
    ties = fit(tmp_path / "many.csv", crs=CRS)
    assert is_shifted(ties)
    assert ties.inlier.mean() > 0.99


@pytest.mark.parametrize("pattern", ["{:,.3f}", "{: .3f}", "{:'.3f}", "{:_.3f}"])
def test_thousands_are_grouped_as_anybody_groups_them(pattern: str, tmp_path: Path) -> None:
    sign = {"{: .3f}": "\u202f", "{:'.3f}": "'", "{:_.3f}": " "}.get(pattern, ",")
    rows = ends(20)
    grouped = [";".join(f"{v:,.3f}".replace(",", sign) for v in row) for row in rows.tolist()]
    path = tmp_path / "points.csv"
    path.write_text("\n".join([";".join(HEADER), *grouped]), encoding="utf-8")
    table = read_table(path)
    assert np.allclose(np.column_stack([table.numbers(name) for name in HEADER]), rows, atol=1e-3)
    if sign != ",":
        path.write_text(path.read_text(encoding="utf-8").replace(".", ","), encoding="utf-8")
        assert np.allclose(np.column_stack([read_table(path).numbers(name) for name in HEADER]), rows, atol=1e-3)


@pytest.mark.parametrize("header", ["LEFT_X,LEFT_Y,RIGHT_X,RIGHT_Y", "left_x [m],left_y [m],Right_X (m),right_y"])
def test_names_in_capitals_or_with_a_unit_are_known(header: str, tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text(text(ends(), header=header.split(",")))
    assert is_shifted(fit(tmp_path / "points.csv", crs=CRS))


@pytest.mark.parametrize("missing", ["NA", "N/A", "null", "None", "<NA>", "nan", ""])
def test_a_word_for_no_value_is_none(missing: str, tmp_path: Path) -> None:
    lines = text(ends()).splitlines()
    sigma = ["sigma_m", missing, *["0.8"] * (len(lines) - 2)]
    path = tmp_path / "points.csv"
    path.write_text("\n".join(f"{line},{value}" for line, value in zip(lines, sigma, strict=True)))
    assert 5.0 == read_table(path).numbers("sigma_m", 5.0)[0]


@pytest.mark.parametrize("suffix", [".pts", ".gcp", ".xyz", ""])
def test_text_of_a_suffix_that_nobody_knows_is_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"points{suffix}"
    path.write_text("; made by a program\n;\n" + text(ends(), "\t"))
    assert is_shifted(fit(path, crs=CRS))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "it is empty"),
        ("a.csv", "\n \n", "it is empty"),
        ("a.csv", "left_x,left_y,right_x,right_y,left_x\n1,2,3,4,5\n", "two of its columns are called 'left_x' and "),
        (
            "a.csv",
            "x0;y0;dx;dy\n1;2;3;4\n" * 1,
            "no columns left_x, left_y, right_x, right_y, only x0, y0, dx, dy: say ",
        ),
        (
            "a.csv",
            "left_x,left_y,right_x,E\n1,2,3,4\n1,2,3,4\n1,2,3,4\n",
            "no column right_y, only left_x, .*--columns right_y=…",
        ),
        ("a.txt", "-gcp 1 2 3 4\n-gcp 1 2 3 4\n", "it holds numbers where the names of the columns must stand"),
        ("a.parquet", "PAR1\0\0", "it is in no format that is known here; save it as GeoPackage or CSV"),
        ("a.bin", "\0\1\2", "it is in no format that is known here"),
        ("a.csv", "left_x,left_y,right_x,right_y\n1\n", "it has 1 value where the header has 4"),
    ],
)
def test_what_is_no_table_of_points_is_said_in_one_sentence(name: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(BadPoints, match=said):
        fit(tmp_path / name, crs=CRS)


def test_columns_of_one_name_that_say_the_same_are_one(tmp_path: Path) -> None:
    rows = ends()
    (tmp_path / "points.csv").write_text(text(np.column_stack([rows, rows[:, 0]]), header=[*HEADER, "left_x"]))
    assert is_shifted(fit(tmp_path / "points.csv", crs=CRS))


def test_a_workbook_without_a_sheet_is_one_sentence_and_one_with_columns_is_read(tmp_path: Path) -> None:
    import pandas as pd

    path = tmp_path / "points.ods"
    try:
        pyogrio.write_dataframe(pd.DataFrame(ends(), columns=HEADER), path)
    except pyogrio.errors.DataSourceError:
        pytest.skip("GDAL writes no ODS here")
    assert is_shifted(fit(path, crs=CRS))


def test_lines_say_how_to_make_points_of_them(tmp_path: Path) -> None:
    line = {"type": "LineString", "coordinates": [[14, 52], [14.1, 52]]}
    features = [{"type": "Feature", "properties": {}, "geometry": line}]
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with pytest.raises(BadPoints, match="'LineString', and no Point: give the beginning of each line as a Point"):
        fit(tmp_path / "a.geojson")


def degrees_of(rows: np.ndarray, crs: str = CRS) -> np.ndarray:
    """(N, 4) left and right longitude and latitude."""
    from pyproj import Transformer

    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform
    return np.column_stack([*to_degrees(*rows[:, :2].T), *to_degrees(*rows[:, 2:].T)])


def table_of(path: Path, header: tuple[str, ...], rows: np.ndarray) -> Path:
    path.write_text("\n".join([",".join(header), *(",".join(f"{v:.9f}" for v in row) for row in rows)]))
    return path


LATITUDE_FIRST = [1, 0, 3, 2]


@pytest.mark.parametrize(
    "header",
    [
        ("left_lat", "left_lon", "right_lat", "right_lon"),
        ("lat_left", "lon_left", "lat_right", "lon_right"),
        ("Left Latitude", "Left Longitude", "Right Latitude", "Right Longitude"),
        ("LatLeft [deg]", "LngLeft [deg]", "LatRight [deg]", "LngRight [deg]"),
        ("y_left", "x_left", "y_right", "x_right"),
    ],
)
def test_names_of_axes_mean_what_they_say(
    header: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = table_of(tmp_path / "points.csv", header, degrees_of(ends())[:, LATITUDE_FIRST])
    assert is_shifted(fit(path, crs="EPSG:4326" if "x_left" in header else None))
    assert ("taken for longitude" in caplog.text) is ("x_left" in header)


def test_columns_named_latitude_are_that_whatever_order_they_are_given_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    header = ("lat1", "lon1", "Lat_target", "Lon_target")
    path = table_of(tmp_path / "points.csv", header, degrees_of(ends())[:, LATITUDE_FIRST])
    given = dict(zip(("left_x", "left_y", "right_x", "right_y"), header, strict=True))
    assert is_shifted(fit(path, crs="EPSG:4326", columns=given))
    assert "x is longitude, so left_x is lon1 and left_y is lat1" in caplog.text


def test_what_no_latitude_is_is_longitude(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In Australia, say: such points lay off every map."""
    header = ("left_x", "left_y", "right_x", "right_y")
    there = degrees_of(ends(), "EPSG:32655")  # 147 degrees east
    path = table_of(tmp_path / "points.csv", header, there[:, LATITUDE_FIRST])
    ties = fit(path, crs="EPSG:4326")
    assert ties.crs == "EPSG:32655"
    assert (ties.summary.median_dx_m, ties.summary.median_dy_m) == pytest.approx((6, 18), abs=1.5)
    assert "x is latitude and y longitude: y is up to 14" in caplog.text


def test_where_the_scenes_lie_tells_longitude_from_latitude(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from sentinel_match.formats import frame
    from sentinel_match.formats.read import read_table

    header = ("left_x", "left_y", "right_x", "right_y")
    degrees = degrees_of(ends())
    table = read_table(table_of(tmp_path / "points.csv", header, degrees[:, LATITUDE_FIRST]))
    middle = tuple(np.median(degrees[:, :2], axis=0))
    crs, left, right, _ = frame.metric_ends(table, "EPSG:4326", middle)
    assert crs == CRS
    np.testing.assert_allclose(np.column_stack([left, right]), ends(), atol=0.01)
    assert "x is latitude and y longitude: the left scene lies around" in caplog.text
    caplog.clear()
    right_way = read_table(table_of(tmp_path / "points.csv", header, degrees))
    np.testing.assert_allclose(frame.metric_ends(right_way, "EPSG:4326", middle).left, ends()[:, :2], atol=0.01)
    assert "latitude and y" not in caplog.text


def test_degrees_say_which_of_them_is_taken_for_longitude(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from pyproj import Transformer

    rows = ends()
    to_degrees = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform
    degrees = np.column_stack([*to_degrees(*rows[:, :2].T), *to_degrees(*rows[:, 2:].T)])
    header = ["left_x", "left_y", "right_x", "right_y"]
    path = tmp_path / "points.csv"
    path.write_text(
        "\n".join([",".join(header), *(",".join(f"{v:.9f}" for v in row) for row in degrees[:, [1, 0, 3, 2]])])
    )
    ties = fit(path, crs="EPSG:4326")
    assert "so the points lie around 52.4" in caplog.text
    swapped = {"left_x": "left_y", "left_y": "left_x", "right_x": "right_y", "right_y": "right_x"}
    assert not is_shifted(ties)
    assert is_shifted(fit(path, crs="EPSG:4326", columns=swapped))
