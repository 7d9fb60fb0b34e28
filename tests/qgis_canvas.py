"""What the scripts that QGIS runs share: layers drawn as its canvas draws them."""

from qgis.core import (
    QgsExpressionContext,
    QgsExpressionContextUtils,
    QgsMapRendererParallelJob,
    QgsMapSettings,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def drawn(layers, crs, extent, size, behind="white"):
    """Draw layers on an extent of a CRS, (columns, rows) large, and return the job when it has finished."""
    settings = QgsMapSettings()
    settings.setBackgroundColor(QColor(behind))
    settings.setLayers(layers)
    settings.setDestinationCrs(crs)
    settings.setExtent(extent)
    settings.setOutputSize(QSize(*size))
    context = QgsExpressionContext(QgsExpressionContextUtils.globalProjectLayerScopes(None))
    context.appendScope(QgsExpressionContextUtils.mapSettingsScope(settings))  # as a canvas does
    settings.setExpressionContext(context)
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    return job
