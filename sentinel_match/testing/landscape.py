"""An invented landscape as a function of ground position: fields, roads, towns, forest, water, in four seasons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from pyproj import Transformer

from sentinel_match.testing import covers
from sentinel_match.testing.noise import Float, Position, axes, draw, octaves, smoothstep, stream
from sentinel_match.testing.parcels import FIRST_BLOCK, PARCEL_COVERS, settle

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.testing.covers import Cover, Season
    from sentinel_match.testing.parcels import Parcels
    from sentinel_match.testing.terrain import Terrain

Displacement: TypeAlias = tuple[float, float] | Callable[[Position, Position], tuple[Position, Position]]
"""(east, north) metres by which an image shows the ground away from where it is; or that as a function of (x, y)."""

SAMPLE_METRES = 5.0
"""Metres between the samples of the ground: a pixel of 10 m has 2 x 2 inside, one of 60 m 12 x 12."""
BLOCK_SAMPLES = 256
"""Samples along the side of the pieces evaluated at a time: an array of one takes 256 kB and stays in the cache."""
_NOISE_SCALES: dict[str, tuple[float, float, float]] = {
    # finest and coarsest octave, metres; slope
    "warp_x": (350, 350, 1.0),
    "warp_y": (350, 350, 1.0),
    "forest": (150, 1200, 1.6),
    "river": (600, 4800, 2.0),
    "lake": (300, 1200, 1.5),
    "highway": (4000, 8000, 2.0),
    "mottle": (20, 320, 1.0),
    "relief": (80, 1280, 1.2),
}
_RELIEF_GAIN: dict[Season, float] = {"winter": 0.09, "spring": 0.03, "summer": 0.02, "autumn": 0.05}


@dataclass(frozen=True)
class Landscape:
    """Ground that can be looked at from anywhere, at any resolution, any number of times.

    A pixel is a weighted mean of samples 5 m apart, four by four of them at 10 m (see :func:`_expose`); every edge is a
    ramp of 8 m or more and no texture is finer than 20 m, so little aliases, and two renders displaced by a fraction of
    a pixel really show that displacement.
    """

    seed: int = 0
    crs: str | None = None
    """UTM zone in whose metres the ground is defined; ``None``: in the metres of whatever zone is rendered, so that
    products of two zones show unrelated grounds where they overlap."""
    terrain: Terrain | None = None
    """Its heights, and the errors of the model by which products from an orbit are orthorectified; ``None``: flat."""

    def render(
        self, geobox: GeoBox, season: Season = "summer", band: str = "B04", displacement: Displacement = (0.0, 0.0)
    ) -> Float:
        """Render the reflectance without cloud, (rows, cols) float32, on a north-up grid of any resolution.

        With a ``displacement`` (dx, dy) the ground at (x, y) is shown at (x + dx, y + dy).
        """
        factor = 2 * max(1, round(abs(geobox.affine.a) / (2 * SAMPLE_METRES)))
        image = np.empty(geobox.shape, np.float32)
        for window, box in pieces(geobox, max(16, BLOCK_SAMPLES // factor)):
            ground = self._ground(*self._positions(box.pad(1), displacement, factor))
            image[window] = _expose(_expose(self._paint(ground, season, band), factor).T, factor).T
        return image

    def classes(
        self, geobox: GeoBox, season: Season = "summer", displacement: Displacement = (0.0, 0.0)
    ) -> NDArray[np.uint8]:
        """Classify the scene at pixel centres, (rows, cols): 4 vegetation, 5 not vegetated, 6 water, 11 snow."""
        image = np.empty(geobox.shape, np.uint8)
        for window, box in pieces(geobox, BLOCK_SAMPLES):
            ground = self._ground(*self._positions(box, displacement, 1))
            image[window] = self._classify(ground, season, snow=False)
            if season == "winter":
                white = self._classify(ground, season, snow=True)
                image[window] = np.where(self._snow(ground) > 0.5, white, image[window])
        return image

    def _positions(self, box: GeoBox, displacement: Displacement, factor: int) -> tuple[Position, Position]:
        """Locate the ground that each sample shows: two axes, or 2-D arrays where displacement or zone bend them."""
        x, y = axes(box, factor)
        if callable(displacement):
            shown_x, shown_y = np.meshgrid(x, y)
            x, y = shown_x, shown_y
            for _ in range(4):  # the inverse of p -> p + d(p); each round gains the factor |d'|, which is tiny
                dx, dy = displacement(x, y)
                x, y = shown_x - dx, shown_y - dy
        else:
            x, y = x - displacement[0], y - displacement[1]
        if self.crs is None or box.crs == self.crs:
            return x, y
        if x.ndim == 1:
            x, y = np.meshgrid(x, y)
        return Transformer.from_crs(box.crs, self.crs, always_xy=True).transform(x, y)

    def _ground(self, x: Position, y: Position) -> _Ground:
        """Lay out everything about the ground that no season changes."""
        noise = {name: octaves(stream(self.seed, name), *spectrum).at(x, y) for name, spectrum in _NOISE_SCALES.items()}
        anchor = float(x.flat[0]), float(y.flat[0])
        u = 30 * noise["warp_x"] + (x - anchor[0]).astype(np.float32)  # warped, so that no border is straight
        v = 30 * noise["warp_y"] + _column((y - anchor[1]).astype(np.float32))
        parcels, border = settle(self.seed, u, v, anchor, 1 + 0.3 * noise["lake"])
        in_town = parcels.code >= FIRST_BLOCK
        land = (
            (0.75 * (1 - smoothstep(parcels.edge, 0, 11)) * ~in_town, covers.FIELD_MARGIN, 0.1),
            ((1 - smoothstep(parcels.edge, 1, 10)) * in_town, covers.ROAD, 0.0),
            (smoothstep(noise["forest"], 0.95, 1.1) * ~in_town, covers.FOREST, 0.16),
            (1 - smoothstep(border, 3, 12), covers.ROAD, 0.0),
        )
        river = 1 - smoothstep(self._line(x, y, 650 * noise["river"], 21, 13_000), 45, 60)
        lake = smoothstep(noise["lake"], 2.3, 2.36)
        over = (
            (np.maximum(river, lake), covers.WATER, 0.0),
            (1 - smoothstep(self._line(x, y, 900 * noise["highway"], 22, 9_000), 8, 20), covers.HIGHWAY, 0.0),
        )
        return _Ground(x, y, parcels, noise["mottle"], noise["relief"], land, over)

    def _line(self, x: Position, y: Position, wander: Float, salt: int, spacing: float) -> Float:
        """Measure the metres to the nearest of many parallel lines across the country, each ``wander`` metres aside."""
        angle = np.pi * draw(self.seed, 0, 0, salt)
        east = np.mod(np.cos(angle) * x, spacing).astype(np.float32)
        north = np.mod(np.sin(angle) * y, spacing).astype(np.float32)
        across = (wander + east + _column(north)) / np.float32(spacing)
        across -= np.floor(across) + np.float32(0.5)
        metres: Float = np.abs(across) * np.float32(spacing)
        return metres

    def _snow(self, ground: _Ground) -> Float:
        """Compute the share of each sample under snow in winter: most of it, with patches blown or thawed free."""
        return smoothstep(octaves(stream(self.seed, "snow"), 80, 1280).at(ground.x, ground.y), -1.6, -0.7)

    def _paint(self, ground: _Ground, season: Season, band: str) -> Float:
        """Compute the reflectance of every sample, its snow and the texture of its date included."""
        image = ground.paint(season, band, snow=False)
        if season == "winter":
            white = ground.paint(season, band, snow=True)
            image += self._snow(ground) * (white - image)
        texture = octaves(stream(self.seed, season), 40, 320).at(ground.x, ground.y)
        image *= 1 + 0.03 * texture
        return np.maximum(image, 0.002, out=image)

    @staticmethod
    def _classify(ground: _Ground, season: Season, snow: bool) -> NDArray[np.uint8]:
        """Classify every sample, with snow everywhere or nowhere."""
        table = np.array([covers.scene_class(c, season, snow) for c in PARCEL_COVERS], np.uint8)
        image = table[ground.parcels.code]
        for alpha, cover, _ in (*ground.land, *ground.over):
            image[alpha > 0.5] = covers.scene_class(cover, season, snow)
        return image


@dataclass(frozen=True, eq=False)
class _Ground:
    """A piece of ground, before any season: 2-D arrays over its samples."""

    x: Position
    y: Position
    parcels: Parcels
    mottle: Float
    relief: Float
    land: tuple[tuple[Float, Cover, float], ...]
    """What lies on the fields, from below: opacity, cover, gain of the mottle."""
    over: tuple[tuple[Float, Cover, float], ...]
    """What lies flat on everything: neither relief nor parcels show."""

    def paint(self, season: Season, band: str, snow: bool) -> Float:
        """Compute the reflectance of every sample, with snow everywhere or nowhere."""
        green = np.array([c.mix[covers.SEASONS.index(season)].get("green", 0) for c in PARCEL_COVERS], np.float32)
        # What makes bare soil brighter makes its crop darker, so that the texture of a field turns over in the year.
        gain = np.full(len(PARCEL_COVERS), 0.03, np.float32) if snow else 0.1 - 0.2 * green
        flat = covers.palette(PARCEL_COVERS, season, band, snow)
        evenness = 0.75 if snow else 0.0
        code, tone = self.parcels.code, self.parcels.tone
        image = (tone + evenness * (1 - tone)) * flat[code] * (1 + gain[code] * self.mottle)
        for alpha, cover, texture in self.land:
            value = covers.reflectance(cover, season, band, snow)
            image += alpha * ((value * (1 + texture * self.mottle) if texture else value) - image)
        image *= 1 + _RELIEF_GAIN[season] * self.relief
        for alpha, cover, _ in self.over:
            image += alpha * (covers.reflectance(cover, season, band, snow) - image)
        return image


def _expose(samples: Float, factor: int) -> Float:
    """Expose rows of samples as rows of pixels, ``factor`` samples each; the first and the last pixel are a margin.

    A pixel is the mean over its own area of what an optic of one and a half pixels has blurred: together they keep 0.2
    to 0.3 of the contrast at the Nyquist frequency, and Sentinel-2's 10 m and 20 m bands are required to keep 0.15 to
    0.3 (MPC Data Quality Report S2-PDGS-MPC-DQR, section Modulation Transfer Function).
    """
    blur = (3 * factor // 2 - 1) | 1
    weights = np.convolve(np.full(factor, 1 / factor), np.full(blur, 1 / blur))
    start, rows = factor - blur // 2, len(samples) // factor - 2
    image = np.zeros((rows, samples.shape[1]), np.float32)
    for k, weight in enumerate(weights, start):
        image += samples[k : k + rows * factor : factor] * np.float32(weight)
    return image


def _column(y: Float) -> Float:
    """Stand an axis of northings upright; 2-D northings stay as they are."""
    return y[:, None] if y.ndim == 1 else y


def pieces(geobox: GeoBox, size: int) -> Iterator[tuple[tuple[slice, slice], GeoBox]]:
    """Yield windows of at most ``size`` x ``size`` pixels and their grids."""
    rows, cols = geobox.shape
    for r in range(0, rows, size):
        for c in range(0, cols, size):
            window = (slice(r, min(r + size, rows)), slice(c, min(c + size, cols)))
            yield window, geobox[window]
