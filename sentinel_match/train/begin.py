"""Where a training begins: a new network, the one that comes with the package, or one of an earlier training."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentinel_match.errors import WeightsDamaged, WeightsMissing
from sentinel_match.models import shipped
from sentinel_match.models.weights import sha256, verified

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentinel_match.models.weights import Weights
    from sentinel_match.train.places import Ground
    from sentinel_match.train.task import Task, TrainingSetup


def prepare_training(name: str, start: str, given: Path | None, setup: TrainingSetup) -> Callable[[Ground], Task]:
    """Prepare a training that wants nothing but ground: read the weights that it begins with.

    Args:
        name: a key of :data:`sentinel_match.train.networks.TRAINABLE`.
        start: ``scratch``, ``shipped``, or a file of weights.
        given: weights of the network that this one needs: SuperPoint's, for one that assigns its keypoints; of a
            trunk, for a new ``loftr`` or ``superpoint``; the shipped ones when not given.
        setup: batch, seed and device; its origin is found out here.

    Raises:
        WeightsMissing, WeightsDamaged: a file is not there, or is none of its network.
    """
    if name == "evergreen":
        from sentinel_match.models import evergreen
        from sentinel_match.train.dense import Dense

        network, origin = _first_network(start, shipped.EVERGREEN, evergreen.load)
        return partial(Dense, network=network, setup=replace(setup, origin=origin))
    if name == "trunk":
        from sentinel_match.models import trunk
        from sentinel_match.train.dense import DenseTrunk

        network, origin = _first_network(start, shipped.LOFTR, trunk.load)
        return partial(DenseTrunk, network=network, setup=replace(setup, origin=origin))
    if name == "loftr":
        return _prepare_loftr(start, given, setup)
    if name == "superpoint":
        return _prepare_points(start, given, setup)
    from sentinel_match.models import superpoint
    from sentinel_match.train.assignment import ASSIGNERS, Assignment

    path = verified(shipped.SUPERPOINT, given)
    detector = superpoint.load(path)
    network, origin = _first_network(start, ASSIGNERS[name].weights, ASSIGNERS[name].load)
    setup = replace(setup, origin=f"{origin}, for the keypoints of {path.name} ({sha256(path)[:12]})")
    return lambda ground: Assignment(name, ground, detector, network, setup=setup)


def _prepare_loftr(start: str, given: Path | None, setup: TrainingSetup) -> Callable[[Ground], Task]:
    """Prepare ``loftr``: a new one stands on a trunk of one's own, or on that of the shipped one."""
    from sentinel_match.models import loftr
    from sentinel_match.train.coarse_to_fine import CoarseToFine

    network, origin = _first_network(start, shipped.LOFTR, loftr.load)
    if network is not None:
        return partial(CoarseToFine, network=network, setup=replace(setup, origin=origin))
    tensors, trunk_name = _trunk(given)
    return partial(CoarseToFine, trunk=tensors, setup=replace(setup, origin=f"{origin}, on the trunk of {trunk_name}"))


def _prepare_points(start: str, given: Path | None, setup: TrainingSetup) -> Callable[[Ground], Task]:
    """Prepare ``superpoint``, which stands on a trunk as ``loftr`` does; the authors' shape is not trained."""
    from sentinel_match.models import superpoint
    from sentinel_match.train.points import Points

    network, origin = _first_network(start, shipped.SUPERPOINT, superpoint.load)
    if network is not None:
        if not isinstance(network, superpoint.SeasonsPoints):
            raise WeightsDamaged(Path(start), "they are the authors', whose shape is not trained here")
        return partial(Points, network=network, setup=replace(setup, origin=origin))
    tensors, trunk_name = _trunk(given)
    return partial(Points, trunk=tensors, setup=replace(setup, origin=f"{origin}, on the trunk of {trunk_name}"))


def _trunk(given: Path | None) -> tuple[dict[str, Any], str]:
    """Load the tensors of a trunk, that of the shipped ``loftr`` when no file is given, and say which it is."""
    from sentinel_match.models import loftr, trunk

    path = verified(shipped.LOFTR) if given is None else given
    tensors = loftr.load(path).backbone.state_dict() if given is None else trunk.load(path).state_dict()
    return tensors, f"{path.name} ({sha256(path)[:12]})"


def _first_network(start: str, shipped: Weights, load: Callable[[Path], Any]) -> tuple[Any, str]:
    """Load the network to begin with, ``None`` for a new one, and say what it is.

    Args:
        start: ``scratch``, ``shipped``, or a file of weights.
        shipped: those that come with the package.
        load: makes a network of a file.

    Raises:
        WeightsMissing, WeightsDamaged: the file is not there, or is none of this network.
    """
    if start == "scratch":
        return None, start
    if start != "shipped" and not Path(start).is_file():
        raise WeightsMissing(
            shipped.matcher, start, shipped.licence, "--start is shipped, scratch, or a file that `train` has written"
        )
    path = verified(shipped, None if start == "shipped" else Path(start))
    network = load(path)
    network.requires_grad_(requires_grad=True)
    return network, f"{start} ({sha256(path)[:12]})"
