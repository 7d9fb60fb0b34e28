"""sentinel_match: from downloaded Sentinel-2 archives to tie points one can trust."""

__version__ = "0.1.0"
