"""Runs of many pairs: by several processes, recorded as they go, read after they were killed."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel_match import Cache, Files, Filters, Options, find_scenes, job, match_pair, pair_scenes, read_ties, run
from sentinel_match import batch as batch_module
from sentinel_match.cli.terminal import print_run
from sentinel_match.formats.geojson import dumps
from sentinel_match.geometry.transform import Transform, bend_through
from sentinel_match.job import Done, Work
from sentinel_match.memory import PeakMemory
from sentinel_match.pipeline import Clock
from sentinel_match.products.catalogue import Catalogue
from sentinel_match.products.order import in_reach
from sentinel_match.products.pairing import Pairing
from sentinel_match.run_folder import Outcome, PairRecord, Run, read_pair, read_run
from sentinel_match.schema import Unfit
from sentinel_match.summary import Summary
from sentinel_match.testing import Landscape, write_product
from sentinel_match.testing.reads import reads

BARE = Files(geopackage=False, report=False, project=False)
QUICK = Options(matcher="phase", candidates=300)
ALL = Filters(all_pairs=True)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three dates of one place, and one of another."""
    folder = tmp_path_factory.mktemp("archive")
    for k, date in enumerate(("2021-05-20", "2021-07-17", "2021-09-17")):
        write_product(folder, Landscape(7), date=date, pixels=300, displacement=(3.2 * k, 9.0 * k))
    write_product(folder, Landscape(8), date="2021-08-01", pixels=300)
    return folder


@pytest.fixture(scope="module")
def serial(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one pair after the other."""
    out = tmp_path_factory.mktemp("serial") / "out"
    run(archive, out, QUICK, ALL, cache=Cache(out.parent / "cache"), files=BARE)
    return out


def told(out: Path) -> dict[str, Any]:
    """What a run says, without when, where and how long."""
    record = json.loads((out / "run.json").read_text())
    of_pairs = [
        {name: fact for name, fact in pair.items() if name not in {"seconds", "cpu_seconds"}}
        for pair in record["pairs"]
    ]
    facts = {name: record[name] for name in ("inputs", "scenes", "refused", "duplicates", "options", "versions")}
    points = {p.parent.name: json.loads(p.read_text())["features"] for p in out.rglob("tiepoints.geojson")}
    return {"pairs": of_pairs, "points": points, **facts}


def test_several_processes_do_and_record_what_one_does(archive: Path, serial: Path, tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    cache = Cache(tmp_path / "cache")
    result = run(
        archive, tmp_path, QUICK, ALL, cache=cache, files=BARE, workers=2, progress=lambda *what: said.append(what)
    )
    assert told(serial) == told(tmp_path)
    assert {"matched", "failed"} == {outcome.status for outcome in result.outcomes}
    assert [(k, 6) for k in range(6)] == [(done, of) for _, done, of in said]
    # Whatever a scene needs is made once, whoever needs it first
    assert sorted(e.path.name for e in Cache(serial.parent / "cache").entries()) == sorted(
        e.path.name for e in cache.entries()
    )
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["cpu_seconds"]["match"] >= 0.9 * sum(sum(p["cpu_seconds"].values()) for p in record["pairs"])


def test_a_pair_is_a_job_that_can_be_sent_anywhere_and_done_twice(archive: Path, serial: Path, tmp_path: Path) -> None:
    pairs = [p for p in pair_scenes(find_scenes(archive).scenes, ALL).pairs if p.id in told(serial)["points"]]
    cache = Cache(tmp_path / "cache")
    for status in ("matched", "kept"):
        job = pickle.loads(pickle.dumps((match_pair, pairs[0], tmp_path, QUICK)))  # noqa: S301
        outcome = job[0](*job[1:], cache=cache, files=BARE)
        assert status == outcome.status
    assert (
        told(serial)["points"][pairs[0].id]
        == (json.loads((tmp_path / pairs[0].id / "tiepoints.geojson").read_text())["features"])
    )


def test_a_pair_that_is_asked_for_again_is_told_as_it_was_done(
    archive: Path, serial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was taken for lost is ready while another one does its pair a second time."""
    pair = next(p for p in pair_scenes(find_scenes(archive).scenes, ALL).pairs if p.id in told(serial)["points"])
    work = Work(tmp_path, QUICK, Cache(serial.parent / "cache"), BARE, run="this one")
    match, first = job.pipeline.match_scenes, list[Outcome]()

    def slow(*what: Any) -> Any:
        ties = match(*what)
        with monkeypatch.context() as quick:
            quick.setattr(job.pipeline, "match_scenes", match)
            first.append(job.do(pair, work).outcome)
        return ties

    monkeypatch.setattr(job.pipeline, "match_scenes", slow)
    second = job.do(pair, work).outcome
    made = {path: path.stat().st_ino for path in (tmp_path / pair.id).iterdir()}
    said = [dumps(outcome.to_dict()) for outcome in (first[0], second, job.do(pair, work).outcome)]
    assert 1 == len(set(said))
    assert "matched" == second.status
    assert second.cpu_seconds
    assert made == {path: path.stat().st_ino for path in (tmp_path / pair.id).iterdir()}
    assert "kept" == job.do(pair, replace(work, run="another")).outcome.status


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is killed like that on Windows")
def test_a_run_that_is_killed_has_said_what_it_did(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sentinel_match", "-q", "run", archive, "-o", out, "--all-pairs"]
    command += ["--matcher", "phase", "--candidates", "300", "--no-report", "--no-project", "--cache", tmp_path / "c"]
    process = subprocess.Popen([*map(str, command)], env=os.environ, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(out.glob("*/pair.json"))) < 2:
        time.sleep(0.02)
    process.kill()
    process.wait(60)
    record = read_run(out)
    assert {path.parent.name for path in out.rglob("pair.json")} <= {outcome.id for outcome in record.pairs}
    assert 2 <= len(record.pairs) <= 6
    assert all(outcome.summary or outcome.error for outcome in record.pairs)


def test_a_run_that_is_interrupted_records_all_that_it_did(archive: Path, tmp_path: Path) -> None:
    def stop(what: str, done: int, _of: int) -> None:
        if what.startswith("pair ") and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(archive, tmp_path, QUICK, ALL, cache=Cache(tmp_path / "cache"), files=BARE, progress=stop)
    assert 2 == len(json.loads((tmp_path / "run.json").read_text())["pairs"])


def test_what_a_pair_says_since_is_read_where_the_record_does_not_know_it(
    serial: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (serial / "run.json").read_text()
    record = json.loads(whole)
    try:
        (serial / "run.json").write_text(json.dumps({**record, "pairs": record["pairs"][:1]}))
        pairs = read_run(serial).pairs
        assert [p["id"] for p in record["pairs"]] == [outcome.id for outcome in pairs]
        assert [p["status"] for p in record["pairs"]] == [outcome.status for outcome in pairs]
        print_run(serial, as_json=True)
        said = json.loads(capsys.readouterr().out)["pairs"]
        assert [p["summary"] for p in record["pairs"]] == [p["summary"] for p in said]
        # One that was stopped before its first pair is not one that had nothing to do
        (serial / "run.json").write_text(json.dumps({**record, "pairs": [], "started": "2999-01-01T00:00:00+00:00"}))
        print_run(serial)
        count = len(record["pairs"])
        assert f"stopped: {count} pairs still to be matched; the same run goes on" in capsys.readouterr().err
        # What an earlier run has left says nothing of this one
        (serial / "run.json").write_text(json.dumps({**record, "pairs": [], "started": "2999-01-01T00:00:00+00:00"}))
        assert () == read_run(serial).pairs
    finally:
        (serial / "run.json").write_text(whole)


def test_a_record_of_large_fields_says_where_they_are_and_stays_small(serial: Path, tmp_path: Path) -> None:
    matched = next(outcome for outcome in read_run(serial).pairs if outcome.summary)
    ties = read_ties(serial / matched.id / "tiepoints.geojson")
    low, high = ties.left_xy.min(0), ties.left_xy.max(0)
    bend = bend_through(np.random.default_rng(0).normal(0, 1, (200, 200, 2)), low, high)
    summary = replace(ties.summary, transform=Transform(ties.transform.plane, bend))
    record = PairRecord("recipe", summary)
    (tmp_path / "pair.json").write_text(dumps(record.to_dict()))
    outcome = record.outcome("a__b", "a", "b", now=True)
    assert outcome.summary is not None
    assert 10 * len(pickle.dumps(outcome)) < len(pickle.dumps(summary))
    sure = summary.uncertainty
    assert sure is not None
    wide = replace(sure, shape=(sure.shape[0] * 100, sure.shape[1]))
    assert replace(ties.summary, uncertainty=wide).abridged.uncertainty is None
    short = json.loads(dumps(outcome.to_dict()))
    assert "pair.json" == short["summary"]["model"]["bend"]["coefficients"]
    assert (summary.verdict, summary.hold_out) == (outcome.summary.verdict, outcome.summary.hold_out)
    assert short == json.loads(dumps(Outcome.from_dict(short).to_dict()))
    there = read_pair(tmp_path).summary
    assert there is not None
    assert np.array_equal(summary.transform(ties.left_xy), there.transform(ties.left_xy))
    # Where the whole is promised, what was left out is missed
    (tmp_path / "pair.json").write_text(dumps({**record.to_dict(), "summary": short["summary"]}))
    with pytest.raises(Unfit, match=r"coefficients are left out"):
        read_pair(tmp_path)
    field = short["summary"]["model"]
    motion = {"field": field, "uncertainty": ties.summary.to_dict()["uncertainty"]}
    motion["stable"] = {"nodes": 9, "mean_east": 0, "mean_north": 0, "rmse_east": 0, "rmse_north": 0}
    with pytest.raises(Unfit, match=r"motion.field.bend.coefficients are left out"):
        Summary.from_dict({**ties.summary.to_dict(), "motion": motion})


def test_a_record_is_not_written_for_each_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    write_text = batch_module.write_text
    monkeypatch.setattr(batch_module, "write_text", lambda *what: written.append(1) or write_text(*what))
    pairs = tuple(SimpleNamespace(id=f"pair {k}") for k in range(500))
    found = Run(Catalogue((), (), ()), Pairing(pairs, ()), ())
    with PeakMemory() as memory:
        work = Work(tmp_path, QUICK, Cache(tmp_path / "cache"), BARE)
        recorder = batch_module._Recorder(found, work, Clock(), memory)
        recorder.write()
        for pair in reversed(pairs):
            recorder.add(Done(Outcome(pair.id, "failed", "a", "b", None, error="no reason")))
        assert len(written) <= 2
        recorder.write()
    assert [pair.id for pair in pairs] == [
        pair["id"] for pair in json.loads((tmp_path / "run.json").read_text())["pairs"]
    ]


def pairs_of(links: list[tuple[int, int]]) -> list[Any]:
    scenes = [SimpleNamespace(id=k) for k in range(1 + max(map(max, links), default=0))]
    return [SimpleNamespace(left=scenes[a], right=scenes[b]) for a, b in links]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda p: p[0] != p[1]), max_size=60))
def test_sorted_pairs_are_the_same_pairs(links: list[tuple[int, int]]) -> None:
    pairs = pairs_of(links)
    assert sorted(map(id, pairs)) == sorted(map(id, in_reach(pairs)))
    assert [id(pair) for pair in in_reach(pairs)] == [id(pair) for pair in in_reach(list(pairs))]


def test_a_series_in_any_order_is_read_once_by_a_cache_of_a_few_scenes() -> None:
    dates = [(k * 37) % 100 for k in range(100)]
    links = [(dates[k], dates[k + step]) for step in (1, 2) for k in range(100 - step)]
    links.sort(key=lambda link: (link[0] * 7919 + link[1] * 104729) % 1009)
    assert 110 >= reads(in_reach(pairs_of(links)), 4)
    assert 300 <= reads(pairs_of(links), 4)


def test_all_pairs_are_read_seldom_by_a_cache_smaller_than_the_archive() -> None:
    pairs = pairs_of(list(combinations(range(64), 2)))
    assert reads(pairs, 16) > 1400
    assert 500 >= reads(in_reach(pairs), 16)
