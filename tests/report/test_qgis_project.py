"""The QGIS project of a run, as far as it can be judged without QGIS."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from lxml import etree
from pyproj import Transformer

from sentinel_match import batch, matchers
from sentinel_match.cache import Cache
from sentinel_match.errors import OutputError
from sentinel_match.options import Options
from sentinel_match.products.catalogue import read_scene
from sentinel_match.products.filters import Filters
from sentinel_match.raster import raster
from sentinel_match.raster.flags import Reason
from sentinel_match.report import qgis_project, quicklook
from sentinel_match.summary import Summary
from sentinel_match.testing import Landscape, write_product

OPTIONS = Options(matcher=matchers.create("sift"), cells=2, candidates=800)


def silent(_what: str, _done: int, _of: int) -> None:
    pass


class Made(NamedTuple):
    archive: Path
    out: Path
    cache: Cache
    result: batch.Run


def run(archive: Path, out: Path, cache: Cache) -> batch.Run:
    return batch.run(
        archive, out, OPTIONS, Filters(mixed_levels=True), cache=cache, files=batch.Files(report=False, project=False)
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A folder and a zip, displaced by (6.4, 18.1) m."""
    folder = tmp_path_factory.mktemp("project")
    archive, out, cache = folder / "archive", folder / "out", Cache(folder / "cache")
    write_product(archive, Landscape(7), date="2021-05-20", pixels=360)
    write_product(
        archive, Landscape(7), date="2021-09-17", pixels=360, displacement=(6.4, 18.1), sky=0.1, zip="deflated"
    )
    result = run(archive, out, cache)
    for pair in result.pairing.pairs:
        quicklook.make(pair, out / pair.id, OPTIONS, cache, silent)
    qgis_project.make(result, out)
    return Made(archive, out, cache, result)


def parsed(out: Path) -> etree._Element:
    return etree.parse(out / "inspect.qgs").getroot()


def sources(tree: etree._Element) -> list[str]:
    return [layer.findtext("datasource") or "" for layer in tree.iter("maplayer")]


def test_vectors_lie_over_images_and_the_tree_knows_every_layer(made: Made) -> None:
    tree = parsed(made.out)
    leaves = list(tree.iter("layer-tree-layer"))
    names = [leaf.get("name") for leaf in leaves]
    vectors = [name for _, name in qgis_project.PROJECT_LAYERS.values()]
    assert [
        *vectors,
        "displacement",
        "masked (left)",
        "masked (right)",
        "2021-05-20 B04 (left)",
        "2021-09-17 B04 (right)",
    ] == names
    assert ["ogr"] * 7 + ["gdal"] * 4 == [leaf.get("providerKey") for leaf in leaves]
    assert [leaf.get("id") for leaf in leaves] == [layer.findtext("id") for layer in tree.iter("maplayer")]
    assert [leaf.get("source") for leaf in leaves] == sources(tree)
    (group,) = [g for g in tree.iter("layer-tree-group") if g.get("name")]
    assert str(group.get("name")).startswith("2021-05-20 → 2021-09-17")


def test_every_path_is_relative_and_leads_to_a_file(made: Made) -> None:
    for source in sources(parsed(made.out)):
        path = source.removeprefix("/vsizip/").split("|")[0]
        assert path.startswith(("./", "../"))
        file = made.out / (path.split(".zip/")[0] + ".zip" if source.startswith("/vsizip/") else path)
        assert file.is_file()
    assert "false" == parsed(made.out).findtext("properties/Paths/Absolute")


def test_images_are_stretched_in_their_own_numbers_as_the_matcher_saw_them(made: Made) -> None:
    comparison = made.result.outcomes[0].summary.comparison
    limits = {side: getattr(comparison, side).limits for side in ("left", "right")}
    gray = [r for r in parsed(made.out).iter("rasterrenderer") if r.get("type") == "singlebandgray"]
    for side, renderer, pair in zip(("left", "right"), gray, 2 * [made.result.pairing.pairs[0]], strict=True):
        band = getattr(pair, side).band("B04")
        low, high = (float(renderer.findtext(f"contrastEnhancement/{k}Value") or "nan") for k in ("min", "max"))
        for number, reflectance in zip((low, high), limits[side], strict=True):
            assert abs((number + band.offset) / band.quantification - reflectance) < 1e-3


def test_masks_are_a_raster_of_reasons_where_both_images_are(made: Made) -> None:
    outcome = made.result.outcomes[0]
    with rasterio.open(made.out / outcome.id / "masks.tif") as file:
        assert (("left", "right"), 0, "EPSG:32633") == (file.descriptions, file.nodata, str(file.crs))
        assert (20.0, 20.0) == file.res
        assert "cloud" == file.tags()["reason_3"]
        assert (file.read(2) == Reason.CLOUD).mean() > 0.01
        for side, codes in zip(("left", "right"), file.read(), strict=True):
            removed = getattr(outcome.summary.comparison, side).removed
            for reason in Reason:
                if reason not in {Reason.VALID, Reason.NODATA}:
                    # of the pixels with data, which are all
                    assert abs((codes == reason).mean() - removed.get(reason.name.lower(), 0)) < 0.02


def test_styles_of_the_geopackage_are_in_the_project(made: Made) -> None:
    layers = [layer for layer in parsed(made.out).iter("maplayer") if layer.get("type") == "vector"]
    assert 7 == len(layers)
    assert all(layer.find("renderer-v2") is not None for layer in layers)
    assert ["EPSG:32633"] * 6 + ["EPSG:4326"] == [layer.findtext("srs/spatialrefsys/authid") for layer in layers]


def test_the_first_view_is_the_overlap_in_the_zone_of_the_pair(made: Made) -> None:
    tree = parsed(made.out)
    assert "EPSG:32633" == tree.findtext("projectCrs/spatialrefsys/authid")
    west, south, east, north = (
        float(tree.findtext(f"mapcanvas/extent/{k}") or 0) for k in ("xmin", "ymin", "xmax", "ymax")
    )
    overlap = made.result.pairing.pairs[0].overlap
    assert overlap is not None
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True).transform(
        *overlap.polygon.centroid.coords[0]
    )
    assert abs((west + east) / 2 - x) < 100
    assert abs((south + north) / 2 - y) < 100
    assert 3600 < east - west < 4200


def test_a_project_that_a_user_has_saved_stays_until_the_results_change(made: Made) -> None:
    path = made.out / "inspect.qgs"
    saved = path.read_text(encoding="utf-8").replace("<title>", "<title>mine: ")
    path.write_text(saved, encoding="utf-8")
    qgis_project.make(run(made.archive, made.out, made.cache), made.out)
    assert saved == path.read_text(encoding="utf-8")
    first = made.result.outcomes[0]
    changed = replace(first, summary=replace(first.summary, comparison=None))
    qgis_project.make(replace(made.result, outcomes=(changed,)), made.out)
    assert "mine: " not in path.read_text(encoding="utf-8")
    assert saved == (made.out / "inspect.qgs~").read_text(encoding="utf-8")
    assert "UpdatedCanvas" in [e.text for e in parsed(made.out).iter("extent")]
    qgis_project.make(made.result, made.out)


def test_a_damaged_project_is_written_again(made: Made) -> None:
    path = made.out / "inspect.qgs"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    qgis_project.make(made.result, made.out)
    assert whole == path.read_bytes()


def test_a_project_that_cannot_be_written_is_an_error_and_leaves_nothing(made: Made, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError):
        qgis_project.make(made.result, tmp_path / "file")
    assert ["file"] == [p.name for p in tmp_path.iterdir()]


def test_without_a_geopackage_the_geojson_is_shown(made: Made) -> None:
    (package,) = made.out.glob("*/tiepoints.gpkg")
    hidden = package.rename(package.with_suffix(".away"))
    try:
        qgis_project.make(made.result, made.out)
        assert sources(parsed(made.out))[0].endswith("/tiepoints.geojson")
        assert 6 == len(sources(parsed(made.out)))
    finally:
        hidden.rename(package)
        qgis_project.make(made.result, made.out)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rasters, one with a name that XML must escape, one with a name that XML cannot say."""
    folder = tmp_path_factory.mktemp("hostile")
    for date, name in (("2021-05-20", "a <b> & \"'.tif"), ("2021-09-17", "bell \x07.tif")):
        product = write_product(folder / "p", Landscape(7), date=date, pixels=360)
        raster.write(raster.read(read_scene(product)), folder / "archive" / name)
    out = folder / "out"
    qgis_project.make(run(folder / "archive", out, Cache(folder / "cache")), out)
    return out


def test_hostile_names_make_no_other_project(hostile: Path) -> None:
    tree = parsed(hostile)
    # The image that cannot be named is left out
    assert ["../archive/a <b> & \"'.tif"] == [source for source in sources(tree) if ".gpkg" not in source]
    assert "a <b> & \"'" in str(list(tree.iter("layer-tree-layer"))[-1].get("name"))
    assert "bell \ufffd" in str(next(g.get("name") for g in tree.iter("layer-tree-group") if g.get("name")))


def test_no_pair_is_no_project(made: Made, tmp_path: Path) -> None:
    assert qgis_project.make(replace(made.result, outcomes=()), tmp_path) is None
    assert [] == list(tmp_path.iterdir())


def test_another_drive_or_suffix_is_an_absolute_path(tmp_path: Path) -> None:
    from sentinel_match.products.scene import Asset

    product = tmp_path / "product.SAFE"
    asset = Asset(product, "B04.jp2")
    assert f"/vsizip/{{{product.as_posix()}}}/B04.jp2" == qgis_project._place(asset, tmp_path / "out")
    assert "/" in qgis_project._place(Asset(tmp_path / "x.tif"), tmp_path)


def test_records_are_what_the_project_is_made_from(made: Made) -> None:
    record = json.loads((made.out / made.result.outcomes[0].id / "pair.json").read_text())
    assert {"left", "right"} == set(record["summary"]["limits"])


def test_the_group_of_a_pair_that_the_images_contradict_says_so(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Summary, "doubtful", True)
        qgis_project.make(made.result, made.out)
    names = [str(g.get("name")) for g in parsed(made.out).iter("layer-tree-group") if g.get("name")]
    qgis_project.make(made.result, made.out)  # for the tests beside
    assert names[0].startswith("2021-05-20 → 2021-09-17  doubtful  ")


def test_many_pairs_are_an_overview_and_each_has_a_project_of_its_own(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qgis_project, "MOST_PAIRS", 0)
    out = Path(shutil.copytree(made.out, tmp_path / "out"))
    qgis_project.make(made.result, out)
    assert ["displacement", "pairs"] == [leaf.get("name") for leaf in parsed(out).iter("layer-tree-layer")]
    own = out / made.result.outcomes[0].id
    for source in sources(parsed(own)):
        path = source.removeprefix("/vsizip/").split("|")[0]
        assert path.startswith(("./", "../"))
        if "archive" not in path:  # which is not copied
            assert (own / path).is_file()
    assert 11 == len(sources(parsed(own)))
    (row,) = pyogrio.raw.read(out / "inspect.gpkg", layer="pairs", columns=["project"])[3][0]
    assert (out / row).is_file()
    monkeypatch.undo()
    qgis_project.make(made.result, out)
    assert not (own / "inspect.qgs").exists()
    assert 11 == len(sources(parsed(out)))


def test_arrows_show_the_displacement_longer_than_it_is(made: Made) -> None:
    meta, _, shapes, columns = pyogrio.raw.read(made.out / "inspect.gpkg", layer="displacement")
    told = dict(zip(meta["fields"], columns, strict=True))
    to_metres = Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True)
    ends = np.array([to_metres.transform(*np.transpose(line.coords)) for line in shapely.from_wkb(shapes)])
    drawn = (ends[:, :, 1] - ends[:, :, 0]) / told["times"][:, None]
    assert np.abs(drawn - np.stack([told["dx_m"], told["dy_m"]], 1)).max() < 0.01
    assert np.abs(np.median(drawn, 0) - (6.4, 18.1)).max() < 1
    assert 30 < len(drawn) <= 16**2
    assert {made.result.outcomes[0].id} == set(told["pair"])
