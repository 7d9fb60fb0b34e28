"""The steps from data to weights: resumable, interruptible, and the same whether they were interrupted or not."""

from __future__ import annotations

import contextlib
import csv
import io
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from sentinel_match import atomic
from sentinel_match.errors import BadCheckpoint
from sentinel_match.matching.inputs import silent
from sentinel_match.models.weights import sha256
from sentinel_match.train.figures import Figure, columns_of
from sentinel_match.train.networks import TRAINABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from sentinel_match.matching.inputs import Progress
    from sentinel_match.train.task import Task

WARM_UP_STEPS = 50
"""Steps in which the learning rate rises."""
LEAST_RATE_SHARE = 0.02
"""Of the learning rate, where it ends."""
CHECKPOINT = "checkpoint.pt"
KEPT_S = 15.0
"""Seconds after which a training is kept besides, so that Ctrl-C loses no more: an examination takes far longer."""


@dataclass(frozen=True)
class Schedule:
    """How long, and how fast."""

    steps: int = 3000
    rate: float = 3e-3
    """Highest learning rate of AdamW (Loshchilov & Hutter 2019), which then falls as half a cosine."""
    decay: float = 1e-3
    """Weight decay."""
    every: int = 250
    """Steps between two examinations."""

    def rate_at(self, step: int) -> float:
        """Compute the learning rate of one step."""
        cosine = 0.5 * (1 + np.cos(np.pi * min(step / self.steps, 1)))
        return float(self.rate * min(1, (step + 1) / WARM_UP_STEPS) * max(LEAST_RATE_SHARE, cosine))


@dataclass(frozen=True)
class CurvePoint:
    """An examination as a line of ``curves.csv``."""

    step: int
    means: tuple[Figure, ...]
    """Of the steps since the last one."""
    examination: tuple[Figure, ...]
    """On held-out ground."""

    def to_dict(self) -> dict[str, float]:
        """Flatten the point into columns."""
        return {"step": self.step, **columns_of(self.means), **columns_of(self.examination)}

    @classmethod
    def from_dict(cls, columns: Mapping[str, float], examined: Sequence[str]) -> CurvePoint:
        """Make the point of which :meth:`to_dict` made these columns.

        Args:
            columns: by name.
            examined: names of the figures on held-out ground.
        """
        examination = tuple(Figure.from_dict(name, columns) for name in examined)
        others = columns.keys() - columns_of(examination).keys() - {"step"}
        means = tuple(Figure(name, value) for name, value in columns.items() if name in others)
        return cls(int(columns["step"]), means, examination)


@dataclass
class TrainingState:
    """How far a training is."""

    step: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    """One point per examination."""
    recent: list[tuple[Figure, ...]] = field(default_factory=list)
    """Figures of the steps since the last one."""


def learn(
    task: Task,
    schedule: Schedule,
    folder: Path,
    device: torch.device,
    progress: Progress = silent,
    written: Callable[[Path, TrainingState], object] = lambda _path, _state: None,
) -> TrainingState:
    """Train until the schedule ends; a folder that holds a checkpoint of the same training goes on from there.

    Args:
        task: network and data.
        schedule: how long.
        folder: gets ``NAME.safetensors`` and ``curves.csv`` at every examination, ``checkpoint.pt`` then and every
            :data:`KEPT_S` seconds.
        device: where the network is; on CUDA in mixed precision.
        progress: hears of progress.
        written: called with the new weights at every examination, before it counts as done.

    Raises:
        BadCheckpoint: the folder holds that of another training, or one that is damaged.
        OutputError: the disk is full.
        KeyboardInterrupt: somebody has stopped it; from which step it goes on.
    """
    optimiser = torch.optim.AdamW(task.parameters(), schedule.rate, weight_decay=schedule.decay)
    state = _resumed(task, schedule, folder, optimiser)
    kept, kept_at = state.step, time.monotonic()
    try:
        while state.step < schedule.steps:
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate_at(state.step)
            task.network.train()
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss, figures = task.step()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(list(task.parameters()), 1.0)
            optimiser.step()
            state.recent.append((Figure("loss", float(loss.detach())), *figures))
            state.step += 1
            progress(f"train {task.name}", state.step, schedule.steps)
            if state.step % schedule.every == 0 or state.step == schedule.steps:
                task.network.eval()
                progress(f"examine {task.name}", 0, 1)
                task.calibrate()
                state.curve.append(CurvePoint(state.step, _means(state.recent), task.examine()))
                state.recent.clear()
                weights = folder / f"{task.name}.safetensors"
                save(task.network, weights)
                written(weights, state)
                _write_curve(folder, state)
            elif time.monotonic() - kept_at < KEPT_S:
                continue
            # Last, so that who is stopped before this makes all of it again
            _write_checkpoint(task, schedule, folder, optimiser, state)
            kept, kept_at = state.step, time.monotonic()
    except KeyboardInterrupt:
        begin = f"goes on from step {kept} of {schedule.steps}" if kept else "begins again, no step was kept yet"
        raise KeyboardInterrupt(f"the same command {begin}") from None
    return state


def _means(steps: Sequence[tuple[Figure, ...]]) -> tuple[Figure, ...]:
    """Average the figures of several steps, each of which has the same."""
    return tuple(
        Figure(figures[0].name, float(np.mean([figure.value for figure in figures])))
        for figures in zip(*steps, strict=True)
    )


def _write_curve(folder: Path, state: TrainingState) -> None:
    rows = [point.to_dict() for point in state.curve]
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(rows[-1]), restval="")
    writer.writeheader()
    writer.writerows({name: round(value, 5) for name, value in row.items()} for row in rows)
    atomic.write_text(folder / "curves.csv", lines.getvalue())


def _write_checkpoint(
    task: Task, schedule: Schedule, folder: Path, optimiser: torch.optim.Optimizer, state: TrainingState
) -> None:
    checkpoint = {
        "recipe": _recipe(task, schedule),
        "network": task.network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "task": task.state(),
        "step": state.step,
        "curve": [point.to_dict() for point in state.curve],
        "recent": [[(figure.name, float(figure.value)) for figure in figures] for figures in state.recent],
    }
    with atomic.whole(folder / CHECKPOINT) as temporary:
        torch.save(checkpoint, temporary)


def _recipe(task: Task, schedule: Schedule) -> dict[str, object]:
    return {"task": task.name, **task.recipe, **asdict(schedule)}


def _resumed(task: Task, schedule: Schedule, folder: Path, optimiser: torch.optim.Optimizer) -> TrainingState:
    path = folder / CHECKPOINT
    if not path.exists():
        return TrainingState()
    recipe = _recipe(task, schedule)
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        other = dict(checkpoint["recipe"])
    except Exception as error:  # zip, pickle, end of file, another program's: whatever such a file provokes
        raise BadCheckpoint(path, f"it is damaged ({type(error).__name__}); delete it to begin again") from error
    changes = sorted(k for k in {*recipe, *other} if recipe.get(k) != other.get(k))
    if changes:
        raise BadCheckpoint(path, f"it was made with another {', '.join(changes)}; choose another folder, or delete it")
    examined = [figure.name for figure in TRAINABLE[task.name].figures]
    try:
        task.network.load_state_dict(checkpoint["network"])
        optimiser.load_state_dict(checkpoint["optimiser"])
        task.resume(checkpoint["task"])
        curve = [CurvePoint.from_dict(row, examined) for row in checkpoint["curve"]]
        recent = [tuple(Figure(*figure) for figure in figures) for figures in checkpoint["recent"]]
        return TrainingState(int(checkpoint["step"]), curve, recent)
    except Exception as error:  # other tensors, other keys, other values: whatever another version wrote
        reason = f"another version wrote it ({type(error).__name__}); choose another folder, or delete it"
        raise BadCheckpoint(path, reason) from error


def save(network: nn.Module, path: Path) -> str:
    """Write a network's state as safetensors, half precision, and return its SHA-256."""
    from safetensors.torch import save as serialised

    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items() if "num_batches" not in k}
    with atomic.whole(path) as temporary:
        temporary.write_bytes(serialised({k: v.half() if v.is_floating_point() else v for k, v in state.items()}))
    return sha256(path)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's own random numbers, those of new networks; they are as they were, afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
