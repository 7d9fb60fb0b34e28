"""Run by the Python that has QGIS: opens every layer of the files given and says, as JSON, what QGIS made of them.

/usr/bin/python3 tests/qgis_look.py FOLDER_OF_PICTURES FILE...
"""

import json
import os
import sys
from pathlib import Path

from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsExpression,
    QgsExpressionContext,
    QgsExpressionContextUtils,
    QgsLayerTree,
    QgsLayerTreeModel,
    QgsLegendRenderer,
    QgsLegendSettings,
    QgsProject,
    QgsProviderRegistry,
    QgsRectangle,
    QgsRenderContext,
    QgsVectorLayer,
)
from qgis.PyQt.QtGui import QColor, QImage, QPainter
from qgis_canvas import drawn

app = QgsApplication([], False)
app.initQgis()


def sublayers(path):
    """Layers that QGIS offers to open, by the names it gives them; pages of a CSV have no geometry."""
    if path.suffix == ".csv":
        uri = f"file://{path.resolve()}?delimiter=,&xField=left_x&yField=left_y&crs=EPSG:32633"
        return [(path.stem, QgsVectorLayer(uri, path.stem, "delimitedtext"))]
    found = QgsProviderRegistry.instance().querySublayers(str(path))
    names = [s.name() for s in found if s.name() != "layer_styles"]
    if path.suffix != ".gpkg":
        return [(path.stem, QgsVectorLayer(str(path), path.stem, "ogr"))]
    return [(name, QgsVectorLayer(f"{path}|layername={name}", name, "ogr")) for name in names]


def tip_of(layer):
    """What is shown where the pointer rests on the first feature."""
    context = QgsExpressionContext(QgsExpressionContextUtils.globalProjectLayerScopes(layer))
    context.setFeature(next(layer.getFeatures()))
    return QgsExpression.replaceExpressionText(layer.mapTipTemplate(), context)


def said_of(layer):
    to_utm = QgsCoordinateTransform(layer.crs(), QgsCoordinateReferenceSystem("EPSG:32633"), QgsProject.instance())
    ends = {}
    for feature in layer.getFeatures():
        if layer.geometryType() == 2 or "id" not in layer.fields().names():
            continue
        points = [to_utm.transform(v.x(), v.y()) for v in feature.geometry().vertices()]
        ends[int(feature["id"])] = [[p.x(), p.y()] for p in points]
    renderer = layer.renderer()
    return {
        "valid": layer.isValid(),
        "crs": layer.crs().authid(),
        "count": layer.featureCount(),
        "renderer": renderer.type(),
        "legend": [item.label() for item in renderer.legendSymbolItems()],
        "ends": ends,
        "aliases": {field.name(): field.alias() for field in layer.fields()},
        "box": layer.editorWidgetSetup(layer.fields().indexOf("inlier")).type(),
        "tip": tip_of(layer),
    }


def draw(layers, crs, path, behind="white"):
    crs, extent = QgsCoordinateReferenceSystem(crs), QgsRectangle()
    for layer in layers:
        to = QgsCoordinateTransform(layer.crs(), crs, QgsProject.instance())
        extent.combineExtentWith(to.transformBoundingBox(layer.extent()))
    extent = extent.buffered(0.05 * max(extent.width(), extent.height()))
    drawn(layers, crs, extent, (900, 900), behind).renderedImage().save(str(path))


def draw_legend(layers, path):
    """What the legend shows, 7 pixels a millimetre."""
    tree = QgsLayerTree()
    QgsProject.instance().addMapLayers(layers, False)
    for layer in layers:
        tree.addLayer(layer)
    model, settings = QgsLayerTreeModel(tree), QgsLegendSettings()  # the renderer does not keep them alive
    legend = QgsLegendRenderer(model, settings)
    size = legend.minimumSize()
    image = QImage(int(7 * size.width()), int(7 * size.height()), QImage.Format_RGB32)
    image.fill(QColor("#dddddd"))
    image.setDotsPerMeterX(7000)
    image.setDotsPerMeterY(7000)
    painter = QPainter(image)
    context = QgsRenderContext.fromQPainter(painter)
    painter.scale(7, 7)
    legend.drawLegend(context)
    painter.end()
    image.save(str(path))


pictures, answer = Path(sys.argv[1]), {}
for path in map(Path, sys.argv[2:]):
    opened = sublayers(path)
    answer[path.name] = {name: said_of(layer) for name, layer in opened}
    draw([layer for _, layer in reversed(opened)], "EPSG:32633", pictures / f"{path.name}.utm.png")
    draw([layer for _, layer in reversed(opened)], "EPSG:4326", pictures / f"{path.name}.lonlat.png")
    for name, layer in opened if len(opened) > 1 else []:
        draw([layer], "EPSG:32633", pictures / f"{path.name}.{name}.png")
        draw([layer], "EPSG:32633", pictures / f"{path.name}.{name}.dark.png", "black")
    draw_legend([layer for _, layer in opened], pictures / f"{path.name}.legend.png")
sys.stdout.write(json.dumps(answer))
sys.stdout.flush()
os._exit(0)  # layers that outlive the application crash it
