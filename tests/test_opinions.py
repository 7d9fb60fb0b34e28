"""What speaks against a displacement is said in words, and doubtful is what has any."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sentinel_match.opinions import Consistency, OneWay, Population, Rival, SecondEstimate
from sentinel_match.tiepoints import TiePoints

GSD = 10.0
AGREES = SecondEstimate(looks=90, answers=60, after_dx_m=0.1, after_dy_m=-0.2, agrees=True)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Consistency(pull_m=0.9, pull_dx_m=0.9), ""),
        (Consistency(pull_m=5.0, pull_dx_m=3.0, pull_dy_m=-4.0), "coarse detail lies +3.00 m east, -4.00 m north of"),
        (Consistency(unfollowed_m=4.0), "detail fades as where ground moves by 4.0 m (0.4 px) within a hundred pixels"),
        (Consistency(one_way=OneWay(share=0.8, azimuth_deg=35.2)), "80% of the points are known in one direction only"),
        (Consistency(one_way=OneWay(share=0.8)), "what lies along the crests of their texture is not known"),
        (Consistency(marks="repeated pixels"), "match the originals, or resample with interpolation"),
        (Consistency(marks="blocks"), "both images show the blocks of JPEG and agree where these do"),
        (Consistency(marks="scan lines"), "both images show scan lines where they agree"),  # of a later version
        (Consistency(drawn_m=2.3), "they lie 2.30 m nearer to a whole pixel than where they show much"),
        (
            Consistency(rival=Rival(dx_m=200.0, dy_m=0.0, share=0.7)),
            "agree nearly as well (70%) +200 m east, +0 m north",
        ),
        (
            Consistency(other=Population(share=0.2, dx_m=7.0, dy_m=-3.0, bounds=(0, 0, 1, 1))),
            "20% of the matches agree on +7.0 m east, -3.0 m north instead",
        ),
    ],
)
def test_what_the_images_say_against_the_points_is_said_in_words(said: Consistency, reason: str) -> None:
    doubts = said.doubts(GSD)
    assert bool(reason) == len(doubts)
    assert reason in "".join(doubts)


def test_what_names_the_cause_and_its_remedy_is_said_first() -> None:
    said = Consistency(marks="blocks", pull_m=5.0, pull_dx_m=5.0, on_grid=True, drawn_m=3.0)
    assert "match the originals" in said.doubts(GSD)[0]


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (AGREES, ""),
        (replace(AGREES, agrees=None), ""),
        (replace(AGREES, agrees=False), "sees +0.10 m east, -0.20 m north remain in 60 windows"),
        (SecondEstimate(looks=90, answers=60, agrees=False), "sees a shift remain in 60 windows"),
        (replace(AGREES, scatter_m=5.0, least_scatter_m=4.0), "sees what remains vary by 5.00 m root mean square"),
        (replace(AGREES, scatter_m=3.0, least_scatter_m=2.0), ""),
    ],
)
def test_what_a_second_estimator_contradicts_is_said_in_words(second: SecondEstimate, reason: str) -> None:
    contradictions = second.contradictions(1.6, GSD)
    assert bool(reason) == len(contradictions)
    assert reason in "".join(contradictions)


@pytest.mark.parametrize(
    ("second", "said", "doubtful"),
    [
        (AGREES, Consistency(), False),
        (replace(AGREES, agrees=False), Consistency(), True),
        (AGREES, Consistency(unfollowed_m=4.0), True),
    ],
)
def test_what_anything_speaks_against_is_doubtful(
    second: SecondEstimate, said: Consistency, doubtful: bool, ties: TiePoints
) -> None:
    comparison = replace(ties.summary.comparison, second=second, consistency=said)
    assert doubtful == replace(ties.summary, comparison=comparison).doubtful
