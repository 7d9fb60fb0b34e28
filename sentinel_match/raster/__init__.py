"""Pixels with validity: bands, masks and land cover, on the grids that are asked for."""
