"""``python -m sentinel_match``."""

from sentinel_match.cli import main

if __name__ == "__main__":
    main(prog_name="sentinel-match")
