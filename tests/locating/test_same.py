"""Whether two pictures show the same place, and how well scores tell places apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from sentinel_match.cli import main
from sentinel_match.locating import likeness
from sentinel_match.locating.likeness import Likeness, all_pairs
from sentinel_match.locating.separation import Separation, clusters, separations
from sentinel_match.testing import example_pair

scores = st.lists(st.integers(-20, 20), min_size=1, max_size=30).map(lambda values: np.sort(np.array(values, float)))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of two places; of one there are pictures of two seasons, one of them turned."""
    folder = tmp_path_factory.mktemp("places")
    one, two = (example_pair(size=192, seed=seed) for seed in (1, 2))
    turned = cv2.warpAffine(one.right, cv2.getRotationMatrix2D((96, 96), 70, 1.0), (192, 192))
    for name, pixels in (("here/winter", one.left), ("here/summer", turned), ("there/spring", two.left)):
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.round(pixels * 254 + 1).astype(np.uint8))
    return folder


def pair_of(left: str, right: str, score: float = 0.0, *, found: bool = False) -> Likeness:
    return Likeness(left, right, 0.5, found, None, None, {"score": score}, (left[0], right[0]))


def test_a_folder_of_places_tells_which_pictures_show_one_and_how_well_scores_separate_them(
    places: Path, tmp_path: Path
) -> None:
    words = ["-q", "same", str(places), "--json", "--figure", str(tmp_path / "curves.svg")]
    done = CliRunner().invoke(main, words)
    assert 0 == done.exit_code, done.output
    answer = json.loads(done.stdout)
    assert 3 == len(answer["pairs"])
    (pair,) = (pair for pair in answer["pairs"] if pair["same"])
    assert ["here", "here"] == pair["places"]
    assert pair["probability"] > 0.99
    assert abs(abs(pair["angle_deg"]) - 70) < 2
    assert 1.0 == answer["scores"]["surprise"]["auc"]
    assert [["here/summer", "here/winter"], ["there/spring"]] == answer["clusters"]
    assert (tmp_path / "curves.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_a_matcher_is_asked_as_the_pictures_lie_and_nothing_found_is_exit_status_1(places: Path) -> None:
    pair = [str(places / "here" / "winter.png"), str(places / "there" / "spring.png")]
    done = CliRunner().invoke(main, ["-q", "same", *pair, "--json", "--matcher", "sift"])
    assert 1 == done.exit_code
    assert {"matches", "verified", "agreement", "confidence"} == {*json.loads(done.stdout)["pairs"][0]["scores"]}


def test_confidences_are_compared_with_those_of_unrelated_pairs_in_which_neither_picture_is() -> None:
    low, high = np.full(9, 0.2), np.full(9, 0.7)
    ends = {("a1", "a2"): high, ("b1", "b2"): high, ("a1", "b1"): low, ("a2", "c1"): low, ("b1", "c1"): low}
    confidences = ends | {("a1", "c1"): low, ("a2", "b2"): low}
    pairs = [replace(pair_of(*names), confidences=values) for names, values in confidences.items()]
    (distance,) = (one for one in separations(pairs) if one.name == "wasserstein")
    assert distance.auc == 1.0


def test_pictures_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("here/early", "here/late", "there"):
        (tmp_path / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / "winter.png"), np.full((32, 32), 9, np.uint8))
    pairs = all_pairs(tmp_path, matcher="sift")
    assert all(pair.left != pair.right for pair in pairs)
    assert 3 == len(clusters(pairs))


def test_what_cannot_be_read_is_left_out_and_said(places: Path, tmp_path: Path) -> None:
    for name, data in (
        ("winter.png", (places / "here" / "winter.png").read_bytes()),
        ("spring.png", (places / "there" / "spring.png").read_bytes()),
        ("cut.png", (places / "here" / "winter.png").read_bytes()[:2000]),
        ("none.jp2", b"no picture"),
    ):
        (tmp_path / name).write_bytes(data)
    done = CliRunner().invoke(main, ["same", str(tmp_path), "--matcher", "sift", "--json"])
    assert 1 == len(json.loads(done.stdout)["pairs"])
    assert {name for name in ("cut.png", "none.jp2") if f"left out: {tmp_path / name}" in done.stderr} == {
        "cut.png",
        "none.jp2",
    }


def test_in_a_pipe_pairs_scores_and_clusters_have_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{place}/T33UUU_2021{month:02}17T101031_quicklook.jpg" for place in "ab" for month in (3, 9)]
    pairs = [pair_of(a, b, 9.0, found=a[0] == b[0]) for k, a in enumerate(names) for b in names[:k]]
    monkeypatch.setattr(likeness, "all_pairs", lambda *_, **__: pairs)
    done = CliRunner().invoke(main, ["-q", "same", "anything"])
    assert 0 == done.exit_code, done.output
    assert all(name in done.stdout for name in names)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_what_all_pictures_lack_is_said_once_and_counted(places: Path) -> None:
    done = CliRunner().invoke(main, ["same", str(places), "--matcher", "sift"])
    lines = [line for line in done.stderr.splitlines() if "no cloud mask" in line]
    assert 2 == len(lines), done.stderr
    assert lines[1].startswith("2 more like this: ")


def test_one_picture_is_too_few(places: Path) -> None:
    done = CliRunner().invoke(main, ["same", str(places / "here" / "winter.png")])
    assert 1 == done.exit_code
    assert "these are not two pictures that can be read" in done.stderr


def test_two_pictures_are_told_in_the_order_given(places: Path) -> None:
    names = [places / "here" / "winter.png", places / "here" / "summer.png"]
    for order, angle in ((names, 70), (names[::-1], -70)):
        done = CliRunner().invoke(main, ["-q", "same", *map(str, order), "--json"])
        (pair,) = json.loads(done.stdout)["pairs"]
        assert [path.stem for path in order] == [pair["left"].split("/")[-1], pair["right"].split("/")[-1]]
        assert abs(pair["angle_deg"] + angle) < 2


def test_without_places_a_figure_cannot_be_drawn_and_the_table_is_not_lost(places: Path, tmp_path: Path) -> None:
    words = ["-q", "same", str(places / "here"), "--figure", str(tmp_path / "curves.svg")]
    done = CliRunner().invoke(main, words)
    assert 1 == done.exit_code
    assert "1 of the same place" in done.stdout
    assert "nothing says which pictures show one place" in done.stderr


@given(scores, scores)
def test_the_area_is_that_under_the_curve(one: np.ndarray, two: np.ndarray) -> None:
    separation = Separation("score", one, two)
    curve = separation.roc
    assert np.isclose(np.trapezoid(curve[:, 1], curve[:, 0]), separation.auc)
    assert (np.diff(curve, axis=0) >= 0).all()
    assert np.allclose(curve[-1], 1)


@given(scores, scores)
def test_exchanging_the_places_turns_the_area_round(one: np.ndarray, two: np.ndarray) -> None:
    assert np.isclose(Separation("score", one, two).auc, 1 - Separation("score", two, one).auc)


def test_pictures_are_one_place_through_others() -> None:
    pairs = [pair_of("a1", "a2", found=True), pair_of("a2", "a3", found=True), pair_of("a1", "b1")]
    assert [["a1", "a2", "a3"], ["b1"]] == clusters(pairs)


def test_names_of_one_place_alone_tell_nothing() -> None:
    assert [] == separations([pair_of("a1", "a2", 3.0)])
