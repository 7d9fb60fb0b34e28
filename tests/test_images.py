"""The small face: pictures in, matches out; and the command that does many."""

from __future__ import annotations

import doctest
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner, Result

from sentinel_match import images
from sentinel_match.cli import main
from sentinel_match.errors import DeviceMissing, ExtraMissing, NotAProduct, UnknownMatcher
from sentinel_match.images import ImageMatcher, ImageMatches, visualize_matches, visualize_overlay
from sentinel_match.images.matches import saved_summary
from sentinel_match.matchers.sift import Sift
from sentinel_match.products.catalogue import read_scene
from sentinel_match.testing.checks import example_pair

PAIR = example_pair(shift=(7.3, -4.6), size=256)
UPRIGHT = ImageMatcher("sift", max_keypoints=700, rotations=(0.0,))


def write(path: Path, pixels: np.ndarray, **profile: object) -> Path:
    """A raster without any georeference."""
    data = np.round(pixels * 250 + 1).astype(np.uint8)
    data = data[None] if data.ndim == 2 else np.moveaxis(data, 2, 0)
    shape = {"count": len(data), "height": data.shape[1], "width": data.shape[2]}
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(path, "w", dtype="uint8", transform=Affine.identity(), **shape, **profile) as file,
    ):
        file.write(data)
    return path


def call(*words: object) -> Result:
    return CliRunner().invoke(main, ["-q", "images", "--matcher", "sift", "--no-rotation", *[str(w) for w in words]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "left.png", PAIR.left, driver="PNG")
    write(tmp_path / "right.png", PAIR.right, driver="PNG")
    return tmp_path


def test_the_example_of_the_module_runs() -> None:
    done = doctest.testmod(images)
    assert 0 == done.failed
    assert done.attempted > 4


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float", "rgb", "nan"])
def test_arrays_of_any_kind_are_normalised_alike(kind: str) -> None:
    a, b = PAIR.left, PAIR.right
    if kind == "nan":
        a = np.where(np.arange(256) < 20, np.nan, a)
    convert = {
        "uint8": lambda x: (x * 255).astype(np.uint8),
        "uint16": lambda x: (x * 3000 + 1000).astype(np.uint16),
        "rgb": lambda x: np.repeat((x * 255).astype(np.uint8)[..., None], 3, 2),
    }.get(kind, lambda x: x)
    result = UPRIGHT.match_images(convert(a), convert(b))
    assert result.matrix is not None
    assert result.matrix[:2, 2] == pytest.approx([7.3, -4.6], abs=0.3)
    assert ((256, 256), (256, 256)) == result.sizes


def test_a_mask_keeps_points_away_and_extremes_out_of_the_normalisation() -> None:
    left = PAIR.left.copy()
    left[:, :80] = 1e6
    valid = np.ones(left.shape, bool)
    valid[:, :80] = False
    result = UPRIGHT.match_images(left, PAIR.right, valid=(valid, None))
    assert result.keypoints0[:, 0].min() > 80
    assert result.inlier.sum() > 30


def test_paths_and_scenes_are_the_same_images(folder: Path) -> None:
    by_path = UPRIGHT.match_images(folder / "left.png", str(folder / "right.png"))
    by_scene = UPRIGHT.match_images(read_scene(folder / "left.png"), read_scene(folder / "right.png"))
    assert np.array_equal(by_path.left, by_scene.left)
    assert by_path.matrix is not None
    assert by_path.matrix[:2, 2] == pytest.approx([7.3, -4.6], abs=0.3)


def test_jp2_and_jpeg_in_colour_without_a_crs_are_read(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jp2", np.repeat(PAIR.left[..., None], 3, 2), driver="JP2OpenJPEG", QUALITY="100")
    b = write(tmp_path / "b.jpg", np.repeat(PAIR.right[..., None], 3, 2), driver="JPEG", QUALITY=95)
    result = UPRIGHT.match_images(a, b)
    assert result.matrix is not None
    assert result.matrix[:2, 2] == pytest.approx([7.3, -4.6], abs=0.3)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_points_of_an_image_set_upright_are_its_own(turns: int) -> None:
    turned = np.rot90(PAIR.right, -turns)
    result = UPRIGHT.match_images(PAIR.left, turned, quarter_turns=(0, turns))
    x, y = (result.left[result.inlier] + (7.3, -4.6)).T
    expected = [(x, y), (256 - y, x), (256 - x, 256 - y), (y, 256 - x)][turns]
    assert result.inlier.sum() > 60
    assert np.median(np.hypot(*(result.right[result.inlier] - np.column_stack(expected)).T)) < 0.5


def test_sizes_agree_on_where_things_are() -> None:
    for size in (180, (200, 150), None):
        matrix = ImageMatcher("sift", max_keypoints=700, resize=size, rotations=(0.0,)).match_images(
            PAIR.left, PAIR.right
        ).matrix  # fmt: skip
        assert matrix is not None
        assert matrix @ (128, 128, 1) == pytest.approx([135.3, 123.4, 1], abs=1)


def test_the_file_loads_as_superglue_says(tmp_path: Path) -> None:
    result = UPRIGHT.match_images(PAIR.left, PAIR.right)
    result.save(tmp_path / "a_b_matches.npz")
    npz = np.load(tmp_path / "a_b_matches.npz")
    assert {"keypoints0", "keypoints1", "matches", "match_confidence"} <= set(npz.files)
    assert (len(result.keypoints0), 2) == npz["keypoints0"].shape
    assert (len(result.keypoints0),) == npz["matches"].shape == npz["match_confidence"].shape
    assert len(result.score) == np.sum(npz["matches"] > -1)
    matched = npz["matches"] > -1
    assert np.allclose(result.right, npz["keypoints1"][npz["matches"][matched]], atol=1e-4)
    assert "(0.5, 0.5) its centre" in str(npz["pixel_convention"])
    assert [] == [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_keypoints_of_a_shifted_image_shift_with_it(tmp_path: Path) -> None:
    matcher = ImageMatcher(Sift(max_keypoints=4000))
    matcher.extract(PAIR.left[:-24, :-16], tmp_path / "a.npz")
    matcher.extract(PAIR.left[24:, 16:], tmp_path / "b.npz")
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert [240, 232] == a["image_size"].tolist()
        here, there = a["keypoints"], b["keypoints"] + (16, 24)
        inside = (here > (40, 48)).all(1) & (here < (200, 190)).all(1)
        nearest = np.hypot(*(here[inside, None] - there[None]).T).min(0)
    assert inside.sum() > 50
    assert (nearest < 0.5).mean() > 0.6  # CLAHE's blocks lie differently over the two


def only(matches: ImageMatches, shown: int, **changes: Any) -> ImageMatches:
    """The same result with one of its matches alone."""
    kept = np.arange(len(matches.matches0)) == np.flatnonzero(matches.inliers0)[shown]
    return replace(matches, matches0=np.where(kept, matches.matches0, -1), inliers0=kept, **changes)


@pytest.mark.parametrize(
    ("off", "model", "label"), [(0.0, True, "residual"), (9.0, True, "residual"), (1.0, False, "confidence")]
)
def test_the_figure_draws_matches_on_the_model_cyan_and_those_off_it_or_unsure_magenta(
    off: float, model: bool, label: str, tmp_path: Path
) -> None:
    result = UPRIGHT.match_images(PAIR.left, PAIR.right)
    assert result.model is not None
    right = result.model(result.keypoints0) + (off if model else 0, 0)
    places = {"keypoints1": right, "matches0": np.where(result.inliers0, np.arange(len(right)), -1)}
    one = only(replace(result, **places), 0, match_confidence=np.full(len(right), 1.0 - off))
    drawn = one if model else replace(one, model=None, angle=None, why="nothing agrees")
    figure = visualize_matches(PAIR.left, PAIR.right, drawn, tmp_path / "m.png")
    figure.canvas.draw()
    axes = figure.axes[0]
    middle = (drawn.left[0] + drawn.right[0] + (256 * 1.02, 0)) / 2
    x, y = axes.transData.transform(middle)
    picture = np.asarray(figure.canvas.buffer_rgba())  # type: ignore[attr-defined]
    near = picture[len(picture) - round(y) - 2 : len(picture) - round(y) + 2, round(x) - 2 : round(x) + 2, :3]
    red, green, _ = near.reshape(-1, 3)[np.ptp(near.reshape(-1, 3), axis=1).argmax()].astype(int)
    assert (red > green + 60) if off else (green > red + 60)
    assert ("1 believed of 1 matches" if model else "No match: nothing agrees") in axes.get_title()
    assert label in figure.axes[1].get_ylabel()
    assert (tmp_path / "m.png").stat().st_size > 10_000


def test_the_figure_draws_a_hundred_matches_spread_over_the_picture_the_surest_of_each_part() -> None:
    result = UPRIGHT.match_images(PAIR.left, PAIR.right)
    assert result.inlier.sum() > 100
    lines = visualize_matches(PAIR.left, PAIR.right, result).axes[0].collections[0]
    starts = np.array([segment[0] for segment in lines.get_segments()])  # type: ignore[attr-defined]
    parts, drawn = (np.unique(points // 25.6, axis=0) for points in (result.left[result.inlier], starts))
    assert 100 == len(starts)
    assert len(parts) == len(drawn)
    surest = result.left[result.inlier][result.score[result.inlier].argmax()]
    assert np.hypot(*(starts - surest).T).min() == pytest.approx(0)


def test_the_overlay_lays_the_right_image_on_the_left_one_in_squares_and_in_red_and_cyan(tmp_path: Path) -> None:
    turned = np.rot90(PAIR.right)
    result = UPRIGHT.match_images(PAIR.left, turned, quarter_turns=(0, 3))
    assert result.angle == pytest.approx(-90, abs=1)
    panels = visualize_overlay(PAIR.left, turned, result, tmp_path / "o.png").axes
    squares, colours = (np.asarray(panel.images[0].get_array()) for panel in panels)
    inside = (slice(20, 230), slice(20, 230))
    red, cyan = colours[inside][..., 0], colours[inside][..., 1]
    assert np.corrcoef(red.ravel(), cyan.ravel())[0, 1] > 0.8
    taken = [(squares[inside][..., 0] == one).mean() for one in (red, cyan)]
    assert all(0.4 < share < 0.7 for share in taken)
    assert (tmp_path / "o.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="nothing can be laid over the left image: unlike"):
        visualize_overlay(PAIR.left, turned, replace(result, model=None, why="unlike"))


def test_a_figure_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    result = UPRIGHT.match_images(PAIR.left, PAIR.right)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ExtraMissing, match=r"sentinel-match\[plot\]"):
        visualize_matches(PAIR.left, PAIR.right, result)


def test_an_option_the_matcher_lacks_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="sift has no confidence"):
        ImageMatcher("sift", confidence=0.5)
    with pytest.raises(UnknownMatcher):
        ImageMatcher("nothing")


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"matcher": 7}, "must be the name of a matcher, or a matcher"),
        ({"model": "track"}, "must be one of translation, similarity, affine, homography"),
        ({"resize": "1024"}, "must be one side in pixels"),
        ({"resize": (0, 5)}, "must be one side in pixels"),
        ({"resize": 512.5}, "must be one side in pixels"),
        ({"rotations": ()}, "must be one or more angles"),
        ({"max_keypoints": 0}, "must be a whole number above 0"),
        ({"confidence": 7.0}, "must be a number from 0 to 1"),
        ({"windows": True}, "must be a whole number"),
        ({"band": ""}, "must be the name of a band"),
        ({"masking": None}, r"must be Masking\(...\)"),
        ({"seed": -1}, "must be a whole number, 0 or more"),
    ],
)
def test_an_option_that_no_matcher_could_take_is_refused_at_once(choice: dict[str, Any], sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence) as refusal:
        ImageMatcher(**choice)
    assert f"ImageMatcher.{next(iter(choice))} is " in str(refusal.value)


def test_a_device_that_nobody_has_is_refused_whatever_the_matcher() -> None:
    with pytest.raises(DeviceMissing, match="none of auto, cpu, cuda"):
        ImageMatcher("sift", device="gpu")


def test_angles_and_sizes_may_come_in_any_sequence() -> None:
    matcher = ImageMatcher("sift", resize=[200, 150], rotations=np.array([0.0]))  # type: ignore[arg-type]
    assert matcher.match_images(PAIR.left, PAIR.right).matrix is not None


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (None, "an image is an array of pixels, a path or a scene, not of type NoneType"),
        ([[0.0, 1.0]], "not of type list"),
        (PAIR.left.astype(complex), "real numbers, not complex128"),
        (PAIR.left.astype(object), "real numbers, not object"),
        (np.zeros(5), "an image is"),
        (np.zeros((3, 64, 64)), "an image is"),
        (np.zeros((0, 64)), "an image has pixels"),
    ],
)
def test_what_cannot_be_an_image_is_refused(image: Any, sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence):
        UPRIGHT.match_images(image, PAIR.right)


@pytest.mark.parametrize(
    ("masks", "sentence"),
    [
        ((np.ones((2, 2), bool), None), "the mask is"),
        ((np.ones(PAIR.left.shape, np.uint8), None), "True where pixels are usable"),
        ((None,), "valid must be a pair"),
        (np.ones(PAIR.left.shape, bool), "valid must be a pair"),
    ],
)
def test_what_cannot_be_a_mask_is_refused(masks: Any, sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence):
        UPRIGHT.match_images(PAIR.left, PAIR.right, valid=masks)


def test_what_cannot_be_quarter_turns_is_refused() -> None:
    for turns, sentence in ((1, "must be a pair"), ((0.5, 0), "must be whole numbers")):
        with pytest.raises(TypeError, match=f"quarter_turns {sentence}"):
            UPRIGHT.match_images(PAIR.left, PAIR.right, quarter_turns=turns)  # type: ignore[arg-type]


def test_a_file_that_is_no_image_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_text("<html>")
    for name in ("page.png", "nothing.png"):
        with pytest.raises(NotAProduct, match=name):
            UPRIGHT.match_images(tmp_path / name, PAIR.right)


def test_masked_pixels_are_not_valid() -> None:
    left = np.ma.masked_where(np.broadcast_to(np.arange(256) < 80, PAIR.left.shape), PAIR.left)
    assert UPRIGHT.match_images(left, PAIR.right).keypoints0[:, 0].min() > 80


def test_a_result_says_in_a_line_what_was_found() -> None:
    result = UPRIGHT.match_images(PAIR.left, PAIR.right)
    assert f"<ImageMatches: {result.inlier.sum()} of {len(result.score)} matches agree" in repr(result)
    nothing = UPRIGHT.match_images(PAIR.left, np.zeros_like(PAIR.right))
    assert f"<ImageMatches: no match, {nothing.why}>" == repr(nothing)


def test_a_summary_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    result = UPRIGHT.match_images(PAIR.left, PAIR.right)
    result.save(tmp_path / "matches.npz", key="k")
    summary = saved_summary(tmp_path / "matches.npz", "k")
    assert summary is not None
    assert result.summary.to_dict() == summary.to_dict()
    assert ["keypoints", "matches", "believed", "angle", "matrix", "why", "model"] == list(summary.to_dict())
    assert saved_summary(tmp_path / "matches.npz", "other") is saved_summary(tmp_path / "nothing.npz", "k") is None


def test_a_figure_of_other_images_or_other_matches_is_refused() -> None:
    result = UPRIGHT.match_images(PAIR.left, PAIR.right)
    with pytest.raises(ValueError, match="the right image has 256 x 99 pixels, and the matches are of 256 x 256"):
        visualize_matches(PAIR.left, PAIR.right[:99], result)
    with pytest.raises(TypeError, match="matches are what match_images returns"):
        visualize_matches(PAIR.left, PAIR.right, result.summary)  # type: ignore[arg-type]


def test_a_figure_without_a_suffix_is_png(tmp_path: Path) -> None:
    visualize_matches(PAIR.left, PAIR.right, UPRIGHT.match_images(PAIR.left, PAIR.right), tmp_path / "figure")
    assert b"PNG" == (tmp_path / "figure").read_bytes()[1:4]


def test_a_bad_file_in_a_list_ends_nothing_and_shows_in_the_status(folder: Path) -> None:
    (folder / "page.png").write_text("<html>")
    (folder / "list.txt").write_text("page.png left.png\n# a comment\nleft.png, right.png, 0, 0\n")
    done = call("--pairs", folder / "list.txt", "--input-dir", folder, "-o", folder / "out", "--viz")
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert 1 == done.exit_code
    assert ["failed", "matched"] == [s["status"] for s in summary.values()]
    assert "page.png" in summary["page_left_matches"]["why"]
    names = {f"left_right_matches{end}" for end in (".npz", ".png", "_overlay.png")} | {"summary.json"}
    assert names == {p.name for p in (folder / "out").iterdir()}
    assert all(len(line) <= 80 or len(line.split()) == 1 for line in done.stdout.splitlines())


def test_what_is_done_the_same_way_is_kept(folder: Path) -> None:
    words = (folder / "left.png", folder / "right.png", "-o", folder / "out")

    def status(*more: object) -> str:
        done = call(*words, *more)
        assert 0 == done.exit_code, done.output
        return str(json.loads((folder / "out" / "summary.json").read_text())["left_right_matches"]["status"])

    assert ["matched", "kept", "matched", "matched"] == [
        status("--max-keypoints", 700),
        status("--max-keypoints", 700),
        status("--max-keypoints", 700, "--force"),
        status("--max-keypoints", 600),
    ]
    assert "matched" == status("--max-keypoints", 600, "--resize", "200x180")


def test_two_images_of_a_folder_by_number(folder: Path) -> None:
    chosen = ("--input-dir", folder, "-o", folder / "out", "--indexes-of-images")
    done = call(*chosen, 0, 1)
    assert 0 == done.exit_code
    assert "   0 left.png\n   1 right.png" in done.stderr
    assert "numbered from 0" in call(*chosen, 0, 2).stderr


def test_a_list_is_shuffled_by_its_seed_and_cut(folder: Path) -> None:
    from sentinel_match.cli.images import _pairs

    (folder / "list.txt").write_text("\n".join(f"{k}.png {k + 1}.png" for k in range(20)))
    values = {"input_dir": None, "listing": folder / "list.txt", "indexes_of_images": (), "seed": 3}
    first, again = (_pairs((), values | {"shuffle": True, "max_length": 5}) for _ in range(2))
    plain = _pairs((), values | {"shuffle": False, "max_length": 5})
    assert 5 == len(first)
    assert first == again != plain


@pytest.mark.parametrize("line", ["alone.png", "a.png b.png 1", "a.png b.png 0 9"])
def test_a_line_that_is_no_pair_is_named(folder: Path, line: str) -> None:
    (folder / "list.txt").write_text(f"left.png right.png\n{line}\n")
    done = call("--pairs", folder / "list.txt", "-o", folder / "out")
    assert 1 == done.exit_code
    assert "line 2 is not two names" in done.stderr


@pytest.mark.parametrize(
    "words", [("--resize", "big"), ("--resize", "1x2x3"), ("--resize", "0"), ("--confidence", "0.5")]
)
def test_wrong_usage_is_said(folder: Path, words: tuple[str, ...]) -> None:
    done = call(folder / "left.png", folder / "right.png", "-o", folder / "out", *words)
    assert 2 == done.exit_code
