"""Folders that processes fill, of which others ask whether somebody still does."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sentinel_match import scratch
from sentinel_match.cache import Cache
from sentinel_match.scratch import Scratch, sweep

WRITER = """
import errno, os, platform, sys
from pathlib import Path
exec(sys.argv[2])
from sentinel_match.cache import Cache
def make(folder):
    (folder / "half").write_bytes(bytes(1000))
    print("half", flush=True)
    sys.stdin.readline()
    (folder / "rest").write_bytes((folder / "half").read_bytes())
print(Cache(Path(sys.argv[1])).folder({"kind": "scene"}, make))
"""
PRUNER = (
    "import sys; from pathlib import Path; from sentinel_match.cache import Cache; Cache(Path(sys.argv[1])).prune(0)"
)
NUMBER_OF_NOBODY = "os.getpid = lambda: 999_999_937"
ELSEWHERE = "platform.node = lambda: 'elsewhere'"
NO_LOCKS = f"""
import fcntl
def flock(*_): raise OSError({errno.ENOLCK}, "No locks available")
fcntl.flock = flock
"""
TWO_DAYS = 48 * 3600


@contextmanager
def writer(root: Path, before: str = "", *within: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process that has made half of an entry when the block begins."""
    command = [*within, sys.executable, "-c", WRITER, str(root), before]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "half\n" == process.stdout.readline()
            yield process
        finally:
            process.kill()


def unfinished(root: Path) -> list[Path]:
    return list(root.glob("scene/.unfinished-*"))


def age(root: Path, seconds: float = TWO_DAYS) -> None:
    """Make what is unfinished as old as if its process had done nothing since."""
    then = time.time() - seconds
    for folder in unfinished(root):
        for path in (*folder.rglob("*"), folder):
            os.utime(path, (then, then))


def ends_well(process: subprocess.Popen[str]) -> None:
    said, _ = process.communicate("go on\n")
    assert 0 == process.returncode
    assert {"half", "rest", "recipe.json"} == {path.name for path in Path(said.strip()).iterdir()}


def namespace() -> list[str]:
    """Return how to start a command among processes of other numbers; skip the test where there is no way."""
    for how in (["unshare", "--pid", "--fork"], ["unshare", "--user", "--map-root-user", "--pid", "--fork"]):
        if shutil.which("unshare") and 0 == subprocess.run([*how, "true"], check=False, capture_output=True).returncode:
            return how
    pytest.skip("processes may not be given numbers of their own here (unshare --pid)")


@pytest.mark.parametrize("where", ["writer", "pruner", "both"])
def test_processes_in_two_namespaces_leave_each_other_what_they_write(tmp_path: Path, where: str) -> None:
    apart = namespace()
    with writer(tmp_path, "", *(apart if where != "pruner" else [])) as process:
        age(tmp_path)
        command = [*(apart if where != "writer" else []), sys.executable, "-c", PRUNER, str(tmp_path)]
        subprocess.run(command, check=True)
        assert 1 == len(unfinished(tmp_path))
        ends_well(process)
    assert [] == unfinished(tmp_path)


@pytest.mark.parametrize("before", [NUMBER_OF_NOBODY, ELSEWHERE, f"{NUMBER_OF_NOBODY}\n{ELSEWHERE}"])
@pytest.mark.parametrize("seconds", [0, TWO_DAYS])
def test_what_is_held_stays_whoever_holds_it_and_however_long_it_takes(
    tmp_path: Path, before: str, seconds: float
) -> None:
    with writer(tmp_path, before) as process:
        age(tmp_path, seconds)
        Cache(tmp_path).prune(0)
        assert 1 == len(unfinished(tmp_path))
        ends_well(process)
    assert [] == unfinished(tmp_path)


def killed(root: Path, before: str = "") -> None:
    with writer(root, before) as process:
        process.kill()
        process.wait()
    assert 1 == len(unfinished(root))


@pytest.mark.parametrize("before", ["", NUMBER_OF_NOBODY, "os.getpid = os.getppid"])
def test_what_a_killed_process_of_this_machine_left_goes_at_once(tmp_path: Path, before: str) -> None:
    killed(tmp_path, before)
    Cache(tmp_path).prune(0)
    assert [] == unfinished(tmp_path)


@pytest.mark.parametrize("before", [ELSEWHERE, pytest.param(NO_LOCKS, marks=pytest.mark.unix("has no such locks"))])
def test_what_only_may_be_left_behind_goes_when_it_has_been_silent(tmp_path: Path, before: str) -> None:
    killed(tmp_path, before)
    age(tmp_path, scratch.SILENT_S / 2)
    Cache(tmp_path).prune(0)
    assert 1 == len(unfinished(tmp_path))
    age(tmp_path, scratch.SILENT_S + 60)
    Cache(tmp_path).prune(0)
    assert [] == unfinished(tmp_path)


@pytest.mark.unix("has no such locks")
def test_a_process_without_locks_says_that_it_lives(tmp_path: Path) -> None:
    quick = "import sentinel_match.scratch as scratch\nscratch.HEARTBEAT_S = 0.05"
    with writer(tmp_path, f"{NO_LOCKS}\n{quick}") as process:
        age(tmp_path)
        time.sleep(1)
        sweep(tmp_path / "scene")
        assert 1 == len(unfinished(tmp_path))
        ends_well(process)


LATE_ATTRIBUTES = """
import os
fstat = os.fstat
def late(handle):
    told = list(fstat(handle))
    told[8] -= 120
    return os.stat_result(told)
os.fstat = late
"""
"""Attributes as a client of NFS knows them, two minutes old."""
LATE_ENTRIES = """
import time
from sentinel_match import cache
whole, began = cache._whole, []
def seen(path):
    began.append(time.monotonic())
    return time.monotonic() > began[0] + 2 and whole(path)
cache._whole = seen
Path.exists = lambda path: cache._whole(path) if len(path.name) == 32 else os.path.exists(path)
"""
"""Entries of others as such a client knows them: for two seconds from now on there are none."""


def test_machines_that_hear_late_of_each_other_leave_each_other_what_they_write(tmp_path: Path) -> None:
    pruner = f"import os\n{LATE_ATTRIBUTES}\n{PRUNER}"
    with writer(tmp_path, ELSEWHERE, *namespace()) as process:
        age(tmp_path, scratch.SILENT_S - 5 * scratch.HEARTBEAT_S)
        subprocess.run([*namespace(), sys.executable, "-c", pruner, str(tmp_path)], check=True)
        assert 1 == len(unfinished(tmp_path))
        ends_well(process)


def test_an_entry_that_another_machine_was_faster_with_is_found_when_it_is_heard_of(tmp_path: Path) -> None:
    with writer(tmp_path) as first, writer(tmp_path, f"{ELSEWHERE}\n{LATE_ENTRIES}") as second:
        ends_well(first)
        (entry,) = Cache(tmp_path).entries()
        made = entry.path.stat().st_ino
        ends_well(second)
    assert made == entry.path.stat().st_ino


def test_nothing_in_use_is_pruned_by_a_machine_whose_clock_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path, 1000)
    cache.folder({"kind": "scene"}, lambda folder: (folder / "a").write_bytes(bytes(900)) and None)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert 0 == cache.prune(0, idle=600)
    assert 900 == cache.prune(0)


def test_a_process_that_was_taken_for_dead_publishes_nothing_of_which_others_remove_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # which has only begun
    with writer(tmp_path, f"{NO_LOCKS}\n{ELSEWHERE}") as process:
        age(tmp_path)
        sweep(tmp_path / "scene")
        process.communicate("go on\n")
        assert 0 != process.returncode
    assert [] == list(Cache(tmp_path).entries())


def test_a_server_whose_clock_is_wrong_makes_nothing_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(tmp_path, ELSEWHERE)
    monkeypatch.setattr(time, "time", lambda: pytest.fail("this machine's clock was asked"))
    sweep(tmp_path / "scene")
    assert 1 == len(unfinished(tmp_path))


def test_what_this_process_fills_is_never_swept_and_leaves_nothing(tmp_path: Path) -> None:
    one = Scratch.make(tmp_path)
    os.utime(one.content.parent / scratch.LOCK, (1, 1))
    sweep(tmp_path)
    assert one.content.exists()
    one.remove()
    one.remove()
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [".unfinished-123-0123abcd-x", ".unfinished-123-x", ".unfinished-m0123abcd-x"])
def test_what_has_no_lock_goes_when_it_is_old(tmp_path: Path, name: str) -> None:
    for path in (tmp_path / name, tmp_path / f"{name}.csv", tmp_path / ".unfinished-symphony"):
        path.mkdir() if not path.suffix else path.touch()
    sweep(tmp_path)
    assert 3 == len(list(tmp_path.iterdir()))
    for path in tmp_path.iterdir():
        os.utime(path, (1, 1))
    sweep(tmp_path)
    assert [".unfinished-symphony"] == [path.name for path in tmp_path.iterdir()]
