"""Training: it learns, it goes on where it was stopped, and it says what came of it."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from click.testing import CliRunner, Result
from odc.geo.geobox import GeoBox

from sentinel_match.cli import main
from sentinel_match.errors import BadCheckpoint, NothingToLearn
from sentinel_match.matchers.dense import probability
from sentinel_match.matchers.evergreen import FEATURE_SUPPORTS_PX, Evergreen
from sentinel_match.models.evergreen import EvergreenNetwork as Network
from sentinel_match.models.evergreen import load
from sentinel_match.models.shipped import EVERGREEN
from sentinel_match.models.weights import sha256, verified
from sentinel_match.raster import raster
from sentinel_match.raster.raster import Raster
from sentinel_match.testing import Landscape
from sentinel_match.train import Ground, gather, hold_out, loop, odds, task
from sentinel_match.train.crops import Cutting
from sentinel_match.train.dense import Dense
from sentinel_match.train.loop import CHECKPOINT, Schedule, TrainingState, learn, save
from sentinel_match.train.odds import fit_odds
from sentinel_match.train.task import Exam, TrainingSetup

CUTTING = Cutting(size=112, farthest=4.0)
SETUP = TrainingSetup(batch=2)
SMALL: dict[str, object] = {"setup": SETUP, "cutting": CUTTING}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def few_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged by four crops of a size that fits the small ground."""
    monkeypatch.setattr(task, "EXAM_PAIRS", 4)
    monkeypatch.setattr(task, "EXAM_SIDE_PX", 128)
    monkeypatch.setattr(odds, "CALIBRATION_PAIRS", 4)
    monkeypatch.setattr(odds, "PAIRS_PER_STRANGER", 2)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    box = GeoBox((420, 1100), Affine(20, 0, 300_000, 0, -20, 5_600_000), "EPSG:32633")
    for day, season in (("20210520", "spring"), ("20210917", "autumn")):
        pixels = Landscape(seed=3).render(box, season)
        raster.write(Raster(pixels, np.ones(pixels.shape, bool), box), folder / f"33UUU_{day}.tif")
    return folder


@pytest.fixture(scope="module")
def ground(archive: Path) -> Ground:
    return hold_out(gather([archive])[0], 0.4)


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_some_steps_teach_something(ground: Ground, tmp_path: Path) -> None:
    lesson = Dense(ground, **SMALL)
    before = [float(lesson.step()[0].detach()) for _ in range(4)]
    learn(lesson, Schedule(steps=24, every=24), tmp_path, CPU)
    after = [float(lesson.step()[0].detach()) for _ in range(4)]
    assert np.mean(after) < 0.9 * np.mean(before)


def test_an_interrupted_training_ends_as_an_uninterrupted_one(ground: Ground, tmp_path: Path) -> None:
    schedule = Schedule(steps=4, every=2)
    whole = learn(Dense(ground, **SMALL), schedule, tmp_path / "whole", CPU)

    def stop(_path: Path, state: TrainingState) -> None:
        if state.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(Dense(ground, **SMALL), schedule, tmp_path / "parts", CPU, written=stop)
    parts = learn(Dense(ground, **SMALL), schedule, tmp_path / "parts", CPU)
    assert whole.curve == parts.curve
    assert sha256(tmp_path / "whole" / "evergreen.safetensors") == sha256(tmp_path / "parts" / "evergreen.safetensors")


def test_ctrl_c_between_examinations_loses_seconds_and_says_from_which_step_it_goes_on(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = Schedule(steps=4, every=4)
    whole = learn(Dense(ground, **SMALL), schedule, tmp_path / "whole", CPU)
    monkeypatch.setattr(loop, "KEPT_S", 0.0)

    def stop(what: str, done: int, _of: int) -> None:
        if (what, done) == ("train evergreen", 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="the same command goes on from step 2 of 4"):
        learn(Dense(ground, **SMALL), schedule, tmp_path / "parts", CPU, stop)
    steps: list[int] = []
    parts = learn(
        Dense(ground, **SMALL), schedule, tmp_path / "parts", CPU, lambda _what, done, _of: steps.append(done)
    )
    assert 3 == steps[0]
    assert whole.curve == parts.curve
    assert sha256(tmp_path / "whole" / "evergreen.safetensors") == sha256(tmp_path / "parts" / "evergreen.safetensors")


def test_a_checkpoint_of_another_training_is_refused(ground: Ground, tmp_path: Path) -> None:
    learn(Dense(ground, **SMALL), Schedule(steps=1, every=1), tmp_path, CPU)
    with pytest.raises(BadCheckpoint, match="made with another seed, steps; choose another folder"):
        learn(Dense(ground, setup=replace(SETUP, seed=5), cutting=CUTTING), Schedule(steps=2, every=1), tmp_path, CPU)


@pytest.mark.parametrize("share", [0.4, 0.5])
@pytest.mark.parametrize("origin", ["scratch", "another"])
def test_a_training_of_other_ground_or_from_another_beginning_is_not_taken_up(
    archive: Path, ground: Ground, tmp_path: Path, share: float, origin: str
) -> None:
    learn(Dense(ground, **SMALL), Schedule(steps=1), tmp_path, CPU)
    other = Dense(hold_out(ground.places, share), setup=replace(SETUP, origin=origin), cutting=CUTTING)
    changed = [name for name, is_new in (("ground", share != 0.4), ("start", origin != "scratch")) if is_new]
    if not changed:
        assert 1 == learn(other, Schedule(steps=1), tmp_path, CPU).step
        return
    with pytest.raises(BadCheckpoint, match=f"made with another {', '.join(changed)};"):
        learn(other, Schedule(steps=1), tmp_path, CPU)


def test_a_checkpoint_of_another_program_is_refused(ground: Ground, tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / CHECKPOINT)
    with pytest.raises(BadCheckpoint, match="it is damaged"):
        learn(Dense(ground, **SMALL), Schedule(steps=1), tmp_path, CPU)


def test_a_damaged_checkpoint_is_refused(ground: Ground, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"torn")
    with pytest.raises(BadCheckpoint, match="it is damaged"):
        learn(Dense(ground, **SMALL), Schedule(steps=1), tmp_path, CPU)


@pytest.mark.parametrize("part", ["network", "optimiser", "task", "curve", "recent", "step"])
@pytest.mark.parametrize("content", [None, {"other": 1}], ids=["missing", "other"])
def test_a_checkpoint_of_another_version_is_refused(
    ground: Ground, tmp_path: Path, part: str, content: dict[str, int] | None
) -> None:
    learn(Dense(ground, **SMALL), Schedule(steps=1, every=1), tmp_path, CPU)
    checkpoint = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    del checkpoint[part]
    torch.save(checkpoint if content is None else {**checkpoint, part: content}, tmp_path / CHECKPOINT)
    with pytest.raises(BadCheckpoint, match="another version wrote it"):
        learn(Dense(ground, **SMALL), Schedule(steps=1, every=1), tmp_path, CPU)


def test_a_checkpoint_that_would_run_code_is_refused(ground: Ground, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (print, ("run",))

    torch.save({"recipe": Evil()}, tmp_path / CHECKPOINT)
    with pytest.raises(BadCheckpoint, match="it is damaged"):
        learn(Dense(ground, **SMALL), Schedule(steps=1), tmp_path, CPU)


def test_the_weights_that_are_written_match_images(ground: Ground, tmp_path: Path) -> None:
    learn(Dense(ground, **SMALL), Schedule(steps=1, every=1), tmp_path, CPU)
    image = np.random.default_rng(0).random((96, 96)).astype(np.float32)
    matcher = Evergreen(weights_file=tmp_path / "evergreen.safetensors", device="cpu")
    arrays = matcher.describe(image, image >= 0)
    matches = matcher.match(arrays, arrays)
    assert len(matches) > 50
    assert np.abs(matches.left - matches.right).max() < 0.1


def test_weights_that_change_are_read_again(tmp_path: Path) -> None:
    own, image = tmp_path / "own.safetensors", np.random.default_rng(0).random((64, 64)).astype(np.float32)
    matcher, seen = Evergreen(weights_file=own, device="cpu"), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        save(Network(), own)
        seen.append(matcher.describe(image, image >= 0)["features"])
    assert (seen[0] != seen[1]).mean() > 0.9


def test_strangers_are_not_believed_once_the_odds_are_fitted_where_all_is_right(ground: Ground) -> None:
    network = load(verified(EVERGREEN))
    lesson = Dense(ground, network, cutting=Cutting(size=160, farthest=4.0))
    lesson.calibrate()
    assert (lesson.network.logit[:, 1] > 0).all()
    assert (lesson.network.logit[:, 2] < 0).all()
    (one, *_), strangers = lesson.exams, lesson.exams[-1]
    alone = lesson._peaks([Exam("", one.batch._replace(right=strangers.batch.right))])
    for k, support in enumerate(FEATURE_SUPPORTS_PX):
        top, _ = alone[support]
        assert (probability(top, lesson.network.logit[k].tolist())[top.inside] > 0.5).mean() < 0.1


def test_half_precision_loses_nothing_that_matters(tmp_path: Path) -> None:
    network = Network().eval()
    save(network, tmp_path / "half.safetensors")
    image = np.random.default_rng(0).random((1, 1, 64, 64)).astype(np.float32)
    with torch.inference_mode():
        tensor = torch.from_numpy(image)
        one, other = (n(tensor, torch.ones_like(tensor)) for n in (network, load(tmp_path / "half.safetensors")))
    assert (one - other).abs().mean() < 0.01 * one.abs().mean()


def test_the_probability_of_being_right_is_fitted() -> None:
    from sentinel_match.matchers.correlation import Peaks

    rng = np.random.default_rng(0)
    quality, second = rng.uniform(0.05, 0.9, 20_000), rng.uniform(0.02, 0.5, 20_000)
    top = Peaks(np.zeros((20_000, 2)), quality, second, np.ones(20_000, bool))
    truth = probability(top, (1.0, 3.0, -2.0))
    facts, nothing = np.log(np.column_stack([quality, second])), np.empty((0, 2))
    factors = fit_odds(facts, rng.random(20_000) < truth, nothing, np.zeros(3))
    assert np.abs(probability(top, factors) - truth).max() < 0.03


def test_the_command_trains_writes_a_card_and_shows_before_and_after(archive: Path, tmp_path: Path) -> None:
    words = ("train", archive, "-o", tmp_path / "net", "--steps", 2, "--every", 1, "--batch", 2)
    done = call(*words, "--cache", tmp_path / "cache", "--share", "0.4")
    assert 0 == done.exit_code, done.output
    assert "33UUU" in done.stdout
    assert "learned from and judged by" in done.stdout
    assert "before" in done.stdout
    card = (tmp_path / "net" / "evergreen.md").read_text(encoding="utf-8")
    assert sha256(tmp_path / "net" / "evergreen.safetensors") in card
    assert "| 33UUU | 20 | 2: 2021-05-20 to 2021-09-17 | 2 | 1 |" in card
    assert "began from shipped" in card
    (command,) = re.findall("`(sentinel-match train .*)`", card)
    assert ["sentinel-match", "train", str(archive)] == shlex.split(command)[:3]
    for option in ("--steps 2", "--every 1", "--batch 2", "--share 0.4"):
        assert option in command
    assert "--rate" not in command
    assert (tmp_path / "net" / "curves.csv").read_text().count("\n") == 3


def test_the_command_answers_in_json(archive: Path, tmp_path: Path) -> None:
    words = ("train", archive, "-o", tmp_path / "net", "--steps", 1, "--batch", 1, "--json")
    done = call(*words, "--cache", tmp_path / "cache", "--share", "0.4")
    assert 0 == done.exit_code, done.output
    said = json.loads(done.stdout)
    assert {"found", "found_low", "found in 33UUU", "delivered", "precision", "error_px"} <= set(said["before"])
    assert set(said["before"]) == set(said["after"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["absent"], "there is no such file or folder"),
        (["archive", "--bands", "B99"], "no georeferenced picture with band B99"),
        (["archive/33UUU_20210520.tif"], "there is one picture only"),
        (["archive", "--start", "scrach"], "--start is shipped, scratch, or a file"),
    ],
)
def test_what_cannot_be_learned_from_says_why(archive: Path, tmp_path: Path, words: list[str], sentence: str) -> None:
    first, *rest = words
    source = archive.parent / first.replace("archive", archive.name)
    done = call("train", source, *rest, "-o", tmp_path / "net", "--cache", tmp_path / "cache")
    assert 1 == done.exit_code
    assert sentence in " ".join(done.output.split())


def test_a_place_that_is_none_is_wrong_usage(archive: Path, tmp_path: Path) -> None:
    done = call("train", archive, "-o", tmp_path / "net", "--hold-out", "Rome", "--cache", tmp_path / "cache")
    assert 2 == done.exit_code
    assert "no place is named Rome; there are 33UUU" in done.output


def test_nothing_held_out_is_said_before_anything_is_trained(archive: Path, tmp_path: Path) -> None:
    done = call("train", archive, "-o", tmp_path / "net", "--share", "0", "--cache", tmp_path / "cache")
    assert 1 == done.exit_code
    assert "the held-out ground holds no two pictures" in done.output
    assert not (tmp_path / "net").exists()
    with pytest.raises(NothingToLearn):
        Dense(hold_out(gather([archive])[0], 0), **SMALL)


@pytest.mark.slow
@pytest.mark.unix("sends Ctrl-C only to all that share a console")
def test_ctrl_c_ends_it_without_a_torn_file(archive: Path, tmp_path: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    out = tmp_path / "net"
    command = [sys.executable, "-m", "sentinel_match", "train", str(archive), "-o", str(out), "--share", "0.4"]
    command += ["--start", "scratch", "--batch", "1", "--cache", str(tmp_path / "cache")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        assert any("train evergreen" in line for line in run.stderr)
        run.send_signal(signal.SIGINT)
        rest = run.stderr.read()
    assert run.returncode != 0
    assert "Traceback" not in rest
    assert "stopped: the same command begins again, no step was kept yet" in rest
    assert not list(out.iterdir())
