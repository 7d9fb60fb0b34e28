"""Archives: folder and zip give the same listing; hostile and damaged zips are refused before anything reads them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from minimal_safe import Safe, pack

from sentinel_match.errors import BrokenProduct, NotAProduct
from sentinel_match.products.archive import open_archive
from sentinel_match.products.catalogue import find_scenes, read_scene
from sentinel_match.raster.raster import read
from sentinel_match.testing import Landscape, write_product

if TYPE_CHECKING:
    from collections.abc import Callable
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
    assert "m.xml is packed by deflate64, which cannot be read in place: unpack the zip" in refusal(path)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product whose images can be decoded."""
    return write_product(
        tmp_path_factory.mktemp("whole"), Landscape(3), date="2023-05-14", pixels=120, bands=("B04",), level="L2A"
    )


def repacked(product: Path, path: Path, name: Callable[[str], str] = str, packing: int = zipfile.ZIP_DEFLATED) -> Path:
    """Zip a product with other names or another packing."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(product.rglob("*")):
            if file.is_file():
                info = zipfile.ZipInfo(name(file.relative_to(product.parent).as_posix()))
                archive.writestr(info, file.read_bytes(), packing)
    return path


def seen(path: Path) -> np.ndarray:
    scene = read_scene(path)
    assert scene.masks
    for mask in scene.masks:
        mask.asset.sha256()
    return read(scene, "B04").pixels


def sentence(path: Path) -> str:
    """Say what is refused of a path, of a folder that holds it and to whoever reads it."""
    said = {str(refused.error) for place in (path, path.parent) for refused in find_scenes(place).refused}
    assert 1 == len(said), said
    with pytest.raises((BrokenProduct, NotAProduct)):
        read_scene(path)
    return said.pop()


@pytest.mark.parametrize(
    "name",
    [
        lambda name: f"./{name}",
        lambda name: f"././{name}",
        lambda name: name.replace("/", "\\"),
        lambda name: ".\\" + name.replace("/", "\\"),
        lambda name: f"a b/{{c}}/ä}}/{name}",
        lambda name: f"a/./{name}",
        lambda name: f"x.zip/{name}",
        lambda name: f"./x?y#z%20!&/{name}",
    ],
)
def test_what_is_listed_can_be_read_whatever_the_members_are_called(
    name: Callable[[str], str], product: Path, tmp_path: Path
) -> None:
    assert np.array_equal(seen(product), seen(repacked(product, tmp_path / "x.zip", name)))


@pytest.mark.parametrize(
    "place",
    ["a}b.zip", "a{b.zip", "}{.zip", "{a}.zip", "d}.zip/x.zip", "d}/x.ZIP", "d.zip/x.SAFE", "{x}.SAFE", "a?#%20!&.zip"],
)
def test_what_is_listed_can_be_read_wherever_the_zip_lies(place: str, product: Path, tmp_path: Path) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    assert np.array_equal(seen(product), seen(repacked(product, path)))


def test_a_lone_brace_that_gdal_cannot_pass_is_named(product: Path, tmp_path: Path) -> None:
    assert "rename it to end in .zip" in sentence(repacked(product, tmp_path / "a}b.SAFE"))


@pytest.mark.parametrize(("packing", "name"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA")])
def test_images_that_gdal_cannot_unpack_are_refused_with_what_to_do(
    packing: int, name: str, product: Path, tmp_path: Path
) -> None:
    said = sentence(repacked(product, tmp_path / "x.zip", packing=packing))
    assert f"is packed by {name}, which cannot be read in place: unpack the zip and use the folder, or repack" in said


def test_metadata_may_be_packed_by_anything_that_python_unpacks(product: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in product.rglob("*"):
            if file.is_file():
                packing = zipfile.ZIP_STORED if file.suffix == ".jp2" else zipfile.ZIP_LZMA
                archive.write(file, file.relative_to(product.parent), packing)
    assert np.array_equal(seen(product), seen(path))


def test_two_names_that_are_one_to_gdal_are_refused(tmp_path: Path) -> None:
    assert "more than once" in refusal(zipped(tmp_path / "x.zip", "a/b.xml", "./a\\b.xml"))


@pytest.mark.parametrize("name", ["a\\\\b.xml", "a//b.xml", ".//a.xml", ".\\\\a.xml", "./../a.xml", ".\\..\\a.xml"])
def test_names_that_gdal_reads_otherwise_are_refused(name: str, tmp_path: Path) -> None:
    assert "its member" in refusal(zipped(tmp_path / "x.zip", name))


@pytest.mark.parametrize("inner", ["x.SAFE.zip", "S2/x.ZIP", "x.tar.gz", "x.tgz", "x.7z", "./x.zip"])
def test_an_archive_within_an_archive_is_named(inner: str, tmp_path: Path) -> None:
    said = sentence(zipped(tmp_path / "x.zip", inner))
    assert f"it holds another archive, {inner.removeprefix('./')}: unpack it, and use the folder" in said


def test_an_archive_beside_a_product_within_an_archive_is_not_passed_over(product: Path, tmp_path: Path) -> None:
    path = repacked(product, tmp_path / "x.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other.zip", b"x")
    catalogue = find_scenes(path)
    assert 1 == len(catalogue.scenes)
    assert "other.zip is neither" in str(catalogue.refused[0].error)


def test_a_zip_of_masks_and_previews_is_no_image(tmp_path: Path) -> None:
    said = sentence(zipped(tmp_path / "x.zip", "a/T33UUU_SCL.tif", "a/preview.jpg", ".hidden/B04.tif"))
    assert "there is no MTD_MSIL1C.xml or MTD_MSIL2A.xml in it, and no image of the ground" in said


@pytest.mark.parametrize(
    ("name", "mode"),
    [("x.tar", "w"), ("x.tar.gz", "w:gz"), ("x.tgz", "w:gz"), ("x.tar.bz2", "w:bz2"), ("x.txz", "w:xz")],
)
def test_a_tar_is_named_and_never_passed_over(name: str, mode: str, product: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / name, mode) as archive:  # type: ignore[call-overload]
        archive.add(product, product.name)
    assert "which is not read in place: unpack it, and use the folder that comes out of it" in sentence(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("x.7z", b"7z\xbc\xaf\x27\x1c" + bytes(99), "packed by 7-Zip"),
        ("x.7z.001", b"7z\xbc\xaf\x27\x1c" + bytes(99), "packed by 7-Zip"),
        ("x.rar", b"Rar!\x1a\x07\0" + bytes(99), "packed by RAR"),
        ("x.tar.zst", b"\x28\xb5\x2f\xfd" + bytes(99), "packed by zstd"),
        ("x.TAR.Z", b"\x1f\x9d" + bytes(99), "an archive or a part of one"),
        ("x.zip.002", bytes(99), "an archive or a part of one"),
        ("x.z01", bytes(99), "an archive or a part of one"),
        ("B04.jp2.gz", b"\x1f\x8b" + bytes(99), "packed by gzip"),
        ("x.zip", b"\x1f\x8b" + bytes(99), "packed by gzip"),
        ("x.SAFE", b"7z\xbc\xaf\x27\x1c" + bytes(99), "packed by 7-Zip"),
        ("S2A_MSIL1C_20230608T101031_N0511_R022_T33UUU_20230608T140000", b"BZh9" + bytes(99), "packed by bzip2"),
    ],
)
def test_other_archives_are_named_by_what_they_are(name: str, data: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert f"it is {kind}, which is not read in place: unpack it" in sentence(tmp_path / name)


def split(path: Path, product: Path) -> bytes:
    """Zip a product as the last of two disks, as ``zip -s`` does."""
    whole = bytearray(repacked(product, path).read_bytes())
    end = whole.rindex(b"PK\5\6")
    whole[end + 4 : end + 8] = b"\1\0\1\0"
    path.write_bytes(whole)
    return bytes(whole)


def test_parts_of_a_split_zip_are_named_as_such(product: Path, tmp_path: Path) -> None:
    whole = split(tmp_path / "x.zip", product)
    assert "it is a part of a zip that was split: put its parts together (`zip -s 0" in sentence(tmp_path / "x.zip")
    for name, data, said in (
        ("first/x.zip.001", whole[:500], "it is a part of a zip that was split"),
        ("last/x.zip", whole[500:], "it is a zip that begins otherwise (the last part of one that was split"),
        ("program/x.zip", b"MZ" + whole, "or a program that unpacks itself), which is not read in place: unpack it"),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(data)
        assert said in sentence(tmp_path / name)


def test_an_image_under_the_name_of_a_zip_is_an_image(product: Path, tmp_path: Path) -> None:
    (band,) = product.rglob("*_B04_10m.jp2")
    for name in ("x.zip", "y.SAFE"):
        (tmp_path / name).write_bytes(band.read_bytes())
    assert ["x", "y"] == [scene.id for scene in find_scenes(tmp_path).scenes]


@pytest.mark.parametrize("suffix", ["part", "crdownload", "incomplete"])
def test_a_broken_download_is_not_passed_over(suffix: str, product: Path, tmp_path: Path) -> None:
    path = repacked(product, tmp_path / f"x.zip.{suffix}")
    path.write_bytes(path.read_bytes()[:900])
    assert "the archive is incomplete: download it again" in sentence(path)


def test_an_error_page_under_the_name_of_a_tar_is_a_web_page(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_text("<html>")
    assert "it is a web page" in sentence(tmp_path / "x.tar.gz")


@pytest.mark.real
def test_zips_of_real_users_are_refused_with_what_to_do(shared: Path) -> None:
    cases = shared.parent / "cases" / "zips"
    if not cases.is_dir():
        pytest.skip(f"no cases of real users in {cases}")
    (bzip2,), (nested,) = (find_scenes(cases / name).refused for name in ("bz2.zip", "nested.zip"))
    assert "B04_10m.jp2 is packed by bzip2, which cannot be read in place: unpack the zip" in str(bzip2.error)
    assert ".SAFE.zip: unpack it, and use the folder that comes out of it" in str(nested.error)
    with (
        zipfile.ZipFile(cases / "nested.zip") as outer,
        zipfile.ZipFile(io.BytesIO(outer.read(outer.namelist()[0]))) as inner,
    ):
        assert any(name.endswith("MTD_MSIL2A.xml") for name in inner.namelist())
