"""The diary of an evaluation: every record as soon as it is there, so that a run can go on where it stopped."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sentinel_match.errors import OutputError
from sentinel_match.evaluate.record import Record

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Diary:
    """``records.jsonl`` in a folder: one record a line, with its key, which names all that the record depends on."""

    folder: Path

    @property
    def path(self) -> Path:
        """Return the file of the diary."""
        return self.folder / "records.jsonl"

    def add(self, key: str, record: Record) -> None:
        """Write down one record at once.

        Raises:
            OutputError: the file cannot be written.
        """
        line = json.dumps({"key": key, **record.to_dict()}).encode() + b"\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    # What an earlier run left torn shall not tear this record as well
                    line = line if file.read() == b"\n" else b"\n" + line
                file.write(line)
        except OSError as error:
            raise OutputError(self.path, error.strerror or str(error)) from error

    def read(self) -> dict[str, Record]:
        """Read the records of an earlier run, by key; a line cut short by its end is left out."""
        records: dict[str, Record] = {}
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except OSError:
            return records
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                columns = json.loads(line)
                key = columns.pop("key")
                records[key] = Record.from_dict(columns)
        return records
