"""sentinel_match: from downloaded Sentinel-2 archives to tie points one can trust.

>>> import sentinel_match
>>> ties = sentinel_match.match_scenes("LEFT.SAFE", "RIGHT.SAFE")
>>> sentinel_match.write(ties, "ties.gpkg")

Names are imported when they are first used, so ``import sentinel_match`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentinel_match.batch import run
    from sentinel_match.cache import Cache
    from sentinel_match.errors import SentinelMatchError
    from sentinel_match.fitting import fit, read_ties
    from sentinel_match.formats.fields import write_displacement, write_motion
    from sentinel_match.formats.geojson import write_geojson
    from sentinel_match.formats.write import write
    from sentinel_match.images import ImageMatcher, visualize_matches, visualize_overlay
    from sentinel_match.job import Files, match_pair
    from sentinel_match.locating.likeness import same
    from sentinel_match.locating.search import locate
    from sentinel_match.locating.whereabouts import Whereabouts
    from sentinel_match.matching.subpixel import Refinement
    from sentinel_match.options import Options
    from sentinel_match.pipeline import match_scenes
    from sentinel_match.products.catalogue import find_scenes, read_scene
    from sentinel_match.products.filters import Filters
    from sentinel_match.products.pairing import pair_scenes
    from sentinel_match.products.scene import Scene
    from sentinel_match.raster.load import PreparedImage, load
    from sentinel_match.raster.masks import Masking
    from sentinel_match.raster.raster import Raster
    from sentinel_match.raster.transitions import Semantics
    from sentinel_match.stack.plan import Preparation
    from sentinel_match.stack.prepare import prepare
    from sentinel_match.summary import Summary
    from sentinel_match.tiepoints import TiePoints

__version__ = "0.1.0"

_ROOMS = {
    "Cache": "cache",
    "Files": "job",
    "Filters": "products.filters",
    "ImageMatcher": "images",
    "Masking": "raster.masks",
    "Options": "options",
    "Preparation": "stack.plan",
    "PreparedImage": "raster.load",
    "Raster": "raster.raster",
    "Refinement": "matching.subpixel",
    "Scene": "products.scene",
    "Semantics": "raster.transitions",
    "SentinelMatchError": "errors",
    "Summary": "summary",
    "TiePoints": "tiepoints",
    "Whereabouts": "locating.whereabouts",
    "find_scenes": "products.catalogue",
    "fit": "fitting",
    "load": "raster.load",
    "locate": "locating.search",
    "match_pair": "job",
    "match_scenes": "pipeline",
    "pair_scenes": "products.pairing",
    "prepare": "stack.prepare",
    "read_scene": "products.catalogue",
    "read_ties": "fitting",
    "run": "batch",
    "same": "locating.likeness",
    "visualize_matches": "images",
    "visualize_overlay": "images",
    "write": "formats.write",
    "write_displacement": "formats.fields",
    "write_geojson": "formats.geojson",
    "write_motion": "formats.fields",
}

__all__ = [
    "Cache",
    "Files",
    "Filters",
    "ImageMatcher",
    "Masking",
    "Options",
    "Preparation",
    "PreparedImage",
    "Raster",
    "Refinement",
    "Scene",
    "Semantics",
    "SentinelMatchError",
    "Summary",
    "TiePoints",
    "Whereabouts",
    "find_scenes",
    "fit",
    "load",
    "locate",
    "match_pair",
    "match_scenes",
    "pair_scenes",
    "prepare",
    "read_scene",
    "read_ties",
    "run",
    "same",
    "visualize_matches",
    "visualize_overlay",
    "write",
    "write_displacement",
    "write_geojson",
    "write_motion",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
