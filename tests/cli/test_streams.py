"""The streams of the program, as a user may leave them, and what is said while it works."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner

from sentinel_match import atomic
from sentinel_match.cli import main, progress
from sentinel_match.errors import OutputError

pytestmark = pytest.mark.unix("has other streams, and no shell of this kind")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "a.tif"
    write_image(path)
    return path


def write_image(path: Path) -> None:
    at = Affine(10, 0, 600_000, 0, -10, 5_000_000)
    options = {"driver": "GTiff", "width": 40, "height": 40, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", transform=at, **options) as target:
        target.write(np.arange(1600).reshape(40, 40).astype(np.uint8), 1)


def shell(words: str, redirected: str, *, unbuffered: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the program in a shell; ``%`` stands for it, and the exit status is its own."""
    script = redirected.replace("%", f"{sys.executable} -m sentinel_match {words}")
    env = {**os.environ, "PYTHONUNBUFFERED": "1" if unbuffered else ""}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, env=env, check=False, timeout=120
    )


full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


@full_device
@pytest.mark.parametrize(
    "words", ["scenes IMAGE", "scenes --json IMAGE", "matchers", "--help", "--version", "run --help"]
)
@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_stdout_on_a_full_device_is_one_sentence(image: Path, words: str, unbuffered: bool) -> None:
    done = shell(words.replace("IMAGE", str(image)), "% > /dev/full", unbuffered=unbuffered)
    assert 1 == done.returncode
    assert done.stderr.startswith("Error: standard output could not be written: No space left on device")
    assert 1 == done.stderr.count("\n")


@pytest.mark.parametrize("words", ["scenes IMAGE", "--version"])
def test_a_stdout_that_is_closed_is_one_sentence(image: Path, words: str) -> None:
    done = shell(words.replace("IMAGE", str(image)), "% >&-")
    assert 1 == done.returncode
    assert "Error: standard output could not be written: it is closed" in done.stderr
    assert 1 == done.stderr.count("\n")


@pytest.mark.parametrize("redirected", ["% | true", "% 2>&1 | true", "% | head -c 1 > /dev/null"])
def test_a_reader_that_goes_is_no_news(redirected: str) -> None:
    assert "" == shell("matchers --json", redirected).stderr


@pytest.mark.parametrize("redirected", ["% 2>&-", pytest.param("% 2> /dev/full", marks=full_device)])
def test_talk_that_cannot_be_said_changes_nothing(image: Path, redirected: str) -> None:
    said, unsaid = shell(f"scenes {image}", "%"), shell(f"scenes {image}", redirected)
    assert (0, said.stdout) == (unsaid.returncode, unsaid.stdout)
    refused = shell(f"scenes {image} no/such/file", redirected)
    assert (1, said.stdout) == (refused.returncode, refused.stdout)
    assert 2 == shell("magic", redirected).returncode


def test_a_file_never_gets_the_number_of_a_closed_stream(image: Path, tmp_path: Path) -> None:
    """What a library in C says on stderr would stand in the result."""
    chip = tmp_path / "chip.tif"
    shell(f"chip {image} -o {chip} --band 1 --cache {tmp_path / 'cache'}", "% <&- >&- 2>&-")
    with rasterio.open(chip) as file:
        assert (40, 40) == file.read(1).shape


def test_a_name_that_is_not_utf8_is_said_to_be_that(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.tif"
    write_image(tmp_path / "good.tif")
    try:
        (tmp_path / "good.tif").rename(os.fsdecode(name))
    except OSError:
        pytest.skip("this file system takes no such name")
    write_image(tmp_path / "good.tif")
    done = shell(f"scenes --json {tmp_path}", "%")
    assert 1 == done.returncode
    assert r"caf\xe9.tif cannot be read: its name is not UTF-8" in done.stderr
    assert "rename it" in done.stderr
    assert "good.tif" in done.stdout


UNNAMABLE = [
    "match IMAGE IMAGE -o BAD.geojson",
    "match IMAGE IMAGE -o BADDIR/a.gpkg",
    "match IMAGE IMAGE -o a.geojson --mask BAD.tif",
    "match IMAGE IMAGE -o a.geojson --classes BAD.tif --class-table scl",
    "match IMAGE IMAGE -o a.geojson --cache BADDIR",
    "fit BAD.csv -o a.geojson --crs EPSG:32633",
    "fit GOOD.csv -o BAD.gpkg --crs EPSG:32633",
    "prepare BAD.csv -o stack",
    "prepare GOOD.csv -o BADDIR",
    "run IMAGE -o BADDIR",
    "report BADDIR",
    "chip BAD.tif -o a.png",
    "chip IMAGE -o BAD.png",
    "images IMAGE IMAGE -o BADDIR",
    "demo BADDIR",
]


@pytest.mark.parametrize("words", UNNAMABLE)
def test_a_name_that_is_not_utf8_is_one_sentence_wherever_it_stands(
    image: Path, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = os.fsdecode(b"caf\xe9")
    try:
        (tmp_path / bad).mkdir()
    except OSError:
        pytest.skip("this file system takes no such name")
    rows = "".join(f"{k},{k},{k + 1},{k}\n" for k in range(0, 8000, 1000))
    for name in (f"{bad}.csv", "good.csv"):
        (tmp_path / name).write_text("left_x,left_y,right_x,right_y\n" + rows)
    shutil.copy(image, tmp_path / f"{bad}.tif")
    monkeypatch.chdir(tmp_path)
    named = {"IMAGE": str(image), "BADDIR": bad, "BAD": bad, "GOOD": "good"}
    for name, path in named.items():
        words = words.replace(name, path)
    done = shell(words, "%")
    assert done.returncode in {1, 2}, done.stderr
    assert "is not UTF-8, so no result could say it; rename it" in done.stderr
    assert "Traceback" not in done.stderr


def test_results_in_a_folder_that_is_not_utf8_are_one_sentence(image: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(OutputError, match="the name of a folder above it is not UTF-8"), atomic.whole(folder / "a.csv"):
        pass
    done = shell(f"match {image} {image} -o a.gpkg", f"cd {folder} && %")
    assert "the name of a folder above it is not UTF-8" in done.stderr
    assert "Traceback" not in done.stderr


def test_quiet_and_verbose_may_stand_after_the_command(image: Path, tmp_path: Path) -> None:
    words = ["chip", str(image), "-o", str(tmp_path / "chip.tif"), "--band", "1", "--cache", str(tmp_path / "cache")]
    for after, level in (
        ([], logging.WARNING),
        (["-v"], logging.INFO),
        (["-vv"], logging.DEBUG),
        (["-q"], logging.ERROR),
    ):
        done = CliRunner().invoke(main, [*words, *after])
        assert 0 == done.exit_code, done.output
        assert level == logging.getLogger().level
        assert bool(done.stderr) is (after != ["-q"])
    assert 0 == CliRunner().invoke(main, ["-v", *words, "-v"]).exit_code
    assert logging.DEBUG == logging.getLogger().level


def test_progress_without_a_terminal_carries_time_and_share(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.show_progress(quiet=False) as tell:
        for at, *stage in (
            (100, "pair a__b", 0, 2),
            (101, "refine", 0, 50),
            (102, "refine", 1, 50),
            (175, "refine", 25, 50),
            (176, "quick-look", 0, 1),
        ):
            now[0] = float(at)
            tell(*stage)
    lines = capsys.readouterr().err.splitlines()
    assert ["  0:00  [1/2] pair a__b", "  0:01  refine 0%", "  1:15  refine 50%", "  1:16  quick-look"] == lines


def test_a_stage_that_says_nothing_is_said_to_be_at_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "WAITING_S", 0.1)
    with progress.show_progress(quiet=False) as tell:
        tell("examine evergreen", 0, 1)
        time.sleep(0.5)
    assert 2 <= capsys.readouterr().err.count("examine evergreen")


def test_training_says_what_it_does_within_a_minute() -> None:
    assert progress.WORKING_S <= 60
    assert progress.WAITING_S <= 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_stopped_says_how_to_go_on(image: Path, tmp_path: Path, number: signal.Signals) -> None:
    code = f"""
import os, signal
from sentinel_match import batch
from sentinel_match.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
batch.run = lambda *_, **__: os.kill(os.getpid(), {int(number)})
main(["run", {str(image)!r}, "-o", {str(tmp_path / "out")!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 1 == done.returncode
    assert "stopped: what is done is kept, and the same command goes on" in done.stderr
    assert "Traceback" not in done.stderr
