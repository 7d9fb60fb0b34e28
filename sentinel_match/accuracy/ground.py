"""The displacement on a lattice in metres: the transform it makes, and how far any transform errs on the ground.

Check points that were made as the points were, with their supports, smooth away what the points smooth away. Here a
transform is checked by single windows, each by one half of its spectrum, while an estimate has seen only the other half
(see :func:`sentinel_match.geometry.halves.squared_error`). So the error of a transform and the noise of what checks it
are told apart, and the circular error is that of the ground, not of a measurement on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.geometry import halves, lattice, smoothing
from sentinel_match.geometry.grids import pixel_size, to_metres
from sentinel_match.geometry.kinds import NONE
from sentinel_match.geometry.motion import Motion, StableError
from sentinel_match.geometry.selection import lattice_blocks, places_asked
from sentinel_match.geometry.transform import PlaneTransform, Transform, bend_through
from sentinel_match.geometry.uncertainty import Uncertainty
from sentinel_match.summary import HoldOut

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.geometry.halves import Answers
    from sentinel_match.geometry.lattice import LatticeField
    from sentinel_match.matching.displacement import Displacement

FEWEST_SINGLES = 50
"""Single windows that tell how far a transform errs; fewer do not."""
DOUBT_OF_ERROR = 0.25
"""By how much an error that is predicted may be off itself, two standard deviations: seeded fields of every kind."""
UNSEEN_DOUBT = np.array([-0.5, 1.0])
"""Of what no window can see, by how much it may be less or more than is derived from what they do: breaks have twice
what terrain has."""
DRAWS, MOST_DRAWN = 200, 50_000
"""Of the bootstrap, and points drawn of each node's error; and nodes, about, that errors are drawn of."""
CLIP_PX = 1.0
"""Pixels beyond which a squared error is that of a wrong peak: it counts as so much."""
SHAREABLE = 0.4
"""Of the noise that halves show, what they may share besides: 0.4 of it without any displacement, within a season as
between two."""
SHORTER = 1.3
"""Squared error over the part of it that windows beside one another share, in fields of terrain."""
BORNE_OUT = 0.3
"""Least part of what a transform leaves that windows beside one another must share: waves of 64 px and terrain share
half and more, seasons on still ground a tenth."""
FADES = 0.3
"""Share of the surroundings that must be measured for a field to hold: with less it fades to what is beyond it."""
BREAK = 1.5
"""Nodes over which errors are averaged where they stand out: a step of the ground is wrong along a line."""
CONTENT, ALIKE = 0.8, 0.5
"""Square metres per metre of GSD by which shadows and crops displace what windows show at most, per axis, over what the
noise of their peaks exceeds ``ALIKE`` times their signal by: between 60 pairs of dates, of 10 to 107 m, once more, and
mostly half of it. Windows of one season are alike."""
USUAL = 0.45
"""Of the most that content does, what it usually does."""
APART_PX, APART_SIGMA, FEWEST_APART = 0.5, 3.0, 4
"""Pixels, and standard deviations, by which so many single windows beside one another must lie off a transform to be a
piece of ground that moves by itself."""
WIDEST = 0.5
"""Least share of the whole ground's squared error that the error of any piece of it is taken for."""


@dataclass(frozen=True, eq=False)
class Ground:
    """The displacement of one pair on the lattice where it was measured; metres, right minus left."""

    at: NDArray[np.float64]
    """(rows, cols, 2) east, north of each node in the left image."""
    measured: NDArray[np.bool_]
    """(rows, cols) nodes that have an answer."""
    covered: NDArray[np.bool_]
    """(rows, cols) nodes where both images show ground, perhaps."""
    answers: Answers
    field: LatticeField
    gsd: float
    origin: tuple[int, int]
    """Column and row of the first node on the lattice of the whole image."""
    shown: NDArray[np.bool_]
    """(rows, cols) nodes where both images have data, cloud included."""
    support: NDArray[np.float64]
    """(rows, cols) of ground that each estimate averages."""
    content: float = 0.0
    """Variance per axis, m², that what seasons do to the content of windows has at most."""

    @staticmethod
    def of(measured: Displacement, left: GeoBox, right: GeoBox) -> Ground:
        """Take a displacement in pixels to metres.

        Args:
            measured: in pixels of both images.
            left: grid of the left image.
            right: grid of the right one.
        """
        nodes, shape, gsd = measured.nodes, measured.measured.shape, pixel_size(left)
        at = to_metres(left, nodes)

        def moved(values: NDArray[np.float64]) -> NDArray[np.float64]:
            there = to_metres(right, nodes + values.reshape(-1, 2))
            return np.asarray((there - at).reshape(values.shape))

        answers, field = measured.answers, measured.field
        return Ground(
            at.reshape(*shape, 2),
            measured.measured,
            measured.covered,
            halves.Answers(
                moved(answers.whole), moved(answers.one), moved(answers.other), answers.weight / gsd**2, answers.single
            ),
            lattice.LatticeField(
                moved(field.whole),
                moved(field.one),
                moved(field.other),
                field.variance * gsd**2,
                field.unseen * gsd**2,
                field.between * gsd**2,
                field.width,
            ),
            gsd,
            measured.origin,
            measured.shown,
            measured.support * gsd,
            CONTENT * max(measured.unlike - ALIKE, 0.0) * gsd,
        )

    @property
    def places(self) -> NDArray[np.float64]:
        """Return (M, 2) some places, evenly spread over what both images show; metres."""
        return places_asked(self.at, self.covered)

    def transform(self, beyond: Transform) -> Transform:
        """Make the transform that follows the field: a translation, and a spline through every node.

        Args:
            beyond: what it goes over to where nothing was measured.
        """
        known = self._known()
        shift = known * self.field.whole + (1 - known) * self._shift(beyond)
        mean = np.median(shift[self.measured], axis=0)
        matrix = np.eye(3)
        matrix[:2, 2] = mean
        plane = PlaneTransform("translation", matrix, np.zeros(2))
        flipped = np.s_[::-1]  # rows run south, and the knots of a spline north
        return Transform(plane, bend_through((shift - mean)[flipped], self.at[-1, 0], self.at[0, -1]))

    def _known(self) -> NDArray[np.float64]:
        """Compute (rows, cols, 1) by how much the field is what was measured: 1, and 0 far from all of that."""
        measured = self.measured[..., None].astype(float)
        return np.clip(smoothing.average(measured, np.ones(measured.shape[:2]), lattice.WIDTHS[-1] / 2) / FADES, 0, 1)

    def squared_error(self, transform: Transform | None = None) -> NDArray[np.float64]:
        """Estimate (rows, cols, 2) the squared error at each node of a transform, of the field when not given; m²."""
        apart = np.zeros(2)
        if transform is None:
            error = halves.squared_error(self.answers, self.field.one, self.field.other)
        else:
            shift = self._shift(transform)
            if transform.kind == NONE:  # ground that lies further off than a wrong peak is no wrong peak
                apart = np.median((self.answers.whole - shift)[self.answers.single], axis=0)
            error = halves.squared_error(self.answers, shift + apart)
        return np.clip(error, -((CLIP_PX * self.gsd) ** 2), (CLIP_PX * self.gsd) ** 2) + apart**2

    def follows_better(self, transform: Transform) -> bool:
        """Tell whether the field errs less than a transform by more than a standard error over blocks.

        And by more than the halves may share of their noise, and than seasons do to what windows show, and by what
        windows beside one another share: else a field follows noise, or what a season did to one window.
        """
        if self._moves_apart(transform):
            return True
        single, block = self.answers.single, self.blocks()
        squared, shift = self.squared_error(transform), self._shift(transform)
        if not (halves.shared_with_neighbours(self.answers, shift)[0] > BORNE_OUT * squared[single].mean(0)).any():
            return False
        gain = (squared - self.squared_error()).sum(-1)
        count = np.bincount(block[single], minlength=block.max() + 1)
        mean = np.bincount(block[single], gain[single], minlength=len(count))[count > 0] / count[count > 0]
        noise = (((self.answers.one - self.answers.other) / 2) ** 2).sum(-1)[single].mean()
        least = (
            mean.std(ddof=1) / np.sqrt(len(mean)) + SHAREABLE * noise + 2 * self.content if len(mean) > 1 else np.inf
        )
        return bool(mean.mean() > least)

    def _moves_apart(self, transform: Transform) -> bool:
        """Tell whether some piece of the ground moves as one, off a transform, by more than seasons do.

        However small it is: over blocks of the ground, what one of them gains is no more than its scatter.
        """
        from scipy.ndimage import label

        least = max(APART_PX * self.gsd, APART_SIGMA * np.sqrt(self.content))
        off = np.hypot(*np.moveaxis(self.field.whole - self._shift(transform), -1, 0))
        sigma = np.sqrt(self.variance().sum(-1))
        number, _ = label((off > np.maximum(least, APART_SIGMA * sigma)) & self.answers.single, np.ones((3, 3)))
        return bool((np.bincount(number.ravel())[1:] >= FEWEST_APART).any())

    def _shift(self, transform: Transform) -> NDArray[np.float64]:
        """Compute (rows, cols, 2) the displacement that a transform gives each node."""
        return transform.shift(self.at.reshape(-1, 2)).reshape(self.at.shape)

    def variance(
        self, transform: Transform | None = None, spread: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Estimate (rows, cols, 2) the mean squared error of a transform around each node, m².

        Args:
            transform: left metres to right metres; that of the field when not given.
            spread: (M, 2) its variance at :attr:`places`.

        Single windows say it of what they can see; what is too short for them, and what lies between them, the field's
        own variance adds.
        """
        single = self.answers.single
        error = self.squared_error(transform)
        overall = np.maximum(error[single].mean(0), 0)
        around = np.maximum(self._around(error, overall), WIDEST * overall)
        if transform is None:
            return np.asarray(np.maximum(around + self.field.unseen, self.field.variance) + USUAL * self.content)
        shared = halves.shared_with_neighbours(self.answers, self._shift(transform))[1]
        around *= np.minimum(SHORTER * shared / np.maximum(overall, 1e-12), 1)
        own = self._at_nodes(spread) if spread is not None and len(spread) else 0.0
        # Far from every window a transform is no surer than the nearest of them, nor than all answers around together
        error = np.maximum(around + own, self.field.between) + self.field.unseen
        off = smoothing.average(self.answers.whole - self._shift(transform), self.measured.astype(float), lattice.LOCAL)
        error = np.maximum(error, off**2)
        return np.asarray(error + (lattice.FLOOR * self.gsd) ** 2)

    def beside(self, transform: Transform) -> NDArray[np.float64]:
        """Estimate (rows, cols) the variance per axis of the field around each node if a transform is what ground does.

        How far the field lies off it is then what seasons do to the content of windows, as far as they may do so much.

        Args:
            transform: left metres to right metres.
        """
        own = self.variance().mean(-1) - USUAL * self.content
        off = ((self.field.whole - self._shift(transform)) ** 2).mean(-1, keepdims=True)
        around = smoothing.average(off, self.answers.single.astype(float), lattice.LOCAL)[..., 0]
        return np.asarray(np.where(self.answers.single, np.maximum(own, np.minimum(around, own + self.content)), own))

    def _around(self, error: NDArray[np.float64], overall: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average (rows, cols, 2) squared errors around each node: wide, and along a break where they stand out.

        Args:
            error: (rows, cols, 2) at single windows.
            overall: (2,) its mean.
        """
        single = self.answers.single
        count, scatter = single.astype(float), error[single].var(0)
        wide, near = (
            smoothing.average(error, count, width, np.broadcast_to(overall, error.shape))
            for width in (lattice.LOCAL, BREAK)
        )
        chance = [scatter / max(4 * np.pi * w**2 * float(single.mean()), 1.0) for w in (lattice.LOCAL, BREAK)]
        # As much of what differs from place to place as chance does not explain (James & Stein 1961)
        share = np.clip(1 - chance[0] / np.maximum(wide[single].var(0), 1e-12), 0, 1)
        return np.asarray(np.maximum(overall + share * (wide - overall), near - 2 * np.sqrt(chance[1])))

    def _at_nodes(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take (M, 2) values at :attr:`places` to (rows, cols, 2), from the nearest."""
        from scipy.spatial import cKDTree

        _, nearest = cKDTree(self.places).query(self.at.reshape(-1, 2))
        return np.asarray(values[nearest].reshape(self.at.shape))

    def uncertainty(self, transform: Transform, spread: NDArray[np.float64] | None = None) -> Uncertainty:
        """Say how sure a transform is at each node that both images show, and how much ground a field averages.

        One of few parameters resolves nothing: a length, that of all of it, would read as a resolution.

        Args:
            transform: left metres to right metres.
            spread: (M, 2) its variance at :attr:`places`; of that of :meth:`transform` when not given.
        """
        field = spread is None
        variance = self.variance(None if field else transform, spread).mean(-1)
        sigma = np.where(self.shown, np.sqrt(variance), np.nan)
        return Uncertainty.of(self.at, sigma, self.support if field else np.full(sigma.shape, np.nan))

    def motion(self, stable: Ground, correction: Transform, sigma: Uncertainty) -> Motion:
        """Compare the whole displacement with a correction that was fitted on stable ground.

        Args:
            stable: the displacement of stable ground, on the same lattice.
            correction: left metres to right metres.
            sigma: how sure it is.
        """
        field = self.transform(correction)
        variance = self.variance().mean(-1) + sigma.arrays()[0] ** 2
        off = field.shift(self.at.reshape(-1, 2)).reshape(self.at.shape) - self._shift(correction)
        # Where nothing was measured the field fades to the correction: no motion is told there, rather than none
        measured = np.where(self._known()[..., 0] >= 1, np.sqrt(variance), np.nan)
        uncertainty = Uncertainty.of(self.at, measured, self.support)
        return Motion(field, uncertainty, StableError.of(off[stable.measured]))

    def blocks(self) -> NDArray[np.int_]:
        """Number (rows, cols) the squares that are drawn together."""
        return lattice_blocks(self.measured.shape)

    def hold_out(self, transform: Transform, seed: int, spread: NDArray[np.float64] | None = None) -> HoldOut:
        """Compute the circular errors of a transform on the measured ground, with their intervals.

        Args:
            transform: left metres to right metres.
            seed: of the draws.
            spread: (M, 2) its variance at :attr:`places`; of that of :meth:`transform` when not given.
        """
        rng, field = np.random.default_rng(seed), spread is None
        variance = self.variance(None if field else transform, spread)
        every = variance[self.covered]
        sigma = np.sqrt(every[:: 1 + len(every) // MOST_DRAWN])
        # Errors are normal where they are many small ones, and those of a sine where one wave is not followed
        angle = rng.uniform(0, 2 * np.pi, (20, *sigma.shape))
        shapes = (rng.normal(size=(20, *sigma.shape)), np.sqrt(2) * np.cos(angle))
        drawn = [np.hypot(*np.moveaxis(shape * sigma, -1, 0)) for shape in shapes]
        # and along one direction where one displacement is
        drawn.append(np.abs(rng.normal(size=(20, len(sigma)))) * np.hypot(*sigma.T))
        ce = {percent: max(float(np.percentile(each, percent)) for each in drawn) for percent in (90, 95)}
        single, block = self.answers.single, self.blocks()
        error = self.squared_error(None if field else transform).sum(-1)
        mean = float(every.sum(-1).mean())
        off = _deviations(error[single], block[single], rng)
        if field:  # what lies between windows is known from as many places as there are blocks
            doubt = np.sqrt(2 / len(np.unique(block[single])))
            off += np.array([-2, 2]) * doubt * self.field.between[self.covered].sum(-1).mean()
            off += UNSEEN_DOUBT * self.field.unseen[self.covered].sum(-1).mean()
        beyond = np.sqrt(np.maximum(mean + off, 0) / mean) - 1
        low, high = (1 + np.array([-1, 1]) * np.hypot(beyond, DOUBT_OF_ERROR)).clip(0).tolist()
        bias = (self.answers.whole - self._shift(transform))[single].mean(0)
        return HoldOut(
            points=int(single.sum()),
            gross_share=0.0,
            bias_x=round(float(bias[0]), 4),
            bias_y=round(float(bias[1]), 4),
            rmse=round(float(np.sqrt(variance[self.covered].sum(-1).mean())), 4),
            ce90=round(ce[90], 4),
            ce90_interval=(round(ce[90] * low, 4), round(ce[90] * high, 4)),
            ce95=round(ce[95], 4),
            ce95_interval=(round(ce[95] * low, 4), round(ce[95] * high, 4)),
        )


def _deviations(error: NDArray[np.float64], block: NDArray[np.int_], rng: np.random.Generator) -> NDArray[np.float64]:
    """Bootstrap over blocks by how much the mean of an error may be off: (2,), 2.5 and 97.5 %."""
    number, member = np.unique(block, return_inverse=True)
    total, count = np.bincount(member, error), np.bincount(member)
    pick = rng.integers(0, len(number), (DRAWS, len(number)))
    mean = total[pick].sum(1) / count[pick].sum(1)
    return np.asarray(np.percentile(mean, (2.5, 97.5)) - error.mean())
