"""Pure mathematics of grids, footprints and transforms; imports nothing of ours."""
