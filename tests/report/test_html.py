"""The page of a run."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from lxml import html as markup
from odc.geo.geobox import GeoBox

from sentinel_match import batch, matchers
from sentinel_match.accuracy.adjustment import Link
from sentinel_match.accuracy.ecc import silence
from sentinel_match.accuracy.series_report import series_reports as series_report
from sentinel_match.cache import Cache
from sentinel_match.cli import main
from sentinel_match.errors import NotAProduct, NotARun, OutputError
from sentinel_match.fitting import read_ties
from sentinel_match.formats.geojson import dumps
from sentinel_match.opinions import SecondEstimate
from sentinel_match.options import Options
from sentinel_match.products.catalogue import find_scenes, read_scene
from sentinel_match.raster import raster
from sentinel_match.report import html, pictures, quicklook, svg
from sentinel_match.run_folder import read_refusals
from sentinel_match.testing import Landscape, write_product

# Windows itself refuses the worst of them
ILLEGAL = re.compile('[<>"]' if os.name == "nt" else r"$^")
HOSTILE = ILLEGAL.sub("", "autumn <img src=x onerror=alert(1)> &'\" \u202e")
SCRIPT = ILLEGAL.sub("", "<script>alert(2)<!--.tif")
OPTIONS = Options(matcher=matchers.create("sift"), cells=2, candidates=800)


def silent(_what: str, _done: int, _of: int) -> None:
    pass


class Made(NamedTuple):
    archive: Path
    out: Path
    cache: Cache
    result: batch.Run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two rasters with hostile names, displaced by (6.4, 18.1) m, and something that is neither."""
    folder = tmp_path_factory.mktemp("report")
    archive, out, cache = folder / "archive", folder / "out", Cache(folder / "cache")
    for date, name, displacement in (("2021-05-20", "spring", (0.0, 0.0)), ("2021-09-17", HOSTILE, (6.4, 18.1))):
        product = write_product(folder / "p", Landscape(7), date=date, pixels=360, displacement=displacement)
        raster.write(raster.read(read_scene(product)), archive / f"{name}.tif")
    (archive / SCRIPT).write_bytes(b"nothing")
    result = batch.run(archive, out, OPTIONS, cache=cache, files=batch.Files(report=False, project=False))
    for pair in result.pairing.pairs:
        quicklook.make(pair, out / pair.id, OPTIONS, cache, silent)
    html.write(out)
    return Made(archive, out, cache, result)


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.out, tmp_path / "out"))


def page(out: Path) -> markup.HtmlElement:
    return markup.fromstring((out / "report.html").read_text(encoding="utf-8"))


def picture(uri: str) -> np.ndarray:
    assert uri.startswith("data:image/webp;base64,")
    found = cv2.imdecode(np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    return found


def test_it_says_what_was_found_refused_and_matched(made: Made) -> None:
    text = " ".join(page(made.out).text_content().split())
    (outcome,) = made.result.outcomes
    assert "1 of 1 pairs matched, between 2 acquisitions; 1 of the files refused" in text
    assert outcome.summary.verdict[1:] in text
    assert f"{outcome.summary.inliers:,} believed" in text
    assert "is neither a Sentinel-2 product nor another image" in text


def test_of_very_many_refused_pairs_it_counts_the_reasons(copied: Path) -> None:
    path = copied / "pairs.geojson"
    example = {"left": "a", "right": "b", "reason": "30 % cloud, more than 20 %"}
    counts = {"more than 20 % cloud": 1_200, "different tiles": 34}
    record = json.loads(path.read_text(encoding="utf-8")) | {"refused": [example], "refused_counts": counts}
    path.write_text(json.dumps(record), encoding="utf-8")
    html.write(copied)
    text = " ".join(page(copied).text_content().split())
    assert (
        "1234 pairs not made, and why more than 20 % cloud: 1200different tiles: 34 Some of them: a with b: 30" in text
    )
    assert (("a and b: 30 % cloud, more than 20 %",), 1_234) == read_refusals(copied)
    path.write_text(json.dumps({**record, "refused_counts": {}}), encoding="utf-8")  # of an older version
    assert 1 == read_refusals(copied)[1]


def test_nothing_in_it_comes_from_elsewhere(made: Made) -> None:
    text = (made.out / "report.html").read_text(encoding="utf-8")
    assert [] == re.findall(r"https?://|//[a-z]+\.|@import|url\(", text)
    links = page(made.out).xpath("//@src | //@href | //@data | //@action | //@poster | //@srcset")
    assert links
    assert all(link.startswith(("data:image/", "#", "./")) for link in links)
    (policy,) = page(made.out).xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert len(text) < html.BUDGET + 1_000_000


def test_hostile_names_are_shown_and_do_nothing(made: Made) -> None:
    tree = page(made.out)
    assert [] == tree.xpath("//*[@*[starts-with(name(), 'on')]]")
    assert 1 == len(tree.xpath("//script"))
    assert HOSTILE in [name.text for name in tree.xpath("//bdi")]
    assert any(SCRIPT in (name.text or "") for name in tree.xpath("//bdi"))


def test_the_results_of_a_run_are_no_archive(made: Made) -> None:
    """``chip OUT`` drew its masks, and a second run on the folder above found them."""
    (outcome,) = made.result.outcomes
    for folder in (made.out, made.out / outcome.id):
        with pytest.raises(NotAProduct, match="it holds the results of a run, and no images: name those that the run"):
            read_scene(folder)
    assert not find_scenes(made.out.parent / made.out.name).scenes
    beside = find_scenes(made.out.parent)
    assert not [scene.path for scene in beside.scenes if made.out in scene.path.parents]


def test_every_link_within_leads_somewhere(made: Made) -> None:
    tree = page(made.out)
    links = set(tree.xpath("//@href"))
    files = {link for link in links if link.startswith("./")}
    assert {f"#{name}" for name in tree.xpath("//@id")} >= links - files
    assert all((made.out / unquote(link)).is_file() for link in files)
    names = {link.rpartition("/")[2] for link in files}
    assert {"tiepoints.gpkg", "tiepoints.geojson", "masks.tif", "pair.json", "run.json"} <= names


def test_the_page_of_a_run_links_to_the_project_that_the_same_run_makes(made: Made, tmp_path: Path) -> None:
    batch.run(made.archive, tmp_path / "out", OPTIONS, cache=made.cache)
    assert "./inspect.qgs" in page(tmp_path / "out").xpath("//@href")


def changed(out: Path, **members: object) -> markup.HtmlElement:
    """The page, written again of one pair whose summary says something else."""
    record = json.loads((out / "run.json").read_text())
    (pair,) = record["pairs"]
    (out / "run.json").write_text(
        json.dumps({**record, "pairs": [{**pair, "summary": {**pair["summary"], **members}}]})
    )
    html.write(out)
    return page(out)


@pytest.mark.parametrize(
    ("second", "kind", "word"),
    [
        ({"agrees": True}, "good", "meets 0.3 px"),
        ({}, "open", "meets 0.3 px, unconfirmed"),
        ({"agrees": False}, "bad", "doubtful"),
    ],
)
def test_no_badge_is_green_without_a_second_opinion(
    copied: Path, second: dict[str, object], kind: str, word: str
) -> None:
    shifts = {f"{when}_d{axis}_m": 0.1 for when in ("before", "after") for axis in "xy"} if second else {}
    (outcome,) = json.loads((copied / "run.json").read_text())["pairs"]
    proven = {**outcome["summary"]["hold_out"], "ce95": 2.0, "ce95_interval": [1.9, 2.1]}
    tree = changed(copied, hold_out=proven, second={"estimator": "ECC", "looks": 36, "answers": 1, **shifts, **second})
    badges = tree.xpath("//span[starts-with(@class, 'badge')]")
    assert {(f"badge {kind}", word)} == {(badge.get("class"), badge.text) for badge in badges}
    said = "No second estimator could confirm this: the images are alike in 1 of its 36 windows."
    assert (said in " ".join(tree.text_content().split())) == (not second)


def test_one_sentence_says_what_the_model_promises_and_what_single_points(made: Made, copied: Path) -> None:
    (sentence,) = page(made.out).xpath("string(//p[@class='promise'])").split(". ")[:1]
    assert "believed points lie 0.3 px or more from it" in sentence
    beyond = pictures.read_quicklook(made.out / made.result.outcomes[0].id).residuals.beyond
    read = read_ties(made.out / made.result.outcomes[0].id / "tiepoints.gpkg")
    assert abs(beyond - float((read.residual_m[read.inlier] >= 0.3 * read.gsd).mean())) < 0.01
    (copied / made.result.outcomes[0].id / "quicklook.json").unlink()  # of --no-report
    html.write(copied)
    assert "one in ten of the" in page(copied).xpath("string(//p[@class='promise'])")


def test_there_is_one_minus_sign(copied: Path) -> None:
    text = changed(copied, median_dx_m=-3.39, median_dy_m=-4.01).text_content()
    assert "-3.39 -4.01" in text
    assert "\u2212" not in text


def test_it_fits_a_phone_and_both_lights(made: Made) -> None:
    tree = page(made.out)
    assert ["width=device-width, initial-scale=1"] == tree.xpath("//meta[@name='viewport']/@content")
    assert "prefers-color-scheme: dark" in tree.xpath("string(//style)")


def test_pictures_are_small_and_show_the_correction(made: Made) -> None:
    look = pictures.read_quicklook(made.out / made.result.outcomes[0].id)
    for side in ("left", "right"):
        assert max(picture(getattr(look, side)).shape[:2]) <= quicklook.QUICKLOOK_SIDE
    assert look.close_ups
    for close in look.close_ups:
        before, after = close.alike
        assert after > before + 0.1
        left, right, corrected = (
            picture(getattr(close, k))[20:-20, 20:-20].astype(np.float32) for k in ("left", "right", "corrected")
        )
        assert np.abs(left - corrected).mean() < np.abs(left - right).mean()
        # OpenCV has blue first: left is red, the other cyan
        overlay = picture(close.after).astype(int)
        assert np.abs(overlay[..., 0] - overlay[..., 1]).mean() < 12
        assert np.abs(overlay[..., 2] - picture(close.left)[..., 2].astype(int)).mean() < 25


def test_another_run_keeps_the_pictures(made: Made) -> None:
    folder = made.out / made.result.outcomes[0].id
    before = (folder / "quicklook.json").stat().st_mtime_ns
    again = batch.run(made.archive, made.out, OPTIONS, cache=made.cache, files=batch.Files(report=False, project=False))
    assert ["kept"] == [outcome.status for outcome in again.outcomes]
    for pair in again.pairing.pairs:
        quicklook.make(pair, made.out / pair.id, OPTIONS, made.cache, silent)
    html.write(made.out)
    assert before == (folder / "quicklook.json").stat().st_mtime_ns
    assert "match " in page(made.out).text_content().split("Seconds")[1]  # of the run that matched it
    other = json.loads((folder / "pair.json").read_text())
    (folder / "pair.json").write_text(json.dumps({**other, "recipe": "changed"}))
    for pair in again.pairing.pairs:
        quicklook.make(pair, made.out / pair.id, OPTIONS, made.cache, silent)
    html.write(made.out)
    assert before != (folder / "quicklook.json").stat().st_mtime_ns
    (folder / "pair.json").write_text(json.dumps(other))


def test_a_pair_without_pictures_keeps_its_figures(made: Made, copied: Path) -> None:
    (copied / made.result.outcomes[0].id / "quicklook.json").write_text("{half")
    html.write(copied)
    assert [] == page(copied).xpath("//img")
    assert "Without pictures" in page(copied).text_content()


def test_many_pairs_do_not_outgrow_a_page_and_have_their_own(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "BUDGET", 1000)
    html.write(copied)
    tree = page(copied)
    assert [] == tree.xpath("//img | //svg | //section")
    assert "each pair has a page of its own" in tree.text_content()
    (link,) = tree.xpath("//table[contains(@class, 'pairs')]//a/@href")
    own = copied / unquote(link)
    theirs = markup.fromstring(own.read_text(encoding="utf-8"))
    assert 4 == len(theirs.xpath("//svg"))
    assert len(theirs.xpath("//img")) > 2
    assert all((own.parent / unquote(to)).is_file() for to in theirs.xpath("//@href"))
    assert tree.xpath("//meta[@http-equiv]/@content") == theirs.xpath("//meta[@http-equiv]/@content")
    monkeypatch.undo()
    html.write(copied)
    assert not own.exists()


def test_rows_can_be_found_and_sorted_by_what_they_say(copied: Path) -> None:
    html.write(copied)
    (row,) = page(copied).xpath("//table[contains(@class, 'pairs')]/tbody/tr")
    summary = json.loads((copied / "run.json").read_text())["pairs"][0]["summary"]
    numbers = [cell.get("data-value") for cell in row.xpath("td[contains(@class, 'number')]")]
    shift = np.hypot(summary["median_dx_m"], summary["median_dy_m"])
    assert [f"{shift:.3f}", str(summary["inliers"])] == numbers[:2]
    assert 8 == len(page(copied).xpath("//th[contains(@class, 'sorts')]"))
    (kind,) = page(copied).xpath("//p[@class='tools']//option[text() = $kind]", kind=row.get("data-kind"))
    assert kind is not None


def test_who_comes_back_to_the_table_finds_it_as_it_was_left(copied: Path) -> None:
    html.write(copied)
    tree = page(copied)
    # A browser fills them in behind the script's back, and the table would show something else
    controls = tree.xpath("//p[@class='tools']//input | //p[@class='tools']//select")
    assert ["off"] * 3 == [control.get("autocomplete") for control in controls]
    (script,) = tree.xpath("//script")
    assert "history.replaceState([find.value, kind.value, at]" in script.text
    assert "[find.value, kind.value, at] = history.state" in script.text


def test_the_column_that_sorts_is_marked_and_keys_sort_too(copied: Path) -> None:
    html.write(copied)
    tree = page(copied)
    (script,), (style,) = tree.xpath("//script"), tree.xpath("//style")
    assert 'setAttribute("aria-sort"' in script.text
    assert "th[aria-sort=ascending]::after" in style.text
    assert "head.tabIndex = 0" in script.text
    assert '"keydown"' in script.text


def test_a_finger_on_the_picture_moves_its_edge_and_does_not_leave_the_page(copied: Path) -> None:
    html.write(copied)
    (style,) = page(copied).xpath("//style")
    assert ".swipe .stack { touch-action: pan-y; }" in style.text


def test_a_failed_pair_and_a_doubtful_one_are_told_at_the_top(copied: Path) -> None:
    record = json.loads((copied / "run.json").read_text())
    good = record["pairs"][0]
    doubtful = {**good, "summary": {**good["summary"], "second": {**good["summary"]["second"], "agrees": False}}}
    doubtful["summary"]["second"] |= {f"{when}_d{axis}_m": 1.0 for when in ("before", "after") for axis in "xy"}
    failed = {**good, "status": "failed", "summary": {}, "seconds": {}, "error": "Nowhere is it clear <b>."}
    (copied / "run.json").write_text(json.dumps({**record, "pairs": [doubtful, failed]}))
    html.write(copied)
    alarms = [" ".join(a.text_content().split()) for a in page(copied).xpath("//p[@class='alarm']")]
    assert 2 == len(alarms)
    assert alarms[0].startswith("Doubtful: ")
    assert alarms[1].endswith("Nowhere is it clear <b>.")


def test_a_series_has_a_table(copied: Path) -> None:
    links = [
        Link("a", "b", (1.0, 0.0), (0.1, 0.1), 10.0),
        Link("b", "c", (0.0, 9.0), (0.1, 0.1), 10.0),
        Link("a", "c", (1.1, 9.0), (0.1, 0.1), 10.0),
    ]
    said = series_report(links, {"a": datetime(2021, 5, 20, tzinfo=UTC)})
    (copied / "series.json").write_text(dumps({"series": [one.to_dict() for one in said]}))
    html.write(copied)
    text = " ".join(page(copied).text_content().split())
    assert "1 triangle of pairs, the worst closes to 0.10 m" in text
    assert "c disagrees with the other acquisitions" in text
    assert "no triangle" not in text


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (("ab", "bc"), "paired with one another, so nothing checks these offsets"),
        (("ab", "bc", "cd", "ad"), "the offsets are checked by 1 pair to spare alone"),
    ],
)
def test_a_series_without_triangles_says_so(copied: Path, ends: tuple[str, ...], said: str) -> None:
    links = [Link(one, other, (1.0, 0.0), (0.1, 0.1), 10.0) for one, other in ends]
    (report,) = series_report(links, {})
    (copied / "series.json").write_text(dumps({"series": [report.to_dict()]}))
    html.write(copied)
    text = " ".join(page(copied).text_content().split())
    assert "no triangle: no three acquisitions are all paired with one another" in text
    assert said in text
    assert said in json.loads((copied / "series.json").read_text())["series"][0]["caveat"]


def test_it_is_written_whole_or_not_at_all(copied: Path) -> None:
    before = (copied / "report.html").read_bytes()
    (copied / "run.json").write_text("{")
    with pytest.raises(NotARun, match=r"its run\.json cannot be read"):
        html.write(copied)
    assert before == (copied / "report.html").read_bytes()


def test_a_page_that_cannot_be_written_is_an_error_and_leaves_nothing(copied: Path) -> None:
    (copied / "report.html").unlink()
    (copied / "report.html").mkdir()
    with pytest.raises(OutputError):
        html.write(copied)
    assert [] == list(copied.glob(".unfinished*"))


def test_the_command_says_what_run_said_and_writes_the_page_again(made: Made, copied: Path) -> None:
    (copied / "report.html").unlink()
    done = CliRunner().invoke(main, ["report", str(copied)])
    assert 0 == done.exit_code, done.output
    assert "1 pair of 2 scenes" in done.stdout
    assert "refused: " in done.stderr
    assert 1 == len(page(copied).xpath("//section"))
    plain = CliRunner().invoke(main, ["-q", "report", str(copied), "--json"])
    assert made.result.outcomes[0].id == json.loads(plain.stdout)["pairs"][0]["id"]


def test_a_folder_of_no_run_is_one_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert 1 == done.exit_code
    assert "holds no results of `sentinel-match run`: it has no run.json." in done.stderr


GRID = GeoBox((48, 48), GeoBox.from_bbox((0, 0, 480, 480), "EPSG:32633", resolution=10).affine, "EPSG:32633")


def test_cells_hold_the_median_of_their_points_and_know_what_is_clear() -> None:
    at = np.array([[5.0, 475.0]] * 3 + [[475.0, 5.0]])
    shift = np.array([[1.0, 2.0], [1.0, 2.0], [50.0, -9.0], [3.0, 3.0]])
    clear = np.zeros((48, 48), bool)
    clear[:2, :2] = True
    figure = svg.cells(at, shift, clear, GRID)
    assert 20 == figure.side_m
    assert (3, 1) == (figure.points[0, 0], figure.points[-1, -1])
    assert (1.0, 2.0) == (figure.dx_m[0, 0], figure.dy_m[0, 0])
    assert np.isnan(figure.dx_m[-1, -1])
    assert figure.to_dict()["dx_m"][-1][-1] is None
    assert (1.0, 0.0) == (figure.clear[0, 0], figure.clear[-1, -1])
    text = json.dumps(figure.to_dict(), allow_nan=False)
    assert text == json.dumps(svg.CellMap.from_dict(json.loads(text)).to_dict())


def test_an_arrow_to_the_north_points_up_and_its_key_says_how_long_it_is() -> None:
    figure = svg.cells(np.array([[245.0, 245.0]] * 3), np.array([[0.0, 20.0]] * 3), np.ones((48, 48), bool), GRID)
    drawn = svg.field(figure, relative=False)
    (x, y, tip_x, tip_y), _key = np.array(re.findall(r"M(\S+) (\S+)L(\S+) (\S+?)M", drawn), float)
    assert x == tip_x
    assert tip_y < y
    times = (y - tip_y) / (svg.DRAWING_WIDTH / 480) / 20  # the map is 480 m wide
    assert f"20 m, drawn {times:,.0f} times longer" in drawn


def test_the_legend_of_coverage_has_numbers() -> None:
    at = np.array([[5.0, 475.0]] * 9 + [[475.0, 5.0]] * 2)
    clear = np.ones((48, 48), bool)
    clear[:, 24:] = False
    drawn = svg.coverage(svg.cells(at, np.zeros((11, 2)), clear, GRID))
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    assert [
        "2",
        "5",
        "9",
        "clear, no point (287)",
        "hidden or outside",
        "numbers: points in a cell of 0.02 km",
    ] == texts
    # The swatch of a number is as strong as the cells of that number
    assert drawn.count('fill-opacity="1.00"') == 2


def test_a_histogram_counts_every_point() -> None:
    residual = np.random.default_rng(0).normal(0, 0.1, (1000, 2))
    residual[0] = 99.0
    figure = svg.histogram(residual)
    assert (1000, 1000) == (sum(figure.east), sum(figure.north))
    assert figure.reach < 1
    assert figure.beyond == np.mean(np.hypot(*residual.T) >= 0.3).round(4)
    assert figure == svg.ResidualHistogram.from_dict(json.loads(json.dumps(figure.to_dict())))
    assert 2 * svg.HISTOGRAM_BARS >= svg.bars(figure).count('class="bar"') > 10


def test_no_points_draw_no_nonsense() -> None:
    figure = svg.cells(np.zeros((0, 2)), np.zeros((0, 2)), np.ones((48, 48), bool), GRID)
    assert "too few points" in svg.field(figure, relative=True)
    assert "nan" not in svg.coverage(figure) + svg.bars(svg.histogram(np.zeros((0, 2))))


def test_cells_of_a_small_image_are_large_enough_for_a_median() -> None:
    at = np.stack(np.meshgrid(np.arange(70, 3000, 140.0), -np.arange(70, 3000, 140.0)), -1).reshape(-1, 2)
    grid = GeoBox.from_bbox((0, -3000, 3000, 0), "EPSG:32633", resolution=10)
    figure = svg.cells(at, np.tile([6.0, 18.0], (len(at), 1)), np.ones((300, 300), bool), grid)
    assert np.isfinite(figure.dx_m).mean() > 0.5
    assert "too few points" not in svg.field(figure, relative=False)
    assert not (figure.points == 0).any()  # no stripes where the points are farther apart than cells
    few = svg.cells(at[:5], np.tile([6.0, 18.0], (5, 1)), np.ones((300, 300), bool), grid)
    assert 6.0 == np.nanmax(few.dx_m)


def test_a_second_estimator_without_room_says_so_and_does_not_contradict_itself() -> None:
    assert "only 4 windows of 32 pixels fit into what is clear in both, and it takes 6" == silence(
        SecondEstimate(looks=4, answers=4)
    )
    assert "only 1 window of 32 pixels fits into" in silence(SecondEstimate(looks=1, answers=0))
    assert "the images are alike in 1 of its 36 windows" == silence(SecondEstimate(looks=36, answers=1))
