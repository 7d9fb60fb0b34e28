"""Listings of big archives, of which only what has changed is read again."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from sentinel_match import Cache, find_scenes
from sentinel_match.cli import main
from sentinel_match.products import catalogue as catalogue_module
from sentinel_match.products import listing
from sentinel_match.testing import Landscape, write_product


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six products, one in a zip, which are many here."""
    monkeypatch.setattr(listing, "LEAST_KEPT", 3)
    monkeypatch.setattr(listing, "_bucket", lambda source, _: source.name)  # each product in one of its own
    folder = tmp_path / "archive"
    for k in range(5):
        write_product(folder, Landscape(7), date=f"2021-05-{10 + k}", pixels=96)
    write_product(folder, Landscape(7), date="2021-06-20", pixels=96, zip="no-dir-entries")
    return folder


class Listed:
    """Lists an archive, and counts the products that are read for it."""

    def __init__(self, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.archive, self.cache, self.read = archive, Cache(archive.parent / "cache"), list[Path]()
        really = catalogue_module._read
        monkeypatch.setattr(catalogue_module, "_read", lambda source: self.read.append(source) or really(source))

    def again(self) -> int:
        """List it as it is with and without a cache, and count what the cache spared nobody."""
        plain = find_scenes(self.archive)
        self.read.clear()
        kept = find_scenes(self.archive, self.cache)
        assert (plain.scenes, plain.duplicates) == (kept.scenes, kept.duplicates)
        assert [str(refused.error) for refused in plain.refused] == [str(refused.error) for refused in kept.refused]
        return len(self.read)


def test_only_what_was_changed_added_or_removed_is_read_again(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Listed(archive, monkeypatch)
    assert [6, 0] == [listed.again(), listed.again()]
    products = sorted(archive.glob("*.SAFE"))
    (xml,) = products[0].glob("MTD_MSI*.xml")
    xml.write_text(xml.read_text().replace("<Cloud_Coverage_Assessment>", "<Cloud_Coverage_Assessment>1"))
    assert 1 == listed.again()
    shutil.rmtree(products[1])
    assert 0 == listed.again()
    write_product(archive, Landscape(7), date="2021-07-20", pixels=96)
    assert 1 == listed.again()
    (archive / "S2_broken.zip").write_bytes(b"nothing")
    assert 1 == listed.again()
    assert 1 == listed.again()  # what is wrong is looked at each time


def test_a_listing_that_names_anything_but_scenes_is_not_believed(
    archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "touched",)

    real = pickle.dumps
    monkeypatch.setattr(listing.pickle, "dumps", lambda kept: real([Hostile()] * len(kept)))
    listed = Listed(archive, monkeypatch)
    assert [6, 6] == [listed.again(), listed.again()]
    assert not (tmp_path / "touched").exists()


def test_a_cache_that_cannot_be_written_keeps_nobody_from_listing(
    archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file")
    listed = Listed(archive, monkeypatch)
    assert [6, 6] == [listed.again(), listed.again()]


def test_buckets_of_many_products_hold_some_each() -> None:
    names = [listing._bucket(Path(f"/archive/{k}.SAFE"), 8000 // listing.BUCKET) for k in range(8000)]
    assert 200 <= len(set(names)) <= 256
    assert max(map(names.count, set(names))) <= 3 * listing.BUCKET


@pytest.mark.parametrize("command", ["scenes", "pairs"])
def test_the_commands_that_list_an_archive_read_a_big_one_once(
    command: str, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["-q", command, str(archive), "--json", "--cache", str(tmp_path / "cache")]
    first = CliRunner().invoke(main, words)
    assert 0 == first.exit_code, first.output
    monkeypatch.setattr(catalogue_module, "_read", lambda source: pytest.fail(f"{source} was read again"))
    assert first.output == CliRunner().invoke(main, words).output
