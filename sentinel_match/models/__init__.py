"""Networks, and the files of their weights. What describes the files is light; what computes imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentinel_match.errors import DeviceMissing

if TYPE_CHECKING:
    from typing import Any

    import torch
    from numpy.typing import NDArray

DEVICES = ("auto", "cpu", "cuda")


def device(name: str) -> torch.device:
    """Choose the device to compute on: ``cpu``, ``cuda``, or ``auto`` = CUDA where there is some.

    Raises:
        DeviceMissing: no such device on this machine.
    """
    import torch

    if name not in DEVICES:
        raise DeviceMissing(name, f"it is none of {', '.join(DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceMissing(name, "torch finds no CUDA device; take auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def tensor(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Copy an array to a device, wherever it comes from: torch takes no read-only map and no flipped view."""
    import numpy as np
    import torch

    return torch.tensor(np.ascontiguousarray(array), device=device)
