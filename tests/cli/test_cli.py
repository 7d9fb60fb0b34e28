"""The commands as a user calls them."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyogrio
import pytest
import rasterio
from click.testing import CliRunner, Result

from sentinel_match import read_ties
from sentinel_match.cli import COMMANDS, main, options
from sentinel_match.testing import Landscape, truncate, write_product

QUICK = ["--matcher", "sift", "--cells", "2", "--candidates", "1000"]


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(w) for w in words])


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spring, and autumn displaced by (6.4, 18.1) m."""
    folder = tmp_path_factory.mktemp("archive")
    write_product(folder, Landscape(7), date="2021-05-20", pixels=420, bands=("B04", "B08"))
    write_product(folder, Landscape(7), date="2021-09-17", pixels=420, displacement=(6.4, 18.1), zip="deflated")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTINEL_MATCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_a_first_line_that_the_overview_repeats(name: str) -> None:
    text = call(name, "--help").output
    assert COMMANDS[name].rstrip(".") in " ".join(text.split())
    for option in main.get_command(None, name).params:  # type: ignore[arg-type]
        assert not isinstance(option, click.Option) or option.help, option.name


def test_scenes_lists_and_writes_footprints(archive: Path, tmp_path: Path) -> None:
    done = call("scenes", archive, "--geojson", tmp_path / "scenes.geojson")
    assert 0 == done.exit_code
    assert 2 == done.stdout.count("T33UUU_2021")
    assert 2 == len(json.loads((tmp_path / "scenes.geojson").read_text())["features"])
    assert 2 == len(json.loads(call("scenes", archive, "--json").stdout)["features"])


def test_pairs_says_why(archive: Path) -> None:
    done = call("pairs", archive)
    assert 0 == done.exit_code
    assert "days apart" in " ".join(done.stdout.split())
    assert "same relative orbit" in " ".join(done.stdout.split())
    refused = call("pairs", archive, "--min-days", "1000", "--refused")
    assert "0 pairs" in refused.stdout
    assert "days apart" in " ".join(refused.stdout.split())


def test_a_run_without_a_pair_says_why(tmp_path: Path) -> None:
    """It said "see above", and there was nothing above."""
    for date in ("2021-05-20", "2021-09-17"):
        write_product(tmp_path / "small", Landscape(7), date=date, pixels=96)
    done = call("run", tmp_path / "small", "-o", tmp_path / "out", *QUICK)
    assert 1 == done.exit_code
    assert "T33UUU_20210520" in done.stderr
    assert re.search(r"overlap 0\.9\d+ km², less than 1 km²\nno pair to match: ", done.stderr)
    assert "above" not in done.stderr
    (tmp_path / "out" / "pairs.geojson").write_text('{"features": [], "refused": [{}]}')
    done = call("report", tmp_path / "out")
    assert (1, True) == (done.exit_code, "its pairs.geojson is none of this version" in done.stderr)


def test_of_many_refused_pairs_a_run_lists_the_first(tmp_path: Path) -> None:
    for month in range(1, 5):
        write_product(tmp_path / "small", Landscape(7), date=f"2021-{month:02d}-20", pixels=96)
    done = call("run", tmp_path / "small", "-o", tmp_path / "out", *QUICK)
    assert 5 == done.stderr.count("less than 1 km²")
    assert "no pair to match: 1 more refused, `sentinel-match pairs ARCHIVES --refused` lists all" in done.stderr


def test_run_leaves_the_promised_files_and_a_second_run_keeps_them(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call("run", archive, "-o", out, *QUICK)
    assert 0 == done.exit_code, done.output
    (pair,) = [p for p in out.iterdir() if p.is_dir()]
    promised = {"scenes.geojson", "pairs.geojson", "run.json", "report.html", "inspect.qgs", "inspect.gpkg", pair.name}
    assert promised == {p.name for p in out.iterdir()}
    ties = json.loads((pair / "tiepoints.geojson").read_text())
    assert abs(ties["summary"]["median_dx_m"] - 6.4) < 0.5
    assert abs(ties["summary"]["median_dy_m"] - 18.1) < 0.5
    record = json.loads((out / "run.json").read_text())
    assert {"inputs", "versions", "options", "seconds", "cpu_seconds", "peak_memory_bytes", "pairs"} <= set(record)
    assert {"torch", "kornia", "rasterio", "numpy"} < set(record["versions"])
    assert {"opencv-python-headless", "opencv-python"} & set(record["versions"])
    again = call("run", archive, "-o", out, *QUICK, "--json")
    assert ["kept"] == [p["status"] for p in json.loads(again.stdout)["pairs"]]


def test_run_leaves_report_and_project_out_when_told(archive: Path, tmp_path: Path) -> None:
    done = call("run", archive, "-o", tmp_path / "out", *QUICK, "--no-report", "--no-project")
    assert 0 == done.exit_code, done.output
    left = {p.name for p in (tmp_path / "out").rglob("*")}
    assert not left & {"report.html", "inspect.qgs", "quicklook.json"}


def test_match_prints_the_summary_and_writes_geojson(archive: Path, tmp_path: Path) -> None:
    left, right = sorted(archive.iterdir())
    ties = tmp_path / "ties.geojson"
    done = call("match", left, right, "-o", ties, *QUICK, "--json")
    assert 0 == done.exit_code, done.output
    assert json.loads(done.stdout)["inliers"] == json.loads(ties.read_text())["summary"]["inliers"]
    words = call("match", left, right, "-o", ties, *QUICK).stdout
    assert "right minus left" in words
    assert "east" in words
    assert max(map(len, words.splitlines())) <= 80


def test_a_circle_has_no_direction_and_one_shift_no_resolution_in_any_file(archive: Path, tmp_path: Path) -> None:
    names = ["ties.geojson", "ties.csv", "ties.gpkg", "ties.fgb"]
    outputs = [word for name in names for word in ("-o", tmp_path / name)]
    tif = tmp_path / "displacement.tif"
    done = call("match", *sorted(archive.iterdir()), *outputs, "--displacement", tif, "--model", "translation", *QUICK)
    assert 0 == done.exit_code, done.output
    assert "translation: one shift for the whole overlap, measured in" in " ".join(done.stdout.split())
    points = [feature["properties"] for feature in json.loads((tmp_path / names[0]).read_text())["features"]]
    with (tmp_path / names[1]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    circles = [point["sigma_major_m"] == point["sigma_minor_m"] for point in points]
    assert sum(circles) > 10
    assert circles == [point["sigma_azimuth_deg"] is None for point in points]
    assert circles == ["" == row["sigma_azimuth_deg"] for row in rows]
    for name in names[2:]:
        meta, _, _, values = pyogrio.raw.read(tmp_path / name, layer="tiepoints")
        assert np.isnan(values[meta["fields"].tolist().index("sigma_azimuth_deg")]).sum() > 10
    with rasterio.open(tif) as file:
        assert np.isnan(file.read(4)).all()
        assert "one shift for the whole overlap" == file.tags()["SUPPORT"]
    json.dumps(read_ties(tmp_path / names[2]).__geo_interface__, allow_nan=False)


def test_weights_of_ones_own_are_told_apart_by_name(tmp_path: Path) -> None:
    files = [tmp_path / "lightglue_weights.pth", tmp_path / "own_weights.pth"]
    for file in files:
        file.write_bytes(b"tensors")
    matcher: Any = options._make_matcher("superpoint+lightglue", files, "cpu")
    assert (files[1], files[0]) == (matcher.weights_file, matcher.lightglue_file)


def test_a_figure_that_is_required_and_not_reached_is_exit_status_one(archive: Path, tmp_path: Path) -> None:
    left, right = sorted(archive.iterdir())
    ties = tmp_path / "ties.geojson"
    met = call("match", left, right, "-o", ties, *QUICK, "--require", "CE90=20m", "--require", "POINTS=100")
    assert (0, "") == (met.exit_code, "".join(s for s in met.stderr.splitlines() if "not met" in s))
    ties.unlink()
    missed = call("match", left, right, "-o", ties, *QUICK, "--require", "CE95=0.001px")
    assert 1 == missed.exit_code
    assert "not met: CE95<=0.001px is required, and it is 0." in missed.stderr
    assert ties.exists()
    run = call("run", archive, "-o", tmp_path / "out", *QUICK, "--require", "POINTS=1000000")
    assert 1 == run.exit_code
    assert "not met: " in run.stderr
    assert 2 == call("match", left, right, "-o", ties, "--require", "CE90=3").exit_code


def test_three_acquisitions_are_adjusted_as_one_series(archive: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "archive", tmp_path / "out"
    shutil.copytree(archive, folder)
    write_product(folder, Landscape(7), date="2021-07-19", pixels=720, displacement=(-5.0, 3.0))
    done = call("run", folder, "-o", out, "--matcher", "phase", "--candidates", "1000", "--no-report", "--no-project")
    assert 0 == done.exit_code, done.output
    (series,) = json.loads((out / "series.json").read_text())["series"]
    assert 3 == len(series["acquisitions"]) == len(series["pairs"])
    found = {row["sensing_time"][5:7]: (row["dx_m"], row["dy_m"]) for row in series["acquisitions"]}
    for month, truth in (("09", (6.4, 18.1)), ("07", (-5.0, 3.0))):
        assert np.allclose(np.subtract(found[month], found["05"]), truth, atol=0.6)
    (loop,) = series["loops"]
    assert np.hypot(*loop["closure_m"]) < 1
    assert "1 triangle closed to" in done.stdout.replace("\n", " ")
    series = json.loads((out / "series.json").read_text())
    series["series"][0]["loops"] = []
    (out / "series.json").write_text(json.dumps(series))
    shown = " ".join(call("report", out).stdout.split())
    assert "no triangle: no three acquisitions are all paired with one another" in shown
    assert "verdict" in shown


def test_chip_writes_what_the_matcher_sees(archive: Path, tmp_path: Path) -> None:
    import rasterio

    done = call("chip", sorted(archive.iterdir())[0], "-o", tmp_path / "b08.tif", "--band", "b08", "--resolution", "20")
    assert 0 == done.exit_code, done.output
    with rasterio.open(tmp_path / "b08.tif") as chip:
        assert (210, 210) == chip.shape
        assert (20.0, 20.0) == chip.res
        assert "EPSG:32633" == str(chip.crs)
        assert 0 <= chip.read(1, masked=True).min() <= chip.read(1, masked=True).max() <= 1


def test_matchers_shows_what_is_ready_and_how_to_get_the_rest() -> None:
    done = call("matchers")
    assert 0 == done.exit_code
    for name in ("aliked+lightglue", "sift", "loftr", "superpoint+lightglue"):
        assert name in done.stdout
    rows = json.loads(call("matchers", "--json").stdout)
    assert all(row["where"] for row in rows)


def test_missing_weights_are_one_sentence_before_any_image_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SENTINEL_MATCH_WEIGHTS", raising=False)
    done = call("match", "no/such/left", "no/such/right", "-o", tmp_path / "t.geojson", "--matcher", "loftr-outdoor")
    assert 1 == done.exit_code
    assert "loftr-outdoor needs the weights loftr_outdoor.ckpt" in done.stderr
    assert 1 == done.stderr.count("\n")


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["scenes", "no/such/folder"], 1, "no/such/folder"),
        (["match", "no/such/left", "no/such/right", "-o", "t.geojson"], 1, "no/such/left"),
        (["match", "a", "b", "-o", "t.geojson", "--matcher", "magic"], 1, "There is no matcher 'magic'"),
        (["match", "a"], 2, "Missing"),
        (["match", "a", "b", "-o", "t.geojson", "--resolution", "0"], 2, "0"),
        (["match", "a", "b", "-o", "t.geojson", "--matcher", "sift", "--device", "gpu"], 1, "gpu"),
        (["match", "a", "b", "-o", "t.geojson", "--window", "30"], 2, "window must be a multiple of 4"),
        (["run", "a", "-o", "out", "--model", "spline"], 2, "spline"),
        (["match", "a", "b", "-o", "t.geojson", "--matcher", "sift", "--weights", __file__], 2, "has no use for it"),
    ],
)
def test_a_mistake_is_one_sentence_and_its_exit_status(words: list[str], status: int, sentence: str) -> None:
    done = call(*words)
    assert status == done.exit_code, done.output
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["match LEFT RIGHT -o ties.geojson", "run LEFT RIGHT -o out"])
@pytest.mark.parametrize("option", ["--stable", "--dem", "--mask", "--classes"])
def test_a_file_that_is_not_there_is_told_before_any_image_is_read(
    command: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*command.split(), option, "forgotten.tif")
    assert 2 == done.exit_code
    assert done.stderr.endswith(
        f"Error: Invalid value for '{option}': forgotten.tif: there is no such file or folder\n"
    )
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command", ["prepare ties.gpkg -o out", "chip LEFT -o chip.tif", "train evergreen LEFT -o out"]
)
def test_a_mask_that_is_not_there_is_told_first(command: str, tmp_path: Path) -> None:
    done = call(*command.split(), "--mask", tmp_path / "forgotten.gpkg")
    assert 2 == done.exit_code
    assert done.stderr.endswith("forgotten.gpkg: there is no such file or folder\n")


@pytest.mark.parametrize(("option", "kind"), [("--stable", "mask"), ("--dem", "height model")])
def test_a_file_of_something_else_is_told_before_the_images_are_matched(
    option: str, kind: str, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object) -> None:
        raise AssertionError("it was matched first")

    monkeypatch.setattr("sentinel_match.pipeline.correspond", nothing)
    (tmp_path / "notes.txt").write_text("neither a raster nor polygons")
    done = call("match", *sorted(archive.iterdir()), "-o", tmp_path / "ties.geojson", option, tmp_path / "notes.txt")
    assert 1 == done.exit_code
    assert re.search(rf"{kind} .*notes\.txt cannot be used: it is", " ".join(done.stderr.split()))
    assert ["notes.txt"] == [path.name for path in tmp_path.iterdir() if path.name != "cache"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "match LEFT RIGHT -o ties.geojson --displacement shift.png",
            "shift.png: what is written ends in .tif or .tiff",
        ),
        ("fit ties.csv -o ties.geojson --displacement shift", "shift: what is written ends in .tif or .tiff"),
        ("scenes LEFT --geojson scenes.shp", "scenes.shp: what is written ends in .geojson or .json"),
        ("pairs LEFT --geojson pairs.csv", "pairs.csv: what is written ends in .geojson or .json"),
    ],
)
def test_a_file_whose_name_says_something_else_is_refused_before_the_work(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ties.csv").write_text("left_x,left_y,right_x,right_y\n")
    done = call(*words.split())
    assert 2 == done.exit_code
    assert said in " ".join(done.stderr.split())
    assert ["ties.csv"] == [path.name for path in tmp_path.iterdir()]


def test_a_chip_whose_name_says_nothing_is_refused_before_the_work(tmp_path: Path) -> None:
    done = call("chip", "no/such/scene", "-o", tmp_path / "chip.jp2")
    assert 1 == done.exit_code
    assert "its suffix '.jp2' is none of .tif" in " ".join(done.stderr.split())


def test_a_missing_band_is_named_with_those_there_are(archive: Path, tmp_path: Path) -> None:
    left, right = sorted(archive.iterdir())
    done = call("match", left, right, "-o", tmp_path / "t.geojson", *QUICK, "--band", "B11")
    assert 1 == done.exit_code
    assert "has no band B11 (it has B04" in done.stderr
    assert not (tmp_path / "t.geojson").exists()


def test_a_truncated_image_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    left = write_product(tmp_path / "a", Landscape(7), date="2021-05-20", pixels=720)
    right = write_product(tmp_path / "a", Landscape(7), date="2021-09-17", pixels=720)
    truncate(next(right.rglob("*_B04.jp2")), 0.7)
    done = call("match", left, right, "-o", tmp_path / "t.geojson", *QUICK)
    assert 1 == done.exit_code
    assert "B04.jp2 is damaged" in done.stderr
    assert not (tmp_path / "t.geojson").exists()


def test_a_web_page_called_zip_is_refused_as_one(archive: Path, tmp_path: Path) -> None:
    page = tmp_path / "S2A_MSIL1C_20210520T000000_N0511_R022_T33UUU_20210520T030000.zip"
    page.write_text("<!DOCTYPE html><html>login</html>")
    done = call("scenes", page, archive)
    assert 1 == done.exit_code
    assert "web page" in done.stderr
    assert 2 == done.stdout.count("T33UUU_2021")


def test_a_config_file_sets_defaults_and_the_command_line_wins(archive: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[run]\nmatcher = 'sift'\ncells = 2\ncandidates = 2000\nband = 'B99'\n")
    out = tmp_path / "out"
    assert "B99" in call("--config", config, "run", archive, "-o", out).stderr
    assert 0 == call("--config", config, "run", archive, "-o", out, "--band", "B04").exit_code
    options = json.loads((out / "run.json").read_text())["options"]
    method = options["method"]
    assert (["sift"], 2, "B04") == ([m["name"] for m in method["matchers"]], method["cells"], options["band"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[run]\nbnad = 'B08'", "no option 'bnad'"),
        ("[rnu]\nband = 'B08'", "'rnu'"),
        ("band = 'B08'", "'band'"),
        ("[run", "not TOML"),
    ],
)
def test_an_unknown_key_in_a_config_file_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    done = call("--config", tmp_path / "c.toml", "run", tmp_path, "-o", tmp_path / "out")
    assert 2 == done.exit_code
    assert sentence in done.stderr


def test_cache_shows_and_prunes(archive: Path, tmp_path: Path) -> None:
    call("chip", sorted(archive.iterdir())[0], "-o", tmp_path / "c.tif")
    shown = json.loads(call("cache", "--json").stdout)
    assert 1 == shown["kinds"]["scene"]["entries"]
    assert 0 < json.loads(call("cache", "--prune", "0", "--json").stdout)["freed"]
    assert {} == json.loads(call("cache", "--json").stdout)["kinds"]


def test_two_rasters_are_matched_like_two_products(archive: Path, tmp_path: Path) -> None:
    chips = [tmp_path / "left.tif", tmp_path / "right.tif"]
    for product, chip in zip(sorted(archive.iterdir()), chips, strict=True):
        assert 0 == call("chip", product, "-o", chip, "--reflectance").exit_code
    done = call("match", *chips, "-o", tmp_path / "t.geojson", *QUICK, "--json")
    assert 0 == done.exit_code, done.output
    assert abs(json.loads(done.stdout)["median_dy_m"] - 18.1) < 0.5


@pytest.mark.unix("sends Ctrl-C only to all that share a console")
def test_a_run_that_is_stopped_leaves_nothing_half_written_and_the_next_goes_on(archive: Path, tmp_path: Path) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    command = [
        sys.executable,
        "-m",
        "sentinel_match",
        "run",
        str(archive),
        "-o",
        str(out),
        *QUICK,
        "--cache",
        str(cache),
    ]
    # A shell that runs the tests in the background has its children ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if "match (" in line:
                break
        run.send_signal(signal.SIGINT)
        rest = run.stderr.read()
    assert run.returncode != 0
    assert "Traceback" not in rest
    assert not list(out.rglob("tiepoints.geojson"))
    done = call("run", archive, "-o", out, *QUICK, "--cache", cache)
    assert 0 == done.exit_code, done.output
    assert 1 == len(list(out.rglob("tiepoints.geojson")))
