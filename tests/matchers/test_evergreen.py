"""The matcher that was trained here: its network, its correlation, and what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from sentinel_match import models
from sentinel_match.errors import WeightsDamaged
from sentinel_match.matchers import create, dense
from sentinel_match.matchers.correlation import Correlator, part
from sentinel_match.matchers.evergreen import Evergreen
from sentinel_match.matchers.phase import Phase
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.models.evergreen import EvergreenNetwork as Network
from sentinel_match.models.evergreen import fused, load, standardised
from sentinel_match.models.shipped import EVERGREEN
from sentinel_match.models.weights import verified
from sentinel_match.testing.checks import example_pair
from sentinel_match.train.loop import save
from sentinel_match.train.surfaces import peak, phase, template

EVER = Evergreen(device="cpu")


def texture(rows: int = 160, cols: int = 192, seed: int = 0) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).random((rows, cols)), 1.5)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def test_a_network_of_ones_own_takes_its_place(tmp_path) -> None:
    path = tmp_path / "mine.safetensors"
    save(Network(), path)
    assert EVER.recipe != Evergreen(weights_file=path).recipe
    assert Evergreen(weights_file=path, device="cpu").describe(texture(), texture() > -1)["features"].any()


def test_a_file_that_is_no_network_is_refused(tmp_path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"no tensors at all")
    with pytest.raises(WeightsDamaged, match="it is no safetensors file"):
        load(path)


def test_folding_the_norms_changes_nothing() -> None:
    network = load(verified(EVERGREEN))
    image, valid = torch.from_numpy(texture())[None, None], torch.ones(1, 1, 160, 192)
    with torch.inference_mode():
        before = network(image, valid)
        torch.testing.assert_close(before, fused(network)(image, valid), atol=1e-4, rtol=1e-4)


def test_gain_and_offset_of_an_image_do_not_matter() -> None:
    image = texture()
    one, other = (EVER.describe(i, image > -1)["features"].astype(float) for i in (image, 0.6 * image + 0.2))
    assert np.abs(one - other).mean() < 0.1 * np.abs(one).mean()


def test_a_place_has_the_same_features_however_the_image_is_cut() -> None:
    image = texture(512, 512)
    whole = EVER.describe(image, image > -1)["features"].astype(float)
    part_ = EVER.describe(image[128:, 64:], image[128:, 64:] > -1)["features"].astype(float)
    inner = np.s_[:, 60:-60, 60:-60]
    assert np.abs(whole[:, 64:, 32:][inner] - part_[inner]).max() < 0.02 * np.abs(whole).max()


def test_what_lies_under_the_mask_does_not_matter() -> None:
    image, valid = texture(), np.ones((160, 192), bool)
    valid[60:90, 80:120] = False
    changed = np.where(valid, image, 1.0).astype(np.float32)
    one, other = (EVER.describe(i, valid) for i in (image, changed))
    assert np.array_equal(one["features"], other["features"])
    assert not one["features"][:, 30:45, 40:60].any()


@pytest.mark.parametrize("shape", [(161, 193), (64, 65), (3, 2)])
def test_any_size_will_do(shape: tuple[int, int]) -> None:
    image = texture(*shape)
    arrays = EVER.describe(image, image > -1)
    assert shape == arrays["valid"].shape
    assert len(EVER.match(arrays, arrays, GeometricPrior(np.eye(3), 4.0))) >= 0


def test_an_empty_image_has_no_match() -> None:
    image = texture()
    arrays, nothing = EVER.describe(image, image > -1), EVER.describe(image, image > 2)
    assert 0 == len(EVER.match(arrays, nothing)) == len(EVER.match(nothing, arrays))


def test_it_finds_a_shift_to_a_tenth_of_a_pixel_across_seasons() -> None:
    pair = example_pair(seasons=("winter", "summer"))
    sides = [EVER.describe(*side) for side in ((pair.left, pair.left_valid), (pair.right, pair.right_valid))]
    matches = EVER.match(*sides, GeometricPrior(np.eye(3), 12.0))
    error = pair.error(matches)
    assert len(matches) > 100
    assert np.hypot(*np.median(error, axis=0)) < 0.15
    assert (np.hypot(*error.T) < 1).mean() > 0.9


def test_a_prior_that_is_far_off_is_narrowed() -> None:
    pair = example_pair((41.3, -28.7), size=560)
    sides = [EVER.describe(*side) for side in ((pair.left, pair.left_valid), (pair.right, pair.right_valid))]
    matches = EVER.match(*sides, GeometricPrior(np.eye(3), 90.0))
    assert len(matches) > 500
    assert np.abs(np.median(pair.error(matches), axis=0)).max() < 0.1


def test_no_match_lies_beyond_the_prior() -> None:
    image = texture()
    arrays = EVER.describe(image, image > -1)
    aside = np.array([[1, 0, 3.0], [0, 1, 0], [0, 0, 1]])
    matches = EVER.match(arrays, arrays, GeometricPrior(aside, 4.0))
    assert (np.hypot(*(matches.right - matches.left - (3, 0)).T) <= 4).all()
    assert not len(EVER.match(arrays, arrays, GeometricPrior(aside, 2.0)))


def test_an_odd_spacing_is_refused() -> None:
    with pytest.raises(ValueError, match="spacing must be a multiple of 4, not 6"):
        Evergreen(spacing=6)


def test_phase_answers_the_same_through_the_room_it_shares() -> None:
    image = texture()
    arrays = Phase().describe(image, image > -1)
    grid = dense.Grid(8, 64, "orientation")
    found = dense.surfaces(
        *(dense.Samples([arrays["pixels"]], arrays["valid"]),) * 2,
        arrays["valid"],
        GeometricPrior(np.eye(3), 4.0),
        grid,
        torch.device("cpu"),
    )
    inner = (found.clear.flatten() > 0.9).numpy()
    assert np.abs(found.tops(0, 8).shift[inner]).max() < 0.01


# What it learns through


def test_training_sees_the_surfaces_that_matching_sees() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(1, 3, 64, 64, generator=generator) for _ in range(2))
    at = torch.tensor([24, 32, 40])
    learned = phase(left, right, at, 5, 32)[0].reshape(9, 11, 11)
    points = np.stack(np.meshgrid([24.0, 32, 40], [24.0, 32, 40]), -1).reshape(-1, 2)
    sides = [
        part(list(t[0].numpy()), np.ones((64, 64), bool), points, 18, "intensity", torch.device("cpu"))
        for t in (left, right)
    ]
    matched = Correlator(*sides, 32, "intensity").surfaces(points, points, 5).height
    torch.testing.assert_close(learned, matched, atol=5e-3, rtol=0)


def test_the_gradient_of_the_template_is_right() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(1, 2, 20, 20, generator=generator, dtype=torch.double, requires_grad=True) for _ in range(2)]
    at = torch.tensor([8, 12])
    assert torch.autograd.gradcheck(lambda a, b: template(a, b, at, 2), maps)


@pytest.mark.parametrize("way", ["template", "phase"])
def test_both_ways_see_a_displacement_where_it_is(way: str) -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(1, 4, 64, 64, generator=generator)
    right = left.roll((3, -2), (2, 3))
    at = torch.tensor([28, 36])
    surface = template(left, right, at, 6) if way == "template" else phase(left, right, at, 6, 32)
    shift, inside = peak(surface.flatten(0, 2))
    assert inside.all()
    torch.testing.assert_close(shift, torch.tensor([[-2.0, 3.0]]).expand(4, 2), atol=0.05, rtol=0)


def test_standardising_removes_what_changes_slowly() -> None:
    y, x = np.mgrid[:96, :128] / 128
    image = texture(96, 128)
    views = [torch.from_numpy((i).astype(np.float32))[None, None] for i in (image, image + x + y)]
    one, other = (standardised(v, torch.ones_like(v)) for v in views)
    inner = (..., slice(24, -24), slice(24, -24))
    assert (one - other)[inner].abs().mean() < 0.05 * one[inner].abs().mean()
    assert 0.5 < one[inner].std() < 1.5


def test_it_computes_where_it_is_told() -> None:
    assert torch.device("cpu") == models.device(EVER.device)
    assert "evergreen" == create("evergreen").name
