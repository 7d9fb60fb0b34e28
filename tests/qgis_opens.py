"""Run by the Python that has QGIS, offscreen: opens a project, says what is in it as JSON, and draws it.

usage: qgis_opens.py PROJECT PICTURE
"""

import json
import sys

from qgis.core import QgsApplication, QgsProject, QgsVectorLayer
from qgis.gui import QgsMapCanvas
from qgis_canvas import drawn

QgsApplication.setPrefixPath("/usr", True)
application = QgsApplication([], True)
application.initQgis()
project = QgsProject.instance()
canvas = QgsMapCanvas()
project.readProject.connect(canvas.readProject)
read = project.read(sys.argv[1])


def described(layer):
    facts = {
        "name": layer.name(),
        "valid": layer.isValid(),
        "crs": layer.crs().authid(),
        "source": layer.source(),
        "checked": project.layerTreeRoot().findLayer(layer.id()).isVisible(),
    }
    if isinstance(layer, QgsVectorLayer):
        facts["features"] = layer.featureCount()
        facts["renderer"] = layer.renderer().type()
    else:
        facts["renderer"] = layer.renderer().type()
        if facts["renderer"] == "singlebandgray":
            stretch = layer.renderer().contrastEnhancement()
            facts["stretch"] = [stretch.minimumValue(), stretch.maximumValue()]
    return facts


order = project.layerTreeRoot().layerOrder()
ticked = [layer for layer in order if project.layerTreeRoot().findLayer(layer.id()).isVisible()]
job = drawn(ticked, project.crs(), canvas.extent(), (900, 900))
job.renderedImage().save(sys.argv[2])
extent = canvas.extent()
sys.stdout.write(
    json.dumps({
        "read": read,
        "error": project.error(),
        "title": project.title(),
        "crs": project.crs().authid(),
        "extent": [extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()],
        "groups": [group.name() for group in project.layerTreeRoot().findGroups()],
        "layers": [described(layer) for layer in order],
        "errors": [error.message for error in job.errors()],
        "versions": project.lastSaveVersion().text(),
    })
)
