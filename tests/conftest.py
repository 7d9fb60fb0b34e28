"""What every test may ask for."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)  # a busy machine is no failure
settings.load_profile("house")

# The suite shares two cores with whatever else runs: see sentinel_match/execute.py
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


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
