"""Values that tests make up."""

from __future__ import annotations

from dataclasses import fields, replace

from sentinel_match.geometry.transform import Transform
from sentinel_match.summary import Fitting, ShiftStatistics, Summary


def summary_of(transform: Transform, **changes: object) -> Summary:
    """A summary that says nothing but the transform, and what is changed."""
    figures = {f.name: 0 for f in fields(ShiftStatistics)}
    summary = Summary(
        **{**figures, "gsd_m": 10.0},
        shift_sigma_m=(0.1, 0.1),
        transform=transform,
        sigma_factors={},
        kinds_tried={},
        tolerance_m=5.0,
        hold_out=None,
        fitting=Fitting("translation", None, 40.0, 3.4),
        band="B04",
        crs="EPSG:32633",
        verdict="nothing is known",
    )
    return replace(summary, **changes)
