"""A pair of whole 10980 x 10980 tiles, end to end: seconds, CPU seconds, peak memory, recovered shift.

python tests/benchmarks/full_tile.py FOLDER      writes the two invented products into FOLDER unless they are there
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from sentinel_match.testing import Landscape, write_product

TRUTH = (6.4, 18.1)


def main(folder: Path) -> None:
    archive, out, cache = folder / "archive", folder / "out", folder / "cache"
    if not archive.exists():
        for date, displacement in (("2023-05-14", (0.0, 0.0)), ("2023-09-16", TRUTH)):
            start, cpu = time.perf_counter(), time.process_time()
            write_product(archive, Landscape(7), date=date, pixels=10980, displacement=displacement, sky=0.1)
            print(
                f"wrote {date}: {time.perf_counter() - start:.0f} s, {time.process_time() - cpu:.0f} CPU-s", flush=True
            )
    for leftover in (out, cache):
        shutil.rmtree(leftover, ignore_errors=True)
    for label in ("first run", "again"):
        start = time.perf_counter()
        command = [sys.executable, "-m", "sentinel_match", "-q", "run", archive, "-o", out, "--cache", cache]
        subprocess.run(list(map(str, command)), check=True)
        record = json.loads((out / "run.json").read_text())
        summary = record["pairs"][0]["summary"]
        stages = record["pairs"][0]["cpu_seconds"]
        found = summary["median_dx_m"], summary["median_dy_m"]
        print(
            f"{label}: {time.perf_counter() - start:.1f} s, peak {record['peak_memory_bytes'] / 1e6:.0f} MB, "
            f"{sum(record['cpu_seconds'].values()):.1f} CPU-s; truth {TRUTH}, found {found}, "
            f"{summary['inliers']} inliers, CPU-s by stage {stages}",
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
