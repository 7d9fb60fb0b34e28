"""Which pairs to evaluate, and what is known of each: from a CSV, or from archives."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.errors import BadList, InputError
from sentinel_match.evaluate.displaced import warp_of
from sentinel_match.matching.inputs import common_band
from sentinel_match.products.catalogue import find_scenes, read_scene
from sentinel_match.products.files import read_text
from sentinel_match.products.pairing import pair_scenes
from sentinel_match.products.scene import Mask
from sentinel_match.wording import in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sentinel_match.products.filters import Filters
    from sentinel_match.products.pair import Pair
    from sentinel_match.products.scene import Scene

REQUIRED_COLUMNS = ("set", "place", "left", "right", "band")
SHIFTS = (("dx_px", "dy_px"), ("dx_m", "dy_m"))
"""One of both says where the right content lies beside its georeference: pixels right and down, metres east and
north."""
OPTIONAL_COLUMNS = ("left_classes", "right_classes", "warp", "hidden", "truth_m")


@dataclass(frozen=True)
class ListedPair:
    """One pair to evaluate, of which no pixel has been read."""

    name: str
    set: str
    """Where it is from; figures are given for each set."""
    place: str
    """The ground it shows: pairs of one place are no independent evidence."""
    left: Scene
    right: Scene
    band: str
    """What both are compared in; several with commas."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Pixels (x right, y down) by which the right content lies beside its georeference."""
    shift_m: tuple[float, float] | None = None
    """The same in metres, east and north, where it is known so: then ``shift`` is not asked."""
    truth_m: float | None = None
    """Standard deviation of that per axis, metres; ``None`` where it is not known."""
    is_measured: bool = False
    """Whether that is to be measured when the images are read, because nothing lists it."""
    warp: str = "none"
    """What is done to the right image besides displacing it: see :func:`displaced.warp_of`."""
    hidden: bool = False
    """No clear ground is shared, so that the right answer is "no match"."""
    strata: tuple[tuple[str, str], ...] = ()
    """Further facts, by which figures are given apart."""


def read_list(path: Path) -> tuple[ListedPair, ...]:
    """Read pairs from a CSV file.

    Columns ``set, place, left, right, band``, and ``dx_px, dy_px`` or ``dx_m, dy_m``; files relative to the list's
    folder. Optional: ``left_classes`` and ``right_classes`` (rasters of SCL codes), ``warp``, ``hidden`` (``yes``: no
    clear ground is shared), ``truth_m`` (standard deviation of the shift). Every other column is a stratum.

    Raises:
        BadList: it is not there, or a column, a number or a file is missing; the line is named.
        NotAProduct: an image cannot be opened.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path, "utf-8-sig")))
        rows, columns = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadList(path, f"it cannot be read ({in_words(error)})") from error
    absent = [name for name in REQUIRED_COLUMNS if name not in columns]
    if not any(set(names) <= {*columns} for names in SHIFTS):
        absent += SHIFTS[0]
    if absent:
        needed = f"{', '.join(REQUIRED_COLUMNS)}, and {' or '.join(', '.join(names) for names in SHIFTS)}"
        raise BadList(path, f"it has no column {', '.join(absent)} (needed are {needed})")
    if not rows:
        raise BadList(path, "it lists no pair")
    return unique(_listed(path, number, row) for number, row in enumerate(rows, 2))


def list_archives(
    paths: Iterable[Path], filters: Filters, band: str | None
) -> tuple[tuple[ListedPair, ...], tuple[InputError, ...]]:
    """Propose pairs from archives, whose true shift is to be measured; return them, and what could not be read.

    Args:
        paths: products, zips, rasters, or folders of them.
        filters: of the choice of pairs.
        band: of both scenes; the first both have when not given.

    Raises:
        MissingBand: a pair has no band in common, or lacks the one asked for.
    """
    catalogue = find_scenes(paths)
    pairing = pair_scenes([scene for scene in catalogue.scenes if scene.bands], filters)
    pairs = (
        ListedPair(
            name=pair.id,
            set="archives",
            place=pair.left.tile or pair.left.name,
            left=pair.left,
            right=pair.right,
            band=band or common_band(pair.left, pair.right, None),
            is_measured=True,
            strata=tuple(_facts(pair)),
        )
        for pair in pairing.pairs
        if pair.overlap is not None
    )
    return unique(pairs), tuple(r.error for r in catalogue.refused if isinstance(r.error, InputError))


def unique(pairs: Iterable[ListedPair]) -> tuple[ListedPair, ...]:
    """Give each pair a name of its own, by a number behind names that several have."""
    counts: dict[str, int] = {}
    renamed = []
    for pair in pairs:
        counts[pair.name] = counts.get(pair.name, 0) + 1
        renamed.append(pair if counts[pair.name] == 1 else replace(pair, name=f"{pair.name} ({counts[pair.name]})"))
    return tuple(renamed)


def warped(pairs: Iterable[ListedPair], warps: Iterable[str]) -> tuple[ListedPair, ...]:
    """Repeat every pair once for each warp, behind the pair as it is listed; a warp of the list itself stays as it is.

    Raises:
        ValueError: there is no such warp.
    """
    extra = [warp for warp in dict.fromkeys(warps) if warp != "none"]
    for warp in extra:
        warp_of(warp, (2, 2), 0, "", np.eye(3))
    result = []
    for pair in pairs:
        result.append(pair)
        if pair.warp == "none" and not pair.hidden:
            result += [replace(pair, name=f"{pair.name} {warp}", warp=warp) for warp in extra]
    return tuple(result)


def season_gap(days: float) -> str:
    """Name the stratum of two dates by their days apart within the year (evaluation page, "Strata")."""
    return "0-30 d" if days <= 30 else "31-90 d" if days <= 90 else "91-182 d"


def _listed(path: Path, number: int, row: Mapping[str | None, str | None]) -> ListedPair:
    values = {name: (value or "").strip() for name, value in row.items() if name is not None and isinstance(value, str)}
    names = SHIFTS[1] if set(SHIFTS[1]) <= {*values} else SHIFTS[0]
    shift = _number(path, number, values, names[0]), _number(path, number, values, names[1])
    truth = _number(path, number, values, "truth_m") if values.get("truth_m") else None
    if truth is not None and truth <= 0:
        raise BadList(path, f"line {number}: truth_m must be more than 0")
    left, right = (_scene(path, number, values, side) for side in ("left", "right"))
    warp = f" {values['warp']}" if values.get("warp", "none") not in {"", "none"} else ""
    try:
        warp_of(values.get("warp") or "none", (2, 2), 0, "", np.eye(3))
    except ValueError as error:
        raise BadList(path, f"line {number}: {error}") from error
    return ListedPair(
        name=f"{values['set']}/{left.name}__{right.name} {values.get('band', '')}{warp}",
        set=values["set"],
        place=values.get("place", ""),
        left=left,
        right=right,
        band=values.get("band") or common_band(left, right, None),
        shift=shift if names == SHIFTS[0] else (0.0, 0.0),
        shift_m=shift if names == SHIFTS[1] else None,
        truth_m=truth,
        warp=values.get("warp") or "none",
        hidden=values.get("hidden", "").lower() in {"yes", "true", "1"},
        strata=tuple((k, v) for k, v in values.items() if k not in _NO_STRATA and v),
    )


_NO_STRATA = {*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS, *SHIFTS[0], *SHIFTS[1]}


def _number(path: Path, line: int, values: Mapping[str, str], name: str) -> float:
    try:
        number = float(values[name])
    except (KeyError, ValueError):
        raise BadList(path, f"line {line}: {name} must be a number") from None
    if not math.isfinite(number):
        raise BadList(path, f"line {line}: {name} must be finite")
    return number


def _scene(path: Path, number: int, values: Mapping[str, str], side: str) -> Scene:
    """Read a side's image, with its classes as the mask of clouds."""
    files = [path.parent / values[key] if values.get(key) else None for key in (side, f"{side}_classes")]
    if files[0] is None:
        raise BadList(path, f"line {number} names no {side} image")
    for file in files:
        if file is not None and not file.exists():
            raise BadList(path, f"line {number}: there is no file {file}")
    scene = read_scene(files[0])
    if files[1] is None:
        return scene
    classes = read_scene(files[1]).bands[0]
    return replace(scene, masks=(*scene.masks, Mask("SCL", classes.asset, classes.geobox)))


def _facts(pair: Pair) -> Iterable[tuple[str, str]]:
    if pair.day_of_year_gap is not None:
        yield "season_gap", season_gap(pair.day_of_year_gap)
    covers = [c for c in (pair.left.cloud_cover, pair.right.cloud_cover) if c is not None]
    if covers:
        worse = max(covers)
        yield "cloud", "0-5 %" if worse <= 5 else "5-20 %" if worse <= 20 else "20-50 %" if worse <= 50 else "50-100 %"
