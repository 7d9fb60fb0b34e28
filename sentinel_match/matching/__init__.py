"""One pair of images to correspondences: from the cells that are looked at to positions within a pixel."""
