"""Fill a network from a weights file: tensors alone, and exactly those it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch

from sentinel_match.errors import WeightsDamaged

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

Network = TypeVar("Network", bound="nn.Module")

DERIVED_TENSORS = frozenset({"dkd.hw_grid", "confidence_thresholds"})
"""Tensors that kornia's ALIKED and LightGlue compute for themselves: no file holds them, none is missed."""

TENSOR_KEYS = ("state_dict", "extractor")
"""Where LoFTR's and DISK's authors put the tensors of a file."""


def read(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file to the CPU, by name, also from under ``TENSOR_KEYS``. No code in it can run.

    Raises:
        WeightsDamaged: torch cannot read it as tensors alone.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle, end of file: whatever a foreign file provokes
        raise WeightsDamaged(path, f"torch cannot read it as tensors ({type(error).__name__})") from error
    if isinstance(content, dict):
        content = next((content[name] for name in TENSOR_KEYS if name in content), content)
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsDamaged(path, "it holds something other than named tensors")
    return dict(content)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {name: t.float() if t.is_floating_point() else t for name, t in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise WeightsDamaged(path, f"it is no safetensors file ({error})") from error


def fill(network: Network, tensors: Mapping[str, Tensor], path: Path) -> Network:
    """Fill a network with tensors that must fit it exactly, name by name and shape by shape, and set it to inference.

    Args:
        network: of any kind; it is changed.
        tensors: by name.
        path: the file they are from, for the error.

    Returns:
        The network itself.

    Raises:
        WeightsDamaged: a tensor is missing, superfluous or of another shape.
    """
    expected = network.state_dict()
    needed = [name for name in expected if name not in DERIVED_TENSORS and not _counts(name)]
    flaws = [f"no {name}" for name in needed if name not in tensors]
    flaws += [f"an unknown {name}" for name in tensors if name not in expected]
    flaws += [
        f"{name} of shape {tuple(tensors[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if flaws:
        raise WeightsDamaged(path, f"{len(flaws)} tensors do not fit the network, first {flaws[0]}")
    network.load_state_dict(dict(tensors), strict=False)
    network.eval().requires_grad_(requires_grad=False)
    return network


def _counts(name: str) -> bool:
    """Tell whether a tensor counts the batches of a training: no weight, and many files leave it out."""
    return name.endswith("num_batches_tracked")
