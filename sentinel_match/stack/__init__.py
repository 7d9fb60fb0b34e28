"""Two dates as one change-ready stack."""
