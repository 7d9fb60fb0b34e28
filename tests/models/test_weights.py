"""Weights: found in the right place, proven, fetched only when asked, and never trusted."""

from __future__ import annotations

import hashlib
import http.server
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pooch
import pytest
import torch

from sentinel_match.errors import WeightsDamaged, WeightsMissing
from sentinel_match.matchers import create, matcher_class, names
from sentinel_match.models import released, shipped, weights
from sentinel_match.models.tensors import fill, read
from sentinel_match.models.weights import Package, Weights, download, find, notices, sha256, verified

CONTENT = b"forty-two"
ONE = Weights(
    file="one.pth",
    matcher="loftr",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
    licence="MIT",
    licence_url="https://example.org",
    urls=(),
    package=Package("carrier==1", "weights_carrier", "files/one.pth"),
    aliases=("other-name.pth",),
)
ALL = [w for name in names() for w in matcher_class(name).weights]
SHIPPED = {w.file: w for w in ALL if w.package and w.package.module == "sentinel_match"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # of processes that are started, on Linux
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("SENTINEL_MATCH_WEIGHTS", raising=False)
    return tmp_path


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("known", ALL, ids=lambda w: w.file)
def test_every_registered_file_is_pinned_licensed_and_fetchable(known: Weights) -> None:
    assert 64 == len(bytes.fromhex(known.sha256)) * 2
    assert known.size > 100_000
    assert known.licence
    assert all(url.startswith("https://") for url in (known.licence_url, *known.urls))
    assert known.urls or (known.package and known.package.module == "sentinel_match")


def test_the_first_place_that_has_a_file_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTINEL_MATCH_WEIGHTS", str(home / "mine"))
    monkeypatch.syspath_prepend(str(home / "site"))
    put(home / "site/weights_carrier/__init__.py", b"raise RuntimeError('located, never imported')")
    places = [
        put(home / "user.pth"),
        put(home / "mine/one.pth"),
        put(home / "site/weights_carrier/files/one.pth"),
        put(home / "cache/sentinel-match/weights/one.pth"),
        put(home / "torch/hub/checkpoints/other-name.pth"),
    ]
    assert places[0] == find(ONE, places[0])
    for place in places[1:]:
        assert place == find(ONE)
        place.unlink()
    with pytest.raises(WeightsMissing):
        find(ONE)


def test_torchs_cache_is_where_torch_has_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_HOME")
    assert put(Path(torch.hub.get_dir()) / "checkpoints/one.pth") == find(ONE)


def test_missing_weights_say_what_to_do(home: Path) -> None:
    with pytest.raises(WeightsMissing) as caught:
        find(ONE)
    told = str(caught.value)
    assert told.startswith("loftr needs the weights one.pth (MIT), which are not here: ")
    for way in ("install carrier==1", "'sentinel-match matchers --download loftr'", "--weights FILE", str(home)):
        assert way in told
    assert 1 == told.count(". ") + 1 == len(told.splitlines())


def test_a_file_the_user_names_must_be_there(home: Path) -> None:
    put(home / "cache/sentinel-match/weights/one.pth")
    with pytest.raises(WeightsMissing, match=r"there is no file .*nowhere\.pth"):
        verified(ONE, home / "nowhere.pth")


def test_a_file_of_the_right_name_and_the_wrong_content_is_refused(home: Path) -> None:
    wrong = put(home / "cache/sentinel-match/weights/one.pth", b"forty-three")
    with pytest.raises(WeightsDamaged) as caught:
        verified(ONE)
    assert ONE.sha256 in str(caught.value)
    assert hashlib.sha256(b"forty-three").hexdigest() in str(caught.value)
    put(wrong, CONTENT)
    assert wrong == verified(ONE)


def test_a_network_of_ones_own_is_accepted_and_mentioned_once(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "sentinel_match.models.weights")
    own = put(home / "own.pth", b"trained here")
    assert [own, own] == [verified(ONE, own), verified(ONE, own)]
    assert 1 == caplog.messages.count(f"{own} is not the registered one.pth: its SHA-256 is {sha256(own)}")


@pytest.mark.parametrize("name", ["loftr-outdoor", "superpoint+superglue"])
def test_a_matcher_without_weights_says_so_before_anything_heavy_is_loaded(name: str, home: Path) -> None:
    code = (
        "import sys\n"
        "from sentinel_match.errors import WeightsMissing\nfrom sentinel_match.matchers import create\n"
        f"try:\n create({name!r})\nexcept WeightsMissing as error:\n print(error)\n"
        "print(sorted({'torch', 'kornia', 'cv2', 'scipy'} & set(sys.modules)))"
    )
    told, rest = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split(
        "\n", 1
    )
    assert told.startswith(f"{name} needs the weights ")
    assert "[]" == rest.strip()


@pytest.mark.parametrize("known", SHIPPED.values(), ids=list(SHIPPED))
def test_networks_trained_here_are_small_and_come_with_a_card_that_says_from_what(known: Weights) -> None:
    path = verified(known)
    assert "shipped" == path.parent.name
    assert path.stat().st_size == known.size < 8_000_000
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert known.sha256 in card
    assert "`sentinel-match train " in card
    assert "Contains modified Copernicus Sentinel data" in card


def test_all_that_is_shipped_is_of_some_matcher() -> None:
    folder = Path(shipped.__file__).parent
    assert {path.name for path in folder.glob("*.safetensors")} == SHIPPED.keys()


def test_the_default_matcher_needs_nothing_but_what_is_installed(home: Path) -> None:
    create().check()
    assert not (home / "cache").exists()


def test_a_restricted_licence_is_told_before_the_first_use(caplog: pytest.LogCaptureFixture) -> None:
    notice, _ = notices(matcher_class("superpoint+superglue"))
    assert "non-commercial" in notice
    weights.announce(released.SUPERPOINT_V1)
    assert [(logging.WARNING, notice)] == [(r.levelno, r.message) for r in caplog.records]
    assert () == notices(matcher_class("aliked+lightglue")) == notices(matcher_class("superpoint+lightglue"))


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serve files and say nothing."""

    def log_message(self, *_args: object) -> None:
        return


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    put(tmp_path / "www/right")
    put(tmp_path / "www/wrong", b"<html>please log in</html>")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www"))) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_a_download_takes_its_name_once_it_is_proven(home: Path, server: str) -> None:
    class Bar:
        total = 0
        done = 0

        def update(self, amount: int) -> None:
            self.done += amount

        def reset(self) -> None:
            self.done = 0

        def close(self) -> None:
            return

    bar = Bar()
    known = replace(ONE, urls=(f"{server}/absent", f"{server}/wrong", f"{server}/right"))
    target = put(home / "cache/sentinel-match/weights/one.pth", b"half of it")
    assert target == download(known, bar)
    assert (len(CONTENT), len(CONTENT)) == (bar.total, bar.done)
    assert target == verified(known)
    assert [target] == list(target.parent.iterdir())
    assert target == download(replace(known, urls=("http://127.0.0.1:1/never-asked",)))


def test_a_download_that_gives_something_else_leaves_nothing(home: Path, server: str) -> None:
    with pytest.raises(WeightsMissing, match="wrong gave another file"):
        download(replace(ONE, urls=(f"{server}/wrong",)))
    assert [] == list((home / "cache/sentinel-match/weights").iterdir())


def test_a_download_without_a_network_is_one_sentence(home: Path) -> None:
    with pytest.raises(WeightsMissing) as caught:
        download(replace(ONE, urls=("http://127.0.0.1:1/one.pth",)))
    assert "http://127.0.0.1:1/one.pth gave ConnectionError" in str(caught.value)
    assert "fetch it on a machine with internet and put it into" in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("exploded"),)


def test_code_in_a_weights_file_never_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    torch.save({"weight": torch.zeros(1), "bomb": Bomb()}, home / "bomb.pth")
    with pytest.raises(WeightsDamaged, match="torch cannot read it as tensors"):
        read(home / "bomb.pth")
    assert not (home / "exploded").exists()


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", pickle.dumps([1, 2]), pickle.dumps({"a": 1})])
def test_a_file_that_holds_no_tensors_is_refused(content: bytes, home: Path) -> None:
    with pytest.raises(WeightsDamaged):
        read(put(home / "odd.pth", content))


def test_a_truncated_weights_file_is_refused(home: Path) -> None:
    torch.save({"weight": torch.rand(500, 500)}, home / "whole.pth")
    with pytest.raises(WeightsDamaged):
        read(put(home / "half.pth", (home / "whole.pth").read_bytes()[:300_000]))


def test_tensors_must_fit_their_network_exactly(home: Path) -> None:
    network = torch.nn.Linear(2, 3)
    good = {"weight": torch.ones(3, 2), "bias": torch.ones(3)}
    for wrong, told in (
        ({"weight": good["weight"]}, "first no bias"),
        ({**good, "extra": torch.ones(1)}, "first an unknown extra"),
        ({**good, "weight": torch.ones(2, 2)}, r"first weight of shape \(2, 2\) for \(3, 2\)"),
    ):
        with pytest.raises(WeightsDamaged, match=told):
            fill(network, wrong, home / "x.pth")
    fill(network, good, home / "x.pth")
    assert [9.0, False, False] == [
        sum(float(p.sum()) for p in network.parameters()),
        network.training,
        network.weight.requires_grad,
    ]
