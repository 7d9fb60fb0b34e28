"""What a recipe knows of the files that pixels and masks are made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sentinel_match.errors import DamagedImage
from sentinel_match.products.scene import Asset

if TYPE_CHECKING:
    from sentinel_match.products.scene import Band


def fingerprint(asset: Asset) -> str:
    """Hash a side file, or say what is wrong with it: a damaged mask is left out, and its result is another one."""
    try:
        return asset.sha256()
    except DamagedImage as error:
        return error.reason


def told_data(band: Band) -> tuple[object, ...]:
    """List what else says where a band has data, JSON-able; empty where it is its no-data value alone."""
    path, member = band.asset.path, band.asset.member
    beside = Asset(Path(f"{path}.msk")) if member is None else Asset(path, f"{member}.msk")
    is_beside = band.is_masked and (member is not None or beside.path.is_file())
    mask = fingerprint(beside) if is_beside else band.is_masked
    told = (band.alpha, mask, band.also_nodata)
    colours = ("palette",) if band.palette else ()
    return colours if told == (None, False, None) else (*told, *colours)
