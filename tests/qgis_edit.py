"""Run by the Python that has QGIS: edit a layer as a person would, and save.

/usr/bin/python3 tests/qgis_edit.py LAYER DELETED REJECTED MOVED (values of ``id``)
"""

import os
import sys

from qgis.core import QgsApplication, QgsVectorLayer

app = QgsApplication([], False)
app.initQgis()
layer = QgsVectorLayer(sys.argv[1], "edited", "ogr")
deleted, rejected, moved = (next(f for f in layer.getFeatures() if f["id"] == int(k)) for k in sys.argv[2:])
layer.startEditing()
layer.deleteFeature(deleted.id())
layer.changeAttributeValue(rejected.id(), layer.fields().indexOf("inlier"), False)
geometry = moved.geometry()
geometry.translate(0.0001 if layer.crs().isGeographic() else 7.0, 0)
layer.changeGeometry(moved.id(), geometry)
if not layer.commitChanges():
    sys.exit("; ".join(layer.commitErrors()))
os._exit(0)  # layers that outlive the application crash it
