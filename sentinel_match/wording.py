"""Words of messages: what is said of counts, of misspelt names, and of errors that others raise."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_HINTS = re.compile(r"\.?;? It might help to .*|: `?/vsi\w*/.*|\(tmp/[^)]*\)", re.DOTALL)
"""What libraries advise that a user of ours cannot follow."""


def counted(number: int, one: str, many: str = "") -> str:
    """Write ``1 pair``, ``2 pairs``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """Suggest the known word that a misspelt one is nearest to, as the end of a sentence; empty where none is near."""
    spelled = {one.lower(): one for one in known}
    near = get_close_matches(word.lower(), spelled, 1)
    return f" (did you mean {spelled[near[0]]}?)" if near else ""


def in_words(error: BaseException) -> str:
    """Write an error of the system or of a library as the end of a sentence, without its number, file and advice."""
    if isinstance(error, IsADirectoryError):
        return "it is a folder, and only files are read"
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return " ".join(_HINTS.sub("", text).split()).rstrip(".")
