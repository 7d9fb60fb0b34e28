"""How good the methods are on pairs whose truth is known: docs/evaluation.md as a library.

    listed  = read_list(Path("pairs.csv"))
    tested  = [parse_method("auto"), parse_method("sift:unguided")]
    records = run(listed, tested, Sampling())
    report.write(folder, records)

``listing`` says which pairs, ``displaced`` moves the right image by a known amount, ``samples`` puts both on one
lattice, ``protocol`` gives them to the methods and holds the answers against the truth by ``metrics``, ``summary``
counts, ``report`` and ``figures`` write it down. ``pose`` is the same for cameras in space.
"""

from sentinel_match.evaluate.listing import Listed, list_archives, read_list, warped
from sentinel_match.evaluate.protocol import Record, Tested, parse_method, run
from sentinel_match.evaluate.samples import Sample, Sampling, prepare
from sentinel_match.evaluate.summary import Control, Summary, controls, summarise

__all__ = [
    "Control",
    "Listed",
    "Record",
    "Sample",
    "Sampling",
    "Summary",
    "Tested",
    "controls",
    "list_archives",
    "parse_method",
    "prepare",
    "read_list",
    "run",
    "summarise",
    "warped",
]
