"""LoFTR under a prior: kornia's numbers without one, the written-out confidence with one, and nothing out of reach."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import kornia.feature
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter

from sentinel_match.errors import WeightsDamaged, WeightsMissing
from sentinel_match.matchers import Matches, create
from sentinel_match.matchers.loftr import LOFTR_CELL_PX, LoFTR, _network
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.models.loftr import load, match_cells, refine_cells
from sentinel_match.models.shipped import LOFTR
from sentinel_match.models.tensors import read
from sentinel_match.models.weights import verified
from sentinel_match.models.windows import place
from sentinel_match.testing import check_matcher
from sentinel_match.testing.checks import example_pair


def texture(rows: int = 160, cols: int = 192, seed: int = 0) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).random((rows, cols)), 1.5)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def everywhere(image: np.ndarray) -> np.ndarray:
    return np.ones(image.shape, bool)


def moved(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def misses(found: Matches, prior: GeometricPrior) -> np.ndarray:
    return np.hypot(*(found.right - prior.expected(found.left)).T)


@pytest.fixture(scope="session")
def loftr(tmp_path_factory: pytest.TempPathFactory) -> LoFTR:
    """A LoFTR that learnt nothing, saved as the authors save theirs."""
    path = tmp_path_factory.mktemp("loftr") / "loftr.ckpt"
    torch.manual_seed(1)
    tensors = kornia.feature.LoFTR(pretrained=None).state_dict()
    torch.save({"state_dict": {f"matcher.{name}": tensor for name, tensor in tensors.items()}}, path)
    return LoFTR(min_score=0.0, weights_file=path, device="cpu")


@pytest.fixture(scope="session")
def network(loftr: LoFTR) -> kornia.feature.LoFTR:
    assert loftr.weights_file
    return _network(loftr.weights_file, "cpu")


def side(image: np.ndarray, allowed: np.ndarray | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(image), torch.from_numpy(everywhere(image) if allowed is None else allowed)


def test_without_a_prior_the_numbers_are_kornias(loftr: LoFTR, network: kornia.feature.LoFTR) -> None:
    left, right = (loftr.describe(texture(seed=s), everywhere(texture())) for s in (0, 1))
    given = {f"image{i}": torch.tensor(a["pixels"]).float()[None, None] for i, a in enumerate((left, right))}
    given |= {f"mask{i}": torch.tensor(a["allowed"])[None] for i, a in enumerate((left, right))}
    with torch.inference_mode():
        expected = {name: found.numpy() for name, found in network(given).items()}
    found = loftr.match(left, right)
    assert len(found) > 3
    kept = expected["confidence"] > 0
    kept &= (np.abs(expected["keypoints0"][:, None] - found.left) < 0.01).all(2).any(1)
    assert kept.sum() == len(found)
    np.testing.assert_allclose(expected["keypoints0"][kept], found.left)
    np.testing.assert_allclose(expected["keypoints1"][kept], found.right, atol=1e-3)
    np.testing.assert_allclose(expected["confidence"][kept], found.score, rtol=1e-3)


@pytest.mark.parametrize("shape", [(160, 192), (150, 181)])
def test_a_prior_that_allows_everything_changes_nothing(loftr: LoFTR, shape: tuple[int, int]) -> None:
    left = loftr.describe(texture(), everywhere(texture()))
    right = loftr.describe(texture(*shape, seed=1), np.ones(shape, bool))
    free, wide = loftr.match(left, right), loftr.match(left, right, GeometricPrior(np.eye(3), np.inf))
    assert len(free) > 3
    np.testing.assert_allclose(wide.left, free.left)
    np.testing.assert_allclose(wide.right, free.right, atol=1e-3)
    np.testing.assert_allclose(wide.score, free.score, rtol=1e-3)


def test_the_guided_confidence_is_the_dual_softmax_of_what_is_in_reach(network: kornia.feature.LoFTR) -> None:
    left, right, rng = texture(96, 104), texture(88, 112, seed=1), np.random.default_rng(2)
    bias = np.where(rng.random((12 * 13, 11 * 14)) < 0.7, -np.inf, rng.normal(0, 2, (12 * 13, 11 * 14)))
    bias[40:60] = -np.inf
    bias[:, 70:80] = -np.inf
    allowed = everywhere(left)
    allowed[32:48, 40:64] = False
    with torch.inference_mode():
        cells = match_cells(
            network, side(left, allowed), side(right), lambda block: torch.from_numpy(bias[block]).float()
        )
        at_left, at_right, found = refine_cells(network, cells)
        maps = [network.extract_features(torch.from_numpy(i)[None, None])["coarse"] for i in (left, right)]
        masks = [torch.from_numpy(m[None, ::8, ::8].reshape(1, -1)) for m in (allowed, everywhere(right))]
        a, b = (
            t[0].double().numpy() for t in network.loftr_coarse(*(m.flatten(2).transpose(1, 2) for m in maps), *masks)
        )
    score = (a / 16) @ (b / 16).T / 0.1 + bias
    score[~masks[0][0].numpy()] = -np.inf
    likely = np.exp(score - score[np.isfinite(score)].max())
    rows, columns = likely.sum(1, keepdims=True), likely.sum(0, keepdims=True)
    expected = likely / np.where(rows > 0, rows, 1) * likely / np.where(columns > 0, columns, 1)
    assert len(found) > 5
    assert found.isfinite().all()
    for (x, y), (u, v), confidence in zip(at_left.tolist(), at_right.tolist(), found.tolist(), strict=True):
        i = round(y) // 8 * 13 + round(x) // 8
        j = expected[i].argmax()
        assert i == expected[:, j].argmax()
        assert max(abs(u - j % 14 * 8), abs(v - j // 14 * 8)) <= 4
        assert confidence == pytest.approx(expected[i, j], rel=1e-4)


def test_a_prior_restricts_before_the_best_is_chosen(loftr: LoFTR) -> None:
    left, right = (loftr.describe(texture(seed=s), everywhere(texture())) for s in (0, 1))
    free = loftr.match(left, right)
    for x, y, radius in ((16, -24, 12.0), (3.7, 4.1, 30.0)):
        prior = GeometricPrior(moved(x, y), radius)
        found = loftr.match(left, right, prior)
        assert len(found) > max(3, (misses(free, prior) <= radius).sum())
        assert misses(found, prior).max() <= radius


def test_the_prior_speaks_of_the_images_own_pixels(loftr: LoFTR) -> None:
    small = replace(loftr, max_side=96)
    left, right = (small.describe(texture(320, 384, seed=s), np.ones((320, 384), bool)) for s in (0, 1))
    assert [4.0, 4.0] == left["scale"].tolist()
    prior = GeometricPrior(moved(64, 32), 40.0)
    found = small.match(left, right, prior)
    assert len(found) > 3
    assert [0.0] == np.unique(found.left % (4 * LOFTR_CELL_PX)).tolist()
    assert misses(found, prior).max() <= 40


def test_images_of_different_size_are_guided_too(loftr: LoFTR) -> None:
    left = loftr.describe(texture(), everywhere(texture()))
    right = loftr.describe(texture(117, 205, seed=1), np.ones((117, 205), bool))
    prior = GeometricPrior(moved(10, -20), 12.0)
    found = loftr.match(left, right, prior)
    assert len(found) > 3
    assert misses(found, prior).max() <= 12


def test_cells_with_nothing_in_reach_have_no_match_and_make_no_nan(loftr: LoFTR) -> None:
    arrays = loftr.describe(texture(), everywhere(texture()))
    assert 0 == len(loftr.match(arrays, arrays, GeometricPrior(moved(1000, 0), 50.0)))
    half = loftr.match(arrays, arrays, GeometricPrior(moved(96, 0), 16.0))
    assert len(half) > 2
    assert half.left[:, 0].max() < 112
    for numbers in (half.left, half.right, half.score):
        assert np.isfinite(numbers).all()


def test_no_guided_match_lies_on_or_beside_a_mask(loftr: LoFTR) -> None:
    image = texture()
    valid = everywhere(image)
    valid[50:110, 60:120] = False
    image[~valid] = 1.0
    masked, whole = loftr.describe(image, valid), loftr.describe(texture(seed=1), everywhere(image))
    for pair, points in (((masked, whole), "left"), ((whole, masked), "right")):
        at = getattr(loftr.match(*pair, GeometricPrior(np.eye(3), 30.0)), points)
        assert len(at) > 2
        assert np.maximum(np.array([60, 50]) - at, at - np.array([120, 110])).max(1).min() >= 3


def test_a_higher_threshold_keeps_the_better_ones(loftr: LoFTR) -> None:
    left, right = (loftr.describe(texture(96, 112, s), np.ones((96, 112), bool)) for s in (0, 1))
    for prior in (None, GeometricPrior(np.eye(3), 30.0)):
        every = loftr.match(left, right, prior)
        for least in np.quantile(every.score, (0.25, 0.75)):
            kept = replace(loftr, min_score=float(least)).match(left, right, prior)
            assert np.array_equal(every.left[every.score > least], kept.left)


def test_priors_in_several_threads_do_not_mix(loftr: LoFTR) -> None:
    left, right = (loftr.describe(texture(96, 112, s), np.ones((96, 112), bool)) for s in (0, 1))
    priors = [None, *(GeometricPrior(moved(8 * k, 0), 10.0) for k in range(3))]
    alone = [loftr.match(left, right, prior) for prior in priors]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda prior: loftr.match(left, right, prior), priors))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.left, one.left)
        np.testing.assert_allclose(other.right, one.right, atol=1e-3)


def test_absent_weights_name_the_file_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("XDG_CACHE_HOME", "TORCH_HOME", "SENTINEL_MATCH_WEIGHTS"):
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(WeightsMissing, match=r"^loftr-outdoor needs the weights .*--download loftr-outdoor'"):
        create("loftr-outdoor")


def test_a_wrong_file_is_refused_in_one_sentence(loftr: LoFTR, tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"matcher.weight": torch.zeros(3)}}, path)
    arrays = loftr.describe(texture(), everywhere(texture()))
    with pytest.raises(WeightsDamaged, match=r"other\.ckpt are refused: \d+ tensors do not fit the network, first no"):
        replace(loftr, weights_file=path).match(arrays, arrays, GeometricPrior(np.eye(3), 10.0))


@pytest.mark.peer
def test_real_loftr_keeps_the_contract() -> None:
    if "SENTINEL_MATCH_LOFTR" not in os.environ:
        pytest.skip("set SENTINEL_MATCH_LOFTR to loftr_outdoor.ckpt")
    check_matcher(LoFTR(weights_file=Path(os.environ["SENTINEL_MATCH_LOFTR"])))


# The network that comes with the package


@pytest.mark.parametrize("degrees", [0, -20])
def test_it_finds_another_seasons_ground_far_aside_and_turned_without_a_prior(degrees: float) -> None:
    pair = example_pair((37.3, -24.6), size=384, seasons=("spring", "summer"))
    turn = cv2.getRotationMatrix2D((192 - 0.5, 192 - 0.5), degrees, 1)
    right = cv2.warpAffine(pair.right, turn, (384, 384), flags=cv2.INTER_CUBIC)
    valid = cv2.warpAffine(np.ones((384, 384), np.uint8), turn, (384, 384)) > 0
    method = LoFTR(device="cpu")
    found = method.match(method.describe(pair.left, pair.left_valid), method.describe(right, valid))
    expected = (found.left + pair.shift - 0.5) @ turn[:, :2].T + turn[:, 2] + 0.5
    near = np.hypot(*(found.right - expected).T) < (1 if degrees == 0 else 2)
    assert near.sum() > 100
    assert near.mean() > 0.7


def test_windows_tell_part_of_a_pixel_also_where_images_are_turned_and_scaled() -> None:
    """Of smooth features that are turned, scaled and moved; what lies out of reach is not found, nor is noise."""
    noise = gaussian_filter(np.random.default_rng(0).random((6, 120, 120)), (0, 1.5, 1.5)).astype(np.float32)
    noise -= noise.mean((1, 2), keepdims=True)
    for degrees, scale in ((0, 1.0), (25, 0.8), (-15, 1.25)):
        change = cv2.getRotationMatrix2D((60 - 0.5, 60 - 0.5), degrees, scale)
        change[:, 2] += 0.35, -0.2
        moved = np.stack([cv2.warpAffine(layer, change, (120, 120), flags=cv2.INTER_CUBIC) for layer in noise])
        features = tuple(torch.from_numpy(f)[None] for f in (noise, moved))
        left = np.stack(np.meshgrid(*[np.arange(91.0, 150, 8)] * 2), -1).reshape(-1, 2)
        true = 2 * ((left / 2 - 0.5) @ change[:, :2].T + change[:, 2] + 0.5)
        guess = 2 * np.floor(true / 2) + 1 + 2 * np.random.default_rng(1).integers(-1, 2, true.shape)
        at = torch.from_numpy(left).float(), torch.from_numpy(guess).float()
        found, likeness = place(features, at, torch.from_numpy(change[:, :2]).float())
        assert np.hypot(*(found.numpy() - true).T).max() < 0.3, "of 2 x 2 pixels, an eighth of a feature"
        assert likeness.min() > 0.9
        far = place(features, (at[0], at[1] + 40), torch.eye(2))[1]
        assert far.max() < 0.5
        assert (far == 0).any(), "no peak within reach"


def test_a_network_of_other_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    tensors = read(verified(LOFTR))
    tensors.pop("backbone.length")
    save_file(tensors, path)
    with pytest.raises(WeightsDamaged, match=r"no backbone\.length"):
        load(path)
