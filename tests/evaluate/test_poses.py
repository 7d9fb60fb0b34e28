"""Camera poses end to end: photographs of an invented room, the published pair file, the command."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from sentinel_match.cli import main
from sentinel_match.evaluate import pose
from sentinel_match.images import ImageMatcher

WALLS = np.array([[0, 0, 1, 6], [1, 0, 0, -2.5], [0, 1, 0, 1.5]])
"""Back wall, side wall and floor: unit normals and distances in metres, x right, y down, z ahead."""
SIZE = (400, 300)
K = np.array([[380, 0, 199.5], [0, 380, 149.5], [0, 0, 1.0]])
SIFT = ImageMatcher("sift", "cpu", rotations=(0.0,))


def paper(seed: int) -> np.ndarray:
    """Wallpaper with detail at every scale."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.normal(size=(n, n)), (1024, 1024), interpolation=cv2.INTER_CUBIC) for n in (16, 48, 128, 400)
    ]
    return sum(layers).astype(np.float32)


PAPERS = [paper(seed) for seed in range(3)]


def photograph(path: Path, world_to_camera: np.ndarray, K: np.ndarray, size: tuple[int, int]) -> None:
    """What a camera sees of the room: each ray ends on the first wall that it meets."""
    R, t = world_to_camera[:3, :3], world_to_camera[:3, 3]
    x, y = np.meshgrid(*map(np.arange, size))  # intrinsics count from the centre of the first pixel
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(K).T @ R
    centre = -R.T @ t
    with np.errstate(divide="ignore"):
        depths = (WALLS[:, 3] - WALLS[:, :3] @ centre) / (rays @ WALLS[:, :3].T)
    depths[depths <= 0] = np.inf
    wall = depths.argmin(-1)
    at = centre + rays * depths.min(-1)[..., None]
    image = np.zeros(x.shape, np.float32)
    for k, along in enumerate(((0, 1), (2, 1), (0, 2))):
        u, v = ((at[..., axis] * 100 + 512).astype(np.float32) for axis in along)
        seen = cv2.remap(PAPERS[k], u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        image[wall == k] = seen[wall == k]
    assert cv2.imwrite(str(path), np.clip(128 + 32 * image, 1, 255).astype(np.uint8))


def camera(turn: tuple[float, float, float], place: tuple[float, float, float]) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(np.array(turn))[0]
    T[:3, 3] = -T[:3, :3] @ np.array(place)
    return T


def line(right: str, turns: tuple[int, int], K_right: np.ndarray, T: np.ndarray) -> str:
    return " ".join(["left.png", right, *map(str, turns), *(f"{v:.9g}" for v in (*K.flat, *K_right.flat, *T.flat))])


ASIDE = camera((0.02, 0.09, -0.03), (0.7, -0.1, 0.3))
"""0.7 m to the right of the first camera, and turned by 5 degrees."""


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs, the second also with the camera held upright, and their pair file."""
    folder = tmp_path_factory.mktemp("room")
    photograph(folder / "left.png", np.eye(4), K, SIZE)
    photograph(folder / "right.png", ASIDE, K, SIZE)
    rolled = camera((0, 0, np.pi / 2), (0, 0, 0)) @ ASIDE
    K_tall = np.array([[380, 0, 149.5], [0, 380, 199.5], [0, 0, 1.0]])
    photograph(folder / "tall.png", rolled, K_tall, SIZE[::-1])
    lines = [line("right.png", (0, 0), K, ASIDE), line("tall.png", (0, 1), K_tall, rolled)]
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n")
    return folder


def evaluated(room: Path, out: Path, *arguments: str) -> tuple[int, str, str]:
    words = ["-q", "evaluate", "--poses", str(room / "pairs.txt"), "-o", str(out), *arguments]
    done = CliRunner().invoke(main, words)
    return done.exit_code, done.stdout, done.stderr


def rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "poses.csv").read_text().splitlines()))


def test_sift_finds_the_pose_of_two_photographs_held_either_way(room: Path, tmp_path: Path) -> None:
    code, said, complaints = evaluated(room, tmp_path, "--method", "sift", "--json")
    assert (0, "") == (code, complaints)
    (sift,) = json.loads(said)["summary"]
    assert (2, 0) == (sift["pairs"], sift["failed"])
    assert 50 < sift["auc_5"] < sift["auc_10"] < sift["auc_20"] < 100
    assert sift["precision"] > 80
    expected = [(str(room / name), "matched") for name in ("right.png", "tall.png")]
    assert expected == [(r["right"], r["status"]) for r in rows(tmp_path)]
    for row in rows(tmp_path):
        share = float(row["precision"]) * int(row["matches"]) / int(row["keypoints"])
        assert share == pytest.approx(float(row["matching_score"]), rel=1e-4)


def test_positions_are_those_of_the_photographs_as_they_lie_on_the_disk(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a quarter of a pixel in both: half a pixel of another frame would leave next to none in the one turned
    monkeypatch.setattr(pose, "EPIPOLAR_LIMIT", 2 * (0.25 / K[0, 0]) ** 2)
    flat, tall = (pose.run_pair(pair, "sift", SIFT) for pair in pose.read_pose_pairs(room / "pairs.txt"))
    # one scene and one place: turning the camera changes nothing but the grid of pixels
    assert (flat.precision, flat.error) == pytest.approx((tall.precision, tall.error), abs=0.02)
    assert flat.precision > 0.8


def test_without_its_quarter_turn_a_photograph_does_not_match(room: Path) -> None:
    pair = pose.read_pose_pairs(room / "pairs.txt")[1]
    lying = pose.PosePair(pair.left, pair.right, (0, 0), pair.K_left, pair.K_right, pair.pose)
    assert pose.run_pair(lying, "sift", SIFT).matching_score < 0.1 * pose.run_pair(pair, "sift", SIFT).matching_score


def test_a_photograph_that_cannot_be_read_is_a_failure_and_the_others_go_on(room: Path, tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes((room / "right.png").read_bytes()[:2000])
    for name in ("left.png", "right.png"):
        shutil.copy(room / name, tmp_path)
    lines = [line(name, (0, 0), K, ASIDE) for name in ("absent.png", "torn.png", "right.png")]
    (tmp_path / "pairs.txt").write_text("\n".join(lines))
    code, said, complaints = evaluated(tmp_path, tmp_path / "out", "--method", "sift")
    assert 1 == code
    assert "AUC@20" in said
    got = rows(tmp_path / "out")
    assert [("failed", "inf"), ("failed", "inf")] == [(r["status"], r["error"]) for r in got[:2]]
    assert ("matched", "") == (got[2]["status"], got[2]["reason"])
    for row in got[:2]:
        assert row["right"] in row["reason"]
        assert row["reason"] in complaints
    (sift,) = pose.summarise_pose([pose.PoseRecord("sift", "", "", r["status"], float(r["error"])) for r in got])
    assert (3, 2) == (sift.pairs, sift.failed)
    assert sift.auc[2] < 100 / 3


def test_images_are_looked_for_in_the_folder_given(room: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text((room / "pairs.txt").read_text())
    arguments = ("--input-dir", str(room), "--method", "sift", "--limit", "1", "--resize", "200")
    code, said, _ = evaluated(tmp_path, tmp_path / "out", *arguments)
    assert (0, 1) == (code, len(rows(tmp_path / "out")))
    assert "sift" in said
    assert not list((tmp_path / "out").glob(".unfinished*"))


def test_a_method_without_its_weights_is_not_available_and_never_zero(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTINEL_MATCH_WEIGHTS", str(tmp_path / "none"))
    code, said, complaints = evaluated(room, tmp_path / "out", "--method", "superpoint+superglue", "--json")
    assert 1 == code
    assert [] == json.loads(said)["summary"]
    assert "not available: superpoint+superglue" in complaints
    assert [("superpoint+superglue", "not available")] == [(r["method"], r["status"]) for r in rows(tmp_path / "out")]
    assert "error" not in rows(tmp_path / "out")[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--method", "auto"), "no georeference"),
        (("--method", "sift:nomasks"), "without switches"),
        (("--method", "no-such"), "no matcher 'no-such'"),
        (("--warp", "affine"), "--warp has no effect with --poses"),
        ((str(Path(__file__)),), "give SOURCES, --benchmark or --poses"),
    ],
)
def test_wrong_usage_is_one_sentence(room: Path, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    code, _, complaints = evaluated(room, tmp_path, *arguments)
    assert code
    assert said in complaints


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device that shall be missing is here")
def test_a_missing_device_is_said_once_and_not_for_each_pair(room: Path, tmp_path: Path) -> None:
    code, _, complaints = evaluated(room, tmp_path, "--device", "cuda")
    assert 1 == code
    assert "The device 'cuda' cannot be used" in complaints
    assert not (tmp_path / "poses.csv").exists()


def test_without_poses_their_options_are_refused_and_so_is_nothing_to_evaluate(tmp_path: Path) -> None:
    for words, said in (
        ((str(tmp_path), "--resize", "64"), "--resize has no effect without --poses"),
        ((), "give SOURCES, --benchmark or --poses"),
    ):
        done = CliRunner().invoke(main, ["evaluate", *words, "-o", str(tmp_path / "out")])
        assert 2 == done.exit_code
        assert said in done.stderr
