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
    "superpoint", "superpoint+lightglue", "262e615e24ff28c7eb3c0de1fc2fe438a6c84cd2b0e5dcf43295c024057e6492", 853042
)
LIGHTGLUE = _shipped(
    "lightglue",
    "superpoint+lightglue",
    "a85c0bad973d0a7ccf3a9c2637a7f658ca39d5153fb8474d8d683bb515c0f567",
    2657262,
    "lightglue_file",
)
