"""Runs that are killed, run out of disk, may not write, or share a cache: nothing half-written, nothing different."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from lxml import etree

from sentinel_match import atomic
from sentinel_match.cli import main
from sentinel_match.testing import Landscape, write_product

QUICK = ["--matcher", "phase", "--candidates", "500"]
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from sentinel_match import atomic
from sentinel_match.cli import main
main()
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for date, aside in (("2021-05-20", (0.0, 0.0)), ("2021-09-17", (6.4, 18.1))):
        write_product(folder, Landscape(7), date=date, pixels=300, displacement=aside)
    return folder


@pytest.fixture(scope="module")
def whole(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an undisturbed run says."""
    out = tmp_path_factory.mktemp("whole")
    assert 0 == CliRunner().invoke(main, [str(a) for a in arguments(archive, out, out / "cache")]).exit_code
    return written(out)


def arguments(archive: Path, out: Path, cache: Path) -> list[object]:
    return ["run", archive, "-o", out, *QUICK, "--cache", cache]


def started(*command: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *map(str, command)], stderr=subprocess.PIPE, text=True, env=os.environ)


def written(out: Path) -> dict[str, Any]:
    """The tie points of the only pair, without when and how long."""
    (path,) = out.rglob("tiepoints.geojson")
    told: dict[str, Any] = json.loads(path.read_text())
    return {"features": told["features"], "shift": told["summary"]["median_dx_m"], "model": told["summary"]["model"]}


def unharmed(out: Path) -> None:
    """Every file that is there is whole, and nothing else is."""
    for path in out.rglob("*"):
        if path.suffix in {".json", ".geojson"}:
            json.loads(path.read_text())
        elif path.suffix == ".html":
            assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
        elif path.suffix in {".qgs", ".qml"}:
            etree.parse(path)
        elif path.suffix == ".gpkg":
            with contextlib.closing(sqlite3.connect(path)) as database:
                assert ("ok",) == database.execute("PRAGMA integrity_check").fetchone()
        elif path.suffix == ".tif":
            with rasterio.open(path) as image:
                image.read()
        else:
            assert path.is_dir(), f"{path} was left behind"


@pytest.mark.parametrize(
    "stage", [pytest.param("read", marks=pytest.mark.slow), "match", pytest.param("refine", marks=pytest.mark.slow)]
)
def test_a_run_killed_in_any_stage_goes_on_to_what_an_undisturbed_one_says(
    archive: Path, tmp_path: Path, whole: dict[str, Any], stage: str
) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    with started("-m", "sentinel_match", *arguments(archive, out, cache)) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if stage in line:
                break
        run.kill()
    assert (1 if sys.platform == "win32" else -9) == run.returncode
    assert not list(out.rglob("tiepoints.geojson"))
    unharmed(out)
    assert 0 == CliRunner().invoke(main, [str(a) for a in arguments(archive, out, cache)]).exit_code
    assert whole == written(out)


@pytest.mark.unix("sets no limit on the size of a file")
@pytest.mark.parametrize("size", [pytest.param(2_000, marks=pytest.mark.slow), 300_000])
def test_a_disk_that_is_full_is_said_and_nothing_half_written_stays(
    archive: Path, tmp_path: Path, whole: dict[str, Any], size: int
) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    with started("-c", LIMITED, size, *arguments(archive, out, cache)) as run:
        assert run.stderr is not None
        said = run.stderr.read()
    assert 1 == run.returncode
    assert "File too large" in said
    assert "Traceback" not in said
    unharmed(out)
    assert 0 == CliRunner().invoke(main, [str(a) for a in arguments(archive, out, cache)]).exit_code
    assert whole == written(out)


def test_two_runs_at_once_on_one_cache_say_the_same(archive: Path, tmp_path: Path, whole: dict[str, Any]) -> None:
    cache, outs = tmp_path / "cache", [tmp_path / "one", tmp_path / "two"]
    runs = [started("-m", "sentinel_match", *arguments(archive, out, cache)) for out in outs]
    for run in runs:
        _, said = run.communicate()
        assert 0 == run.returncode, said
    assert [whole, whole] == [written(out) for out in outs]


@pytest.mark.unix("keeps no such permissions of a folder")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_one_sentence(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o500)
    done = CliRunner().invoke(main, [str(a) for a in arguments(archive, out / "deep", tmp_path / "cache")])
    assert 1 == done.exit_code
    assert "Permission denied" in done.stderr


PIXELS = np.random.default_rng(0).uniform(500, 3000, (160, 160)).astype(np.float32)
AT = Affine(10, 0, 600_000, 0, -10, 5_000_000)


def raster(path: Path, pixels: np.ndarray, at: Affine = AT, crs: str | None = "EPSG:32633", **about: Any) -> Path:
    rows, cols = pixels.shape
    options = {"driver": "GTiff", "width": cols, "height": rows, "count": 1, "dtype": pixels.dtype, "nodata": 0}
    with rasterio.open(path, "w", crs=crs, transform=at, **(options | about)) as target:
        target.write(pixels, 1)
    return path


@pytest.mark.parametrize(
    ("pixels", "about", "sentence"),
    [
        (np.full_like(PIXELS, np.nan), {}, "nowhere is it clear"),
        (np.zeros_like(PIXELS), {}, "nowhere is it clear"),
        (np.full_like(PIXELS, 1000), {}, ""),
        (np.where(PIXELS > 600, np.nan, PIXELS), {}, ""),
        (np.where(PIXELS > 600, np.inf, PIXELS), {}, ""),
        (PIXELS, {"at": AT * Affine.translation(159, 159)}, ""),
        (PIXELS, {"at": AT * Affine.translation(160, 0)}, "overlap"),
        (PIXELS, {"at": AT * Affine.translation(10_000, 0)}, "overlap"),
        (PIXELS, {"crs": "EPSG:32634"}, "overlap"),
        (PIXELS[:1, :1], {}, ""),
        (PIXELS[:, :3], {}, ""),
    ],
    ids=[
        "NaN",
        "nodata",
        "constant",
        "NaN dots",
        "infinite",
        "one pixel",
        "beside",
        "afar",
        "other zone",
        "1x1",
        "3x160",
    ],
)
def test_images_without_content_never_match(
    tmp_path: Path, pixels: np.ndarray, about: dict[str, Any], sentence: str
) -> None:
    left = raster(tmp_path / "left.tif", PIXELS)
    right = raster(tmp_path / "right.tif", pixels.astype(np.float32), **about)
    out = tmp_path / "ties.geojson"
    for pair in ((left, right), (right, left)):
        done = CliRunner().invoke(main, ["match", *map(str, pair), "-o", str(out), *QUICK])
        assert 1 == done.exit_code, done.output
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
        assert not out.exists()
    assert not list(tmp_path.glob("*.geojson*"))


def test_a_raster_without_crs_says_what_to_do(tmp_path: Path) -> None:
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        bare = raster(tmp_path / "bare.tif", PIXELS, Affine.identity(), None)
    named = raster(tmp_path / "named.tif", PIXELS)
    done = CliRunner().invoke(main, ["match", str(bare), str(named), "-o", str(tmp_path / "t.geojson")])
    assert 1 == done.exit_code
    assert "georeference" in done.stderr


def test_a_batch_goes_on_beside_products_of_every_damage(archive: Path, tmp_path: Path, whole: dict[str, Any]) -> None:
    folder, out = tmp_path / "archive", tmp_path / "out"
    shutil.copytree(archive, folder)
    for k, harm in enumerate((b"", b"<!DOCTYPE html>", bytes(5000))):
        broken = write_product(folder, Landscape(7), date=f"2021-06-{10 + k}", pixels=300)
        next(broken.rglob("*_B04*.jp2")).write_bytes(harm)
    (folder / "S2A_MSIL1C_20210101T000000_N0300_R022_T33UUU_20210101T000000.zip").write_bytes(b"<html></html>")
    done = CliRunner().invoke(main, [str(a) for a in arguments(folder, out, tmp_path / "cache")])
    assert 1 == done.exit_code
    assert "Traceback" not in done.stderr
    assert whole == written(out)


KILLED = """
import os, signal, sys
from pathlib import Path
from sentinel_match import atomic
folder = Path(sys.argv[1])
with atomic.whole_folder(folder / "stack", "prepare.json", 0) as unfinished, atomic.whole(folder / "ties.gpkg"):
    (unfinished / "left.tif").write_bytes(bytes(1000))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.unix("has no such signal")
def test_what_a_killed_process_left_unfinished_is_removed_by_the_next_one(tmp_path: Path) -> None:
    with started("-c", KILLED, tmp_path) as run:
        run.wait()
    assert 2 == len(list(tmp_path.glob(".unfinished-*")))
    (tmp_path / ".unfinished-symphony").mkdir()  # somebody's own
    os.utime(tmp_path / ".unfinished-symphony", (1, 1))
    atomic.write_text(tmp_path / "ties.csv", "x")
    assert [".unfinished-symphony", "ties.csv"] == sorted(path.name for path in tmp_path.iterdir())


LOADED = """
import os, signal, sys
from sentinel_match import load, read_scene
image = load(read_scene(sys.argv[1]), "1")
if len(sys.argv) > 2:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.unix("has no such signal")
def test_a_scene_that_a_killed_process_had_on_disk_is_removed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = raster(tmp_path / "a.tif", PIXELS)
    (tmp_path / "tmp" / "sentinel-match-mine").mkdir(parents=True)  # somebody's own
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    with started("-c", LOADED, picture, "die") as run:
        run.wait()
    assert 2 == len(list((tmp_path / "tmp").iterdir()))
    with started("-c", LOADED, picture) as run:
        run.wait()
    assert ["sentinel-match-mine"] == [path.name for path in (tmp_path / "tmp").iterdir()]


@pytest.mark.unix("has no such signal")
def test_a_program_that_is_told_to_end_leaves_nothing_unfinished(archive: Path, tmp_path: Path) -> None:
    ties, out = tmp_path / "ties.geojson", tmp_path / "stacks" / "stack"
    left, right = sorted(archive.iterdir())
    cache = ["--cache", tmp_path / "cache"]
    words = [str(w) for w in ("match", left, right, "-o", ties, *QUICK, *cache)]
    assert 0 == CliRunner().invoke(main, words).exit_code
    with started("-m", "sentinel_match", "prepare", left, right, ties, "-o", out, *cache) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if "render" in line:
                break
        run.terminate()
        said = run.stderr.read()
    assert 1 == run.returncode
    assert "stopped: nothing half made was left" in said
    assert [] == list(out.parent.iterdir())
