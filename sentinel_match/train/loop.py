"""Step by step from data to weights: resumable, interruptible, and the same whether it was interrupted or not."""

from __future__ import annotations

import contextlib
import csv
import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sentinel_match import atomic
from sentinel_match.errors import BadCheckpoint, WeightsMissing
from sentinel_match.models.weights import sha256, verified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from sentinel_match.matching.inputs import Progress
    from sentinel_match.models.weights import Weights
    from sentinel_match.train.task import Figures, Task

WARM_UP_STEPS = 50
"""Steps in which the learning rate rises."""
LEAST_RATE_SHARE = 0.02
"""Of the learning rate, where it ends."""
CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Schedule:
    """How long, and how fast."""

    steps: int = 3000
    rate: float = 3e-3
    """Highest learning rate of AdamW (Loshchilov & Hutter 2019), which then falls as half a cosine."""
    decay: float = 1e-3
    """Weight decay."""
    every: int = 250
    """Steps between two checkpoints."""

    def rate_at(self, step: int) -> float:
        """Learning rate of one step."""
        falling = 0.5 * (1 + np.cos(np.pi * min(step / self.steps, 1)))
        return float(self.rate * min(1, (step + 1) / WARM_UP_STEPS) * max(LEAST_RATE_SHARE, falling))


@dataclass
class TrainingState:
    """How far a training is."""

    step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    """One line per checkpoint: means of the steps since the last, and figures on held-out ground."""


def learn(
    task: Task,
    schedule: Schedule,
    folder: Path,
    device: torch.device,
    tell: Progress = lambda _what, _done, _of: None,
    written: Callable[[Path, TrainingState], object] = lambda _path, _progress: None,
) -> TrainingState:
    """Train until the schedule ends; a folder that holds a checkpoint of the same training goes on from there.

    Args:
        task: network and data.
        schedule: how long.
        folder: gets ``NAME.safetensors``, ``curves.csv`` and ``checkpoint.pt`` at every checkpoint.
        device: where the network is; on CUDA in mixed precision.
        tell: hears of progress.
        written: called with the new weights at every checkpoint, before it counts as done.

    Raises:
        BadCheckpoint: the folder holds that of another training, or one that is damaged.
        OutputError: the disk is full.
    """
    optimiser = torch.optim.AdamW(task.parameters(), schedule.rate, weight_decay=schedule.decay)
    progress = _taken_up(task, schedule, folder, optimiser)
    recent: list[Figures] = []
    while progress.step < schedule.steps:
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate_at(progress.step)
        task.network.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss, figures = task.step()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(task.parameters()), 1.0)
        optimiser.step()
        recent.append({"loss": float(loss.detach()), **figures})
        progress.step += 1
        tell(f"train {task.name}", progress.step, schedule.steps)
        if progress.step % schedule.every == 0 or progress.step == schedule.steps:
            task.network.eval()
            means = {name: float(np.mean([f[name] for f in recent])) for name in recent[0]}
            task.calibrate()
            progress.curve.append({"step": progress.step, **means, **task.examine()})
            recent = []
            weights = folder / f"{task.name}.safetensors"
            save(task.network, weights)
            written(weights, progress)
            # Last, so that who is stopped before this makes all of it again
            _keep(task, schedule, folder, optimiser, progress)
    return progress


def _keep(
    task: Task, schedule: Schedule, folder: Path, optimiser: torch.optim.Optimizer, progress: TrainingState
) -> None:
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(progress.curve[-1]), restval="")
    writer.writeheader()
    writer.writerows({k: round(v, 5) for k, v in line.items()} for line in progress.curve)
    atomic.write_text(folder / "curves.csv", lines.getvalue())
    state = {
        "recipe": _recipe(task, schedule),
        "network": task.network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "task": task.state(),
        "step": progress.step,
        "curve": progress.curve,
    }
    with atomic.whole(folder / CHECKPOINT) as temporary:
        torch.save(state, temporary)


def _recipe(task: Task, schedule: Schedule) -> dict[str, object]:
    return {"task": task.name, **task.recipe, **asdict(schedule)}


def _taken_up(task: Task, schedule: Schedule, folder: Path, optimiser: torch.optim.Optimizer) -> TrainingState:
    path = folder / CHECKPOINT
    if not path.exists():
        return TrainingState()
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        made = dict(state["recipe"])
    except Exception as error:  # zip, pickle, end of file, another program's: whatever such a file provokes
        raise BadCheckpoint(path, f"it is damaged ({type(error).__name__}); delete it to begin again") from error
    recipe = _recipe(task, schedule)
    other = sorted(k for k in {*recipe, *made} if recipe.get(k) != made.get(k))
    if other:
        raise BadCheckpoint(path, f"it was made with another {', '.join(other)}; choose another folder, or delete it")
    task.network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    task.resume(state["task"])
    return TrainingState(state["step"], state["curve"])


def started(start: str, shipped: Weights, load: Callable[[Path], Any]) -> tuple[Any, str]:
    """The network to begin with, ``None`` for a new one, and what it is.

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


def save(network: nn.Module, path: Path) -> str:
    """Write a network's state as safetensors, half precision, and return its SHA-256."""
    from safetensors.torch import save as serialised

    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items() if "num_batches" not in k}
    with atomic.whole(path) as temporary:
        temporary.write_bytes(serialised({k: v.half() if v.is_floating_point() else v for k, v in state.items()}))
    return sha256(path)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's own random numbers, those of new networks, from a seed; as they were, afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
