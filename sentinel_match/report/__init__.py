"""What a run shows to people: a page, pictures, a QGIS project."""
