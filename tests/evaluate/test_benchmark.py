"""The benchmark: its lists, how its files come, and methods that are not of this package."""

from __future__ import annotations

import csv
import hashlib
import http.server
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner

from sentinel_match.cli import main
from sentinel_match.errors import BadList
from sentinel_match.evaluate import Sampling, benchmark, foreign, prepare, protocol, read_list, ready, run
from sentinel_match.testing import Landscape

DATA = Path(os.environ.get("SENTINEL_MATCH_DATA", Path(__file__).parents[3] / "shared" / "data"))
SIDE = 192


def pixels(season: str, displacement: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    from odc.geo.geobox import GeoBox

    place = GeoBox((SIDE, SIDE), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633")
    rendered = Landscape(3).render(place, season, displacement=displacement)
    return (1 + 4000 * np.clip(rendered / np.percentile(rendered, 99.5), 0, 1)).astype(np.uint16)


def picture(path: Path, values: np.ndarray) -> None:
    """A picture without a position, as some sources have them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", values)[1].tobytes())


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A benchmark of two pairs: files by address, one of them in an archive, and one to be got by hand."""
    www = tmp_path / "www"
    picture(www / "spring.png", pixels("summer"))  # of one look: SIFT is to find it
    picture(www / "inner" / "summer.png", pixels("summer", (3.0, 7.0)))
    picture(tmp_path / "hand" / "elsewhere.png", pixels("autumn"))
    with tarfile.open(www / "all.tar.gz", "w:gz") as archive:
        archive.add(www / "inner" / "summer.png", "inner/summer.png")
    known = {name: hashlib.sha256((www / name).read_bytes()).hexdigest() for name in ("spring.png", "all.tar.gz")}
    place = {"crs": "EPSG:32633", "transform": "10 0 500000 0 -10 5000000", "nodata": "0", "names": "B04"}
    empty = dict.fromkeys(("member", "bands", "dark"), "")
    pair = {"set": "invented", "place": "here", "left": "spring.tif", "band": "B04", "dx_m": "3", "dy_m": "7"}
    pair |= {"truth_m": "1.5", "left_classes": "", "right_classes": "", "warp": "none", "split": "test", "hidden": ""}
    tables: dict[str, list[dict[str, str]]] = {
        "sources": [
            {"source": "web", "page": "http://page", "url": "URL/{name}", "licence": "", "note": ""},
            {"source": "hand", "page": "http://page", "url": "", "licence": "", "note": "as NAME.png"},
        ],
        "files": [
            *(
                {"file": f"web/{n}", "bytes": str((www / n).stat().st_size), "sha256": known[n], "source": "web"}
                for n in known
            ),
            {"file": "hand/elsewhere.png", "bytes": "3", "sha256": "0" * 64, "source": "hand"},
        ],
        "images": [
            {**empty, **place, "image": "spring.tif", "file": "web/spring.png"},
            {**empty, **place, "image": "summer.tif", "file": "web/all.tar.gz", "member": "inner/summer.png"},
            {**empty, **place, "image": "elsewhere.tif", "file": "hand/elsewhere.png"},
        ],
        "pairs": [{**pair, "right": "summer.tif"}, {**pair, "right": "elsewhere.tif", "split": "train"}],
    }
    monkeypatch.setattr(benchmark, "rows_of", lambda _, table: tuple(tables[table]))
    monkeypatch.setattr(protocol, "RANSAC_SEEDS", 1)  # the median over several fits takes most of a run
    monkeypatch.setattr(protocol, "FIT_AT_MOST", 200)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tables.json").write_text(json.dumps(tables))
    return tmp_path


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(lists: Path) -> Iterator[Path]:
    """The same with a server at the address of its source."""
    handler = partial(Quiet, directory=str(lists / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        benchmark.rows_of("", "sources")[0]["url"] = f"http://127.0.0.1:{serving.server_port}/{{name}}"
        yield lists
        serving.shutdown()


def sift(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """OpenCV's SIFT, as anybody would use it."""
    detector = cv2.SIFT_create(2000, contrastThreshold=0.005)
    found = [detector.detectAndCompute((255 * image).astype(np.uint8), None) for image in (left, right)]
    good = [a for a, b in cv2.BFMatcher().knnMatch(found[0][1], found[1][1], k=2) if a.distance < 0.85 * b.distance]
    ends = [found[0][0][m.queryIdx].pt for m in good], [found[1][0][m.trainIdx].pt for m in good]
    return np.array(ends[0]).reshape(-1, 2), np.array(ends[1]).reshape(-1, 2)


def nonsense(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    return rng.uniform(0, left.shape[0], (300, 2)), rng.uniform(0, right.shape[0], (300, 2)), rng.uniform(0, 1, 300)


def torn(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((4, 2)), np.zeros((3, 2))


# The lists


def test_each_image_of_the_list_is_made_of_a_known_file_of_a_known_source() -> None:
    pairs, images, files, sources = (
        benchmark.rows_of("seasons", table) for table in ("pairs", "images", "files", "sources")
    )
    used = {row[column] for row in pairs for column in benchmark.IMAGE_COLUMNS if row[column]}
    assert used == {row["image"] for row in images}
    assert {row["file"] for row in images} == {row["file"] for row in files}
    assert {row["source"] for row in files} == {row["source"] for row in sources}
    assert all(64 == len(row["sha256"]) and int(row["bytes"]) > 0 for row in files)
    assert all(row["page"] and row["licence"] for row in sources)


def test_the_list_is_as_wide_as_it_says_and_no_place_lies_in_two_splits() -> None:
    pairs = benchmark.rows_of("seasons", "pairs")
    splits = {(row["place"], row["split"]) for row in pairs}
    places = {row["place"] for row in pairs}
    assert (212, 28, 28) == (len(pairs), len(places), len(splits))
    assert len({row["climate"] for row in pairs}) >= 5
    assert {split for _, split in splits} == {*benchmark.SPLITS}
    assert all(float(row["truth_m"]) > 0 for row in pairs)


def test_images_are_made_of_the_shared_files_and_their_pairs_can_be_read(tmp_path: Path) -> None:
    if not (DATA / "oscd_10m").exists():
        pytest.skip("the shared data are not here")
    here = ready("seasons", tmp_path, DATA, ("validation",))
    assert () == here.missing
    assert 24 == here.listed == len(here.pairs)
    snow = next(pair for pair in here.pairs if pair.place.startswith("finland"))
    sample = prepare(snow, Sampling())
    assert sample.covisible.any()
    assert "truth" in sample.strata


# How files come


def test_files_are_fetched_proven_and_those_to_be_got_by_hand_are_named(served: Path) -> None:
    here = ready("seasons", served / "out")
    assert ["invented/spring__summer B04"] == [pair.name for pair in here.pairs]
    assert 2 == here.listed
    assert ["hand/elsewhere.png: get it from http://page (as NAME.png) and give --data (data= in Python)"] == list(
        map(str, here.missing)
    )
    with rasterio.open(served / "out" / "summer.tif") as file:
        assert ("B04",) == file.descriptions
        assert np.array_equal(pixels("summer", (3.0, 7.0)), file.read(1))
        assert Affine(10, 0, 500_000, 0, -10, 5_000_000) == file.transform


def test_a_file_that_is_another_is_not_used(served: Path) -> None:
    (served / "www" / "spring.png").write_bytes(b"something else")
    here = ready("seasons", served / "out")
    assert () == here.pairs
    assert "gave another file" in str(here.missing[0])
    mine = served / "mine" / "web"
    picture(mine / "spring.png", pixels("winter"))
    assert "is another file: its SHA-256 must be" in str(ready("seasons", served / "out", served / "mine").missing[0])


def test_without_a_network_it_says_where_files_come_from(lists: Path) -> None:
    benchmark.rows_of("", "sources")[0]["url"] = "http://127.0.0.1:1/{name}"
    here = ready("seasons", lists / "out")
    assert () == here.pairs
    assert "the download failed (ConnectionError); get it from http://page and give --data (data= in Python)" in str(
        here.missing[0]
    )


def test_the_command_says_that_figures_of_a_part_are_not_those_of_the_benchmark(served: Path) -> None:
    command = ["evaluate", "--benchmark", "seasons", "-o", str(served / "out"), "--function", f"{__name__}:sift"]
    done = CliRunner().invoke(main, command)
    assert 1 == done.exit_code, done.output
    assert "1 of 2 pairs of seasons 1 have no file: these are not the figures of the benchmark" in done.output
    assert "missing: hand/elsewhere.png" in done.output
    with (served / "out" / "records.csv").open() as file:
        records = list(csv.DictReader(file))
    ours = next(r for r in records if r["method"].endswith("sift") and r["kind"] == "pair")
    assert "matched" == ours["status"]
    assert float(ours["precision_1"]) > 0.8
    whole = CliRunner().invoke(main, [*command, "--split", "test"])
    assert 0 == whole.exit_code, whole.output


def test_what_has_no_effect_is_refused(lists: Path) -> None:
    (lists / "pairs.csv").touch()
    here = str(lists / "pairs.csv")
    for words, said in (
        ([here, "--benchmark", "seasons"], "give SOURCES, --benchmark or --poses"),
        ([here, "--split", "test"], "no effect without --benchmark"),
        ([here, "--function", "nowhere:match"], "nowhere:match: it cannot be imported"),
        ([here, "--function", "numpy:pi"], "numpy:pi: it is no function"),
    ):
        done = CliRunner().invoke(main, ["evaluate", *words, "-o", str(lists / "out")])
        assert 2 == done.exit_code, done.output
        assert said in done.output


# Methods that are not of this package


def test_a_function_is_judged_like_every_method(served: Path) -> None:
    pairs = ready("seasons", served / "out").pairs
    methods = [foreign.from_function(f"{__name__}:{name}") for name in ("sift", "nonsense", "torn")]
    records = run(pairs, methods, Sampling())
    found = {(r.method.rpartition(":")[2], r.kind): r for r in records}
    assert found["sift", "pair"].believed_precision_1 > 0.9
    assert found["sift", "identity"].corner.believed < 0.2
    assert "no match" == found["sift", "unrelated"].status
    assert ("no match", 0) == (found["nonsense", "pair"].status, found["nonsense", "pair"].believed_correct_1)
    assert "failed" == found["torn", "pair"].status
    assert "4 left and 3 right points" in found["torn", "pair"].reason


def test_a_table_of_matches_of_exported_images_has_the_figures_of_the_function(served: Path) -> None:
    pairs = ready("seasons", served / "out").pairs
    assert 3 == foreign.export(pairs, Sampling(), served / "samples", None, lambda *_: None)
    lines = ["pair,left_x,left_y,right_x,right_y"]
    with (served / "samples" / "pairs.csv").open() as file:
        for row in csv.DictReader(file):
            images = [
                cv2.imread(str(served / "samples" / row[side]), cv2.IMREAD_UNCHANGED) / 65535
                for side in ("left", "right")
            ]
            for left, right in zip(*sift(*images), strict=True):
                lines.append(",".join([row["pair"], *(f"{v:.6f}" for v in (*left, *right))]))
    (served / "mine.csv").write_text("\n".join(lines))
    methods: list[Any] = [foreign.read_matches(served / "mine.csv"), foreign.from_function(f"{__name__}:sift")]
    records = run(pairs, methods, Sampling())
    mine, direct = ([r for r in records if r.method == m.label] for m in methods)
    assert [(r.kind, r.status) for r in mine] == [(r.kind, r.status) for r in direct]
    assert mine[0].precision_1 == pytest.approx(direct[0].precision_1, abs=0.05)
    assert mine[0].matches == pytest.approx(direct[0].matches, rel=0.05)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pair,left_x\n", "no column left_y, right_x, right_y"),
        ("pair,left_x,left_y,right_x,right_y\na,1,2,3,b\n", "line 2: coordinates and score must be numbers"),
        ("pair,left_x,left_y,right_x,right_y\na,1,2,3,inf\n", "line 2: coordinates and score must be finite"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "matches.csv").write_text(text)
    with pytest.raises(BadList, match=said):
        foreign.read_matches(tmp_path / "matches.csv")


# Truth in metres


def test_a_shift_in_metres_is_the_one_in_pixels(served: Path) -> None:
    ready("seasons", served / "out")
    with (served / "out" / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    in_pixels = {**rows[0], "dx_px": "0.3", "dy_px": "-0.7"}
    for name in ("dx_m", "dy_m"):
        del in_pixels[name]
    with (served / "out" / "pixels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, in_pixels)
        writer.writeheader()
        writer.writerow(in_pixels)
    one, other = (prepare(read_list(served / "out" / f"{name}.csv")[0], Sampling()) for name in ("pairs", "pixels"))
    assert np.allclose(one.truth, other.truth)
    assert "0.2 px" == one.strata["truth"]


def test_a_shift_that_is_no_number_is_refused_by_its_line(served: Path) -> None:
    ready("seasons", served / "out")
    text = (served / "out" / "pairs.csv").read_text()
    (served / "out" / "wrong.csv").write_text(text.replace(",3,7,", ",x,7,"))
    with pytest.raises(BadList, match="line 2: dx_m must be a number"):
        read_list(served / "out" / "wrong.csv")
