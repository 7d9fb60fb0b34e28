"""A located picture as a scene like any other: what it is on the ground, under the name of the band that it shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sentinel_match.errors import NoGeoreference, OutputError, SentinelMatchError
from sentinel_match.images.source import picture_band
from sentinel_match.locating.delivery import MAP, deliver
from sentinel_match.locating.search import locate_among
from sentinel_match.locating.whereabouts import Whereabouts
from sentinel_match.products.catalogue import Catalogue, Refused, read_scene
from sentinel_match.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sentinel_match.cache import Cache
    from sentinel_match.locating.location import Location
    from sentinel_match.matching.inputs import Progress
    from sentinel_match.products.scene import Scene


def scene_of(location: Location, folder: Path, band: str | None = None) -> Scene:
    """Read a located picture as a scene.

    Args:
        location: where it was found.
        folder: to which it was delivered.
        band: of the scene that shows it; default the best that there is.

    Returns:
        It has one band, of the name of the scene's, the first colour; its date where the name of the picture says one.
    """
    picture, there = location.picture, read_scene(folder / MAP)
    name = picture_band(location.candidates[0].scene, band)
    shown = replace(there.bands[0], name="1" if name == "RGB" else name)
    return replace(there, id=picture.id, bands=(shown,), sensing_time=picture.sensing_time)


def with_pictures(
    catalogue: Catalogue,
    pictures: Sequence[Path],
    folder: Path,
    band: str | None,
    cache: Cache | None,
    progress: Progress,
) -> Catalogue:
    """Locate pictures among the scenes of a catalogue, and add them to it, or why they are not found.

    Args:
        catalogue: of an archive; that one of the pictures lies in it is no matter.
        pictures: of unknown places.
        folder: gets a folder for each that is found.
        band: of the scenes; default the best that each has.
        cache: keeps what is known of scenes.
        progress: hears of progress.

    Raises:
        OutputError: a folder is somebody else's, or cannot be written.
    """
    named = {picture.resolve() for picture in pictures}
    scenes = [scene for scene in catalogue.scenes if scene.path.resolve() not in named]
    refused = [one for one in catalogue.refused if one.path.resolve() not in named]
    placed = [scene for scene in scenes if scene.footprint is not None]
    for k, picture in enumerate({picture.resolve(): picture for picture in pictures}.values()):
        own = folder / f"{k + 1:03d}_{picture.stem}"
        try:
            location = locate_among(read_scene(picture), placed, Whereabouts(band), cache=cache, progress=progress)
            if not location.found:
                why = f"none of {counted(location.searched, 'scene')} shows it"
                raise NoGeoreference(str(picture), why)
            deliver(location, own)
        except OutputError:
            raise
        except SentinelMatchError as error:
            refused.append(Refused(picture, error))
        else:
            scenes.append(scene_of(location, own, band))
    return Catalogue(tuple(scenes), tuple(refused), catalogue.duplicates)
