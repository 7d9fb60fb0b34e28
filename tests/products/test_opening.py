"""Opening: only local files, only formats that hold pixels, nothing that leads elsewhere, whatever it is called."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from odc.geo.geobox import GeoBox

import sentinel_match
from sentinel_match.cli import main
from sentinel_match.errors import BadClasses, BadList, BadMask, SentinelMatchError
from sentinel_match.evaluate.listing import read_list
from sentinel_match.evaluate.pose import read_pose_pairs
from sentinel_match.products.catalogue import find_scenes, read_scene
from sentinel_match.products.opening import RefusedRaster, open_raster
from sentinel_match.products.scene import Scene
from sentinel_match.raster.landcover import ClassMap, classify, read_table
from sentinel_match.raster.masks import Masking, reasons
from sentinel_match.raster.raster import read

if TYPE_CHECKING:
    from collections.abc import Iterator

GRID = GeoBox((30, 40), Affine(10, 0, 3e5, 0, -10, 5.9e6), "EPSG:32633")
SCENE = Scene("S2", Path("S2"), "L2A", None, "none", geobox=GRID)


def tif(path: Path, driver: str = "GTiff") -> Path:
    profile = {"height": 30, "width": 40, "count": 1, "dtype": "uint8", "transform": GRID.affine, "crs": "EPSG:32633"}
    with rasterio.open(path, "w", driver=driver, **profile) as image:
        image.write(np.arange(1200, dtype=np.uint8).reshape(1, 30, 40))
    return path


def vrt(*sources: str, relative: int = 1, kind: str = "", more: str = "") -> str:
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{k}"{kind}><SimpleSource>'
        f'<SourceFilename relativeToVRT="{relative}">{source}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
        for k, source in enumerate(sources, 1)
    )
    place = "<SRS>EPSG:32633</SRS><GeoTransform>300000,10,0,5900000,0,-10</GeoTransform>"
    return f'<VRTDataset rasterXSize="40" rasterYSize="30">{place}{more}{bands}</VRTDataset>'


def huge(path: Path, cols: int, rows: int) -> Path:
    """Write a GeoTIFF of a few hundred bytes that claims as many pixels and holds none."""
    plain = ((256, 4, cols), (257, 4, rows), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 0), (277, 3, 1))
    plain += ((278, 4, rows), (279, 4, 0))
    at = 8 + 2 + 12 * 12 + 4
    lists = ((33550, 12, 3, at), (33922, 12, 6, at + 24), (34735, 3, 16, at + 72))
    data = struct.pack("<2sHIH", b"II", 42, 8, 12)
    data += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in plain)
    data += b"".join(struct.pack("<HHII", *entry) for entry in lists) + bytes(4)
    data += struct.pack("<9d", 10, 10, 0, 0, 0, 0, 3e5, 5.9e6, 0)
    data += struct.pack("<16H", 1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)
    path.write_bytes(data)
    return path


def refusals(path: Path) -> list[str]:
    """Say what is refused of a path, each in one sentence."""
    catalogue = find_scenes(path)
    assert not catalogue.scenes
    said = [str(refused.error) for refused in catalogue.refused]
    assert all(text.endswith(".") and "\n" not in text for text in said)
    return said


@pytest.fixture
def visited() -> Iterator[tuple[str, list[str]]]:
    """Give the address of a host, and the paths it has been asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.mark.parametrize(
    "name",
    [
        "/vsicurl/https://example.org/x.tif",
        "https://example.org/S2A.SAFE.zip",
        "s3://sentinel-s2-l2a/tiles/33/U/UU/B04.jp2",
        "zip+https://example.org/x.zip!a.tif",
        "/vsizip/{x.zip}/a.tif",
        "/vsizip//vsicurl/http://example.org/x.zip/a.tif",
        "SENTINEL2_L2A:MTD_MSIL2A.xml:10m:EPSG_32633",
        'NETCDF:"two.nc":B04',
        "HDF5:x.h5://B04",
        "WMS:https://example.org",
        "<VRTDataset rasterXSize='2' rasterYSize='2'/>",
        '{"type": "STACIT"}',
    ],
)
def test_names_that_gdal_would_take_are_answered_by_one_sentence(name: str) -> None:
    (said,) = refusals(Path(name))
    assert "only local files are taken" in said
    with pytest.raises(SentinelMatchError, match="only local files are taken"):
        read_scene(name)
    with pytest.raises(BadMask, match="only local files are taken"):
        reasons(SCENE, GRID, Masking(user=Path(name)))
    with pytest.raises(BadClasses, match="only local files are taken"):
        classify(SCENE, GRID, ClassMap(Path(name)))


def test_a_file_may_be_called_as_gdal_calls_other_things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("GTIFF_DIR:1:x.tif", "NETCDF:x.tif", "a?b=c.tif", "a!b.tif", "[a].tif", "{a.tif", "zip:x.tif"):
        tif(tmp_path / "plain.tif").rename(tmp_path / name)
        assert (30, 40) == read(read_scene(Path(name)), "1").valid.shape


@pytest.mark.unix("has no such files")
@pytest.mark.parametrize("name", ["a.jp2", "a.tif", "a.zip", "S2A_MSIL1C_20230608T101031.SAFE", "a.tar.gz", "a.vrt"])
def test_what_is_no_file_is_neither_read_nor_waited_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / name)
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / name).symlink_to("/dev/zero")
    (tmp_path / "s").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"s/{name}")  # of 108 letters at most
        for folder, kind in (("pipe", "a pipe"), ("device", "a device"), ("s", "a socket")):
            named = tmp_path / folder / name
            searched = [] if name.endswith(".vrt") else [tmp_path / folder]
            for path in (named, *searched):
                assert [f"it is {kind}, and only files are read"] == [s.split(": ")[-1][:-1] for s in refusals(path)]
            with pytest.raises(BadMask, match=f"it is {kind}"):
                reasons(SCENE, GRID, Masking(user=named))
            with pytest.raises(BadMask, match=f"it is {kind}"):
                Masking(user=named).recipe  # noqa: B018
            with pytest.raises(BadClasses, match=f"it is {kind}"):
                classify(SCENE, GRID, ClassMap(named))


@pytest.mark.unix("needs a right to make links")
def test_links_in_a_circle_end_no_listing(tmp_path: Path) -> None:
    tif(tmp_path / "good.tif")
    (tmp_path / "a.tif").symlink_to("b.tif")
    (tmp_path / "b.tif").symlink_to("a.tif")
    (tmp_path / "itself").symlink_to(tmp_path)
    catalogue = find_scenes(tmp_path)
    assert ["good"] == [scene.id for scene in catalogue.scenes]
    assert ["a.tif", "b.tif"] == [refused.path.name for refused in catalogue.refused]
    assert all("it is a link that leads nowhere" in str(refused.error) for refused in catalogue.refused)


@pytest.mark.unix("has no such files")
def test_what_has_no_size_is_not_read(tmp_path: Path) -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("no /proc")
    (tmp_path / "a.tif").symlink_to("/proc/self/mem")
    (tmp_path / "b.zip").symlink_to("/proc/self/mem")
    assert all("the file is empty" in said for said in refusals(tmp_path))
    with pytest.raises(BadMask, match="it is empty"):
        reasons(SCENE, GRID, Masking(user=tmp_path / "a.tif"))


@pytest.mark.unix("has no such files")
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_no_text_is_waited_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    for reader, error in ((read_table, BadClasses), (read_list, BadList), (read_pose_pairs, BadList)):
        with pytest.raises(error, match=f"it is a {kind}, and only files are read"):
            reader(path)
    answer = CliRunner().invoke(main, ["--config", str(path), "scenes", str(tmp_path)])
    assert 2 == answer.exit_code
    assert "and only files are read" in " ".join(answer.output.split())


@pytest.mark.unix("has no such files")
def test_one_pipe_ends_no_listing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jp2")
    (tmp_path / "b.tif").symlink_to(tmp_path / "nowhere")
    for name in ("c.tif", "a.tif", "a.png"):  # none of which GDAL reads along with another
        tif(tmp_path / name, "PNG" if name.endswith("png") else "GTiff")
    catalogue = find_scenes(tmp_path)
    assert ["a", "a", "c"] == [scene.id for scene in catalogue.scenes]
    assert ["a pipe", "nowhere"] == [re.findall("a pipe|nowhere", str(r.error))[0] for r in catalogue.refused]


@pytest.mark.unix("has no such files")
@pytest.mark.parametrize("beside", ["a.tif.aux.xml", "a.tif.ovr", "a.tif.msk", "a.tfw"])
def test_a_pipe_beside_an_image_is_not_waited_for(beside: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / beside)
    (said,) = refusals(tif(tmp_path / "a.tif"))
    assert f"of {beside} beside it, which GDAL would read too, it is a pipe" in said


@pytest.mark.parametrize("suffix", [".tif", ".jp2", ".png", ".img", ".txt", ""])
def test_an_image_that_is_a_program_is_not_run(suffix: str, visited: tuple[str, list[str]], tmp_path: Path) -> None:
    host, asked = visited
    secret = tif(tmp_path / "secret.tif")
    (tmp_path / "in").mkdir()
    for text in (
        vrt(str(secret), relative=0),
        "\n<!-- a --> " + vrt(f"/vsicurl/{host}/x.tif", relative=0),
        '<?xml version="1.0"?>\n' + vrt(f"/vsicurl/{host}/x.tif", relative=0),
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{host}/${{z}}</ServerUrl></Service></GDAL_WMS>',
        f"<GDAL_WMTS><GetCapabilitiesUrl>{host}</GetCapabilitiesUrl></GDAL_WMTS>",
        f"<WCS_GDAL><ServiceURL>{host}</ServiceURL><CoverageName>a</CoverageName></WCS_GDAL>",
        f"<OGRVRTDataSource><OGRVRTLayer><SrcDataSource>{host}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>",
        "<GDALTileIndexDataset><IndexDataset>a.gpkg</IndexDataset></GDALTileIndexDataset>",
        f"<MRF_META><CachedSource><Source>{secret}</Source></CachedSource></MRF_META>",
    ):
        path = tmp_path / "in" / f"x{suffix}"
        path.write_text(text)
        (said,) = refusals(path)
        assert "text that tells GDAL which other files or hosts to read" in said
        with pytest.raises(BadMask, match="text that tells GDAL"):
            reasons(SCENE, GRID, Masking(user=path))
        with pytest.raises(BadClasses, match="text that tells GDAL"):
            classify(SCENE, GRID, ClassMap(path))
    assert not asked


def test_polygons_of_a_mask_ask_no_host_for_their_schema(visited: tuple[str, list[str]], tmp_path: Path) -> None:
    host, asked = visited
    request = "SERVICE=WFS&amp;VERSION=1.1.0&amp;REQUEST=DescribeFeatureType&amp;TYPENAME=a:a"
    point = '<gml:Point srsName="EPSG:4326"><gml:pos>14 53</gml:pos></gml:Point>'
    (tmp_path / "mask.gml").write_text(
        '<wfs:FeatureCollection xmlns:wfs="http://www.opengis.net/wfs" xmlns:gml="http://www.opengis.net/gml" '
        'xmlns:a="http://a" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="http://a {host}/wfs?{request}"><gml:featureMember><a:a><a:g>{point}</a:g></a:a>'
        "</gml:featureMember></wfs:FeatureCollection>"
    )
    with pytest.raises(BadMask, match="points or lines, and no polygons"):
        reasons(SCENE, GRID, Masking(user=tmp_path / "mask.gml"))
    assert not asked


def test_overviews_and_masks_beside_an_image_that_are_programs_are_not_run(tmp_path: Path) -> None:
    for beside in ("a.tif.ovr", "a.tif.msk"):
        tif(tmp_path / "a.tif")
        (tmp_path / beside).write_text(vrt("/etc/x.tif", relative=0))
        (said,) = refusals(tmp_path / "a.tif")
        assert f"{beside} beside it may tell GDAL to read other files or hosts" in said
        (tmp_path / beside).write_text('{"type": "Feature", "stac_version": "1.0.0"}')
        assert f"{beside} beside it may tell" in refusals(tmp_path / "a.tif")[0]
        (tmp_path / beside).unlink()
    (tmp_path / "a.tif.aux.xml").write_text(
        '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">/etc/x.tif</MDI></Metadata></PAMDataset>'
    )
    assert "a.tif.aux.xml beside it may tell" in refusals(tmp_path / "a.tif")[0]


def test_a_vrt_that_is_named_puts_rasters_of_its_folder_together(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    tif(tmp_path / "a.tif")
    tif(tmp_path / "below" / "b.tif")
    (tmp_path / "x.vrt").write_text(vrt("a.tif", "below/b.tif"))
    scene = read_scene(tmp_path / "x.vrt")
    assert ["1", "2"] == [band.name for band in scene.bands]
    assert np.array_equal(read(scene, "2").pixels, read(read_scene(tmp_path / "a.tif"), "1").pixels)
    assert reasons(SCENE, GRID, Masking(user=tmp_path / "x.vrt")).codes.any()


def test_a_vrt_reaches_neither_hosts_nor_other_folders_unless_it_is_trusted(
    visited: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, asked = visited
    outside = tif(tmp_path / "outside.tif")
    folder = tmp_path / "in"
    folder.mkdir()
    tif(folder / "a.tif")
    path = folder / "x.vrt"
    for text in (
        vrt("../outside.tif"),
        vrt(str(outside), relative=0),
        vrt(f"/vsicurl/{host}/x.tif", relative=0),
        vrt(f"/vsicurl/{host}/x.tif"),
        vrt("NETCDF:a.tif:b"),
        vrt("a.tif", kind=' subClass="VRTDerivedRasterBand"'),
        vrt("a.tif", kind=' subClass="VRTRawRasterBand"'),
        vrt("a.tif", more=f'<Metadata domain="GEOLOCATION"><MDI key="X_DATASET">{outside}</MDI></Metadata>'),
        vrt("a.tif", more=f"<GDALWarpOptions><SourceDataset>{outside}</SourceDataset></GDALWarpOptions>"),
    ):
        path.write_text(text)
        (said,) = refusals(path)
        assert "SENTINEL_MATCH_TRUST_VRT=1" in said
        assert "gdal_translate" in said
    (folder / "inner.tif").write_text(vrt(str(outside), relative=0))
    path.write_text(vrt("inner.tif"))
    assert "reads inner.tif, and that cannot be used" in refusals(path)[0]
    assert not asked
    path.write_text(vrt("../outside.tif"))
    monkeypatch.setenv("SENTINEL_MATCH_TRUST_VRT", "1")
    assert read(read_scene(path), "1").valid.all()


@pytest.mark.unix("makes no links for users")
def test_a_link_leads_no_vrt_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tif").symlink_to(tif(tmp_path / "outside.tif"))
    (tmp_path / "in" / "x.vrt").write_text(vrt("a.tif"))
    assert "outside its folder" in refusals(tmp_path / "in" / "x.vrt")[0]


@pytest.mark.parametrize(
    ("cols", "rows"), [(2_000_000, 2_000_000), (2_000_000, 10), (10, 2_000_000), (200_000, 200_000)]
)
def test_a_header_that_claims_absurdly_many_pixels_is_refused(cols: int, rows: int, tmp_path: Path) -> None:
    path = huge(tmp_path / "x.tif", cols, rows)
    assert path.stat().st_size < 518
    (said,) = refusals(path)
    assert f"it claims {cols:,} x {rows:,} pixels" in said
    with pytest.raises(BadMask, match="it claims"):
        reasons(SCENE, GRID, Masking(user=path))
    with pytest.raises(BadClasses, match="it claims"):
        classify(SCENE, GRID, ClassMap(path))


@pytest.mark.parametrize(
    ("driver", "suffix"), [("GTiff", "tif"), ("PNG", "png"), ("HFA", "img"), ("ENVI", "dat"), ("BMP", "bmp")]
)
def test_formats_that_hold_pixels_are_read_whatever_the_suffix(driver: str, suffix: str, tmp_path: Path) -> None:
    path = tif(tmp_path / f"a.{suffix}", driver)
    assert read(read_scene(path), "1").valid.shape == (30, 40)
    with open_raster(path) as image:
        assert image.driver == driver


def test_only_zips_of_this_machine_are_opened_by_gdals_path(tmp_path: Path) -> None:
    for name in ("/vsizip//vsicurl/http://example.org/x.zip/a.tif", f"/vsizip/{{{tmp_path}/no.zip}}/a.tif"):
        with pytest.raises(RefusedRaster, match="only local files are taken"), open_raster(name):
            pass


def test_rasters_of_users_are_opened_in_one_place() -> None:
    package = Path(sentinel_match.__file__).parent
    opening = re.compile(r"rasterio\.open\((?![^)]*\"(?:w|r\+)\")|DatasetReader\(")
    places = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if opening.search(path.read_text(encoding="utf-8"))
    }
    own = {
        "stack/render.py",
        "stack/layouts.py",
        "raster/raster.py",
        "testing/codec.py",
        "report/qgis_overview.py",
    }  # read what they wrote
    assert {"products/opening.py"} == places - own
