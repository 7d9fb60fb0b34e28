"""Run by the Python that has QGIS, offscreen: seconds until a file is open and drawn, its cost and memory, as JSON.

usage: qgis_times.py FILE [LAYER]     a file of vectors, as QGIS opens it with its style; or a project, what is ticked
"""

import json
import os
import sys
import time
from pathlib import Path

from qgis.core import QgsApplication, QgsProject, QgsVectorLayer
from qgis_canvas import drawn

SIZE = (1200, 900)
CLOSER = 0.1
"""Of each side, so that a hundredth of the ground is drawn."""

app = QgsApplication([], False)
app.initQgis()
began, began_cpu = time.monotonic(), time.process_time()


def opened(path, layer):
    """Open a file: its layer, or those of a project that are ticked."""
    if path.suffix != ".qgs":
        return [QgsVectorLayer(f"{path}|layername={layer}" if layer else str(path), path.stem, "ogr")]
    project = QgsProject.instance()
    project.read(str(path))
    tree = project.layerTreeRoot()
    return [one for one in tree.layerOrder() if tree.findLayer(one.id()).isVisible()]


def seconds(layers, closer):
    """Draw layers on the whole extent of the first, or on its middle, and say how many seconds that took."""
    extent = layers[0].extent()
    extent.scale(closer)
    start = time.monotonic()
    drawn(layers, layers[0].crs(), extent, SIZE)
    return time.monotonic() - start


layers = opened(Path(sys.argv[1]), *sys.argv[2:3] or [""])
said = {
    "valid": all(layer.isValid() for layer in layers),
    "features": sum(layer.featureCount() for layer in layers if isinstance(layer, QgsVectorLayer)),
    "open_s": time.monotonic() - began,
    "whole_s": seconds(layers, 1),
    "closer_s": seconds(layers, CLOSER),
    "cpu_s": time.process_time() - began_cpu,
}
# The peak that getrusage knows may be that of the process which started this one
lines = Path("/proc/self/status").read_text().splitlines()
said["peak_mb"] = next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))
sys.stdout.write(json.dumps(said))
sys.stdout.flush()
os._exit(0)  # layers that outlive the application crash it
