"""LoFTR's lessons: cells that belong together by the truth, projections that tell ground apart, a trunk that stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from click.testing import CliRunner
from odc.geo.geobox import GeoBox

from sentinel_match.cli import main
from sentinel_match.matchers.loftr import LoFTR
from sentinel_match.models.loftr import compact, load
from sentinel_match.models.shipped import LOFTR
from sentinel_match.models.trunk import TrunkNetwork
from sentinel_match.models.weights import sha256, verified
from sentinel_match.raster import raster
from sentinel_match.raster.raster import Raster
from sentinel_match.testing import Landscape
from sentinel_match.train import Ground, gather, hold_out, loop, odds, projection, task
from sentinel_match.train.coarse_to_fine import CELL_CUTTING, CELL_PX, CoarseToFine
from sentinel_match.train.crops import Crops, Cutting
from sentinel_match.train.loop import Schedule, TrainingState, learn, save, seeded
from sentinel_match.train.mappings import Waves, overlay
from sentinel_match.train.projection import fisher_projection
from sentinel_match.train.task import TrainingSetup

CPU = torch.device("cpu")
SMALL_CUTTING = replace(CELL_CUTTING, size=96, farthest=8)


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pairs to begin with, no slow beginning, and judged by four small crops."""
    monkeypatch.setattr(projection, "BEGINNING_PAIRS", 4)
    monkeypatch.setattr(projection, "BEGINNING_BATCHES", 2)
    monkeypatch.setattr(odds, "CALIBRATION_PAIRS", 4)
    monkeypatch.setattr(loop, "WARM_UP_STEPS", 1)
    monkeypatch.setattr(task, "EXAM_PAIRS", 4)
    monkeypatch.setattr(task, "EXAM_SIDE_PX", 112)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    box = GeoBox((420, 1000), Affine(20, 0, 300_000, 0, -20, 5_600_000), "EPSG:32633")
    for day, season in (("20210520", "spring"), ("20210917", "autumn")):
        pixels = Landscape(seed=3).render(box, season)
        raster.write(Raster(pixels, np.ones(pixels.shape, bool), box), folder / f"33UUU_{day}.tif")
    return folder


@pytest.fixture(scope="module")
def ground(archive: Path) -> Ground:
    return hold_out(gather([archive])[0], 0.4)


def lesson(ground: Ground, **kinds: object) -> CoarseToFine:
    return CoarseToFine(ground, **{"setup": TrainingSetup(batch=2), "cutting": SMALL_CUTTING, **kinds})


# Crops that are bent and slanted


def test_a_bent_side_shows_what_its_waves_say(ground: Ground) -> None:
    bent = Cutting(96, farthest=4.0, bent_share=1.0, same_picture_share=1.0)
    batch = Crops(ground, bent, seed=5, augment=False).sample(6)
    assert batch.waves.height.norm(dim=1).max() > 0.5
    y, x = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    at = torch.stack([x, y], -1).flatten(0, 1)[None]
    for k in range(6):
        to = at[0] + batch.shift[k] + batch.waves.at(at)[k]
        there = torch.nn.functional.grid_sample(
            batch.right[k : k + 1], (to / 48 - 1).view(1, 96, 96, 2), mode="bicubic", align_corners=False
        )[0, 0]
        inner = np.s_[12:-12, 12:-12]
        left = batch.left[k, 0][inner]
        assert (there[inner] - left).std() < 0.15 * left.std()


def test_bent_pairs_move_no_further_than_others(ground: Ground) -> None:
    batch = Crops(ground, Cutting(96, farthest=4.0, bent_share=1.0), seed=2).sample(24)
    assert float((batch.shift.abs() + batch.waves.height.abs()).max()) <= 4
    assert not Crops(ground, Cutting(96), seed=2).sample(4).waves.height.any()


def test_no_waves_displace_nothing() -> None:
    assert not Waves.none(3).at(torch.rand(3, 5, 2)).any()


def test_a_slanted_side_is_no_similarity_and_still_shows_its_ground(ground: Ground) -> None:
    slanted = replace(SMALL_CUTTING, slant=0.1, same_picture_share=1.0)
    batch = Crops(ground, slanted, seed=3, augment=False).sample(6)
    linear = batch.mapping[:, :2, :2]
    stretched = torch.linalg.svdvals(linear)
    assert (stretched[:, 0] / stretched[:, 1]).max() > 1.03
    for k in range(6):
        clear = batch.clear[k, 0] > 0.999
        a, b = batch.left[k, 0][clear], overlay(batch.right, batch.mapping)[k, 0][clear]
        assert (a - b).abs().mean() < 0.25 * (a - a.mean()).abs().mean()


# Partners and projections


def test_partners_are_each_others_nearest_cells(ground: Ground) -> None:
    one = lesson(ground)
    batch = one.crops.sample(4)
    masks = tuple(valid[:, 0, ::CELL_PX, ::CELL_PX].flatten(1) > 0 for valid in (batch.left_valid, batch.right_valid))
    pair, left, right = (t.numpy() for t in one._partners(batch, masks))
    assert len(pair) > 50
    side = 96 // CELL_PX
    for k, i, j in zip(pair, left, right, strict=True):
        at = np.array([i % side, i // side, 1 / CELL_PX]) * CELL_PX
        to = batch.mapping[k].numpy() @ at
        assert np.abs(to[:2] / to[2] - np.array([j % side, j // side]) * CELL_PX).max() <= CELL_PX / 2 + 1e-3
    assert len({(k, j) for k, j in zip(pair, right, strict=True)}) == len(pair)


def test_the_projection_keeps_what_ground_differs_in_and_drops_what_days_do(ground: Ground) -> None:
    days = iter(torch.arange(100.0))

    def windows(image: torch.Tensor) -> torch.Tensor:
        """Make windows of which the second part changes whenever one looks."""
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(int(next(days))))
        return torch.cat([(image - image.mean()) / image.std(), noise], 1)[:, :, ::8, ::8]

    crops = Crops(ground, Cutting(96, farthest=0.0), seed=1, augment=False)
    projection = fisher_projection([crops.sample(8)], windows, 1)
    assert (2, 1) == tuple(projection.shape)
    assert abs(projection[0, 0]) > 4 * abs(projection[1, 0])


def test_a_new_one_begins_as_windows_of_its_trunk_that_find_their_partners(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "BEGINNING_PAIRS", 24)
    trunk, upright = load(verified(LOFTR)).backbone.state_dict(), Cutting(96, farthest=8)
    fresh, begun = lesson(ground, cutting=upright), lesson(ground, cutting=upright, trunk=trunk)
    confidence = []
    for one in (fresh, begun):
        one.network.eval()
        with torch.no_grad():
            confidence.append(np.mean([one.step()[1][0].value for _ in range(6)]))
    assert confidence[1] > 3 * confidence[0]


def test_the_trunk_stays_while_the_rest_learns(ground: Ground, tmp_path: Path) -> None:
    with seeded(1):
        trunk = TrunkNetwork().state_dict()
    one = lesson(ground, trunk=trunk)
    before = {name: value.clone() for name, value in one.network.state_dict().items()}
    learn(one, Schedule(steps=2, every=2), tmp_path, CPU)
    after = one.network.state_dict()
    for name, value in trunk.items():
        if name != "logit" and "num_batches" not in name:
            assert torch.equal(value, after[f"backbone.{name}"]), name
    for name in ("backbone.wide.weight", "loftr_coarse.layers.0.norm2.weight"):
        assert not torch.equal(before[name], after[name]), name


def test_an_interrupted_training_ends_as_an_uninterrupted_one(ground: Ground, tmp_path: Path) -> None:
    schedule = Schedule(steps=2, every=1)
    learn(lesson(ground), schedule, tmp_path / "whole", CPU)

    def stop_at_second(_: Path, now: TrainingState) -> None:
        if now.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(lesson(ground), schedule, tmp_path / "parts", CPU, written=stop_at_second)
    learn(lesson(ground), schedule, tmp_path / "parts", CPU)
    whole, parts = (load(tmp_path / name / "loftr.safetensors").state_dict() for name in ("whole", "parts"))
    for name, value in whole.items():
        torch.testing.assert_close(value, parts[name], msg=name)


def test_the_method_takes_what_was_trained(tmp_path: Path) -> None:
    with seeded(2):
        save(compact(), tmp_path / "mine.safetensors")
    method = LoFTR(weights_file=tmp_path / "mine.safetensors", device="cpu", min_score=0.0)
    image = np.random.default_rng(0).random((90, 107), np.float32)
    arrays = method.describe(image, image > -1)
    assert len(method.match(arrays, arrays)) > 3


def test_odds_are_fitted_that_tell_strangers_apart(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is alike is likely right, and of images that have nothing to do with each other next to nothing is."""
    monkeypatch.setattr(odds, "CALIBRATION_PAIRS", 16)
    one = lesson(ground, network=load(verified(LOFTR)), cutting=Cutting(112, farthest=8))
    one.calibrate()
    assert one.network.logit[2] > 0
    (known, right), (strangers, _) = (one._judged(pairs) for pairs in one.calibration)
    constant, *factors = one.network.logit.tolist()
    likely, unlikely = (1 / (1 + np.exp(-(constant + facts @ factors))) for facts in (known[right], strangers))
    assert likely.mean() > 0.7
    assert unlikely.mean() < 0.3


# The command


def test_the_command_trains_a_trunk_and_loftr_on_it(archive: Path, tmp_path: Path) -> None:
    def call(*words: object) -> str:
        short = ("--steps", 1, "--every", 1, "--batch", 1, "--share", 0.4, "--cache", tmp_path / "cache")
        done = CliRunner().invoke(main, [str(word) for word in ("train", archive, *words, *short)])
        assert 0 == done.exit_code, done.output
        return done.stdout

    assert "points within 1 px of the truth" in call("-o", tmp_path / "a", "--network", "trunk", "--start", "scratch")
    trunk = tmp_path / "a" / "trunk.safetensors"
    said = call("-o", tmp_path / "b", "--network", "loftr", "--start", "scratch", "--trunk", trunk)
    assert "cells whose match is within 2 px" in said
    card = (tmp_path / "b" / "loftr.md").read_text(encoding="utf-8")
    assert f"on the trunk of trunk.safetensors ({sha256(trunk)[:12]})" in card


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--network", "loftr", "--trunk", "FILE"), "--trunk is for a new loftr or superpoint: add --network loftr"),
        (("--network", "trunk"), "there is no trunk in this package to go on from: take --start scratch, or a file"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    archive: Path, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    file = tmp_path / "some.safetensors"
    file.touch()
    given = [str(file) if word == "FILE" else word for word in words]
    done = CliRunner().invoke(main, ["train", str(archive), "-o", str(tmp_path / "net"), *given])
    assert 2 == done.exit_code
    assert sentence in " ".join(done.output.split())
