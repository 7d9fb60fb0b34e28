"""An invented landscape as real Sentinel-2 products with known displacement: for tests, the demo and plug-ins."""

from sentinel_match.testing.landscape import Landscape
from sentinel_match.testing.product import write_product
from sentinel_match.testing.sky import Sky

__all__ = ["Landscape", "Sky", "write_product"]
