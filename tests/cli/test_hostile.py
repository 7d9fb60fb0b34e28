"""Damaged and hostile input: each case ends in the right result or one clear sentence, never in a wrong result.

The corpus is made here, from one invented product: every file of it cut, flipped, emptied and replaced, as a folder and
as a zip.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentinel_match.cli import main
from sentinel_match.errors import SentinelMatchError
from sentinel_match.products.catalogue import read_scene
from sentinel_match.raster.load import load
from sentinel_match.testing import Landscape, write_product

BAND = "B04"
FACTS: dict[str, Any] = {"date": "2023-05-14", "level": "L2A", "pixels": 120, "bands": ("B02", BAND), "sky": 0.2}


class Case(NamedTuple):
    """One way to damage a product."""

    name: str
    harm: Callable[[Path], object]
    """Called with the product's folder."""


class Seen(NamedTuple):
    """What the tool makes of a product."""

    pixels: np.ndarray
    valid: np.ndarray
    notes: str


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Level-2A product with every kind of file that is read."""
    return write_product(tmp_path_factory.mktemp("whole"), Landscape(seed=5), **FACTS)


@pytest.fixture(scope="module")
def whole(product: Path) -> Seen:
    return look(product)


def look(path: Path) -> Seen:
    scene = read_scene(path)
    loaded = load(scene, BAND)
    return Seen(np.array(loaded.raster.pixels), np.array(loaded.raster.valid), "; ".join((*loaded.notes, *scene.notes)))


def outcome(path: Path, whole: Seen) -> str:
    """``right``, ``noted`` (a mask is missing and the scene says so), or ``refused`` in one sentence."""
    try:
        seen = look(path)
    except SentinelMatchError as error:
        said = str(error)
        assert said.endswith(".")
        assert "\n" not in said
        assert 20 < len(said) < 900
        return "refused"
    same_grid = seen.pixels.shape == whole.pixels.shape
    if same_grid and (seen.valid == whole.valid).all() and (seen.pixels == whole.pixels)[whole.valid].all():
        return "right"
    assert seen.notes != whole.notes, "a wrong result, and not a word"
    return "noted"


def files(product: Path) -> dict[str, Path]:
    found = {
        "image": next(product.rglob(f"*_{BAND}_10m.jp2")),
        "scl": next(product.rglob("*_SCL_20m.jp2")),
        "product xml": next(product.glob("MTD_MSI*.xml")),
        "tile xml": next(product.rglob("MTD_TL.xml")),
        "datastrip xml": next(product.rglob("MTD_DS.xml")),
        "manifest": product / "manifest.safe",
    }
    return {name: path.relative_to(product) for name, path in found.items()}


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def flip(path: Path, share: float, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * share)] ^= 1 << bit
    path.write_bytes(data)


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]><a>&c;</a>'
REPLACED = {
    "empty": b"",
    "a web page": b"<!DOCTYPE html><html><body>Please sign in</body></html>",
    "zeros": bytes(4000),
    "noise": bytes(np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8)),
    "an entity bomb": BOMB.encode(),
    "a program": b'<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"/></VRTDataset>',
    "an external entity": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
}


def cases(product: Path) -> Iterator[Case]:
    names = files(product)
    for name, file in names.items():
        for share in (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.995):
            yield Case(f"{name} cut to {share:.1%}", lambda root, f=file, s=share: cut(root / f, s))
        for k in range(12):
            share = (k + 0.5) / 12
            yield Case(f"{name} flipped at {share:.0%}", lambda root, f=file, s=share, k=k: flip(root / f, s, k % 8))
        for what, data in REPLACED.items():
            yield Case(f"{name} is {what}", lambda root, f=file, d=data: (root / f).write_bytes(d))
        yield Case(f"{name} is gone", lambda root, f=file: (root / f).unlink())
        if hasattr(os, "mkfifo"):
            yield Case(f"{name} is a pipe", lambda root, f=file: ((root / f).unlink(), os.mkfifo(root / f)))
        yield Case(f"{name} is a folder", lambda root, f=file: ((root / f).unlink(), (root / f).mkdir()))
        for where, target in (("to itself", file.name), ("out", "/etc/hostname")) if os.name == "posix" else ():
            yield Case(
                f"{name} leads {where}",
                lambda root, f=file, to=target: ((root / f).unlink(), (root / f).symlink_to(to)),
            )
    image = names["image"]
    for field, offset in (("width", 8), ("height", 4)):  # of the SIZ marker, from the end of its head

        def absurd(root: Path, at: int = offset) -> None:
            data = bytearray((root / image).read_bytes())
            start = data.index(b"\xff\x51") + (8 if at == 4 else 4) + 2
            data[start : start + 4] = struct.pack(">I", 4_000_000_000)
            (root / image).write_bytes(data)
            (root / "manifest.safe").unlink()

        yield Case(f"image of an absurd {field}", absurd)
    xml = names["tile xml"]
    for old, new in (
        ("EPSG:32633", "EPSG:99999"),
        ("<NROWS>", "<NROWS>-"),
        ("<ULX>", "<ULX>1e999"),
        ("<XDIM>", "<XDIM>0"),
    ):

        def edited(root: Path, old: str = old, new: str = new) -> None:
            text = (root / xml).read_text()
            assert old in text
            (root / xml).write_text(text.replace(old, new))

        yield Case(f"tile xml with {new}", edited)


def zipped_cases(archive: Path) -> Iterator[Case]:
    """``harm`` is called with a copy of the zip."""
    for share in (0.0, 0.001, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.999):
        yield Case(f"zip cut to {share:.1%}", lambda path, s=share: cut(path, s))
    for k in range(40):
        yield Case(f"zip flipped at {k / 40:.1%}", lambda path, k=k: flip(path, (k + 0.37) / 40, k % 8))
    for what, data in REPLACED.items():
        yield Case(f"zip is {what}", lambda path, d=data: path.write_bytes(d))

    def repacked(path: Path, name: str, data: bytes, **about: object) -> None:
        with zipfile.ZipFile(path, "a") as packed:
            info = zipfile.ZipInfo(name)
            for key, value in about.items():
                setattr(info, key, value)
            packed.writestr(info, data)

    inside = archive.name.removesuffix(".zip")
    for name in ("../../escaped.txt", "/etc/escaped.txt", "..\\escaped.txt", f"{inside}/../../../escaped"):
        yield Case(f"zip with {name}", lambda path, n=name: repacked(path, n, b"x"))
    yield Case(
        "zip with a link", lambda path: repacked(path, f"{inside}/link", b"/etc/passwd", external_attr=0o120777 << 16)
    )

    def twice(path: Path) -> None:
        with pytest.warns(UserWarning, match="Duplicate name"):
            repacked(path, f"{inside}/manifest.safe", b"<a/>")

    yield Case("zip with a file twice", twice)
    yield Case(
        "zip with a bomb of metadata",
        lambda path: repacked(path, f"{inside}/inspire.xml", bytes(40 << 20), compress_type=zipfile.ZIP_DEFLATED),
    )


def judged(all_cases: Iterator[Case], original: Path, whole: Seen, scratch: Path) -> tuple[Counter[str], list[str]]:
    counted: Counter[str] = Counter()
    wrong = []
    for k, case in enumerate(all_cases):
        path = scratch / str(k) / original.name
        if original.is_dir():
            shutil.copytree(original, path)
        else:
            path.parent.mkdir()
            shutil.copy(original, path)
        case.harm(path)
        try:
            counted[outcome(path, whole)] += 1
        except Exception as error:  # noqa: BLE001 - collected, so that one run names them all
            wrong.append(f"{case.name}: {type(error).__name__}: {error}")
        shutil.rmtree(path.parent)
    return counted, wrong


def test_the_corpus_of_damaged_folders(product: Path, whole: Seen, tmp_path: Path) -> None:
    counted, wrong = judged(cases(product), product, whole, tmp_path)
    assert [] == wrong
    assert counted.total() >= 190
    assert {"refused", "noted", "right"} == set(counted), counted
    assert counted["refused"] >= 90


@pytest.mark.parametrize("packing", ["stored", "deflated"])
def test_the_corpus_of_damaged_zips(packing: Literal["stored", "deflated"], whole: Seen, tmp_path: Path) -> None:
    archive = write_product(tmp_path / "whole", Landscape(seed=5), **FACTS, zip=packing)
    counted, wrong = judged(zipped_cases(archive), archive, whole, tmp_path)
    assert [] == wrong
    assert counted.total() >= 60
    assert counted["refused"] >= 20, counted
    assert not list(tmp_path.rglob("escaped*"))


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_to_any_file_gives_a_right_result_or_a_clear_sentence(
    product: Path, whole: Seen, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("fuzzed") / product.name
    shutil.copytree(product, root)
    path = root / data.draw(st.sampled_from(sorted(files(product).values())))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        change = data.draw(st.sampled_from(("flip", "drop", "double", "noise")))
        length = data.draw(st.integers(1, 64))
        if change == "flip":
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif change == "drop":
            del content[at : at + length]
        elif change == "double":
            content[at:at] = content[at : at + length]
        else:
            content[at : at + length] = data.draw(st.binary(min_size=length, max_size=length))
        if not content:
            break
    path.write_bytes(bytes(content))
    assert outcome(root, whole) in {"right", "noted", "refused"}
    shutil.rmtree(root.parent)


COMMANDS = (
    "scenes {}",
    "pairs {}",
    "run {} -o out --no-report --no-project",
    "match {} {} -o out.geojson",
    "chip {} -o out.tif",
    "chip good.tif --mask {} -o out.tif",
    "match good.tif good.tif --classes {} -o out.geojson",
    "images {} {} -o out",
    "train superpoint {} -o out",
    "evaluate {} -o out",
    "fit {} -o out.geojson",
)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("https://example.org/S2A.SAFE.zip", "only local files are taken"),
        ("SENTINEL2_L2A:MTD_MSIL2A.xml:10m:EPSG_32633", "only local files are taken"),
        pytest.param("pipe.jp2", "it is a pipe, and only files are read", marks=pytest.mark.unix("has no pipes")),
    ],
)
def test_no_command_asks_a_host_or_waits_for_a_pipe(
    command: str, name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo("pipe.jp2")
    with rasterio.open("good.tif", "w", driver="GTiff", width=40, height=40, count=1, dtype="uint8", crs="EPSG:32633",
                       transform=rasterio.Affine(10, 0, 3e5, 0, -10, 59e5)) as file:  # fmt: skip
        file.write(np.arange(1600, dtype=np.uint8).reshape(1, 40, 40))
    done = CliRunner().invoke(main, command.replace("{}", name).split())
    assert 0 != done.exit_code
    assert reason in " ".join(done.output.split())
    assert "Traceback" not in done.output


@pytest.mark.unix("has no pipes")
def test_a_run_passes_over_what_is_no_file_and_says_so(tmp_path: Path) -> None:
    """In a process of its own, which is ended where it waits for ever."""
    for day in ("2023-05-14", "2023-06-13"):
        write_product(tmp_path, Landscape(seed=5), **FACTS | {"date": day, "sky": 0.0, "pixels": 240})
    os.mkfifo(tmp_path / "a.jp2")
    (tmp_path / "b.tif").symlink_to("/dev/zero")
    (tmp_path / "c.tif").write_text("<GDAL_WMS></GDAL_WMS>")
    (tmp_path / "d.tar.gz").write_bytes(b"\x1f\x8b" + bytes(99))
    words = ["run", str(tmp_path), "-o", str(tmp_path / "out"), "--matcher", "phase", "--cache", str(tmp_path / "kept")]
    done = subprocess.run(
        [sys.executable, "-m", "sentinel_match", *words, "--no-report"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert 4 == done.stderr.count("refused: ")
    assert (tmp_path / "out" / "run.json").is_file()
    assert 1 == len(list((tmp_path / "out").rglob("tiepoints.geojson")))
