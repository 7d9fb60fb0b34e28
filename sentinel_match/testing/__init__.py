"""An invented landscape as real Sentinel-2 products with known displacement: for tests, the demo and plug-ins.

ground = Landscape(seed=7)
write_product(folder, ground, date="2023-05-14", season="spring")
write_product(folder, ground, date="2023-10-06", displacement=(6.4, 18.1), sky=0.15, zip="stored")
write_archive(folder)         # the demo: six products, and the truth about each
check_matcher(MyMatcher())    # raises MatcherContractError if it breaks the contract
"""

from sentinel_match.testing.archive import Truth, truncate, write_archive
from sentinel_match.testing.checks import ExamplePair, MatcherContractError, check_matcher, example_pair
from sentinel_match.testing.landscape import Landscape
from sentinel_match.testing.product import InventedProduct, write_product
from sentinel_match.testing.sky import Sky
from sentinel_match.testing.swath import swath_part
from sentinel_match.testing.terrain import Terrain

__all__ = [
    "ExamplePair",
    "InventedProduct",
    "Landscape",
    "MatcherContractError",
    "Sky",
    "Terrain",
    "Truth",
    "check_matcher",
    "example_pair",
    "swath_part",
    "truncate",
    "write_archive",
    "write_product",
]
