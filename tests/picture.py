"""Draw the first picture of README and docs from what the demo left: ``python tests/picture.py demo/``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from sentinel_match import load, read_scene

mpl.use("Agg")
import matplotlib.pyplot as plt

EXAGGERATION = 50
TARGET = Path(__file__).resolve().parents[1] / "docs" / "pages" / "pictures" / "first_pair.png"


def main(demo: Path) -> None:
    pairs = sorted(
        demo.glob("out/*/tiepoints.geojson"),
        key=lambda p: not ("20240109" in p.parent.name and "20231006" in p.parent.name),
    )
    ties = json.loads(pairs[0].read_text())
    believed = [f["properties"] for f in ties["features"] if f["properties"]["inlier"]]
    shown = [believed[k] for k in np.random.default_rng(0).choice(len(believed), 250, replace=False)]
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    for axis, side in zip(axes, ("left", "right"), strict=True):
        loaded = load(read_scene(Path(ties[side]["path"])), ties[side]["band"])
        west, south, east, north = loaded.raster.geobox.boundingbox
        pixels = np.ma.masked_where(np.asarray(loaded.reasons) == 1, np.asarray(loaded.raster.pixels, np.float32))
        axis.imshow(pixels, cmap="gray", extent=(west, east, south, north), interpolation="bilinear")
        axis.set_title(f"{side}: {ties[side]['sensing_time'][:10]}, {ties[side]['band']}")
        axis.set(xticks=[], yticks=[])
    x, y, dx, dy = (np.array([p[name] for p in shown]) for name in ("left_x", "left_y", "dx_m", "dy_m"))
    axes[0].quiver(
        x, y, dx * EXAGGERATION, dy * EXAGGERATION, color="#ffb000", angles="xy", scale_units="xy", scale=1, width=0.003
    )
    s = ties["summary"]
    shift = f"{s['median_dx_m']:+.1f} m east, {s['median_dy_m']:+.1f} m north"
    figure.suptitle(f"{s['inliers']:,} tie points; the right image lies {shift}", fontsize=11)
    axes[1].sharex(axes[0])
    axes[1].sharey(axes[0])
    figure.savefig(TARGET, dpi=80)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
