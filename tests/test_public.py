"""The public functions take what a user would type, and refuse at once, in one sentence, what they cannot take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import sentinel_match
from sentinel_match import Filters, Options, TiePoints
from sentinel_match.errors import NotAProduct, OutputError, UnknownMatcher
from sentinel_match.matchers.phase import Phase
from sentinel_match.testing import Landscape, write_product


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
        (lambda: sentinel_match.pair_scenes("archive"), TypeError, "or the catalogue that find_scenes gives"),
        (lambda: sentinel_match.pair_scenes([], 30), TypeError, r"must be Filters\(\.\.\.\)"),
        (lambda: sentinel_match.read_scene(7), TypeError, "7 is no path"),
        (lambda: sentinel_match.read_scene("nowhere"), NotAProduct, "there is no such file or folder"),
        (lambda: sentinel_match.match_scenes(7, "b"), TypeError, "left is 7, and must be a path or a Scene"),
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
        (lambda: Options(model="spline"), ValueError, "must be one of translation, similarity"),
        (lambda: Options(guided="no"), TypeError, "must be True or False"),
        (lambda: sentinel_match.fit("a.csv", model="x"), ValueError, "must be one of translation"),
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
