"""Archives: folder and zip give the same listing; hostile and damaged zips are refused before anything reads them."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest
from minimal_safe import Safe, pack

from sentinel_match.errors import BrokenProduct, NotAProduct
from sentinel_match.products.archive import open_archive

if TYPE_CHECKING:
    from pathlib import Path


def zipped(path: Path, *members: zipfile.ZipInfo | str, data: bytes = b"x", method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for member in members:
            archive.writestr(member, data)
    return path


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


def read_all(path: Path) -> list[bytes]:
    with open_archive(path) as archive:
        return [archive.read(name) for name in archive.sizes]


def refusal(path: Path) -> str:
    with pytest.raises((BrokenProduct, NotAProduct)) as caught:
        read_all(path)
    return str(caught.value)


def test_a_folder_and_its_zip_list_and_give_the_same(tmp_path: Path) -> None:
    product = Safe().write(tmp_path)
    packed_path = pack(product, tmp_path / "x.zip")
    assert sorted(read_all(product)) == sorted(read_all(packed_path))
    with open_archive(product) as folder, open_archive(packed_path) as packed:
        assert {f"{product.name}/{name}": size for name, size in folder.sizes.items()} == packed.sizes
        assert all(packed.asset(n).size == size for n, size in packed.sizes.items())


@pytest.mark.parametrize(
    "name", ["../evil.xml", "X.SAFE/../../evil.xml", "/etc/passwd", "..\\evil.xml", "C:\\evil.xml"]
)
def test_a_zip_that_leads_out_of_itself_is_refused(name: str, tmp_path: Path) -> None:
    assert "leads out of the archive" in refusal(zipped(tmp_path / "x.zip", name))


def test_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    assert "is a link" in refusal(zipped(tmp_path / "x.zip", link("X.SAFE/MTD_MSIL1C.xml"), data=b"/etc/passwd"))


def test_a_zip_that_names_a_file_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        path = zipped(tmp_path / "x.zip", "a.xml", "a.xml")
    assert "more than once" in refusal(path)


def test_a_zip_of_absurdly_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel_match.products.archive.MOST_MEMBERS", 3)
    assert "holds 4 files" in refusal(zipped(tmp_path / "x.zip", "a", "b", "c", "d"))


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", "a.xml")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1  # the flag in the table of contents
    path.write_bytes(data)
    assert "is encrypted" in refusal(path)


@pytest.mark.parametrize(("size", "said"), [(20 * 2**20, "21 MB"), (4 * 2**20, "4 MB")])
def test_metadata_that_unpack_to_absurd_sizes_are_refused(size: int, said: str, tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "x.zip", "MTD_MSIL1C.xml", data=b"\0" * size, method=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < size / 500
    assert f"unpacks to {said}" in refusal(bomb)


def test_large_metadata_that_do_not_shrink_like_a_bomb_are_read(tmp_path: Path) -> None:
    text = b"".join(b"<a>%d</a>" % n for n in range(300_000))
    assert [text] == read_all(zipped(tmp_path / "x.zip", "m.xml", data=text, method=zipfile.ZIP_DEFLATED))


def test_an_empty_metadata_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "MTD_MSIL1C.xml").touch()
    assert "MTD_MSIL1C.xml is empty" in refusal(tmp_path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_zip_is_incomplete(share: float, tmp_path: Path) -> None:
    path = pack(Safe().write(tmp_path), tmp_path / "x.zip")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "the archive is incomplete: download it again" in refusal(path)


def test_a_zip_with_damaged_bytes_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", "m.xml", data=b"<a>" + b"." * 1000)
    path.write_bytes(path.read_bytes().replace(b"." * 1000, b"," * 1000))
    assert "m.xml is damaged" in refusal(path)


@pytest.mark.parametrize(
    "text", ["<!DOCTYPE html><html>Login</html>", "\n<html>", '{"error": "expired"}', "<?xml version='1.0'?><Error/>"]
)
def test_a_web_page_in_place_of_a_zip_is_named_as_such(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text(text)
    assert "nor another image: it is a web page or error message, likely of an expired" in refusal(tmp_path / "x.zip")


@pytest.mark.parametrize(("data", "said"), [(b"", "is empty"), (b"\x89PNG", "neither a zip nor an image")])
def test_what_is_no_zip_is_refused(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    assert said in refusal(tmp_path / "x.zip")


def test_a_packing_method_that_python_lacks_is_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", "m.xml", data=b"<a/>")
    data = bytearray(path.read_bytes())
    for signature, at in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        data[data.index(signature) + at] = 9  # Deflate64, as Windows packs files of more than 2 GB
    path.write_bytes(data)
    assert "packed by a method that Python cannot unpack" in refusal(path)
