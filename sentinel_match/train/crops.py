"""Pairs of crops of one ground, changed as seasons, skies and sensors change it, with the truth of every pixel.

Both crops of a pair are turned, mirrored and scaled alike, and the right one is displaced by a known part of a pixel
and more, and where a task asks for it, turned and scaled once more: all that is one resampling of the source, so no
grid that two dates share (of JPEG blocks, of detectors) lines up with anything. Then each side is changed by itself,
as another day would (``weather``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from sentinel_match.errors import NothingToLearn
from sentinel_match.geometry.grids import origin_of
from sentinel_match.train.cuts import OpenPicture, allowed, cut, first_row, has_room, shows_something
from sentinel_match.train.mappings import Waves, about, overlay, turn
from sentinel_match.train.places import GROUND_CELL_PX
from sentinel_match.train.weather import rephotograph

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.train.places import Ground, Place

LEAST_CUT_ZOOM = 0.55
"""A crop pixel is this part of a source pixel at least, and one at most."""
LEAN_RADIANS = np.radians(5)
"""Standard deviation of the angle between the sides, where they are turned by themselves but not by any angle."""
REDUCTIONS = (1, 1, 2, 4)
"""Source pixels are means of so many by so many, where the place is wide enough: one archive teaches 10 to 40 m."""
SAME_DATE_SHARE = 0.06
"""Share of pairs of one scene: what does not change must be found as well."""
OTHER_BAND_SHARE = 0.3
"""Share of pairs of different bands, where a place has several: one date's bands differ like seasons."""
WAVES_PX, HIGHEST_WAVE_PX, STEEPEST_WAVE = (80.0, 400.0), 2.0, 0.1
"""Length of waves that bend a side, their largest displacement, and its steepest change per pixel."""
HEEDED_SHARE, LEAST_MISSED = 0.02, 0.1
"""How far one pair moves what is known of how hard its place is; and the least that a place counts as missed."""
CUT_TRIES = 2000
LEAST_CROP_PX = 96
"""Pixels of the side of a crop by which anything can be judged."""


@dataclass(frozen=True)
class Cutting:
    """How pairs of crops are cut."""

    size: int = 160
    """Side of a crop in pixels, even."""
    farthest: float = 8.0
    """Largest displacement of a pair in pixels, each axis."""
    turned_share: float = 0.0
    """Of the pairs, those whose right side is turned by itself, by up to ``turn``; the others then lean a little. At 0
    no side is turned by itself."""
    turn: float = 180.0
    """Degrees."""
    zoom: float = 1.0
    """The right side may be so many times larger or smaller than the left."""
    slant: float = 0.0
    """The right side is also sheared and stretched by up to such a part, as by another view."""
    bent_share: float = 0.0
    """Of the pairs, those whose right side is bent by a wave besides, so that each window has a displacement of its
    own."""
    same_picture_share: float = 0.0
    """Of the pairs, those that show one picture twice, so that the changes made here are the only ones."""


class Batch(NamedTuple):
    """N pairs of crops."""

    left: Tensor
    """(N, 1, size, size) float32, 0..1 or a little beyond."""
    right: Tensor
    left_valid: Tensor
    """(N, 1, size, size) 1 = valid as a matcher is told."""
    right_valid: Tensor
    clear: Tensor
    """(N, 1, size, size) of the left crop, 0..1: how much of the ground can be seen in both, known to a mask or not."""
    shift: Tensor
    """(N, 2) x, y in crop pixels by which the right content lies beside the left, in the middle of the crops."""
    mapping: Tensor
    """(N, 3, 3) left pixels to right ones, homogeneous, corner origin; what waves add is beside them."""
    waves: Waves
    ground: Tensor
    """(N, 3, 3) left pixels to those of the first picture of the place, without its reduction."""
    place: Tensor
    """(N,) index among the places that are cut from."""
    reduction: Tensor
    """(N,) source pixels along one that was cut."""

    def one(self, k: int) -> Batch:
        """Take one pair."""
        fields: dict[str, Any] = {name: field[k : k + 1] for name, field in self._asdict().items() if name != "waves"}
        return Batch(**fields, waves=Waves(*(field[k : k + 1] for field in self.waves)))


class _CutPair(NamedTuple):
    """Two cuts of one ground."""

    left: NDArray[np.float32]
    """(3, side, side): pixels, where they are known, where they are clear."""
    right: NDArray[np.float32]
    aside: NDArray[np.float64]
    """x, y in cut pixels by which the right content lies beside the left."""
    middle: NDArray[np.float64]
    """x, y of the left cut's middle in pixels of the first picture of its place."""
    place: int
    reduction: int


class Crops:
    """An endless stream of pairs from the ground that may be used."""

    def __init__(
        self,
        ground: Ground,
        cutting: Cutting | None = None,
        *,
        seed: int = 0,
        held_out: bool = False,
        augment: bool = True,
    ) -> None:
        """Prepare the stream.

        Args:
            ground: places, and what of them is kept apart.
            cutting: how pairs are cut.
            seed: of everything random.
            held_out: cut from the ground kept apart, and two dates alone: one date's bands are too alike to judge by.
            augment: change the sides as seasons do; else only turn, scale and displace.

        Raises:
            NothingToLearn: no place is large enough.
        """
        self.cutting, self.augment, self.held_out = cutting or Cutting(), augment, held_out
        self.size = self.cutting.size
        self.side = int(np.ceil(self.size * np.sqrt(2) / 2)) * 2
        self.places: list[tuple[Place, list[OpenPicture]]] = []
        for place in ground.places:
            sources = [OpenPicture(p, ground.cells(p, held_out=held_out)) for p in place.pictures]
            sources = [s for s in sources if has_room(s, self.side)]
            if len({s.picture.scene for s in sources}) > held_out and len(sources) > 1:
                self.places.append((place, sources))
        if not self.places:
            kind = "held-out" if held_out else "training"
            raise NothingToLearn(f"the {kind} ground holds no two pictures of {self.size} x {self.size} pixels")
        # Many dates teach more than one, but not in proportion
        weights = np.sqrt([len(place.scenes) for place, _ in self.places])
        self.weights = weights / weights.sum()
        self.missed = np.ones(len(self.places))
        self.rng = np.random.default_rng(seed)
        self.torch = torch.Generator().manual_seed(seed)
        self.count = 0

    @property
    def names(self) -> set[str]:
        """Name the places that are cut from."""
        return {place.name for place, _ in self.places}

    def state(self) -> dict[str, Any]:
        """Return where the stream is, for a file, to go on from there."""
        return {
            "numpy": self.rng.bit_generator.state,
            "torch": self.torch.get_state(),
            "missed": torch.from_numpy(self.missed.copy()),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from where a stream was."""
        self.rng.bit_generator.state = state["numpy"]
        self.torch.set_state(state["torch"])
        self.missed = state["missed"].numpy().copy()

    def heed(self, batch: Batch, missed: Tensor) -> None:
        """Hear what of each of N pairs was not learned yet, 0..1: where much is missed, more is cut from now on."""
        for place, share in zip(batch.place.tolist(), missed.tolist(), strict=True):
            self.missed[place] += HEEDED_SHARE * (share - self.missed[place])

    def sample(self, count: int) -> Batch:
        """Draw the next pairs.

        Raises:
            NothingToLearn: hardly any ground shows anything.
        """
        cuts = [self._cut_pair() for _ in range(count)]
        left, right = (torch.from_numpy(np.stack(sides)) for sides in list(zip(*cuts, strict=True))[:2])
        aside = torch.tensor(np.array([c.aside for c in cuts]), dtype=torch.float32)
        waves = self._waves(count)
        farthest = self.cutting.farthest - waves.height.abs()
        shift = torch.tensor(self.rng.uniform(-1, 1, (count, 2)), dtype=torch.float32) * farthest
        change = self._common_change(count)
        relative = self._relative_change(change)
        sides = (
            self._resampled(left, change, torch.zeros(count, 2), aside * 0, Waves.none(count)),
            self._resampled(right, change @ torch.linalg.inv(relative), shift, aside, waves),
        )
        pixels = [side[:, :1] for side in sides]
        valid = [(side[:, 1:2] > 0.999).float() for side in sides]
        clear = [(side[:, 2:3] > 0.5).float() for side in sides]
        for k in (0, 1):
            if self.augment:
                pixels[k], veil, masked = rephotograph(pixels[k], self.torch)
                clear[k] = clear[k] * (1 - veil)
                valid[k] = valid[k] * (1 - masked)
            pixels[k] = pixels[k] * valid[k]
        middle = self.size / 2
        mapping = about(middle, relative, shift)
        reduction = torch.tensor([c.reduction for c in cuts])
        centre = torch.tensor(np.array([c.middle for c in cuts]), dtype=torch.float32)
        return Batch(
            left=pixels[0],
            right=pixels[1],
            left_valid=valid[0],
            right_valid=valid[1],
            clear=clear[0] * valid[0] * overlay(clear[1] * valid[1], mapping),
            shift=shift,
            mapping=mapping,
            waves=waves,
            ground=about(middle, change * reduction[:, None, None], centre - middle),
            place=torch.tensor([c.place for c in cuts]),
            reduction=reduction,
        )

    def _cut_pair(self) -> _CutPair:
        self.count += 1
        for attempt in range(CUT_TRIES):
            # Every place has the same say when a network is judged; one that shows nothing is given up
            index = (self.count + attempt * len(self.places) * 2 // CUT_TRIES) % len(self.places)
            if not self.held_out:
                weights = self.weights * np.maximum(self.missed, LEAST_MISSED)
                index = int(self.rng.choice(len(self.places), p=weights / weights.sum()))
            place, sources = self.places[index]
            one = sources[self.rng.integers(len(sources))]
            other = self._partner(one, sources)
            if other is None:
                continue
            reduction = int(self.rng.choice(REDUCTIONS))
            shape = one.picture.geobox.shape
            if min(shape) < 2 * reduction * self.side:
                reduction = 1
            cells = np.argwhere(one.open)
            row, col = cells[self.rng.integers(len(cells))] * GROUND_CELL_PX + self.rng.integers(0, GROUND_CELL_PX, 2)
            wide = reduction * self.side
            corner = np.array([first_row(row, wide, shape.y), first_row(col, wide, shape.x)])
            if not allowed(one, corner, wide):
                continue
            offset = np.subtract(origin_of(one.picture.geobox), origin_of(other.picture.geobox))
            if not allowed(other, corner + offset, wide):
                continue
            cuts = [
                cut(source.picture, at, self.side, reduction)
                for source, at in ((one, corner), (other, corner + offset))
            ]
            if all(map(shows_something, cuts)):
                aside = np.subtract(other.picture.shift, one.picture.shift) / reduction
                first = np.subtract(origin_of(one.picture.geobox), origin_of(place.pictures[0].geobox))
                middle = (corner + first + wide / 2)[::-1] - one.picture.shift
                return _CutPair(cuts[0], cuts[1], aside, middle, index, reduction)
        raise NothingToLearn("hardly any of the ground is free of cloud and no-data on two dates")

    def _partner(self, one: OpenPicture, sources: list[OpenPicture]) -> OpenPicture | None:
        """Draw the picture to pair one with; ``None`` where there is none."""
        share = self.cutting.same_picture_share
        if share and self.rng.random() < share:
            return one
        others = [s for s in sources if s is not one and not (self.held_out and s.picture.scene == one.picture.scene)]
        same_date, other_band = self.rng.random(2) < (SAME_DATE_SHARE, OTHER_BAND_SHARE)
        same_date &= not self.held_out
        fitting = [
            s
            for s in others
            if (s.picture.scene == one.picture.scene) == same_date
            and (s.picture.band != one.picture.band) == (other_band or same_date)
        ] or others
        return fitting[self.rng.integers(len(fitting))] if fitting else None

    def _common_change(self, count: int) -> Tensor:
        """Draw (N, 2, 2): crop pixels to source pixels, the same for both sides."""
        angle = torch.tensor(self.rng.uniform(-np.pi, np.pi, count), dtype=torch.float32)
        zoom = torch.tensor(np.exp(self.rng.uniform(np.log(LEAST_CUT_ZOOM), 0, count)), dtype=torch.float32)
        mirror = torch.ones(count, 1, 2)
        mirror[:, 0, 0] = torch.tensor(self.rng.choice([-1.0, 1.0], count), dtype=torch.float32)
        return turn(angle) * mirror * zoom[:, None, None]

    def _relative_change(self, change: Tensor) -> Tensor:
        """Draw (N, 2, 2): left to right crop pixels about the middle; both sides keep to the zooms there are."""
        count, cutting = len(change), self.cutting
        if not cutting.turned_share and cutting.zoom == 1:
            return torch.eye(2).expand(count, 2, 2)
        most = np.radians(cutting.turn)
        turns, leans = self.rng.uniform(-most, most, count), self.rng.normal(0, LEAN_RADIANS, count)
        angle = torch.tensor(np.where(self.rng.random(count) < cutting.turned_share, turns, leans), dtype=torch.float32)
        factor = torch.tensor(cutting.zoom ** self.rng.uniform(-1, 1, count), dtype=torch.float32)
        zoom = torch.linalg.det(change).abs().sqrt()
        factor = zoom / (zoom / factor).clamp(LEAST_CUT_ZOOM, 1)
        slant = torch.zeros(count, 2, 2)
        if cutting.slant:
            slant = torch.tensor(self.rng.uniform(-cutting.slant, cutting.slant, (count, 2, 2)), dtype=torch.float32)
        return torch.as_tensor(turn(angle) @ (torch.eye(2) + slant) * factor[:, None, None])

    def _waves(self, count: int) -> Waves:
        """Draw waves, as high as their bounds allow; of height 0 where none are asked for."""
        if not self.cutting.bent_share:
            return Waves.none(count)
        shortest, longest = np.log(WAVES_PX)
        length = np.exp(self.rng.uniform(shortest, longest, count))
        angle = self.rng.uniform(0, 2 * np.pi, (3, count))
        highest = np.minimum(HIGHEST_WAVE_PX, STEEPEST_WAVE * length / (2 * np.pi)) * self.rng.random(count)
        highest *= self.rng.random(count) < self.cutting.bent_share
        facing, moving = (np.column_stack([np.cos(a), np.sin(a)]) for a in angle[:2])
        along, begin, height = facing * (2 * np.pi / length)[:, None], angle[2], moving * highest[:, None]
        return Waves(*(torch.tensor(value, dtype=torch.float32) for value in (along, begin, height)))

    def _resampled(self, source: Tensor, change: Tensor, shift: Tensor, aside: Tensor, waves: Waves) -> Tensor:
        """Resample to (N, 3, size, size) what lies at p - shift in the crop frame, ``aside`` source pixels off."""
        offsets = torch.arange(self.size) - (self.size - 1) / 2
        y, x = torch.meshgrid(offsets, offsets, indexing="ij")
        right = (torch.stack([x, y], -1)[None] - shift[:, None, None]).flatten(1, 2)
        at = right
        for _ in range(2):  # as gentle as they are, that is enough
            at = right - waves.at(at + self.size / 2)
        at = at.view(-1, self.size, self.size, 2)
        at = torch.einsum("nij,nhwj->nhwi", change, at) + aside[:, None, None]
        at = at / (self.side / 2)
        pixels = functional.grid_sample(
            source[:, :1], at, mode="bicubic", padding_mode="reflection", align_corners=False
        )
        flags = functional.grid_sample(source[:, 1:], at, mode="bilinear", padding_mode="zeros", align_corners=False)
        return torch.cat([pixels, flags], 1)


def held_out_crops(ground: Ground, cutting: Cutting, seed: int) -> list[Crops]:
    """Prepare two streams of held-out ground: as it is, and changed as seasons change it.

    Args:
        ground: places, and what of them is kept apart.
        cutting: how pairs are cut; smaller where no ground is as large, never one picture twice, and none bent.
        seed: of everything random.

    Raises:
        NothingToLearn: no place is large enough.
    """
    cutting = replace(cutting, same_picture_share=0.0, bent_share=0.0)
    try:
        return [Crops(ground, cutting, augment=k > 0, held_out=True, seed=seed + 1 + k) for k in (0, 1)]
    except NothingToLearn:
        smaller = cutting.size * 3 // 4 // 16 * 16
        if smaller < LEAST_CROP_PX:
            raise
        return held_out_crops(ground, replace(cutting, size=smaller), seed)
