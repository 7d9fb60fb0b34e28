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
from sentinel_match.models.superpoint import SeasonsPoints, SuperPoint, load
from sentinel_match.models.trunk import TrunkNetwork
from sentinel_match.models.weights import sha256
from sentinel_match.raster import raster
from sentinel_match.raster.raster import Raster
from sentinel_match.testing import Landscape
from sentinel_match.train import Ground, assignment, gather, hold_out, loop, projection, task
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
from sentinel_match.train.points import POINT_CUTTING, Mark, Points, judge_points, known_again, meeting
from sentinel_match.train.task import TrainingSetup

CPU = torch.device("cpu")
TURNING = Cutting(96, farthest=6, turned_share=0.5, zoom=1.4)
SMALL: dict[str, object] = {
    "setup": TrainingSetup(batch=2),
    "cutting": replace(POINT_CUTTING, size=96, farthest=4.0),
}


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """No slow beginning, and judged by four small crops."""
    monkeypatch.setattr(loop, "WARM_UP_STEPS", 1)
    monkeypatch.setattr(projection, "BEGINNING_PAIRS", 6)
    monkeypatch.setattr(projection, "BEGINNING_BATCHES", 3)
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
def detector() -> SeasonsPoints:
    with seeded(1):
        return SeasonsPoints().eval()


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


# SuperPoint


def spread(pixels: torch.Tensor) -> torch.Tensor:
    """Make log-probabilities, (1, 64, rows / 8, cols / 8), of (rows, cols) likelihoods."""
    return torch.nn.functional.pixel_unshuffle(pixels[None, None], 8).clamp_min(1e-9).log().log_softmax(1)


def test_points_meet_where_both_are_on_the_same_ground() -> None:
    """Whatever grid the cells lie on; beside it they do not, and nothing is gained by having no point at all."""
    one, other = torch.zeros(32, 32), torch.zeros(32, 32)
    for x, y in ((4, 4), (12, 4), (19, 12), (11, 19)):
        one[y, x] = 1
        other[y + 3, x + 5] = 1
    other[19 + 3, 11 + 5] = 0
    other[19 + 3, 11 + 9] = 1  # this one moves by itself
    mapping = torch.tensor([[[1.0, 0, 5], [0, 1, 3], [0, 0, 1]]])
    met = meeting(spread(one), spread(other), mapping)[0, 0]
    chance = meeting(spread(torch.ones(32, 32)), spread(torch.ones(32, 32)), mapping)[0, 0]
    assert (met[(0, 0, 1), (0, 1, 2)] > 0.2).all()
    assert met[2, 1] < 0.02
    assert 0.017 > chance[1, 1] > 0.014, "one in 64"


def test_ground_is_known_again_by_its_descriptors(ground: Ground) -> None:
    looks = torch.nn.functional.normalize(torch.randn(1, 32, 6, 6, generator=torch.manual_seed(0)), dim=1)
    there = torch.roll(looks, (1, 2), (2, 3))  # a row down, two cells right
    mapping = torch.tensor([[[1.0, 0, 16], [0, 1, 8], [0, 0, 1]]])
    known = known_again(looks, there, mapping)[0, 0]
    assert (known[:5, :4] > 0.8).all()
    assert 0 == known[:, 4:].abs().max() == known[5].max(), "beyond the image nothing is"
    assert known_again(looks, there, torch.eye(3)[None])[0, 0].max() < 0.2


def test_ours_gives_a_score_to_every_pixel_and_a_descriptor_to_every_cell(detector: SeasonsPoints) -> None:
    with torch.inference_mode():
        scores, descriptors, features = detector(torch.rand(2, 1, 61, 90))
    assert (2, 12, 32, 48) == features.shape
    assert (2, 61, 90) == scores.shape
    assert 0 <= scores.min() < scores.max() <= 1
    assert (2, 128, 8, 12) == descriptors.shape
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(2, 8, 12))


def test_a_descriptor_lies_at_the_outer_corner_of_its_cell(detector: SeasonsPoints) -> None:
    """Turned by half a turn about a corner of cells, an image has there the same samples, turned as well."""
    image = torch.rand(1, 1, 192, 192, generator=torch.manual_seed(0))
    features = torch.nn.functional.avg_pool2d(image.expand(-1, 12, -1, -1), 2)
    one, other = (detector.cell_samples(f)[0, 0] for f in (features, features.rot90(2, (2, 3))))
    window = one[12 : 12 + 10, 12 : 12 + 10]  # of the cell whose corner is the middle
    torch.testing.assert_close(window, other[12 : 12 + 10, 12 : 12 + 10].rot90(2))


def test_the_original_is_neither_normalised_nor_standardised() -> None:
    assert not any("norm" in name for name in SuperPoint().state_dict())
    assert 24 == len(SuperPoint().state_dict())


def test_what_is_known_of_seasons_learns_no_more(ground: Ground, tmp_path: Path) -> None:
    with seeded(4):
        trunk = TrunkNetwork().state_dict()
    lesson = Points(ground, trunk=trunk, **SMALL)
    windows = lesson.network.wide.weight.clone()
    learn(lesson, Schedule(steps=2, every=2, rate=1e-2), tmp_path, CPU)
    state = lesson.network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in trunk.items() if name in state)
    assert torch.equal(windows, lesson.network.wide.weight)


def test_points_are_learned(ground: Ground, tmp_path: Path) -> None:
    lesson = Points(ground, **SMALL)
    before = [float(lesson.step()[0].detach()) for _ in range(3)]
    learn(lesson, Schedule(steps=16, every=16, rate=1e-2), tmp_path, CPU)
    lesson.network.train()
    after = [float(lesson.step()[0].detach()) for _ in range(3)]
    assert np.mean(after) < 0.9 * np.mean(before), "a logarithm: points meet twice as surely as by chance"


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


def test_partners_show_the_same_ground_and_the_others_have_none(ground: Ground, detector: SeasonsPoints) -> None:
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


def test_nothing_out_of_reach_is_ever_rewarded(ground: Ground, detector: SeasonsPoints) -> None:
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


def test_crops_are_parts_of_larger_images(ground: Ground, detector: SeasonsPoints) -> None:
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
def test_assignments_are_learned(name: str, ground: Ground, detector: SeasonsPoints, tmp_path: Path) -> None:
    lesson = Assignment(name, ground, detector, **SMALL)
    before = [float(lesson.step()[0].detach()) for _ in range(6)]
    learn(lesson, Schedule(steps=30, every=30, rate=1e-2), tmp_path, CPU)
    lesson.network.train()
    after = [float(lesson.step()[0].detach()) for _ in range(6)]
    assert np.isfinite(after).all()
    assert np.mean(after) < 0.95 * np.mean(before)


# All of them


def task_of(name: str, ground: Ground, detector: SeasonsPoints) -> Points | Assignment:
    if name == "superpoint":
        return Points(ground, **SMALL)
    return Assignment(name, ground, detector, **SMALL)


@pytest.mark.parametrize("name", ["superpoint", "lightglue", "superglue"])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    name: str, ground: Ground, detector: SeasonsPoints, tmp_path: Path
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


def test_a_checkpoint_for_other_keypoints_is_refused(ground: Ground, detector: SeasonsPoints, tmp_path: Path) -> None:
    learn(task_of("lightglue", ground, detector), Schedule(steps=1, every=1), tmp_path, CPU)
    with seeded(7):
        other = SeasonsPoints()
    with pytest.raises(BadCheckpoint, match="made with another points; choose"):
        learn(task_of("lightglue", ground, other), Schedule(steps=1, every=1), tmp_path, CPU)


@pytest.fixture
def written(tmp_path: Path, detector: SeasonsPoints) -> Path:
    """Weights of all three, as training writes them."""
    save(detector, tmp_path / "superpoint.safetensors")
    for name, kind in assignment.ASSIGNERS.items():
        with seeded(2):
            save(kind.new(128), tmp_path / f"{name}.safetensors")
    return tmp_path


def test_the_methods_take_the_weights_that_are_written(written: Path, detector: SeasonsPoints) -> None:
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
        assert 128 == arrays["descriptors"].shape[1]
        matches = matcher.match(arrays, arrays, GeometricPrior(np.eye(3), 5.0))
        assert len(matches) > 0
        assert np.hypot(*(matches.left - matches.right).T).max() <= 5
    half = described(load(written / "superpoint.safetensors"), matcher, image, valid)
    assert 128 == half["descriptors"].shape[1]


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
        with pytest.raises(WeightsDamaged, match=r"they assign 128 channels where .*keypoints have 256"):
            matcher.match(arrays, arrays)


def test_a_lightglue_and_a_superglue_have_the_shapes_of_their_tensors(written: Path) -> None:
    network = lightglue.fresh(written / "lightglue.safetensors", "superpoint")
    assert (128, 16, 2, 2) == (
        network.conf.input_dim,
        network.conf.descriptor_dim,
        network.conf.n_layers,
        network.conf.num_heads,
    )
    assert superglue.SuperGlueShape((8, 128), 2) == superglue.shape_of(
        assignment.ASSIGNERS["superglue"].new(128).state_dict()
    )
    assert superglue.ORIGINAL_SUPERGLUE == superglue.shape_of(superglue.SuperGlue().state_dict())


def test_the_command_trains_them_one_after_the_other(archive: Path, tmp_path: Path) -> None:
    def call(*words: object) -> str:
        short = ("--steps", 1, "--every", 1, "--batch", 1, "--share", 0.4, "--cache", tmp_path / "cache")
        done = CliRunner().invoke(main, [str(word) for word in ("train", archive, *words, *short)])
        assert 0 == done.exit_code, done.output
        return done.stdout

    said = call("-o", tmp_path / "points", "--network", "superpoint", "--start", "scratch")
    assert "keypoints found again within 1 px" in said
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
