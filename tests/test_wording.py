"""Counts, suggestions and errors in words."""

from __future__ import annotations

import errno

import pytest

from sentinel_match.wording import counted, in_words, suggestion


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (1, ("pair",), "1 pair"),
        (0, ("pair",), "0 pairs"),
        (1_234, ("independent point",), "1,234 independent points"),
        (2, ("copy", "copies"), "2 copies"),
        (1, ("copy", "copies"), "1 copy"),
    ],
)
def test_one_is_one_and_all_else_are_many(number: int, words: tuple[str, ...], said: str) -> None:
    assert said == counted(number, *words)


@pytest.mark.parametrize(
    ("word", "said"),
    [("phse", " (did you mean phase?)"), ("PHASE", " (did you mean phase?)"), ("loftr", " (did you mean LoFTR?)")]
    + [("nothing alike", ""), ("", "")],
)
def test_the_nearest_known_word_is_suggested_as_it_is_spelt(word: str, said: str) -> None:
    assert said == suggestion(word, ["phase", "LoFTR", "sift"])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (IsADirectoryError(errno.EISDIR, "Is a directory", "/x"), "it is a folder, and only files are read"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), "No space left on device"),
        (OSError("no number."), "no number"),
        (ValueError("two\n  lines."), "two lines"),
        (ValueError("a.gpkg: `/vsizip/x.zip/a' not recognized"), "a.gpkg"),
        (ValueError("not recognized. It might help to specify the driver"), "not recognized"),
        (KeyError(), "KeyError"),
    ],
)
def test_an_error_of_others_is_told_without_its_number_file_and_advice(error: BaseException, said: str) -> None:
    assert said == in_words(error)
