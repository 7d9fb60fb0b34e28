"""A frozen benchmark: which pairs, of which files, with what truth, and how its images are made of those files.

A folder of this package has four lists, which change only together with the benchmark's version:

    sources.csv   where files come from: page, address (``{name}`` is the file's), licence
    files.csv     the files, with size and SHA-256
    images.csv    how each image is made of a file: its bands and their names, its place where the file says none
    pairs.csv     the pairs, as :func:`~sentinel_match.evaluate.listing.read_list` has them

What ``ready`` leaves in a folder is a list of pairs with its images, which other programs can use as well.
"""

from __future__ import annotations

import csv
import io
import logging
import tarfile
import warnings
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from sentinel_match.atomic import whole, write_text
from sentinel_match.evaluate.listing import ListedPair, read_list
from sentinel_match.evaluate.report import csv_text
from sentinel_match.matching.inputs import silent
from sentinel_match.models.weights import sha256

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sentinel_match.matching.inputs import Progress

SEASONS = "seasons"
VERSIONS = {SEASONS: "1"}
"""Benchmarks, and which version of their lists this is."""
SPLITS = ("train", "validation", "test")
"""Places of ``test`` and ``validation`` are never trained on."""
IMAGE_COLUMNS = ("left", "right", "left_classes", "right_classes")
Row = dict[str, str]


@dataclass(frozen=True)
class Missing:
    """A file that is not here, and how to get it."""

    file: str
    reason: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.file}: {self.reason}"


@dataclass(frozen=True)
class Ready:
    """A benchmark whose images are there."""

    pairs: tuple[ListedPair, ...]
    missing: tuple[Missing, ...]
    """Files that are not here: their pairs are left out."""
    listed: int
    """Pairs of the list, left out or not."""
    version: str
    """``seasons 1``."""


def rows_of(name: str, table: str) -> tuple[Row, ...]:
    """Read a list of a benchmark.

    Args:
        name: a key of ``VERSIONS``.
        table: ``sources``, ``files``, ``images`` or ``pairs``.
    """
    text = (resources.files("sentinel_match.evaluate") / name / f"{table}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(io.StringIO(text)))


def ready(
    name: str,
    folder: Path,
    data: Path | None = None,
    splits: Sequence[str] = SPLITS,
    progress: Progress = silent,
) -> Ready:
    """Make the images of a benchmark, and the list of those pairs whose images there are.

    Args:
        name: a key of ``VERSIONS``.
        folder: gets ``pairs.csv`` and the images.
        data: holds files, by the names of ``files.csv``; what it lacks is fetched where an address is known.
        splits: of ``SPLITS``.
        progress: hears of progress.

    Raises:
        OutputError: an image cannot be written.
    """
    listed = [row for row in rows_of(name, "pairs") if row["split"] in splits]
    needed = {row[column] for row in listed for column in IMAGE_COLUMNS if row[column]}
    recipes = [row for row in rows_of(name, "images") if row["image"] in needed]
    files, missing = _files(name, {row["file"] for row in recipes}, data, progress)
    made = set()
    for k, recipe in enumerate(recipes):
        if recipe["file"] in files:
            progress("image", k, len(recipes))
            _make(recipe, files[recipe["file"]], folder / recipe["image"])
            made.add(recipe["image"])
    here = [row for row in listed if all(not row[c] or row[c] in made for c in IMAGE_COLUMNS)]
    write_text(folder / "pairs.csv", csv_text(here))
    pairs = read_list(folder / "pairs.csv") if here else ()
    return Ready(pairs, missing, len(listed), f"{name} {VERSIONS[name]}")


def _files(
    name: str, needed: set[str], data: Path | None, progress: Progress
) -> tuple[dict[str, Path], tuple[Missing, ...]]:
    """Find files, or fetch them; return where they are, and which are missing."""
    sources = {row["source"]: row for row in rows_of(name, "sources")}
    found, missing = {}, []
    rows = [row for row in rows_of(name, "files") if row["file"] in needed]
    for k, row in enumerate(rows):
        progress("file", k, len(rows))
        path = None if data is None else data / row["file"]
        if path is not None and path.exists():
            if path.stat().st_size == int(row["bytes"]) and sha256(path) == row["sha256"]:
                found[row["file"]] = path
            else:
                missing.append(Missing(row["file"], f"{path} is another file: its SHA-256 must be {row['sha256']}"))
            continue
        fetched = _fetched(row, sources[row["source"]])
        if isinstance(fetched, Path):
            found[row["file"]] = fetched
        else:
            missing.append(fetched)
    return found, tuple(missing)


def _fetched(row: Row, source: Row) -> Path | Missing:
    """Fetch a file into the user's cache, or take it from there; say what to do where that is not possible."""
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    note = f" ({source['note']})" if source["note"] else ""
    by_hand = f"get it from {source['page']}{note} and give --data (data= in Python)"
    if not source["url"]:
        return Missing(row["file"], by_hand)
    within = row["file"].removeprefix(f"{source['source']}/")
    folder = Path(pooch.os_cache("sentinel-match")) / "benchmark" / source["source"]
    try:
        return Path(
            pooch.retrieve(
                source["url"].format(name=within),
                f"sha256:{row['sha256']}",
                fname=within.replace("/", "_"),
                path=folder,
                downloader=pooch.HTTPDownloader(timeout=30),
            )
        )
    except ValueError:
        return Missing(row["file"], f"{source['url'].format(name=within)} gave another file; {by_hand}")
    except OSError as error:  # requests' errors are OSErrors
        return Missing(row["file"], f"the download failed ({type(error).__name__}); {by_hand}")


def _make(recipe: Row, file: Path, path: Path) -> None:
    """Make an image of a file, unless it is there."""
    if path.exists():
        return
    content = file.read_bytes()
    if recipe["member"]:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            member = archive.extractfile(recipe["member"])
            content = member.read() if member else b""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # then the list says where it lies
        with MemoryFile(content) as memory, memory.open() as dataset:
            _write(recipe, dataset, path)


def _write(recipe: Row, dataset: Any, path: Path) -> None:
    """Write the bands that a recipe names, where it says that they lie."""
    indexes = [int(k) for k in recipe["bands"].split(";")] if recipe["bands"] else list(dataset.indexes)
    pixels, nodata = dataset.read(indexes), float(recipe["nodata"]) if recipe["nodata"] else None
    if recipe["dark"]:
        pixels[pixels <= int(recipe["dark"])] = nodata
    if pixels.dtype.kind == "f" and nodata is not None:
        pixels[~np.isfinite(pixels)] = nodata
    transform = Affine(*map(float, recipe["transform"].split())) if recipe["transform"] else dataset.transform
    profile = {"count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype}
    profile |= {"crs": recipe["crs"] or dataset.crs, "transform": transform, "nodata": nodata, "compress": "deflate"}
    with whole(path) as temporary, rasterio.open(temporary, "w", driver="GTiff", **profile) as made:
        made.write(pixels)
        made.descriptions = recipe["names"].split(";")
