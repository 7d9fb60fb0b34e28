"""What the built-in methods share: a recipe made of their options, and weights that are found and verified.

A method from outside needs none of this: it keeps the Protocol of ``sentinel_match.matchers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sentinel_match.models.weights import Weights, sha256, verified

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class BuiltIn:
    """A built-in method: what derives from it is a frozen dataclass of options."""

    name: ClassVar[str]
    weights: ClassVar[tuple[Weights, ...]] = ()

    @property
    def libraries(self) -> Mapping[str, str]:
        """Name the libraries that a result depends on, each with its version."""
        return {}

    @property
    def recipe(self) -> Mapping[str, object]:
        """Name everything a result depends on: options, libraries and weights, not the device that computes it."""
        options = {k: v for k, v in vars(self).items() if k != "device" and not k.endswith("_file")}
        weights = {"weights": [sha256(path) for path in self.files()]} if self.weights else {}
        return {"matcher": self.name, "version": 1, **self.libraries, **options, **weights}

    def check(self) -> None:
        """Fail now if the weights are absent or wrong; see :meth:`sentinel_match.matchers.Matcher.check`."""
        self.files()

    def files(self) -> tuple[Path, ...]:
        """Find and verify its weights files, each the user's own or the registered one, in the order of ``weights``.

        Raises:
            WeightsMissing, WeightsDamaged: one of them is absent or is not the right one.
        """
        return tuple(verified(weights, getattr(self, weights.option)) for weights in self.weights)
