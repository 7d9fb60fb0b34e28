"""What networks find on ground that training never saw, as `sentinel-match train` judges them.

python tests/benchmarks/networks.py NETWORK START... --on ARCHIVE... [--calibrate] [--cache FOLDER]

NETWORK: evergreen, superpoint, lightglue or superglue. START: shipped, scratch, or a file of weights. ARCHIVE: what
`tests/benchmarks/grounds.py` writes, for the networks that come with the package. ``--calibrate`` fits the odds of
evergreen's peaks first, on training ground.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sentinel_match.cache import Cache
from sentinel_match.train import gather, hold_out
from sentinel_match.train.networks import TRAINABLE, begun, told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=sorted(TRAINABLE))
    parser.add_argument("starts", nargs="+")
    parser.add_argument("--on", type=Path, nargs="+", required=True)
    parser.add_argument("--share", type=float, default=0.35)
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    places, _ = gather(given.on, cache=given.cache and Cache(given.cache))
    ground, kind = hold_out(places, given.share), TRAINABLE[given.network]
    for start in given.starts:
        prepared, origin = begun(given.network, start, None, batch=kind.batch, seed=0, device="cpu")
        task = prepared(ground)
        task.network.eval()
        if given.calibrate:
            task.calibrate()
        figures = task.examine()
        print(origin)
        for name, (words, pattern) in kind.units.items():
            print(f"  {words:40s} {told(figures, name, pattern)}")
        for name, value in figures.items():
            if " in " in name:
                print(f"  {name:40s} {value:.3f}", flush=True)


if __name__ == "__main__":
    main()
