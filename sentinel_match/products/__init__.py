"""What products say of themselves: metadata and grids, no pixels."""
