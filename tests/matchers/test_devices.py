"""A result does not depend on where it was computed: CUDA finds what the CPU finds."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy.spatial import cKDTree

from sentinel_match import matchers
from sentinel_match.errors import WeightsMissing
from sentinel_match.matchers import Matches, correlation
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.matching import nodes, subpixel
from sentinel_match.raster.raster import Raster
from sentinel_match.testing.checks import example_pair

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device to compare with")

DEVICES = ("cpu", "cuda")
COMPUTING = [n for n in matchers.names() if "device" in {f.name for f in fields(matchers.matcher_class(n))}]
SHIFT = (7.3, -4.6)
PAIR = example_pair(SHIFT, size=400)
SAME = 0.05
"""Pixels: less than any method here is precise to."""
SHARE = 0.98
"""Of the matches: where two keypoints are equally strong, rounding chooses."""


def shared(one: Matches, other: Matches) -> float:
    """Share of the matches of either that the other has too, both ends within ``SAME`` in x and in y."""
    a, b = (np.hstack([m.left, m.right]) for m in (one, other))
    return min(float((cKDTree(q).query(p, p=np.inf)[0] <= SAME).mean()) for p, q in ((a, b), (b, a)))


@pytest.mark.parametrize("guided", [False, True], ids=["anywhere", "guided"])
@pytest.mark.parametrize("name", COMPUTING)
def test_a_matcher_finds_the_same_on_cuda(name: str, guided: bool) -> None:
    prior = GeometricPrior(np.array([[1, 0, 5.0], [0, 1, -5.0], [0, 0, 1]]), 24.0) if guided else None
    found = []
    for device in DEVICES:
        try:
            matcher = matchers.create(name, device=device)
        except WeightsMissing as error:
            pytest.skip(str(error))
        left, right = matcher.describe(PAIR.left, PAIR.left_valid), matcher.describe(PAIR.right, PAIR.right_valid)
        found.append(matcher.match(left, right, prior))
    assert min(map(len, found)) > 100
    assert shared(*found) >= SHARE


def test_what_was_described_on_one_device_is_matched_on_the_other() -> None:
    here, there = (matchers.create(device=device) for device in DEVICES)
    left, right = here.describe(PAIR.left, PAIR.left_valid), there.describe(PAIR.right, PAIR.right_valid)
    found = here.match(left, right), there.match(left, right)
    assert min(map(len, found)) > 100
    assert shared(*found) >= SHARE


def test_the_measurement_of_points_is_the_same_on_cuda() -> None:
    box = GeoBox((400, 400), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633")
    left, right = Raster(PAIR.left, PAIR.left_valid, box), Raster(PAIR.right, PAIR.right_valid, box)
    at = nodes.grid(PAIR.left_valid, 900)
    cpu, cuda = (
        subpixel.measure(left, right, at, at + SHIFT, subpixel.Refinement(device=device)) for device in DEVICES
    )
    assert cpu.ok.sum() > 500
    assert (cpu.ok == cuda.ok).mean() >= SHARE
    assert (cpu.feature == cuda.feature).mean() >= SHARE
    both = cpu.ok & cuda.ok
    assert (np.abs(cpu.right - cuda.right)[both].max(1) <= SAME).mean() >= SHARE
    for name in ("sigma", "quality", "distinct"):
        assert np.median(np.abs(getattr(cpu, name) - getattr(cuda, name))[both]) < 1e-3


@pytest.mark.parametrize("view", ["intensity", "orientation"])
def test_surfaces_of_correlation_are_the_same_on_cuda(view: str) -> None:
    at = nodes.grid(PAIR.left_valid, 400)
    to = at + SHIFT  # fractions shift the surface
    surfaces = []
    for device in map(torch.device, DEVICES):
        here = correlation.part([PAIR.left], PAIR.left_valid, at, 48, view, device)
        there = correlation.part([PAIR.right], PAIR.right_valid, to, 48, view, device)
        surfaces.append(correlation.Correlator(here, there, 64, view).surfaces(at, to, 4))
    cpu, cuda = surfaces
    assert cuda.height.is_cuda
    assert float((cpu.height - cuda.height.cpu()).abs().quantile(0.99)) < 1e-3
    assert float((cpu.clear - cuda.clear.cpu()).abs().max()) < 1e-5
    one, other = (correlation.peaks(s.height) for s in surfaces)
    inside = one.inside & other.inside
    assert inside.mean() > 0.5
    assert (np.abs(one.shift - other.shift)[inside].max(1) <= SAME).mean() >= SHARE
