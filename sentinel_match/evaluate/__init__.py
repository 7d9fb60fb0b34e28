"""The evaluation of methods on pairs whose truth is known, as the documentation defines it (docs/pages/evaluation.md).

    pairs   = read_list(Path("pairs.csv"))
    methods = [parse_method("auto"), parse_method("sift:unguided")]
    records = run(pairs, methods, Sampling(), diary=Diary(folder))
    report.write(folder, records)

``listing`` says which pairs, ``benchmark`` has a frozen list of them, ``displaced`` moves the right image by a known
amount, ``samples`` puts both on one lattice, ``protocol`` gives them to the methods and compares the answers with the
truth by ``metrics``; each makes a ``record``, which the ``diary`` keeps; ``summary`` counts, ``report`` and ``figures``
write it down. ``foreign`` is for methods of others, ``pose`` the same for cameras in space.
"""

from sentinel_match.evaluate.benchmark import SPLITS, VERSIONS, Missing, Ready, ready
from sentinel_match.evaluate.diary import Diary
from sentinel_match.evaluate.foreign import ForeignMethod, export, from_function, read_matches
from sentinel_match.evaluate.listing import ListedPair, list_archives, read_list, warped
from sentinel_match.evaluate.protocol import TestedMethod, parse_method, run
from sentinel_match.evaluate.record import Record
from sentinel_match.evaluate.samples import Sample, Sampling, prepare
from sentinel_match.evaluate.summary import Control, MethodSummary, controls, summarise

__all__ = [
    "SPLITS",
    "VERSIONS",
    "Control",
    "Diary",
    "ForeignMethod",
    "ListedPair",
    "MethodSummary",
    "Missing",
    "Ready",
    "Record",
    "Sample",
    "Sampling",
    "TestedMethod",
    "controls",
    "export",
    "from_function",
    "list_archives",
    "parse_method",
    "prepare",
    "read_list",
    "read_matches",
    "ready",
    "run",
    "summarise",
    "warped",
]
