"""Work on other machines: items are tasks of a dask cluster, whoever begins its workers.

What dask does is not done here: it hands tasks to workers, takes them back from those that are lost, and gives up items
that several died of. What is added: no more tasks at a time than a scheduler bears, and another scheduler in place of
one that is lost. Work that is asked for twice must find what it has done.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeVar

from sentinel_match import __version__
from sentinel_match.errors import ExtraMissing, SchedulerMissing
from sentinel_match.parallel import TRIES, one_core
from sentinel_match.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger(__name__)

PACKAGE = "sentinel-match"
AHEAD = 1000
"""Items that a scheduler knows at a time: enough for some hundred workers, and a pair takes some 10 kB of it."""
ANSWER_S = 30.0
"""A scheduler that does not answer for so long is not there."""
RETURN_S = 900.0
"""One that has answered before may take so long to be begun again, with its workers."""


def on_cluster(
    work: Callable[[T], R],
    items: Iterable[T],
    address: str,
    steps: Callable[[T], Mapping[str, Callable[[], object]]],
    lost: Callable[[T], R],
) -> Iterator[R]:
    """Run work on several items at a time on the workers of a dask scheduler; yield results as they come.

    An item whose worker is lost is done by another; those that had no result when a scheduler was lost are asked for
    again when it, or one in its place, answers.

    Args:
        work: what to do with each item; it, the items, their steps and the results can be pickled.
        items: taken up in this order.
        address: of the scheduler, ``tcp://host:8786``.
        steps: what must be done before an item, by name: one that several items share is done once. Of one
            that fails, each item itself meets why.
        lost: makes the result of an item that so many workers died of as the scheduler allows.

    Raises:
        ExtraMissing: dask is not installed.
        SchedulerMissing: no scheduler answers at the address.
    """
    left, patience = dict(enumerate(items)), ANSWER_S
    while left:
        client = _connected(address, patience)
        try:
            for number, result in _session(client, work, left, steps, lost):
                del left[number]
                yield result
        finally:
            with _unheard():
                client.close()
        if left:
            log.warning("%s is lost; %s are asked for again when it is back", address, counted(len(left), "pair"))
        patience = RETURN_S


def _connected(address: str, patience: float) -> Any:
    """Connect to a scheduler.

    Raises:
        ExtraMissing, SchedulerMissing: see :func:`on_cluster`.
    """
    try:
        from distributed import Client
        from distributed.comm import get_address_host_port
    except ImportError:
        raise ExtraMissing("Schedulers", "dask.distributed", "dask") from None
    try:
        get_address_host_port(address)  # a client that was begun with nonsense takes a minute to end
        client = Client(address, timeout=patience, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        reason = f"nobody answers there within {patience:.0f} s" if isinstance(error, OSError) else str(error)
        raise SchedulerMissing(address, reason) from error
    if others := _of_other_versions(client):
        with _unheard():
            client.close()
        raise SchedulerMissing(address, f"{others}, and all must have {PACKAGE} {__version__}, which is here")
    if not client.scheduler_info(n_workers=1)["workers"]:
        log.warning("%s has no worker yet: waiting for one", address)
    return client


def _of_other_versions(client: Any) -> str:
    """Say which of the scheduler and its workers has another version of this package, or none; empty if all have it.

    The scheduler unpacks what it hands out, too; a worker that cannot unpack a task ends, and nobody says why.
    """
    told: dict[str, Any] = {}
    with suppress(OSError):  # lost just now
        try:
            told["the scheduler"] = client.run_on_scheduler(version, PACKAGE)
        except PackageNotFoundError as error:
            told["the scheduler"] = error
        answers = client.run(version, PACKAGE, on_error="return")
        told |= {f"the worker {name}": one for name, one in answers.items() if not isinstance(one, OSError)}
    others = [
        f"{name} has {one if isinstance(one, str) else 'none'}" for name, one in told.items() if one != __version__
    ]
    return f"{others[0]}{f' (and {len(others) - 1} more)' if others[1:] else ''}" if others else ""


@contextmanager
def _unheard() -> Iterator[None]:
    """Keep dask from telling, with a traceback, that the scheduler is lost: we have said so, or are about to end."""
    logger = logging.getLogger("distributed.client")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _session(
    client: Any,
    work: Callable[[T], R],
    items: Mapping[int, T],
    steps: Callable[[T], Mapping[str, Callable[[], object]]],
    lost: Callable[[T], R],
) -> Iterator[tuple[int, R]]:
    """Run work on what is left until all is done, or the scheduler is lost; yield numbers of items and results."""
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    mine, waiting = uuid.uuid4().hex, iter(list(items))  # a scheduler may serve others, too
    uses = Counter(name for item in items.values() for name in steps(item))
    before: dict[str, Any] = {}
    numbers: dict[str, int] = {}
    flow = as_completed(loop=client.loop)

    def submit() -> None:
        if (number := next(waiting, None)) is None:
            return
        item = items[number]
        for name, step in steps(item).items():
            if name not in before:
                before[name] = client.submit(_prepared, step, key=f"scene-{mine}-{name}")
        first = [before[name] for name in steps(item)]
        task = client.submit(_alone, work, item, after=first, key=f"pair-{mine}-{number}", retries=TRIES - 1)
        numbers[task.key] = number
        flow.add(task)

    for _ in range(AHEAD):
        submit()
    for task in flow:
        number = numbers.pop(task.key)
        try:
            result = task.result()
        except CancelledError:  # nobody cancels it but a client whose scheduler is gone
            return
        except KilledWorker:
            result = lost(items[number])
        except Exception as error:  # dask's own: the work tells of its errors by its result
            raise SchedulerMissing(
                client.scheduler.address, f"{type(error).__name__}: {error}; do all machines have the same packages?"
            ) from error
        for name in steps(items[number]):
            uses[name] -= 1
            if not uses[name]:
                before.pop(name, None)
        yield number, result
        submit()


def _prepared(step: Callable[[], object]) -> None:
    """Do a step on one core, as far as it can be done."""
    try:
        _alone(step)
    except Exception:  # would be that of each item, which says what became of it, and end them all
        log.exception("what several pairs share is left to each")


def _alone(work: Callable[..., R], *items: object, after: object = None) -> R:  # noqa: ARG001 what it waits for
    """Do work on one core."""
    with one_core():
        return work(*items)
