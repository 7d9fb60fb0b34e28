"""What every test may ask for."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import kornia.feature
import numpy as np
import pytest
import torch
from hypothesis import settings

from sentinel_match import matchers
from sentinel_match.matchers.loftr import LoFTR
from sentinel_match.matchers.superpoint import SuperPointLightGlue
from sentinel_match.models.superpoint import SuperPoint
from sentinel_match.options import Options
from sentinel_match.pipeline import match_scenes
from sentinel_match.products.catalogue import read_scene
from sentinel_match.testing import Landscape, write_product
from sentinel_match.tiepoints import OUTLIER, TiePoints

settings.register_profile("house", deadline=None)  # a busy machine is no failure
settings.load_profile("house")

# The suite shares two cores with whatever else runs: see sentinel_match/parallel.py
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


def pytest_runtest_setup(item: pytest.Item) -> None:
    mark = item.get_closest_marker("unix")
    if mark is not None and sys.platform == "win32":
        pytest.skip(f"Windows {mark.args[0]}")


@pytest.fixture(autouse=True)
def quiet_again() -> Iterator[None]:
    """The command line sets how much the whole process says; the next test must hear everything."""
    yield
    logging.getLogger().setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real Sentinel-2 data, or skip: ``SENTINEL_MATCH_DATA``, else ``../shared/data`` beside the checkout."""
    folder = Path(os.environ.get("SENTINEL_MATCH_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "safe_pair_T33UUU_B04").is_dir():
        pytest.skip(f"no real Sentinel-2 data in {folder}; set SENTINEL_MATCH_DATA")
    return folder


@pytest.fixture(scope="session")
def ties(tmp_path_factory: pytest.TempPathFactory) -> TiePoints:
    """Tie points of an invented pair, the right image 6.4 m east and 18.1 m north; three are called outliers."""
    folder = tmp_path_factory.mktemp("pair")
    left = write_product(folder, Landscape(7), date="2021-05-20", pixels=360)
    right = write_product(folder, Landscape(7), date="2021-09-17", pixels=360, displacement=(6.4, 18.1))
    chosen = Options(matcher=matchers.create("phase"), candidates=500)
    found = match_scenes(read_scene(left), read_scene(right), chosen)
    wrong = np.flatnonzero(found.inlier)[[3, 200, 400]]
    inlier, reason = found.inlier.copy(), found.reason.copy()
    inlier[wrong], reason[wrong] = False, OUTLIER
    return replace(found, inlier=inlier, reason=reason)


@pytest.fixture(scope="session")
def superpoint(tmp_path_factory: pytest.TempPathFactory) -> SuperPointLightGlue:
    """Networks of the right shape that learnt nothing, saved under the authors' names."""
    folder = tmp_path_factory.mktemp("superpoint")
    torch.manual_seed(0)
    torch.save(SuperPoint().state_dict(), folder / "points.pth")
    tensors = kornia.feature.LightGlue(features=None, input_dim=256).state_dict()
    del tensors["confidence_thresholds"]
    old = {re.sub(r"^transformers\.(\d)\.(\w+)\.", r"\2.\1.", name): tensor for name, tensor in tensors.items()}
    torch.save({**old, "log_assignment.0.r": torch.zeros(1)}, folder / "glue.pth")
    return SuperPointLightGlue(
        max_keypoints=100, min_score=0.0, weights_file=folder / "points.pth", lightglue_file=folder / "glue.pth"
    )


@pytest.fixture(scope="session")
def loftr(tmp_path_factory: pytest.TempPathFactory) -> LoFTR:
    """A LoFTR that learnt nothing, saved as the authors save theirs."""
    path = tmp_path_factory.mktemp("loftr") / "loftr.ckpt"
    torch.manual_seed(1)
    tensors = kornia.feature.LoFTR(pretrained=None).state_dict()
    torch.save({"state_dict": {f"matcher.{name}": tensor for name, tensor in tensors.items()}}, path)
    return LoFTR(min_score=0.0, weights_file=path)
