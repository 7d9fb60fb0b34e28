"""What the pages and the docstrings show runs as it is written, on an invented pair."""

from __future__ import annotations

import doctest
import re
import shutil
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest

import sentinel_match
from sentinel_match import testing
from sentinel_match.formats.write import write
from sentinel_match.pipeline import match_scenes
from sentinel_match.products.catalogue import read_scene
from sentinel_match.raster.load import load

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "pages").rglob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(ROOT).as_posix()}-{k}")
    for page in PAGES
    for k, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M))
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the examples name: two products, a folder of them, their tie points, two pictures."""
    folder = tmp_path_factory.mktemp("desk")
    for name, date, aside in (("LEFT", "2021-05-20", (0.0, 0.0)), ("RIGHT", "2021-09-17", (6.4, 18.1))):
        product = testing.write_product(
            folder / "archive", testing.Landscape(7), date=date, pixels=360, bands=("B04", "B08"), displacement=aside
        )
        shutil.copytree(product, folder / f"{name}.SAFE")
    ties = match_scenes(read_scene(folder / "LEFT.SAFE"), read_scene(folder / "RIGHT.SAFE"))
    write(ties, folder / "ties.gpkg")
    write(ties, folder / "ties.geojson")
    pair = testing.example_pair(size=320)
    for name, pixels in (("a", pair.left), ("b", pair.right)):
        cv2.imwrite(str(folder / f"{name}.jpg"), np.round(pixels * 255).astype(np.uint8))
    ground = load(folder / "RIGHT.SAFE").raster.pixels.astype(np.float32)
    turn = cv2.getRotationMatrix2D((180, 180), -30, 1.2)
    cv2.imwrite(str(folder / "picture.png"), cv2.warpAffine(ground, turn, (300, 300)) * 254 + 1)
    return folder


@pytest.fixture
def at_the_desk(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work there, with a cache of its own and without a screen."""
    monkeypatch.chdir(desk)
    monkeypatch.setenv("SENTINEL_MATCH_CACHE", str(tmp_path / "cache"))
    pytest.importorskip("matplotlib").use("Agg")


@pytest.mark.usefixtures("at_the_desk")
@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_the_pages_runs_as_it_is_written(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)  # what a block defines can be pickled
    exec(compile(block, "page", "exec"), vars(page))  # noqa: S102 - ours


@pytest.mark.usefixtures("at_the_desk")
@pytest.mark.parametrize("name", ["sentinel_match", *sentinel_match.__all__])
def test_a_public_name_has_an_example_that_runs_as_it_is_written(name: str) -> None:
    thing = getattr(sentinel_match, name, sentinel_match)
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [test for test in finder.find(thing, name, globs={}) if test.examples]
    assert name in {test.name for test in tests}, f"{name} has no example in its docstring"
    assert [] == [e.source for test in tests for e in test.examples if e.options.get(doctest.SKIP)]
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    for test in tests:
        runner.run(test, out=report.append)
    assert not runner.failures, "\n".join(report)
