"""Networks trained here and shipped with the package: the card beside each file says from what, and how well."""

from __future__ import annotations

from sentinel_match.models.weights import Package, Weights


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
    "evergreen", "evergreen", "2092063248ea6f68152ae131eaac2032576c9fb7056ccae72443aae8954f20d4", 156818
)
LOFTR = _shipped("loftr", "loftr", "1740e6390b281469e8ea99301d62f54244c81de0af1a17fe255b68a62185c7be", 2237448)
SUPERPOINT = _shipped(
    "superpoint", "superpoint+lightglue", "780b3080828a5a5f51b4c83c42c149147b1a2269f6f2d29cecc917f9a77a523e", 934170
)
LIGHTGLUE = _shipped(
    "lightglue",
    "superpoint+lightglue",
    "37bc5b37a713b9f07df2396aa3fb43662c698fd80a7bd3356385907ea2ff7cec",
    2657262,
    "lightglue_file",
)
