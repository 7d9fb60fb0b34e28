"""Real QGIS opens the project: SENTINEL_MATCH_QGIS=1, with Debian's python3-qgis."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sentinel_match import batch, matchers
from sentinel_match.cache import Cache
from sentinel_match.options import Options
from sentinel_match.report import qgis_project, quicklook
from sentinel_match.testing import Landscape, write_product

PYTHON = "/usr/bin/python3"
SCRIPT = Path(__file__).parents[1] / "qgis_opens.py"
ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))},
    "QT_QPA_PLATFORM": "offscreen",
}
OPTIONS = Options(matcher=matchers.create("sift"), cells=2, candidates=800)


def silent(_what: str, _done: int, _of: int) -> None:
    pass


def has_qgis() -> bool:
    asked = [PYTHON, "-c", "import qgis.core"]
    return (
        Path(PYTHON).exists()
        and not subprocess.run(asked, env=ENVIRONMENT, capture_output=True, check=False).returncode
    )


pytestmark = pytest.mark.skipif(
    os.environ.get("SENTINEL_MATCH_QGIS") != "1" or not has_qgis(),
    reason="set SENTINEL_MATCH_QGIS=1; needs python3-qgis",
)


def opened(path: Path, picture: Path) -> dict[str, Any]:
    done = subprocess.run(
        [PYTHON, str(SCRIPT), str(path), str(picture)], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder and a zip, matched."""
    folder = tmp_path_factory.mktemp("qgis")
    archive, cache = folder / "archive & more", Cache(folder / "cache")
    write_product(archive, Landscape(7), date="2021-05-20", pixels=360)
    write_product(archive, Landscape(7), date="2021-09-17", pixels=360, displacement=(6.4, 18.1), zip="deflated")
    result = batch.run(archive, folder / "out", OPTIONS, cache=cache, files=batch.Files(report=False, project=False))
    for pair in result.pairing.pairs:
        quicklook.make(pair, folder / "out" / pair.id, OPTIONS, cache, silent)
    qgis_project.make(result, folder / "out")
    return folder


@pytest.mark.parametrize("moved", [False, True])
def test_qgis_opens_every_layer_also_when_all_has_moved(folder: Path, tmp_path: Path, moved: bool) -> None:
    home, away = (tmp_path / "elsewhere", folder.with_name("away")) if moved else (folder, folder)
    if moved:
        for name in ("archive & more", "out"):
            shutil.copytree(folder / name, home / name)
        folder.rename(away)
    try:
        said = opened(home / "out" / "inspect.qgs", tmp_path / "canvas.png")
    finally:
        away.rename(folder)
    assert said["read"], said["error"]
    assert [] == said["errors"]
    assert "EPSG:32633" == said["crs"]
    layers = {layer["name"]: layer for layer in said["layers"]}
    assert [] == [name for name, layer in layers.items() if not layer["valid"]]
    assert "EPSG:4326" == layers.pop("displacement")["crs"]
    assert {"EPSG:32633"} == {layer["crs"] for layer in layers.values()}
    assert [name for _, name in qgis_project.PROJECT_LAYERS.values()] == [
        name for name, layer in layers.items() if "features" in layer
    ]
    (record,) = json.loads((home / "out" / "run.json").read_text())["pairs"]
    summary = record["summary"]
    assert summary["inliers"] == layers["tie points"]["features"]
    assert summary["points"] - summary["inliers"] == layers["rejected points"]["features"]
    assert all(str(home) in layer["source"] for layer in layers.values())
    assert {"RuleRenderer", "categorizedSymbol"} == {la["renderer"] for la in layers.values() if "features" in la}
    assert ["paletted"] * 2 == [layers[f"masked ({side})"]["renderer"] for side in ("left", "right")]
    for side, layer in zip(("left", "right"), said["layers"][-2:], strict=True):
        expected = [v * 10_000 + 1000 for v in summary["limits"][side]]
        assert np.allclose(expected, layer["stretch"], atol=0.6)
    canvas = cv2.imread(str(tmp_path / "canvas.png"))
    assert canvas is not None
    middle = canvas[300:600, 300:600].reshape(-1, 3).astype(int)
    assert middle.std() > 20  # the image is there, and stretched
    assert (np.ptp(middle, axis=1) > 60).mean() > 0.01  # and so are coloured points


def test_qgis_opens_the_overview_of_many_pairs_and_the_project_of_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(folder / "out", folder / "many"))
    monkeypatch.setattr(qgis_project, "MOST_PAIRS", 0)
    result = batch.run(
        folder / "archive & more", out, OPTIONS, cache=Cache(folder / "cache"), files=batch.Files(report=False)
    )
    said = opened(out / "inspect.qgs", tmp_path / "canvas.png")
    assert [] == said["errors"]
    assert [("displacement", True), ("pairs", True)] == [(layer["name"], layer["valid"]) for layer in said["layers"]]
    assert 1 == said["layers"][1]["features"]
    own = opened(out / result.outcomes[0].id / "inspect.qgs", tmp_path / "own.png")
    assert [] == [layer["name"] for layer in own["layers"] if not layer["valid"]]
    (arrows,) = [layer for layer in own["layers"] if layer["name"] == "displacement"]
    assert said["layers"][0]["features"] == arrows["features"] > 30
