"""A change-ready stack that was made: of what, how, and how well; ``prepare.json`` says the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sentinel_match import __version__
from sentinel_match.errors import BadPoints
from sentinel_match.formats.header import SceneIdentity
from sentinel_match.geometry.grids import crs_name
from sentinel_match.raster.flags import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from odc.geo.geobox import GeoBox

    from sentinel_match.accuracy.residual import ResidualShift
    from sentinel_match.geometry.transform import Transform
    from sentinel_match.products.scene import Scene
    from sentinel_match.raster.masks import Masking
    from sentinel_match.stack.layouts import Layout
    from sentinel_match.stack.radiometry import Normalisation


@dataclass(frozen=True)
class TiesFile:
    """The file of tie points that a stack was corrected by."""

    path: Path
    sha256: str
    """Of its bytes."""

    @staticmethod
    def of(path: Path) -> TiesFile:
        """Identify a file.

        Raises:
            BadPoints: it cannot be read.
        """
        try:
            return TiesFile(path, hashlib.sha256(path.read_bytes()).hexdigest())
        except OSError as error:
            raise BadPoints(path, f"it cannot be read ({error.strerror or error})") from error

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {"path": str(self.path), "sha256": self.sha256}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PreparedStack:
    """A change-ready stack: two dates on one grid, the right one corrected, with masks and proof."""

    folder: Path
    """Holds ``left.tif``, ``right.tif``, ``valid.tif``, ``displacement.tif``, ``prepare.json``, STAC, and layouts."""
    left: Scene
    right: Scene
    ties: TiesFile | None
    """``None`` where the tie points were given themselves."""
    verdict: str
    """On the tie points, in one sentence: what correcting by them is worth."""
    doubts: tuple[str, ...]
    """What the images say against the tie points, each as the end of a sentence; none where nothing is seen."""
    transform: Transform
    """Left metres to right metres: what the right image was corrected by."""
    bands: tuple[str, ...]
    """Of both images, in their order."""
    unit: str
    """Of their values: ``reflectance``; empty where nothing says."""
    grid: GeoBox
    valid_share: float
    """Share of the grid that is valid in both images."""
    left_reasons: Mapping[Reason, float]
    """Share of the grid by why the left image is not valid there, or that it is."""
    right_reasons: Mapping[Reason, float]
    normalisation: Normalisation | None
    """How the right image's radiometry was brought to the left one's; ``None`` where it was not."""
    residual_band: str
    """In which the residual shift was measured."""
    residual: ResidualShift
    """Before the correction and after."""
    stac: tuple[str, ...]
    """Names of the STAC files; none where an image has no time, which an item needs."""
    layouts: tuple[Layout, ...]
    """What was made for other tools, at least ``stack``."""
    masking: Masking
    seconds: float
    """That it took."""

    def __repr__(self) -> str:
        bands = f"{len(self.bands)} band{'s' if len(self.bands) > 1 else ''}"
        rows, cols = self.grid.shape
        what = f"{bands} on {cols} x {rows} px, {self.valid_share:.0%} valid in both"
        return f"<PreparedStack {self.folder}: {self.left.name} and {self.right.name}, {what}>"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as ``prepare.json`` has it."""
        bands = ",".join(self.bands)
        return {
            "generator": f"sentinel-match {__version__}",
            "left": SceneIdentity.of(self.left, bands).to_dict(),
            "right": SceneIdentity.of(self.right, bands).to_dict(),
            "ties": self.ties.to_dict() if self.ties else None,
            "verdict": self.verdict,
            "doubts": list(self.doubts),
            "model": self.transform.to_dict(),
            "bands": list(self.bands),
            "pixels": {"type": "float32", "nodata": "NaN", "unit": self.unit or None, "scale": 1, "offset": 0},
            "crs": crs_name(self.grid.crs),
            "transform": list(self.grid.affine)[:6],
            "shape": [self.grid.shape.y, self.grid.shape.x],
            "valid_share": self.valid_share,
            "reasons": {
                "codes": {reason.name.lower(): int(reason) for reason in Reason},
                "shares": {"left": _by_name(self.left_reasons), "right": _by_name(self.right_reasons)},
            },
            "normalisation": self.normalisation.to_dict(self.bands) if self.normalisation else {"method": "none"},
            "residual": {"band": self.residual_band, **self.residual.to_dict()},
            "stac": list(self.stac) or None,
            "layout": self.layouts[0].to_dict(),
            **({"layouts": [layout.to_dict() for layout in self.layouts]} if len(self.layouts) > 1 else {}),
            "masking": self.masking.recipe,
            "seconds": self.seconds,
        }


def _by_name(shares: Mapping[Reason, float]) -> dict[str, float]:
    return {reason.name.lower(): share for reason, share in shares.items()}
