"""What is promised of a model, and what of single points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import summary_of

from sentinel_match.accuracy.requirement import promise
from sentinel_match.geometry.transform import PlaneTransform, Transform
from sentinel_match.opinions import Consistency
from sentinel_match.summary import HoldOut, Summary
from sentinel_match.tiepoints import TiePoints


def summary(ce90_m: float) -> Summary:
    """The figures of T36UYA at 60 m: the model is held to 0.20 px, a third of the points is not within 0.3 px."""
    proven = HoldOut(
        points=1300, gross_share=0.0015, bias_x=0.7, bias_y=2.2, rmse=6.9,
        ce90=9.3, ce90_interval=(8.8, 10.5), ce95=11.72, ce95_interval=(10.2, 13.4),
    )  # fmt: skip
    transform = Transform(PlaneTransform("translation", np.eye(3), np.zeros(2)))
    return replace(summary_of(transform, hold_out=proven, inliers=5313, gsd_m=60.0, ce90_m=ce90_m))


@pytest.mark.parametrize(
    ("ce90_m", "beyond", "said"),
    [
        (
            29.5,
            0.35,
            "single points promise less: 35 % of the 5,313 believed points lie 0.3 px or more from it (red in QGIS)",
        ),
        (
            29.5,
            None,
            "single points promise less: one in ten of the 5,313 believed points lies more than 29.50 m (0.49 px)",
        ),
        (
            9.0,
            0.004,
            "single points bear it out: less than 1 % of the 5,313 believed points lie 0.3 px or more from it",
        ),
        (
            9.0,
            None,
            "single points bear it out: one in ten of the 5,313 believed points lies more than 9.00 m (0.15 px)",
        ),
    ],
)
def test_verdict_and_map_are_reconciled(ce90_m: float, beyond: float | None, said: str) -> None:
    sentence = promise(summary(ce90_m), beyond)
    assert sentence.startswith("0.20 px is what the model promises, by the 1,300 surest points")
    assert said in sentence


def test_what_is_not_proven_is_not_promised() -> None:
    sentence = promise(replace(summary(9.0), hold_out=None), 0.1)
    assert sentence.startswith("the model is not proven on unseen ground; 10 % of the 5,313 believed points")


def test_nothing_is_promised_of_what_the_images_contradict(ties: TiePoints) -> None:
    contradicted = replace(ties.summary.comparison, consistency=Consistency(marks="blocks"))
    sentence = promise(replace(summary(9.0), comparison=contradicted), 0.1)
    assert sentence.startswith("by the points alone, which the images contradict, the model would err less than 0.20")
    assert "promise" not in sentence
