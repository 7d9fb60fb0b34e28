"""Networks trained here and shipped with the package: the card beside each file says from what, and how well."""

from __future__ import annotations

from sentinel_match.weights import Package, Weights


def _shipped(name: str, matcher: str, sha256: str, size: int, option: str = "weights_file") -> Weights:
    file = f"{name}.safetensors"
    return Weights(
        file=file,
        matcher=matcher,
        sha256=sha256,
        size=size,
        licence="Apache-2.0",
        licence_url="https://www.apache.org/licenses/LICENSE-2.0",
        urls=(),
        package=Package("sentinel-match", "sentinel_match", f"models/shipped/{file}"),
        option=option,
    )


EVERGREEN = _shipped(
    "evergreen", "evergreen", "601b5925eb0945e79653edb0479210c29339faa79a07f60d94d2ac83b50bc37e", 156818
)
SUPERPOINT = _shipped("superpoint", "superpoint+lightglue", "0" * 64, 0)
LIGHTGLUE = _shipped("lightglue", "superpoint+lightglue", "0" * 64, 0, "lightglue_file")
SUPERGLUE = _shipped("superglue", "superpoint+superglue", "0" * 64, 0, "superglue_file")
