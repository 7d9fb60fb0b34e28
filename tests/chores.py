"""What processes of tests are given to do: each imports the module of its work, so the tests are in another."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple


class Chore(NamedTuple):
    """What a process is given: a number, and a file that tells whether the first one has died of it."""

    number: int
    deadly: Path | None = None
    always: bool = False


def doubled(chore: Chore) -> tuple[int, int]:
    """Double a number; kill this very process instead, the first time or always, where that is asked."""
    if chore.deadly and (chore.always or not chore.deadly.exists()):
        chore.deadly.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * chore.number, os.getpid()


def sleepy(seconds: float) -> None:
    time.sleep(seconds)


def threads_of_libraries(_: object) -> tuple[int, int, int]:
    import cv2
    import torch

    from sentinel_match.parallel import in_threads

    return torch.get_num_threads(), cv2.getNumThreads(), len(list(in_threads(abs, [1, -1], workers=2)))
