"""The right image in the radiometry of the left one, band by band, from samples of registered pixels.

``irmad``: pixels that did not change are found by iteratively re-weighted multivariate alteration detection (Nielsen
2007, "The Regularized Iteratively Reweighted MAD Method for Change Detection in Multi- and Hyperspectral Data"), and an
orthogonal regression through them maps the right image on the left one (Canty & Nielsen 2008, "Automatic Radiometric
Normalization of Multitemporal Satellite Imagery with the Iteratively Re-weighted MAD Transformation").
``histogram``: the cumulative distributions become the same (:func:`skimage.exposure.match_histograms`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.raster.resample import Pixels

METHODS = ("none", "irmad", "histogram")
MAX_REWEIGHTINGS, SETTLED = 100, 1e-4
"""Most re-weightings, and the change of every canonical correlation at which they end."""
UNCHANGED = 0.95
"""Least probability of no change of an invariant pixel (Canty & Nielsen 2008)."""
FEWEST_COMMON_PIXELS = 100
"""Fewer define no normalisation."""
KNOTS = 1025
"""Of the curve that maps one distribution on the other."""


class NotNormalised(ValueError):
    """No normalisation can be found; in words for the user."""


@dataclass(frozen=True, kw_only=True)
class LineFit:
    """How well gain and offset of a band fit the pixels that did not change."""

    pixels: int
    """That did not change."""
    correlation: float
    """Pearson's coefficient of the two dates."""
    rmse_before: float
    """Root mean square of left minus right, reflectance."""
    rmse_after: float
    """The same after gain and offset."""


@dataclass(frozen=True, kw_only=True)
class CurveFit:
    """How well a band's curve brings the distributions together."""

    pixels: int
    """That are clear in both images."""
    mean_before: float
    """Mean of right minus left, reflectance."""
    mean_after: float
    """The same after the curve."""


@dataclass(frozen=True, eq=False)
class Normalisation:
    """How the right image's reflectance becomes comparable with the left one's."""

    method: str
    """One of ``METHODS``."""
    gain: NDArray[np.float64]
    """(K,) of each band; left = gain * right + offset."""
    offset: NDArray[np.float64]
    """(K,) reflectance."""
    figures: tuple[LineFit | CurveFit, ...]
    """How well each band's line or curve fits."""
    curves: NDArray[np.float64] | None = None
    """(K, 2, N) right and left reflectance of a curve that goes before gain and offset, which then are 1 and 0."""

    def __call__(self, pixels: Pixels, band: int) -> Pixels:
        """Convert right reflectance to what the left image would have; NaN stays.

        Beyond the ends of a curve the shift at the end goes on.
        """
        if self.curves is None:
            return np.asarray(self.gain[band] * pixels + self.offset[band], np.float32)
        given, wanted = self.curves[band]
        inside = np.clip(pixels, given[0], given[-1])
        return np.asarray(np.interp(inside, given, wanted) + (pixels - inside), np.float32)

    def to_dict(self, bands: tuple[str, ...]) -> dict[str, Any]:
        """Return everything that repeats it, and how well it fits, as JSON has it.

        Args:
            bands: their names.
        """
        rows = []
        for k, name in enumerate(bands):
            row: dict[str, Any] = {"band": name, **asdict(self.figures[k])}
            if self.curves is None:
                row |= {"gain": float(self.gain[k]), "offset": float(self.offset[k])}
            else:
                row["curve"] = {"right": self.curves[k, 0].tolist(), "left": self.curves[k, 1].tolist()}
            rows.append(row)
        return {"method": self.method, "bands": rows}


def irmad(left: NDArray[np.floating[Any]], right: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Estimate the probability that each pixel did not change.

    Weights make the variance of what did not change look smaller than it is, a little more in every round, until only
    pixels on a line are left; so it is divided by what the weights take from a normal distribution.

    Args:
        left: (N, K) reflectance.
        right: (N, K) of the same ground.

    Returns:
        (N,) 0..1.

    Raises:
        NotNormalised: too few pixels, or bands that repeat one another.
    """
    from scipy.linalg import LinAlgError, eigh
    from scipy.stats import chi2

    count, bands = left.shape
    if count < max(FEWEST_COMMON_PIXELS, 10 * bands):
        raise NotNormalised(f"only {count} pixels are clear in both images")
    both = np.hstack([left, right]).astype(np.float64)
    weight, before = np.ones(count), np.zeros(bands)
    shares = (np.arange(10_000) + 0.5) / 10_000
    taken = 2 * float((shares * chi2.isf(shares, bands)).mean()) / bands
    for step in range(MAX_REWEIGHTINGS):
        mean = np.average(both, axis=0, weights=weight)
        centred = both - mean
        covariance = (centred * weight[:, None]).T @ centred / weight.sum()
        s11, s12, s22 = covariance[:bands, :bands], covariance[:bands, bands:], covariance[bands:, bands:]
        try:
            squared, a = eigh(s12 @ np.linalg.solve(s22, s12.T), s11)
        except (LinAlgError, np.linalg.LinAlgError) as error:
            raise NotNormalised("one band is flat, or says the same as others") from error
        correlation = np.sqrt(np.clip(squared, 0, 1 - 1e-12))
        b = np.linalg.solve(s22, s12.T @ a)
        scale = np.sqrt(np.einsum("ik,ij,jk->k", b, s22, b))
        b = b / np.where(scale > 0, scale, 1)
        variates = centred[:, :bands] @ a - centred[:, bands:] @ b
        variance = np.maximum(2 * (1 - correlation), 1e-12) / (taken if step else 1.0)
        chi = (variates**2 / variance).sum(1)
        weight = chi2.sf(chi, bands)
        if np.abs(correlation - before).max() < SETTLED or weight.sum() < FEWEST_COMMON_PIXELS:
            break
        before = correlation
    return np.asarray(weight)


def invariant(left: NDArray[np.floating[Any]], right: NDArray[np.floating[Any]]) -> Normalisation:
    """Fit gain and offset of each band to the pixels that did not change.

    Args:
        left: (N, K) reflectance of pixels that are valid in both images.
        right: (N, K) of the same ground.

    Raises:
        NotNormalised: too few pixels did not change.
    """
    unchanged = irmad(left, right) > UNCHANGED
    if unchanged.sum() < FEWEST_COMMON_PIXELS:
        raise NotNormalised(f"only {unchanged.sum()} of {len(unchanged)} pixels did not change between the images")
    lines, figures = [], []
    for x, y in zip(right[unchanged].T.astype(np.float64), left[unchanged].T.astype(np.float64), strict=True):
        (sxx, sxy), (_, syy) = np.cov(x, y)
        if sxy <= 0:
            raise NotNormalised("a band of one image says nothing of the same band of the other")
        gain = (syy - sxx + np.hypot(syy - sxx, 2 * sxy)) / (2 * sxy)
        offset = y.mean() - gain * x.mean()
        lines.append((gain, offset))
        figures.append(
            LineFit(
                pixels=int(unchanged.sum()),
                correlation=float(sxy / np.sqrt(sxx * syy)),
                rmse_before=float(np.sqrt(((y - x) ** 2).mean())),
                rmse_after=float(np.sqrt(((y - gain * x - offset) ** 2).mean())),
            )
        )
    gains, offsets = np.array(lines).T
    return Normalisation("irmad", gains, offsets, tuple(figures))


def alike(left: NDArray[np.floating[Any]], right: NDArray[np.floating[Any]]) -> Normalisation:
    """Fit a curve to each band by which the right distribution becomes the left one.

    It is right where the ground as a whole did not change: where a season turned, it hides that.

    Args:
        left: (N, K) reflectance of pixels that are valid in both images.
        right: (N, K) of the same ground.

    Raises:
        NotNormalised: too few pixels.
    """
    from skimage.exposure import match_histograms

    count, bands = left.shape
    if count < FEWEST_COMMON_PIXELS:
        raise NotNormalised(f"only {count} pixels are clear in both images")
    places = np.linspace(0, count - 1, min(KNOTS, count)).round().astype(int)
    curves, figures = [], []
    for k in range(bands):
        given = np.sort(right[:, k].astype(np.float64))
        wanted = match_histograms(given, left[:, k].astype(np.float64))
        curves.append((given[places], wanted[places]))
        figures.append(
            CurveFit(
                pixels=count,
                mean_before=float(given.mean() - left[:, k].mean()),
                mean_after=float(wanted.mean() - left[:, k].mean()),
            )
        )
    return Normalisation("histogram", np.ones(bands), np.zeros(bands), tuple(figures), np.array(curves))
