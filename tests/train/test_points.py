"""Keypoints, and who belongs to whom: what training is taught is true, it learns, and the methods take the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from sentinel_match.cli import main
from sentinel_match.cli.train import NETWORK_NAMES
from sentinel_match.errors import BadCheckpoint, WeightsDamaged
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.matchers.superglue import SuperPointSuperGlue
from sentinel_match.matchers.superpoint import SuperPointLightGlue, described
from sentinel_match.models import lightglue, superglue
from sentinel_match.models.superpoint import (
    COMPACT_SUPERPOINT,
    ORIGINAL_SUPERPOINT,
    SuperPoint,
    SuperPointShape,
    fused,
    load,
    shape_of,
)
from sentinel_match.models.weights import sha256
from sentinel_match.raster import raster
from sentinel_match.raster.raster import Raster
from sentinel_match.testing import Landscape
from sentinel_match.train import Ground, assignment, gather, hold_out, labels, loop, task
from sentinel_match.train.assignment import (
    NO_PARTNER_PX,
    PARTNER_PX,
    PRIOR_REACH_PX,
    Assignment,
    draw_prior,
    enlarge,
    true_assignment,
    unlikelihood,
)
from sentinel_match.train.crops import Batch, Crops, Cutting
from sentinel_match.train.loop import Schedule, TrainingState, learn, save, seeded
from sentinel_match.train.mappings import map_points, overlay
from sentinel_match.train.networks import TRAINABLE
from sentinel_match.train.points import NO_POINT, POINT_CUTTING, Mark, Points, classes, judge_points
from sentinel_match.train.task import TrainingSetup

CPU = torch.device("cpu")
TURNING = Cutting(96, farthest=6, turned_share=0.5, zoom=1.4)
TINY = SuperPointShape((4, 8, 8, 8), 16, 16, normed=True)
SMALL: dict[str, object] = {
    "setup": TrainingSetup(batch=2),
    "cutting": replace(POINT_CUTTING, size=96, farthest=4.0),
}


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few looks, no slow beginning, and judged by four small crops."""
    monkeypatch.setattr(loop, "WARM_UP_STEPS", 1)
    monkeypatch.setattr(labels, "LOOKS_AT_PLACE", 16)
    monkeypatch.setattr(labels, "LOOKS_AT_SCENE", 4)
    monkeypatch.setattr(task, "EXAM_PAIRS", 4)
    monkeypatch.setattr(task, "EXAM_SIDE_PX", 96)
    monkeypatch.setattr(assignment, "LIGHTGLUE_SHAPE", {"descriptor_dim": 16, "n_layers": 2, "num_heads": 2})
    monkeypatch.setattr(assignment, "COMPACT_SUPERGLUE", superglue.SuperGlueShape((8, 16), 2))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dates, the second cut elsewhere and a little off its georeference."""
    folder = tmp_path_factory.mktemp("archive")
    for k, (day, season) in enumerate((("20210520", "spring"), ("20210917", "autumn"))):
        box = GeoBox((420, 900), Affine(20, 0, 300_000 + 160 * k, 0, -20, 5_600_000), "EPSG:32633")
        pixels = Landscape(seed=3).render(box, season, displacement=(20 * k, -10 * k))
        raster.write(Raster(pixels, np.ones(pixels.shape, bool), box), folder / f"33UUU_{day}.tif")
    return folder


@pytest.fixture(scope="module")
def ground(archive: Path) -> Ground:
    return hold_out(gather([archive])[0], 0.4)


@pytest.fixture(scope="module")
def detector() -> SuperPoint:
    with seeded(1):
        return SuperPoint(TINY).eval()


# Crops whose sides are turned by themselves


@given(st.integers(0, 2**16))
@settings(max_examples=8)
def test_a_left_pixel_shows_the_ground_that_its_mapping_leads_to(ground: Ground, seed: int) -> None:
    crops = Crops(ground, replace(TURNING, same_picture_share=1.0), seed=seed, augment=False)
    batch = crops.sample(2)
    there = overlay(batch.right, batch.mapping)
    for k in range(2):
        clear = batch.clear[k, 0] > 0.999
        a, b = batch.left[k, 0][clear], there[k, 0][clear]
        assert clear.sum() > 500
        assert (a - b).abs().mean() < 0.25 * (a - a.mean()).abs().mean()


def test_a_left_pixel_leads_to_its_place_on_the_ground(ground: Ground) -> None:
    crops = Crops(ground, TURNING, seed=1, augment=False)
    batch = crops.sample(8)
    first = ground.places[0].pictures[0].image.raster
    y, x = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    at = torch.stack([x, y], -1).flatten(0, 1)
    seasons = 0
    for k in range(8):
        col, row = map_points(at, batch.ground[k]).floor().long().T
        inside = (col >= 0) & (row >= 0) & (col < first.valid.shape[1]) & (row < first.valid.shape[0])
        shown = torch.from_numpy(np.asarray(first.pixels, np.float32))[row[inside], col[inside]]
        likeness = np.corrcoef(batch.left[k].flatten()[inside], shown)[0, 1]
        seasons += likeness > 0.9
        assert abs(likeness) > 0.2
    assert 2 <= seasons < 8, "the first picture itself is like itself, the other one less"


def test_mappings_turn_and_scale_only_where_it_is_asked_for(ground: Ground) -> None:
    plain = Crops(ground, Cutting(96), seed=2).sample(4)
    assert torch.equal(torch.eye(2).expand(4, 2, 2), plain.mapping[:, :2, :2])
    assert torch.equal(plain.shift, plain.mapping[:, :2, 2])
    moved = Crops(ground, Cutting(96, turned_share=1.0, zoom=1.5), seed=2).sample(24).mapping[:, :2, :2]
    scale = torch.linalg.det(moved).sqrt()
    assert 1.1 < scale.max() <= 1.5001
    assert 1 / 1.5001 <= scale.min() < 0.9
    assert (moved[:, 0, 0] < 0).any(), "some are upside down"


def test_what_is_asked_of_some_pairs_changes_no_other_draw(ground: Ground) -> None:
    plain, turned = (Crops(ground, Cutting(96, turned_share=share), seed=2).sample(3) for share in (0.0, 1.0))
    assert torch.equal(plain.ground, turned.ground)
    assert torch.equal(plain.shift, turned.shift)


# Labels


def test_labels_are_what_both_seasons_show(ground: Ground) -> None:
    """The corners of fields, found again when other warps are drawn; chance would find one in ten again."""
    place = ground.places[0]
    one, other = (torch.from_numpy(labels.labels(place, 1, seed)) for seed in (0, 1))
    assert 300 < len(one) < 420 * 900 / 60
    assert (torch.cdist(one, other).min(1).values < 2).float().mean() > 0.6
    strongest = one[: len(one) // 4]
    assert (torch.cdist(strongest, other).min(1).values < 2).float().mean() > 0.9


def test_labels_lie_in_the_pixels_of_the_first_picture(ground: Ground) -> None:
    place = ground.places[0]
    fine, coarse = (torch.from_numpy(labels.labels(place, reduction, 0)) for reduction in (1, 2))
    surest = coarse[: len(coarse) // 4]
    aside = fine[torch.cdist(surest, fine).argmin(1)] - surest
    near = aside.norm(dim=1) < 5
    assert near.float().mean() > 0.8
    assert (aside[near].mean(0).abs() < 0.5).all()
    rows, cols = place.pictures[0].geobox.shape
    assert -10 < fine.min()
    assert (fine < torch.tensor([cols + 10, rows + 10])).all()


def test_a_point_is_the_pixel_of_its_cell_and_the_surest_counts() -> None:
    at = torch.tensor([[9.5, 2.5], [15.9, 7.9], [0.0, 8.0], [-1.0, 3.0], [16.0, 0.0]])
    assert [[NO_POINT, 2 * 8 + 1], [0, NO_POINT]] == classes(at, 16).tolist()


# SuperPoint


def test_a_network_has_the_shape_of_its_tensors() -> None:
    for shape in (ORIGINAL_SUPERPOINT, COMPACT_SUPERPOINT, TINY):
        assert shape == shape_of(SuperPoint(shape).state_dict())
    assert ORIGINAL_SUPERPOINT == shape_of({"something.else": torch.zeros(1)})
    assert 300_000 < sum(p.numel() for p in SuperPoint(COMPACT_SUPERPOINT).parameters()) < 500_000


def test_a_compact_network_puts_its_keypoints_on_corners() -> None:
    image = np.full((96, 120), 0.3, np.float32)
    image[30:70, 40:90] = 0.7
    with seeded(0):
        network = SuperPoint(TINY).eval()
    options = SuperPointLightGlue(detection_threshold=0.0, device="cpu")
    found = described(network, options, image, np.ones(image.shape, bool))["keypoints"]
    for corner in ((40, 30), (90, 30), (40, 70), (90, 70)):
        assert np.hypot(*(found - corner).T).min() < 2.5  # the structure tensor has them inside by a pixel and a half
    assert 4 == len(found)  # nothing on edges, nor on even ground


def test_what_is_invalid_changes_nothing_far_away() -> None:
    network = SuperPoint(TINY).eval()
    image = torch.rand(1, 1, 160, 256, generator=torch.manual_seed(0))
    valid = torch.ones_like(image)
    valid[..., :40] = 0
    with torch.inference_mode():
        scores = [network(image * valid + (1 - valid) * fill, valid)[0] for fill in (0.0, 1.0)]
    torch.testing.assert_close(*scores)


def test_the_original_is_neither_normalised_nor_standardised() -> None:
    assert not any("norm" in name for name in SuperPoint().state_dict())
    assert 24 == len(SuperPoint().state_dict())


def test_folding_the_norms_changes_nothing() -> None:
    with seeded(0):
        one, other = SuperPoint(TINY), SuperPoint(TINY)
    one(torch.rand(2, 1, 64, 64))  # in training mode: moves the norms
    other.load_state_dict(one.state_dict())
    image = torch.rand(1, 1, 64, 72)
    with torch.inference_mode():
        for expected, found in zip(one.eval()(image), fused(other.eval())(image), strict=True):
            torch.testing.assert_close(expected, found, atol=1e-5, rtol=1e-4)


def test_points_are_learned(ground: Ground, tmp_path: Path) -> None:
    lesson = Points(ground, shape=TINY, **SMALL)
    before = [float(lesson.step()[0].detach()) for _ in range(3)]
    learn(lesson, Schedule(steps=16, every=16, rate=1e-2), tmp_path, CPU)
    lesson.network.train()
    after = [float(lesson.step()[0].detach()) for _ in range(3)]
    assert np.mean(after) < 0.85 * np.mean(before)


def test_perfect_points_get_perfect_marks(ground: Ground) -> None:
    """Keypoints at the same places of the ground, with descriptors that say where that is."""
    batch = Crops(ground, Cutting(96, farthest=4, turned_share=1.0), seed=3, augment=False).sample(3)
    for k in range(3):
        one = Batch(*(field[k : k + 1] for field in batch))
        here = 8 + 80 * torch.rand(40, 2, generator=torch.manual_seed(k))
        sides = iter((here, map_points(here, one.mapping[0])))

        def describe(pixels: np.ndarray, valid: np.ndarray, sides: object = sides) -> dict[str, np.ndarray]:
            return {"keypoints": next(sides).numpy(), "descriptors": np.eye(40, dtype=np.float16)}  # type: ignore[call-overload]

        assert [Mark(1.0, 1.0, 40.0)] == list(judge_points(one, describe))


def test_nobody_gets_marks_for_nothing(ground: Ground) -> None:
    batch = Crops(ground, Cutting(96), seed=3).sample(1)
    empty = {"keypoints": np.empty((0, 2), np.float32), "descriptors": np.empty((0, 8), np.float16)}
    assert [Mark(0.0, 0.0, 0.0)] == list(judge_points(batch, lambda pixels, valid: empty))


# Assignment


def test_partners_show_the_same_ground_and_the_others_have_none(ground: Ground, detector: SuperPoint) -> None:
    lesson = Assignment("lightglue", ground, detector, **SMALL)
    k = 0
    for (_, batch), (left, right) in zip(lesson.exams, lesson.unseen, strict=True):
        truth = true_assignment(batch, k, left, right, None)
        there = map_points(torch.from_numpy(left["keypoints"]), batch.mapping[k])
        apart = torch.cdist(there, torch.from_numpy(right["keypoints"]))
        assert (apart[truth.pairs[:, 0], truth.pairs[:, 1]] < PARTNER_PX).all()
        assert not truth.left[truth.pairs[:, 0]].any()
        assert not truth.right[truth.pairs[:, 1]].any()
        assert (apart[truth.left] > NO_PARTNER_PX).all()
    assert len(truth.pairs) > 3


def test_nothing_out_of_reach_is_ever_rewarded(ground: Ground, detector: SuperPoint) -> None:
    lesson, rng = Assignment("lightglue", ground, detector, **SMALL), np.random.default_rng(0)
    dropped = 0
    k = 0
    for (_, batch), (left, right) in list(zip(lesson.exams, lesson.unseen, strict=True)) * 6:
        prior = draw_prior(batch.mapping[k], rng)
        assert PRIOR_REACH_PX[0] <= prior.radius <= PRIOR_REACH_PX[1]
        free, guided = (true_assignment(batch, k, left, right, g) for g in (None, prior))
        bias = prior.bias(left["keypoints"], right["keypoints"])
        assert np.isfinite(bias[tuple(guided.pairs.T.numpy())]).all()
        assert {*map(tuple, guided.pairs.tolist())} <= {*map(tuple, free.pairs.tolist())}
        assert torch.equal(free.left, guided.left), "out of reach is not without a partner"
        beside = np.array([[1, 0, PRIOR_REACH_PX[0] - 0.5], [0, 1, 0], [0, 0, 1]]) @ batch.mapping[k].double().numpy()
        dropped += len(free.pairs) - len(
            true_assignment(batch, k, left, right, GeometricPrior(beside, PRIOR_REACH_PX[0])).pairs
        )
    assert dropped > 0


def test_the_prior_is_wrong_by_less_than_it_admits() -> None:
    rng, mapping = np.random.default_rng(0), torch.eye(3)
    off = [(np.hypot(*g.transform[:2, 2]), g.radius) for g in (draw_prior(mapping, rng) for _ in range(200))]
    assert max(a / b for a, b in off) < 0.7001
    assert max(a for a, _ in off) > 10


def test_crops_are_parts_of_larger_images(ground: Ground, detector: SuperPoint) -> None:
    left, right = Assignment("lightglue", ground, detector, **SMALL).unseen[0]
    rng = np.random.default_rng(0)
    for one, other in (enlarge(left, right, rng) for _ in range(20)):
        corner = one["keypoints"][0] - left["keypoints"][0]
        assert (corner + 96 <= one["image_size"]).all()
        assert 96 <= one["image_size"][0] <= 2.5 * 96
        for before, after in ((left, one), (right, other)):
            np.testing.assert_allclose(after["keypoints"], before["keypoints"] + corner, atol=1e-4)


def test_a_sure_and_right_assignment_costs_nothing() -> None:
    truth = assignment.TrueAssignment(torch.tensor([[0, 1]]), torch.tensor([False, True]), torch.tensor([True, False]))
    sure = torch.full((3, 3), -50.0)
    sure[0, 1] = sure[1, 2] = sure[2, 0] = 0
    assert 0 == unlikelihood(sure, truth)
    assert 100 == unlikelihood(torch.full((3, 3), -50.0), truth)


@pytest.mark.parametrize("name", ["lightglue", pytest.param("superglue", marks=pytest.mark.slow)])
def test_assignments_are_learned(name: str, ground: Ground, detector: SuperPoint, tmp_path: Path) -> None:
    lesson = Assignment(name, ground, detector, **SMALL)
    before = [float(lesson.step()[0].detach()) for _ in range(6)]
    learn(lesson, Schedule(steps=30, every=30, rate=1e-2), tmp_path, CPU)
    lesson.network.train()
    after = [float(lesson.step()[0].detach()) for _ in range(6)]
    assert np.isfinite(after).all()
    assert np.mean(after) < 0.95 * np.mean(before)


# All of them


def task_of(name: str, ground: Ground, detector: SuperPoint) -> Points | Assignment:
    if name == "superpoint":
        return Points(ground, shape=TINY, **SMALL)
    return Assignment(name, ground, detector, **SMALL)


@pytest.mark.parametrize("name", ["superpoint", "lightglue", "superglue"])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    name: str, ground: Ground, detector: SuperPoint, tmp_path: Path
) -> None:
    schedule = Schedule(steps=2, every=1)
    whole = learn(task_of(name, ground, detector), schedule, tmp_path / "whole", CPU)

    def stop(_path: Path, state: TrainingState) -> None:
        if state.step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(task_of(name, ground, detector), schedule, tmp_path / "parts", CPU, written=stop)
    parts = learn(task_of(name, ground, detector), schedule, tmp_path / "parts", CPU)
    assert str(whole.curve) == str(parts.curve)  # a precision of no match at all is not a number
    assert sha256(tmp_path / "whole" / f"{name}.safetensors") == sha256(tmp_path / "parts" / f"{name}.safetensors")


def test_a_checkpoint_for_other_keypoints_is_refused(ground: Ground, detector: SuperPoint, tmp_path: Path) -> None:
    learn(task_of("lightglue", ground, detector), Schedule(steps=1, every=1), tmp_path, CPU)
    with seeded(7):
        other = SuperPoint(TINY)
    with pytest.raises(BadCheckpoint, match="made with another points; choose"):
        learn(task_of("lightglue", ground, other), Schedule(steps=1, every=1), tmp_path, CPU)


@pytest.fixture
def written(tmp_path: Path, detector: SuperPoint) -> Path:
    """Weights of all three, as training writes them."""
    save(detector, tmp_path / "superpoint.safetensors")
    for name, kind in assignment.ASSIGNERS.items():
        with seeded(2):
            save(kind.new(16), tmp_path / f"{name}.safetensors")
    return tmp_path


def test_the_methods_take_the_weights_that_are_written(written: Path, detector: SuperPoint) -> None:
    image = np.random.default_rng(0).random((96, 112)).astype(np.float32)
    valid = image >= 0
    for matcher in (
        SuperPointLightGlue(
            max_keypoints=64,
            min_score=0.0,
            weights_file=written / "superpoint.safetensors",
            lightglue_file=written / "lightglue.safetensors",
        ),
        SuperPointSuperGlue(
            max_keypoints=64,
            min_score=0.0,
            weights_file=written / "superpoint.safetensors",
            superglue_file=written / "superglue.safetensors",
        ),
    ):
        arrays = matcher.describe(image, valid)
        assert 16 == arrays["descriptors"].shape[1]
        matches = matcher.match(arrays, arrays, GeometricPrior(np.eye(3), 5.0))
        assert len(matches) > 0
        assert np.hypot(*(matches.left - matches.right).T).max() <= 5
    half = described(load(written / "superpoint.safetensors"), matcher, image, valid)
    assert 16 == half["descriptors"].shape[1]


def test_weights_for_other_keypoints_are_refused(written: Path) -> None:
    torch.save(SuperPoint().state_dict(), written / "original.pth")
    image = np.random.default_rng(0).random((96, 112)).astype(np.float32)
    for matcher in (
        SuperPointLightGlue(weights_file=written / "original.pth", lightglue_file=written / "lightglue.safetensors"),
        SuperPointSuperGlue(
            detection_threshold=0.0005,
            weights_file=written / "original.pth",
            superglue_file=written / "superglue.safetensors",
        ),
    ):
        arrays = matcher.describe(image, image >= 0)
        with pytest.raises(WeightsDamaged, match=r"they assign 16 channels where .*keypoints have 256"):
            matcher.match(arrays, arrays)


def test_a_lightglue_and_a_superglue_have_the_shapes_of_their_tensors(written: Path) -> None:
    network = lightglue.fresh(written / "lightglue.safetensors", "superpoint")
    assert (16, 16, 2, 2) == (
        network.conf.input_dim,
        network.conf.descriptor_dim,
        network.conf.n_layers,
        network.conf.num_heads,
    )
    assert superglue.SuperGlueShape((8, 16), 2) == superglue.shape_of(
        assignment.ASSIGNERS["superglue"].new(16).state_dict()
    )
    assert superglue.ORIGINAL_SUPERGLUE == superglue.shape_of(superglue.SuperGlue().state_dict())


def test_the_command_trains_them_one_after_the_other(archive: Path, tmp_path: Path) -> None:
    def call(*words: object) -> str:
        short = ("--steps", 1, "--every", 1, "--batch", 1, "--share", 0.4, "--cache", tmp_path / "cache")
        done = CliRunner().invoke(main, [str(word) for word in ("train", archive, *words, *short)])
        assert 0 == done.exit_code, done.output
        return done.stdout

    said = call("-o", tmp_path / "points", "--network", "superpoint", "--start", "scratch")
    assert "keypoints found again within 3 px" in said
    weights = tmp_path / "points" / "superpoint.safetensors"
    card = weights.with_suffix(".md").read_text(encoding="utf-8")
    assert sha256(weights) in card
    assert "mutual nearest neighbours within 3 px" in card
    said = call("-o", tmp_path / "glue", "--network", "superglue", "--start", "scratch", "--keypoints", weights)
    assert "keypoints matched to their partner" in said
    card = (tmp_path / "glue" / "superglue.md").read_text(encoding="utf-8")
    assert f"for the keypoints of superpoint.safetensors ({sha256(weights)[:12]})" in card


def test_the_command_offers_what_the_table_holds() -> None:
    assert list(TRAINABLE) == list(NETWORK_NAMES)


def test_evergreen_takes_no_keypoints(archive: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["train", str(archive), "-o", str(tmp_path), "--keypoints", "some.safetensors"])
    assert 2 == done.exit_code
    assert "--keypoints is for lightglue and superglue; evergreen takes none" in done.output
