"""Real QGIS opens what is written: run with SENTINEL_MATCH_QGIS=1 where /usr/bin/python3 has python3-qgis.

Pictures of every layer are left in SENTINEL_MATCH_PICTURES, where that is set: look at them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentinel_match import fitting
from sentinel_match.formats import write
from sentinel_match.tiepoints import TiePoints

PYTHON = "/usr/bin/python3"
HERE = Path(__file__).parents[1]
SUFFIXES = (".gpkg", ".geojson", ".geojsonl", ".fgb", ".csv")


def qgis(*arguments: object) -> str:
    environment = {"PATH": "/usr/bin:/bin", "QT_QPA_PLATFORM": "offscreen", "HOME": str(Path.home())}
    done = subprocess.run(
        [PYTHON, *map(str, arguments)], capture_output=True, text=True, check=False, env=environment, timeout=300
    )
    assert 0 == done.returncode, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def there() -> None:
    if os.environ.get("SENTINEL_MATCH_QGIS") != "1":
        pytest.skip("opt-in: SENTINEL_MATCH_QGIS=1")
    if subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True, check=False).returncode:
        pytest.skip(f"{PYTHON} has no qgis")


@pytest.fixture(scope="module")
def folder(ties: TiePoints, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    for suffix in SUFFIXES:
        write.write(ties, folder / f"ties{suffix}")
        write.write_style(ties, folder / f"ties{suffix}")
    return folder


@pytest.fixture(scope="module")
def seen(folder: Path) -> dict[str, dict[str, Any]]:
    pictures = Path(os.environ.get("SENTINEL_MATCH_PICTURES", folder))
    pictures.mkdir(parents=True, exist_ok=True)
    said = qgis(HERE / "qgis_look.py", pictures, *(folder / f"ties{suffix}" for suffix in SUFFIXES))
    return dict(json.loads(said))


def test_qgis_opens_every_layer_with_its_features_crs_and_style(
    ties: TiePoints, seen: dict[str, dict[str, Any]]
) -> None:
    believed = int(ties.inlier.sum())
    counts = {
        "footprints": 2,
        "coverage": None,
        "residuals": believed,
        "matches": believed,
        "rejected": len(ties) - believed,
        "tiepoints": believed,
    }
    assert list(counts) == list(seen["ties.gpkg"])
    for name, layer in seen["ties.gpkg"].items():
        assert layer["valid"]
        assert "EPSG:32633" == layer["crs"]
        assert counts[name] in {None, layer["count"]}
        assert layer["renderer"] == ("categorizedSymbol" if name == "footprints" else "RuleRenderer")
    legends = {name: " ".join(layer["legend"]) for name, layer in seen["ties.gpkg"].items()}
    assert "shift × " in legends["tiepoints"]
    assert "left to right × " in legends["matches"]
    assert "residual × " in legends["residuals"]
    for suffix in SUFFIXES[1:]:
        layer = seen[f"ties{suffix}"]["ties"]
        assert len(ties) == layer["count"]
        assert layer["crs"] == ("EPSG:4326" if "geojson" in suffix else "EPSG:32633")
        assert "shift × " in " ".join(layer["legend"])


def test_qgis_sees_every_end_where_it_is_to_a_centimetre(ties: TiePoints, seen: dict[str, dict[str, Any]]) -> None:
    predicted = ties.transform(ties.left_xy)
    ends = {"matches": (ties.left_xy, ties.right_xy), "residuals": (predicted, ties.right_xy)}
    checked = 0
    for layers in seen.values():
        for name, layer in layers.items():
            for k, found in layer["ends"].items():
                true = [end[int(k)] for end in ends.get(name, (ties.left_xy,))]
                assert np.abs(np.array(found) - true).max() < 0.01
                checked += 1
    assert checked == 4 * len(ties) + len(ties) + 2 * ties.inlier.sum()


def test_qgis_draws_every_layer(folder: Path, seen: dict[str, dict[str, Any]]) -> None:
    import cv2

    pictures = Path(os.environ.get("SENTINEL_MATCH_PICTURES", folder))
    for name, layer in seen["ties.gpkg"].items():
        for ground, suffix in ((255, ""), (0, ".dark")):
            picture = cv2.imread(str(pictures / f"ties.gpkg.{name}{suffix}.png")).astype(int)
            # What differs from the ground by a third of the whole range is seen; few points are rejected
            drawn = (np.abs(picture - ground).max(axis=2) > 85).sum()
            assert drawn > min(100, 20 * layer["count"]), (name, suffix)


def test_qgis_knows_columns_by_words_a_box_and_what_a_point_is(seen: dict[str, dict[str, Any]]) -> None:
    for file in ("ties.gpkg", "ties.geojson"):
        for name, layer in seen[file].items():
            unnamed = [field for field, alias in layer["aliases"].items() if not alias and field != "fid"]
            assert [] == unnamed, (file, name)
            assert ("inlier" not in layer["aliases"]) == (layer["box"] != "CheckBox")
            assert "[%" not in layer["tip"]
            assert "<b>" in layer["tip"]
    assert re.search(r"shift \S+ m east, \S+ m north<br>residual \S+ m, sigma", seen["ties.gpkg"]["tiepoints"]["tip"])
    assert "not believed: outlier" in seen["ties.gpkg"]["rejected"]["tip"]


@pytest.mark.parametrize(("name", "layer"), [("ties.geojson", ""), ("ties.gpkg", "|layername=tiepoints")])
def test_what_is_edited_in_qgis_comes_back(ties: TiePoints, tmp_path: Path, name: str, layer: str) -> None:
    write.write(ties, tmp_path / name)
    a, b, c = np.flatnonzero(ties.inlier)[[5, 40, 80]].tolist()
    qgis(HERE / "qgis_edit.py", f"{tmp_path / name}{layer}", a, b, c)
    again = fitting.fit(tmp_path / name)
    assert {"rejected_by_hand": 1, "kept_by_hand": 0, "moved": 1, "deleted": 1} == {
        k: v for k, v in again.summary.to_dict()["edited"].items() if k != "from"
    }
    assert len(ties) - 1 == len(again)
    (rejected,) = np.flatnonzero(again.reason == "by hand")
    assert np.abs(again.left_xy[rejected] - ties.left_xy[b]).max() < 0.001
