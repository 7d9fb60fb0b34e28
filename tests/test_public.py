"""The public functions take what a user would type, and refuse at once, in one sentence, what they cannot take."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import sentinel_match
from sentinel_match import (
    Cache,
    Files,
    Filters,
    ImageMatcher,
    Masking,
    Options,
    Preparation,
    Refinement,
    Semantics,
    TiePoints,
)
from sentinel_match.cli import main
from sentinel_match.errors import BadPoints, MissingBand, NotAProduct, OutputError, UnknownMatcher
from sentinel_match.evaluate.protocol import parse_method
from sentinel_match.matchers.phase import Phase
from sentinel_match.report.html import grade
from sentinel_match.run_folder import Outcome, Run
from sentinel_match.testing import Landscape, write_product
from sentinel_match.wording import in_words


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two products, the second 6.4 m east and 18.1 m north."""
    folder = tmp_path_factory.mktemp("archive")
    write_product(folder, Landscape(7), date="2021-05-20", pixels=360)
    write_product(folder, Landscape(7), date="2021-09-17", pixels=360, displacement=(6.4, 18.1))
    return folder


def test_a_folder_is_enough_to_find_scenes_whatever_type_its_path_has(archive: Path) -> None:
    one = sentinel_match.find_scenes(archive)
    assert 2 == len(one.scenes)
    assert 1 == len(sentinel_match.pair_scenes(one).pairs)
    assert one == sentinel_match.find_scenes(str(archive)) == sentinel_match.find_scenes([str(archive)])


def test_two_paths_are_enough_to_match_and_a_name_to_choose_the_matcher(archive: Path, tmp_path: Path) -> None:
    left, right = (str(scene.path) for scene in sentinel_match.find_scenes(archive).scenes)
    ties = sentinel_match.match_scenes(left, right, Options(matcher="phase", candidates=500))
    assert abs(ties.summary.median_dx_m - 6.4) < 0.5
    assert "phase" == ties.summary.comparison.matcher.name
    sentinel_match.write(ties, str(tmp_path / "ties.gpkg"))
    again = sentinel_match.read_ties(str(tmp_path / "ties.gpkg"))
    assert ties.summary.to_dict() == again.summary.to_dict()


def test_two_arguments_are_enough_to_run_and_the_report_and_the_project_are_there(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTINEL_MATCH_CACHE", str(tmp_path / "cache"))
    result = sentinel_match.run(str(archive), str(tmp_path / "out"))
    assert result.clean
    assert [True] == [outcome.summary is not None for outcome in result.outcomes]
    written = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    promised = {"run.json", "report.html", "inspect.qgs", "tiepoints.geojson", "tiepoints.gpkg", "pair.json"}
    assert promised <= written


def test_a_name_a_matcher_and_nothing_at_all_are_the_three_ways_to_choose_one() -> None:
    assert isinstance(Options(matcher="phase").matcher, Phase)
    assert Options().matcher is None
    assert Options(matcher="auto") == Options()
    assert Options(matcher=Phase(window=64)).matcher == Phase(window=64)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: sentinel_match.find_scenes(7), TypeError, "7 is neither a path nor several"),
        (lambda: sentinel_match.find_scenes([7]), TypeError, "give a str, a Path, or a list"),
        (lambda: sentinel_match.find_scenes(""), ValueError, "a path is empty: '.' is the current folder"),
        (lambda: sentinel_match.pair_scenes("archive"), TypeError, "or the catalogue that find_scenes gives"),
        (lambda: sentinel_match.pair_scenes([], 30), TypeError, r"must be Filters\(\.\.\.\)"),
        (lambda: sentinel_match.read_scene(7), TypeError, "7 is no path"),
        (lambda: sentinel_match.read_scene("nowhere"), NotAProduct, "there is no such file or folder"),
        (lambda: sentinel_match.match_scenes(7, "b"), TypeError, "left is 7, and must be a path or a Scene"),
        (lambda: sentinel_match.match_scenes("", "b"), ValueError, "a path is empty: '.' is the current folder"),
        (lambda: sentinel_match.match_scenes("nowhere", "b"), NotAProduct, "there is no such file or folder"),
        (lambda: sentinel_match.run("a", 7), TypeError, "out is 7, and must be the path of a folder"),
        (lambda: sentinel_match.run("a", __file__), OutputError, "it is a file, and results need a folder"),
        (lambda: sentinel_match.run("a", "o", Filters()), TypeError, r"must be Options\(\.\.\.\)"),
        (lambda: sentinel_match.run("a", "o", None, Options()), TypeError, r"must be Filters\(\.\.\.\)"),
        (lambda: Options(matcher="fase"), UnknownMatcher, "There is no matcher 'fase': the known ones are"),
        (lambda: Options(matcher=3), TypeError, "must be the name of a matcher or a matcher"),
        (lambda: Options(band=4), TypeError, "Options.band is 4, and must be the name of a band, or None"),
        (lambda: Options(resolution=-10), ValueError, "Options.resolution is -10, and must be larger than 0"),
        (lambda: Options(cells=2.5), TypeError, "Options.cells is 2.5, and must be a whole number"),
        (lambda: Options(model="spline"), ValueError, "must be one of none, translation, similarity"),
        (lambda: Options(guided="no"), TypeError, "must be True or False"),
        (lambda: sentinel_match.fit("a.csv", model="x"), ValueError, "must be one of none, translation"),
        (lambda: sentinel_match.fit("a.csv", gsd=0), ValueError, "must be larger than 0"),
        (lambda: sentinel_match.write("ties", "a.gpkg"), TypeError, "write takes TiePoints, not 'ties'"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_one_sentence(
    call: Callable[[], object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_suffix_that_says_nothing_is_refused_before_anything_is_written(ties: TiePoints, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="the suffix says what to write"):
        sentinel_match.write(ties, tmp_path / "ties.xlsx")
    assert [] == list(tmp_path.iterdir())


LEFT, TIES = Path("LEFT.SAFE"), "ties.gpkg"
"""Names of what is not reached: the arguments are checked first."""


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: Filters(max_days="30"), TypeError, "Filters.max_days is '30', and must be a number, 0 or more"),
        (lambda: Filters(per_scene=0), ValueError, "Filters.per_scene is 0, and must be larger than 0"),
        (lambda: Filters(max_cloud=140), ValueError, "Filters.max_cloud is 140, and must be a number from 0 to 100"),
        (lambda: Filters(same_tile_only="no"), TypeError, "must be True or False"),
        (lambda: Masking(dilate="x"), TypeError, "Masking.dilate is 'x', and must be a number of metres, 0 or more"),
        (lambda: Masking(keep={"snow"}), ValueError, "Masking.keep is {'snow'}, and must be a set of Reason"),
        (lambda: Masking(user=7), TypeError, "Masking.user is 7, and must be a path, or None"),
        (lambda: Cache(7), TypeError, "Cache.root is 7, and must be a path"),
        (lambda: Cache("c", limit="20 GB"), TypeError, "Cache.limit is '20 GB', and must be a number of bytes"),
        (lambda: Refinement(window="big"), TypeError, "Refinement.window is 'big', and must be a whole number"),
        (lambda: Semantics(weight=-1), ValueError, "Semantics.weight is -1, and must be a number, 0 or more"),
        (lambda: Semantics(maps=(7,)), TypeError, "Semantics.maps is 7, and must be a path"),
        (lambda: Files(report="yes"), TypeError, "Files.report is 'yes', and must be True or False"),
        (lambda: ImageMatcher(resize=0), ValueError, "ImageMatcher.resize is 0, and must be one side in pixels"),
        (lambda: Preparation(chip_size=1.5), TypeError, "Preparation.chip_size is 1.5, and must be a whole number"),
        (lambda: Options(seed=True), TypeError, "Options.seed is True, and must be a whole number"),
        (
            lambda: sentinel_match.match_scenes(LEFT, LEFT, cache="dir"),
            TypeError,
            r"cache is 'dir', and .* Cache\(...\)",
        ),
        (lambda: sentinel_match.match_scenes(LEFT, LEFT, "phase"), TypeError, r"options is 'phase', .* Options\(...\)"),
        (
            lambda: sentinel_match.match_scenes(LEFT, LEFT, progress=True),
            TypeError,
            "progress is True, and must be a fun",
        ),
        (
            lambda: sentinel_match.run("a", "o", files=["report"]),
            TypeError,
            r"files is \['report'\], and must be Files",
        ),
        (lambda: sentinel_match.run("a", "o", progress=1), TypeError, "progress is 1, and must be a function"),
        (
            lambda: sentinel_match.prepare(TIES, "o", progress=True),
            TypeError,
            "progress is True, and must be a function",
        ),
        (
            lambda: sentinel_match.prepare(TIES, "o", Options()),
            TypeError,
            r"wanted is Options.*, and must be Preparation",
        ),
        (lambda: sentinel_match.fit(TIES, columns="a=b"), TypeError, "columns is 'a=b', and must be a mapping"),
        (lambda: sentinel_match.fit(TIES, crs=32633), TypeError, "crs is 32633, and must be the name of a CRS"),
        (lambda: sentinel_match.fit(TIES, gsd="10"), TypeError, "gsd is '10', and must be a number of metres, or None"),
        (lambda: sentinel_match.load(7), TypeError, "scene is 7, and must be a path or a Scene"),
        (lambda: sentinel_match.load(""), ValueError, "a path is empty: '.' is the current folder"),
        (lambda: sentinel_match.load("nowhere"), NotAProduct, "there is no such file or folder"),
        (lambda: sentinel_match.write_geojson("ties", "a"), TypeError, "write_geojson takes TiePoints, not 'ties'"),
    ],
)
def test_every_public_value_names_the_argument_that_it_cannot_take_and_what_it_must_be(
    call: Callable[[], object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_paths_are_taken_as_text_wherever_a_value_holds_one() -> None:
    assert Path("dir") == Cache("dir").root
    assert Path("mask.shp") == Masking(user="mask.shp").user
    assert (Path("classes.tif"),) == Semantics(maps="classes.tif").maps


def test_a_file_of_tie_points_is_a_path_and_nothing_else(ties: TiePoints) -> None:
    for path in (5, ["ties.gpkg"]):
        with pytest.raises(TypeError, match=r"path is .*, and must be a path"):
            sentinel_match.write(ties, path)


def test_the_transform_takes_one_point_as_well_as_many(ties: TiePoints) -> None:
    many = ties.transform(ties.left_xy)
    assert many.shape == ties.left_xy.shape
    x, y = ties.left_xy[0]
    assert many[0].tolist() == ties.transform([x, y]).tolist()
    assert [x, y] == pytest.approx(ties.transform.back(many[0]).tolist())
    assert (2,) == ties.transform.shift((x, y)).shape
    for wrong in (x, [x, y, 0.0], "here", [["a", "b"]]):
        with pytest.raises(TypeError, match=r"left is .*, and must be points, .*, or a single one"):
            ties.transform(wrong)


def test_every_result_says_what_it_is_in_one_short_line(archive: Path, ties: TiePoints) -> None:
    catalogue = sentinel_match.find_scenes(archive)
    pairing = sentinel_match.pair_scenes(catalogue)
    outcome = Outcome("a__b", "matched", "a", "b", ties.summary)
    failed = Outcome("a__c", "failed", "a", "c", None, error="No match.")
    run = Run(catalogue, pairing, (outcome, failed))
    lines = [repr(x) for x in (catalogue.scenes[0], catalogue, pairing, pairing.pairs[0], outcome, run, ties.summary)]
    assert all("\n" not in line and len(line) < 200 for line in lines), lines
    assert "<Scene T33UUU_20210520T000407: L1C, 1 band (B04), 13 km²" in lines[0]
    assert "<Catalogue: 2 scenes, 0 duplicates, 0 refused>" == lines[1]
    assert lines[2].startswith("<Pairing: 1 pair, 0 refused (the best T33UUU_")
    assert "<Pair T33UUU_20210520T000407__T33UUU_20210917T000407: overlap" in lines[3]
    assert "<Outcome a__b: matched, " in lines[4]
    assert "<Outcome a__c: failed, No match.>" == repr(failed)
    assert "<Run: 2 pairs of 2 scenes, 1 failed, 0 files refused>" == lines[5]
    assert f"inliers of {ties.summary.points:,}, +6." in lines[6]
    assert [float, float] == [type(error) for error in ties.summary.shift_sigma_m]
    assert "there is no such file or folder" in repr(sentinel_match.find_scenes([archive, "nowhere"]))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Options(matcher="pase"), r"the known ones are auto, .* \(did you mean phase\?\)"),
        (lambda: Options(matcher="aut"), r"\(did you mean auto\?\)"),
        (lambda: Options(model="similarty"), r"must be one of none, translation.*\(did you mean similarity\?\)"),
        (lambda: Preparation(layout="chps"), r"\(did you mean chips\?\)"),
        (lambda: Preparation(normalise="irmat"), r"\(did you mean irmad\?\)"),
        (lambda: parse_method("lofter"), r"the known ones are auto, .* \(did you mean loftr\?\)"),
    ],
)
def test_a_misspelt_word_is_met_with_the_nearest_one(call: Callable[[], object], said: str) -> None:
    with pytest.raises((ValueError, UnknownMatcher), match=said):
        call()


def test_a_misspelt_band_is_met_with_the_nearest_one(archive: Path) -> None:
    scene = sentinel_match.find_scenes(archive).scenes[0]
    with pytest.raises(MissingBand, match=r"no band BO4 \(it has B04\) \(did you mean B04\?\)"):
        scene.band("BO4")


def test_an_option_that_a_message_names_is_named_as_python_has_it_too() -> None:
    """Messages of the library reach users of both, and only those of ``cli`` can know who reads them."""
    spoken = re.compile(r'"[^"\n]*(?<![\w`-])--[a-z][\w-]*[^"\n]*"(?:\s+f?"[^"\n]*")*')
    package = Path(sentinel_match.__file__).parent
    commands = "".join(path.read_text(encoding="utf-8") for path in package.glob("cli/*.py"))
    ours = {*re.findall(r'"(--[a-z][a-z-]*)"', commands)}
    silent = [
        (path.name, text)
        for path in sorted(package.rglob("*.py"))
        if path.parent.name not in {"cli", "train"}
        for text in spoken.findall(path.read_text(encoding="utf-8"))
        if "Python" not in text and "rio " not in text and ours & {*re.findall(r"--[a-z][a-z-]*", text)}
    ]
    assert [] == silent


def test_what_the_system_and_gdal_say_is_told_without_their_numbers_and_advice(tmp_path: Path) -> None:
    picture = tmp_path / "a.tif"
    picture.write_bytes(b"II*\0")
    with pytest.raises(BadPoints) as caught:
        sentinel_match.fit(picture)
    assert "driver explicitly" not in str(caught.value)
    assert "it is a folder, and only files are read" == in_words(IsADirectoryError(21, "Is a directory", "out"))
    assert "No space left on device" == in_words(OSError(28, "No space left on device", "out"))


def test_an_image_that_is_matched_with_itself_is_called_the_same_image(archive: Path, tmp_path: Path) -> None:
    left = sentinel_match.find_scenes(archive).scenes[0]
    ties = sentinel_match.match_scenes(left, left, Options(matcher="phase", candidates=500))
    assert ties.summary.verdict.startswith("both are the same image")
    assert ("open", "same image") == grade(ties.summary)


def test_an_empty_path_of_the_shell_is_refused_wherever_a_path_is_taken(archive: Path, tmp_path: Path) -> None:
    for words in (
        ["scenes", ""],
        ["run", "", "-o", "out"],
        ["run", str(archive), "-o", ""],
        ["match", "", "", "-o", "t.csv"],
    ):
        done = CliRunner().invoke(main, words)
        assert 2 == done.exit_code
        assert "it is empty; a dot is the folder you are in" in done.stderr


def test_a_path_that_leads_nowhere_is_a_warning_and_once_on_the_command_line(caplog: pytest.LogCaptureFixture) -> None:
    sentinel_match.find_scenes("nowhere")
    assert ["nowhere is neither a"] == [message[:20] for message in caplog.messages]
    assert "there is no such file or folder" in caplog.text
    done = CliRunner().invoke(main, ["scenes", "nowhere"])
    assert 1 == done.stderr.count("there is no such file or folder")
