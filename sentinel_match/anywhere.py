"""Paths that mean the same wherever pairs are matched: workers of a cluster have working folders of their own."""

from __future__ import annotations

import socket
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sentinel_match.job import Done, Work, do
from sentinel_match.matching.stable import AUTO
from sentinel_match.products.files import ADDRESS
from sentinel_match.raster.landcover import CLASS_TABLES
from sentinel_match.run_folder import RUN_RECORD, Outcome

if TYPE_CHECKING:
    from sentinel_match.options import Options
    from sentinel_match.products.pair import Pair

T = TypeVar("T")


def anywhere(value: T) -> T:
    """Make the paths in a value absolute, and those in what it holds; a value without one is returned itself."""
    made: Any = value
    if isinstance(value, Path):
        made = value if ADDRESS.match(str(value)) else value.absolute()  # an address is refused by its own name
    elif isinstance(value, list | tuple):
        made = type(value)(anywhere(one) for one in value)
    elif is_dataclass(value) and not isinstance(value, type):
        before = {one.name: getattr(value, one.name) for one in fields(value) if one.init}
        after = {name: anywhere(one) for name, one in before.items()}
        made = value if before == after else replace(value, **after)
    return cast("T", made)


def options_anywhere(options: Options) -> Options:
    """Make the paths of options absolute, those too that are given as text."""
    options, semantics = anywhere(options), options.semantics
    if semantics.table is not None and semantics.table.lower() not in CLASS_TABLES:
        semantics = replace(options.semantics, table=str(Path(semantics.table).absolute()))
        options = replace(options, semantics=semantics)
    if options.stable is not None and options.stable != AUTO:
        options = replace(options, stable=Path(options.stable).absolute())
    return options


def do_elsewhere(pair: Pair, work: Work) -> Done:
    """Match one pair on a worker of a cluster, if the run's files are there by the same paths.

    Without its own look a worker would leave the results in a folder of its own machine, and call the pair matched.
    """
    images = (image.asset.path for scene in (pair.left, pair.right) for image in scene.bands[:1])
    for path in (work.out / RUN_RECORD, *images):
        if not path.exists():
            reason = (
                f"{path} is not there for the worker on {socket.gethostname()}: all workers must reach the archive "
                "and the folder of results by the same paths as the run"
            )
            return Done(Outcome(pair.id, "failed", pair.left.id, pair.right.id, None, error=reason))
    return do(pair, work)
