"""Document: an XML file of a download, parsed without trust and searched by local name.

The namespace of Sentinel-2 metadata changes with the schema version (psd-12 to psd-15), and early Level-2A products
prefix half of the names with ``L2A_`` or end them in ``_2A``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lxml import etree

from sentinel_match.errors import BrokenProduct
from sentinel_match.products.archive import MOST_TEXT_BYTES

if TYPE_CHECKING:
    from sentinel_match.products.archive import Archive

UNTRUSTED: dict[str, Any] = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False}


@dataclass(frozen=True)
class Document:
    """A parsed metadata file that knows where it came from, so that what it lacks can be said in one sentence."""

    archive: Archive
    member: str
    root: Any
    """lxml element."""

    @staticmethod
    def read(archive: Archive, member: str) -> Document:
        """Parse a member of an archive.

        Raises:
            BrokenProduct: empty, damaged or hostile.
        """
        data = archive.read(member)
        _refuse_entities(archive, member, data)
        try:
            root = etree.fromstring(data, etree.XMLParser(**UNTRUSTED))
        except etree.XMLSyntaxError as error:
            raise _damaged(archive, member, error) from None
        tree: Any = root.getroottree()
        _refuse_entities(archive, member, tree.docinfo.doctype.encode())  # in UTF-16 only the parser sees it
        return Document(archive, member, root)

    def find(self, *tags: str) -> Any:
        """Find the first element of one of the local names, tried in turn, each also with early Level-2A's prefix."""
        for tag in tags:
            for name in (tag, f"L2A_{tag}"):
                element = self.root.find(f".//{{*}}{name}")
                if element is not None:
                    return element
        return None

    def text(self, *tags: str) -> str:
        """Read the text of that element without blanks around it; empty where there is none."""
        element = self.find(*tags)
        return "" if element is None else (element.text or "").strip()

    def require(self, *tags: str) -> str:
        """Read text that must be there."""
        text = self.text(*tags)
        if not text:
            raise BrokenProduct(self.archive.path, f"{self.member} has no {tags[-1]}: download it again")
        return text

    def number(self, *tags: str) -> float | None:
        """Read the number of that element, ``7.0E-6`` included; ``None`` where there is none, or NaN."""
        element = self.find(*tags)
        text = "" if element is None else (element.text or "").strip()
        return None if text.lower() in {"", "nan"} else self.as_number(element)

    def as_number(self, element: Any) -> float:
        """Read the number that an element holds."""
        try:
            number = float(element.text)
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number):
            return number
        reason = f"{etree.QName(element).localname} in {self.member} is {element.text!r}, not a number"
        raise BrokenProduct(self.archive.path, reason)

    def time(self, *tags: str) -> datetime | None:
        """Read the UTC time of that element; ``None`` where there is none."""
        text = self.text(*tags)
        if not text:
            return None
        try:
            whole, _, fraction = text.removesuffix("Z").partition(".")
            moment = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
            return moment.replace(microsecond=int(f"{fraction:0<6}"[:6]))  # 3 to 6 digits
        except ValueError:
            reason = f"{tags[-1]} in {self.member} is {text!r}, not a time"
            raise BrokenProduct(self.archive.path, reason) from None


def first_attribute(archive: Archive, member: str, tag: str, attribute: str, before: str) -> str | None:
    """Find an attribute of the first element ``tag``, no further than the end of an element ``before``.

    For documents too large to be parsed whole; reads them piece by piece.

    Raises:
        BrokenProduct: damaged or hostile, as far as it was read.
    """
    parser = etree.XMLPullParser(("start", "end"), tag=(f"{{*}}{tag}", f"{{*}}{before}"), **UNTRUSTED)
    with archive.open(member) as stream:
        while stream.tell() < MOST_TEXT_BYTES and (piece := stream.read(2**16)):
            _refuse_entities(archive, member, piece)
            try:
                parser.feed(piece)
            except etree.XMLSyntaxError as error:
                raise _damaged(archive, member, error) from None
            for event, element in parser.read_events():
                name = etree.QName(element.tag).localname  # type: ignore[union-attr]
                if name == tag:
                    return element.get(attribute)  # type: ignore[union-attr]
                if event == "end":
                    return None
    return None


def _refuse_entities(archive: Archive, member: str, data: bytes) -> None:
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        reason = f"{member} is unsafe, because it declares entities, which Sentinel-2 metadata never does"
        raise BrokenProduct(archive.path, reason)


def _damaged(archive: Archive, member: str, error: etree.XMLSyntaxError) -> BrokenProduct:
    said = " ".join(error.msg.split())  # it may quote what it found, line ends and all
    return BrokenProduct(archive.path, f"{member} is damaged ({said}): download it again")
