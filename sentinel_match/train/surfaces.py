"""Two ways to correlate feature maps at every displacement, through both of which a network can learn.

``template`` compares a Gaussian window of the left map with the right map wherever it may lie: nothing is lost at a
large displacement, and the gradient is plain, so features are learned quickly. ``phase`` is what the method does
afterwards: windows at one place, whitened (``correlation``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from sentinel_match.matchers.correlation import SPECTRAL_SIGMA

if TYPE_CHECKING:
    from torch import Tensor

WINDOW_SIGMA = 6.0
"""Standard deviation in features of the Gaussian window."""
WINDOW_TAIL = 2.5
"""It ends at so many standard deviations."""
FAINT_SHARE = 1e-4
"""Of a spectrum's mean magnitude: frequencies below it are not blown up to one, or their gradient would be endless."""


class _Products(torch.autograd.Function):
    """f(x) g(x + d), summed over channels, for every displacement.

    The gradient of such a loop, as torch derives it, would be ten times as slow.
    """

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, radius: int) -> Tensor:
        count, _, rows, cols = left.shape
        padded = functional.pad(right, (radius,) * 4)
        ctx.save_for_backward(left, padded)
        side = 2 * radius + 1
        result = left.new_empty(count, side**2, rows, cols)
        for k in range(side**2):
            dy, dx = divmod(k, side)
            result[:, k] = (left * padded[:, :, dy : dy + rows, dx : dx + cols]).sum(1)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        left, padded = ctx.saved_tensors
        rows, cols = left.shape[-2:]
        to_left, to_right = torch.zeros_like(left), torch.zeros_like(padded)
        side = round(gradients[0].shape[1] ** 0.5)
        for k in range(side**2):
            dy, dx = divmod(k, side)
            one = gradients[0][:, k, None]
            to_left.addcmul_(one, padded[:, :, dy : dy + rows, dx : dx + cols])
            to_right[:, :, dy : dy + rows, dx : dx + cols].addcmul_(one, left)
        edge = side // 2
        return to_left, to_right[:, :, edge : edge + rows, edge : edge + cols], None


def window(size: int, at: Tensor) -> Tensor:
    """Compute (len(at), size) Gaussian weights of ``size`` features around each position."""
    distance = torch.arange(size, device=at.device)[None] - at[:, None]
    return torch.exp(-0.5 * (distance / WINDOW_SIGMA) ** 2) * (distance.abs() <= WINDOW_TAIL * WINDOW_SIGMA)


def template(left: Tensor, right: Tensor, at: Tensor, radius: int) -> Tensor:
    """Correlate in Gaussian windows around the points of a square grid, normalised.

    Args:
        left: (N, C, S, S) features.
        right: (N, C, S, S).
        at: (P,) rows and columns of the grid.
        radius: largest displacement in features.

    Returns:
        (N, P, P, K), K = (2 radius + 1)^2 with rows dy and columns dx; at most 1.
    """
    size = left.shape[-1]
    along = window(size, at).to(left.dtype)
    products = _Products.apply(left, right, radius)  # type: ignore[no-untyped-call]
    common = torch.einsum("rh,nkhw,sw->nrsk", along, products, along)
    left_energy = torch.einsum("rh,nhw,sw->nrs", along, (left**2).sum(1), along)
    steps = torch.arange(-radius, radius + 1, device=left.device)
    far = window(size, (at[:, None] + steps).flatten()).to(left.dtype)
    right_energy = torch.einsum("rh,nhw,sw->nrs", far, (right**2).sum(1), far)
    right_energy = right_energy.view(-1, len(at), len(steps), len(at), len(steps)).transpose(2, 3).flatten(3)
    return torch.as_tensor(common / (left_energy[..., None].clamp_min(1e-6) * right_energy.clamp_min(1e-6)).sqrt())


def phase(left: Tensor, right: Tensor, at: Tensor, radius: int, side: int) -> Tensor:
    """Correlate the phases of tapered windows, summed over channels.

    Args:
        left: (N, C, S, S) features.
        right: (N, C, S, S).
        at: (P,) rows and columns of the windows' centres, evenly apart.
        radius: largest displacement in features.
        side: of a window in features, even.

    Returns:
        (N, P, P, K); 1 = identical content.
    """
    device = left.device
    hann = torch.hann_window(side, periodic=False, device=device)
    taper = hann[:, None] * hann[None]
    rows, cols = torch.fft.fftfreq(side, device=device), torch.fft.rfftfreq(side, device=device)
    low = torch.exp(-(rows[:, None] ** 2 + cols[None] ** 2) / (2 * SPECTRAL_SIGMA["intensity"] ** 2))
    low = low / torch.fft.irfft2(low.to(torch.complex64), s=(side, side))[0, 0]
    step, first, last = int(at[1] - at[0]), int(at[0]) - side // 2, int(at[-1]) + side // 2
    spectra = []
    for features in (left, right):
        windows = features[..., first:last, first:last].unfold(2, side, step).unfold(3, side, step)
        mean = (windows * taper).sum((-1, -2), keepdim=True) / taper.sum()
        spectra.append(torch.fft.rfft2((windows - mean) * taper))
    cross = spectra[1] * spectra[0].conj()
    faint = FAINT_SHARE * cross.abs().mean((-1, -2), keepdim=True).detach() + 1e-12
    surface = torch.fft.irfft2((cross / (cross.abs() + faint)).mean(1) * low, s=(side, side))
    n = 2 * radius + 1
    return torch.as_tensor(torch.roll(surface, (radius, radius), (-2, -1))[..., :n, :n].flatten(-2))


def peak(surface: Tensor) -> tuple[Tensor, Tensor]:
    """Find the highest value, refined by a parabola along each axis, and tell whether it lies inside the search.

    Args:
        surface: (N, K).

    Returns:
        (N, 2) x, y in features, and (N,) bool.
    """
    side = round(surface.shape[1] ** 0.5)
    grid, k = surface.view(-1, side, side), torch.arange(len(surface), device=surface.device)
    best = surface.argmax(1)
    row, col = torch.div(best, side, rounding_mode="floor"), best % side
    inside = (row > 0) & (row < side - 1) & (col > 0) & (col < side - 1)
    row, col = row.clamp(1, side - 2), col.clamp(1, side - 2)

    def at(dy: int, dx: int) -> Tensor:
        return grid[k, row + dy, col + dx]

    top = at(0, 0)
    x = 0.5 * (at(0, 1) - at(0, -1)) / (2 * top - at(0, 1) - at(0, -1) + 1e-5)
    y = 0.5 * (at(1, 0) - at(-1, 0)) / (2 * top - at(1, 0) - at(-1, 0) + 1e-5)
    return torch.stack([col - side // 2 + x, row - side // 2 + y], 1), inside
