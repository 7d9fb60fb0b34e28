"""What a person opens after a run of many pairs, or of many points: the report in a browser, the rest in QGIS.

python tests/benchmarks/scale_views.py make FOLDER 500     a run of so many pairs, each the copy of one
python tests/benchmarks/scale_views.py report FOLDER       bytes, CPU seconds to write, seconds to open in chromium
python tests/benchmarks/scale_views.py project FOLDER      bytes and layers, and what QGIS (3.22) says of it
python tests/benchmarks/scale_views.py formats TIES [PROJECT]   the same points in each format, opened and drawn by QGIS
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lxml import etree

from sentinel_match import Cache, Options, batch, read_ties
from sentinel_match.formats.write import write, write_style
from sentinel_match.report import html, qgis_project
from sentinel_match.testing import Landscape, write_product

OPENS, TIMES = (Path(__file__).parent.parent / name for name in ("qgis_opens.py", "qgis_times.py"))
SUFFIXES = (".gpkg", ".fgb", ".geojsonl", ".geojson")


def make(folder: Path, pairs: str) -> batch.Run:
    """Make a run of one pair and copy it; its record and its list of pairs name all."""
    archive, out = folder / "archive", folder / "out"
    if not archive.exists():
        for k, date in enumerate(("2021-05-20", "2021-07-17")):
            write_product(archive, Landscape(7), date=date, pixels=1020, displacement=(3.2 * k, 9.0 * k), sky=0.1 * k)
    result = batch.run(archive, out, Options(matcher="phase", candidates=2000), cache=Cache(folder / "cache"))
    (outcome,), (pair,) = result.outcomes, result.pairing.pairs
    record, listed = (json.loads((out / name).read_text()) for name in ("run.json", "pairs.geojson"))
    names = [pair.id, *(f"{pair.id}-{k:04}" for k in range(1, int(pairs)))]
    for name in names[1:]:
        shutil.copytree(out / pair.id, out / name, dirs_exist_ok=True)
    record["pairs"] = [{**record["pairs"][0], "id": name} for name in names]
    listed["features"] = [{**listed["features"][0], "id": name} for name in names]
    (out / "run.json").write_text(json.dumps(record))
    (out / "pairs.geojson").write_text(json.dumps(listed))
    there = {"left": pair.left, "right": pair.right, "overlap": pair.overlap}
    copies: tuple[Any, ...] = tuple(SimpleNamespace(id=name, **there) for name in names)
    return replace(
        result,
        outcomes=tuple(replace(outcome, id=name) for name in names),
        pairing=replace(result.pairing, pairs=copies),
    )


def report(folder: Path) -> None:
    """Write the report again, and open it."""
    out, began = folder / "out", time.process_time()
    page = html.write(out)
    spent = time.process_time() - began
    beside = [file.stat().st_size for file in out.glob(f"*/{html.PAIR_PAGE}")]
    each = f"{len(beside)} pages beside it, the largest {max(beside, default=0) / 1e6:.2f} MB"
    print(f"report: {page.stat().st_size / 1e6:.2f} MB, {each}; {spent:.1f} CPU-s to write")
    print(f"opens in {opened(page):.2f} s, one of the pairs in {opened(next(out.glob('*/pair.html'), page)):.2f} s")


def opened(page: Path) -> float:
    """Load a page in a headless browser: seconds until its load event, its table sorted and laid out."""
    with tempfile.TemporaryDirectory() as folder:
        frame = Path(folder) / "frame.html"
        frame.write_text(
            "<iframe width=390 height=844></iframe><script>const f = document.querySelector('iframe'), "
            "t = performance.now(); f.onload = () => requestAnimationFrame(() => "
            f"document.title = performance.now() - t); f.src = {json.dumps(page.resolve().as_uri())}</script>"
        )
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--timeout=20000", "--dump-dom"]
        text = subprocess.run([*command, frame.as_uri()], capture_output=True, text=True, check=False).stdout
    return float(re.search(r"<title>([\d.]+)", text)[1]) / 1000  # type: ignore[index]


def project(folder: Path) -> None:
    """Write the project again, and open it in QGIS."""
    out = folder / "out"
    result = make(folder, str(len(json.loads((out / "run.json").read_text())["pairs"])))
    (out / qgis_project.PROJECT).unlink(missing_ok=True)
    began = time.process_time()
    path = qgis_project.make(result, out)
    assert path is not None
    spent = time.process_time() - began
    layers = len(etree.parse(path).findall(".//maplayer"))
    sizes = f"{path.stat().st_size / 1e6:.2f} MB, {layers} layers; {spent:.1f} CPU-s to write"
    began = time.monotonic()
    said = by_qgis(folder, OPENS, path, folder / "project.png")
    print(f"project: {sizes}; QGIS opened and drew it in {time.monotonic() - began:.0f} s")
    invalid = [layer["name"] for layer in said["layers"] if not layer["valid"]]
    print(f"{len(said['layers'])} layers, invalid: {invalid}; errors: {said['errors']}")


def formats(ties: Path, *projects: str) -> None:
    """Write points in each format, and open and draw each in QGIS; then projects."""
    points = read_ties(ties)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in SUFFIXES:
            path, began = Path(folder, f"tiepoints{suffix}"), time.process_time()
            write(points, path)
            spent = time.process_time() - began
            write_style(points, path)
            layer = ["tiepoints"] if suffix == ".gpkg" else []
            told(f"{suffix}, {spent:.1f} CPU-s to write", path, by_qgis(Path(folder), TIMES, path, *layer))
        for name in projects:
            told(name, Path(name), by_qgis(Path(folder), TIMES, name))


def told(what: str, path: Path, said: Any) -> None:
    """Print what QGIS said of a file."""
    if not said["valid"]:
        raise SystemExit(f"QGIS cannot open {path}")
    print(
        f"{what}: {path.stat().st_size / 1e6:.1f} MB, {said['features']:,} features; open in {said['open_s']:.1f} s, "
        f"drawn in {said['whole_s']:.1f} s, a hundredth of the ground in {said['closer_s']:.2f} s; "
        f"{said['cpu_s']:.1f} CPU-s, {said['peak_mb'] / 1000:.2f} GB"
    )


def by_qgis(home: Path, script: Path, *arguments: Path | str) -> Any:
    """Run a script by the Python that has QGIS, without a screen."""
    env = {"QT_QPA_PLATFORM": "offscreen", "PATH": "/usr/bin:/bin", "HOME": str(home)}
    command = ["/usr/bin/python3", *map(str, (script, *arguments))]
    said = subprocess.run(command, capture_output=True, text=True, check=False, env=env).stdout
    return json.loads(said[said.index("{") :])


if __name__ == "__main__":
    {f.__name__: f for f in (make, report, project, formats)}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])  # type: ignore[operator]
