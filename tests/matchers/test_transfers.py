"""What passes between host and device while windows are correlated: pixels in, points out, and nothing meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from sentinel_match.matchers import correlation
from sentinel_match.matchers.correlation import Correlator, part, peaks
from sentinel_match.parallel import one_core

BACK = {"cpu", "numpy", "item", "tolist", "nonzero", "__bool__", "__float__", "__int__", "__index__", "is_nonzero"}
"""What asks a device for numbers, and waits for them."""


class Transfers(TorchFunctionMode):
    """Counts what asks a device for numbers."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        self.counts[name] += name in BACK
        return func(*args, **(kwargs or {}))


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count transfers both ways while the block runs."""
    from_numpy = torch.from_numpy
    with monkeypatch.context() as patched, one_core(), Transfers() as transfers:
        patched.setattr(torch, "from_numpy", lambda array: transfers.counts.update(["from_numpy"]) or from_numpy(array))
        yield transfers.counts


def correlator(view: str, device: str, at: np.ndarray) -> Correlator:
    pixels = np.random.default_rng(3).random((400, 400)).astype(np.float32)
    valid = np.ones(pixels.shape, bool)
    sides = [part([pixels], valid, at, 34, view, torch.device(device)) for _ in range(2)]
    return Correlator(*sides, 32, view)


def places(count: int) -> tuple[np.ndarray, np.ndarray]:
    at = np.random.default_rng(4).integers(60, 340, (count, 2)).astype(float)
    return at, at + 0.3


@pytest.mark.parametrize("view", ["intensity", "orientation"])
def test_a_device_that_has_no_numbers_is_asked_for_none_until_all_is_correlated(view: str) -> None:
    """A tensor of the device ``meta`` has a shape alone: whatever looks at its numbers fails."""
    at, to = places(300)
    shape = correlator(view, "meta", at)
    assert (300, 9, 9) == shape.surfaces(at, to, 4).height.shape
    assert [(300, 9, 9)] * 3 == [s.height.shape for s in shape.halves(at, to, 4, np.round(to))]


def test_more_windows_are_no_more_transfers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation, "_pixels_at_once", lambda _: 16 * 32**2)
    counts = []
    for count in (16, 320):  # one batch, and twenty
        at, to = places(count)
        with counted(monkeypatch) as transfers:
            top = peaks(correlator("orientation", "cpu", at).surfaces(at, to, 4).height)
        assert count == len(top.quality)
        counts.append({name: n for name, n in transfers.items() if n})
    assert counts[0] == counts[1]
    assert {"from_numpy": 4 + 3, "cpu": 1, "numpy": 1} == counts[
        0
    ]  # pixels and masks of two sides, three kinds of points


def test_a_batch_takes_a_part_of_the_free_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (8 * 2**30, 16 * 2**30))
    pixels = correlation._pixels_at_once(torch.device("cuda"))
    assert 2 * 2**30 == pixels * correlation.WINDOW_BYTES
    assert pixels > 64 * correlation._pixels_at_once(torch.device("cpu"))
