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
from sentinel_match.train.begin import prepare_training
from sentinel_match.train.figures import find_figure
from sentinel_match.train.networks import TRAINABLE
from sentinel_match.train.task import TrainingSetup


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
        task = prepare_training(given.network, start, None, TrainingSetup(batch=kind.batch))(ground)
        task.network.eval()
        if given.calibrate:
            task.calibrate()
        figures = task.examine()
        print(task.setup.origin)
        for text in kind.figures:
            print(f"  {text.words:40s} {text.text(find_figure(figures, text.name))}")
        for figure in figures:
            for place, value in figure.places:
                print(f"  {f'{figure.name} in {place}':40s} {value:.3f}", flush=True)


if __name__ == "__main__":
    main()
