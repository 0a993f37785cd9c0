"""The networks with real weights: published values."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ssimbad.evaluation.metrics import frechet_distance
from ssimbad.pretrained.fetching import fetch
from ssimbad.pretrained.networks import Inception, lpips_network

LPIPS_PUBLISHED = {
    "vgg": [0.3497, 0.3494, 0.3473, 0.3558, 0.3437, 0.3366, 0.3716, 0.3516, 0.3472, 0.3413],
    "alex": [0.1645, 0.1390, 0.1418, 0.1312, 0.1731, 0.1486, 0.1301, 0.1288, 0.1422, 0.1461],
}


@pytest.mark.parametrize("net", LPIPS_PUBLISHED)
@torch.inference_mode()
def test_lpips_gives_published_values(net: str) -> None:
    rng = np.random.RandomState(123)
    x, y = (torch.from_numpy(rng.rand(10, 3, 100, 100).astype(np.float32)) for _ in range(2))
    values = lpips_network(net, "auto")(x, y, normalize=True).flatten()
    assert values.tolist() == pytest.approx(LPIPS_PUBLISHED[net], abs=2e-4)


def test_lpips_reads_its_weights_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    first = lpips_network("alex", "auto")
    expected = first(x, y)
    first.requires_grad_(True).double()
    first.lin0.model[-1].weight.data.zero_()
    monkeypatch.setenv("SSIMBAD_CACHE", str(tmp_path))
    second = lpips_network("alex", "auto")
    assert not list(tmp_path.iterdir())
    assert torch.equal(second(x, y), expected)
    assert not any(p.requires_grad for p in second.parameters())
    assert second.weights == first.weights
    assert second.weights["network"] == "alex"


def test_gradients_pass_lpips_wherever_it_was_made_first() -> None:
    with torch.inference_mode():
        lpips_network("alex", "auto")
    x, y = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    lpips_network("alex", "auto")(x.requires_grad_(), y).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


@torch.inference_mode()
def test_fid_of_64_features_gives_torchmetrics_documented_value() -> None:
    # The documentation seeds with 42, then builds the network, whose layers draw one number for each
    # weight of convolutions and classifier, and only then draws the images.
    weights, _ = fetch("inception", "auto")
    convolutions = sum(w.numel() for name, w in weights.items() if name.endswith("conv.weight"))
    generator = torch.Generator().manual_seed(42)
    torch.empty(convolutions + 2048 * 1008 + 1008).uniform_(generator=generator)
    stem = Inception("auto", 64).network.blocks[0]
    features = []
    for low, high in ((0, 200), (100, 255)):
        shape = (100, 3, 299, 299)
        images = torch.randint(low, high, shape, dtype=torch.uint8, generator=generator)
        # torchmetrics scales by (x − 128)/128 and does not resize 299 px.
        batches = [stem((b.float() - 128) / 128).mean((2, 3)) for b in images.split(20)]
        features.append(torch.cat(batches).numpy())
    assert frechet_distance(*features) == pytest.approx(12.6388, abs=1e-4)


@torch.inference_mode()
def test_inception_resizes_and_scales_as_pytorch_fid_does() -> None:
    network = Inception("auto")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    h = F.interpolate(images, size=(299, 299), mode="bilinear", align_corners=False)
    h = 2 * h - 1
    for block in network.network.blocks:
        h = block(h)
    features = network(images)
    assert features.shape == (2, 2048)
    torch.testing.assert_close(features, h.flatten(1))
    one, same = features.numpy(), network(images.clone()).numpy()
    assert frechet_distance(one, same) == pytest.approx(0, abs=1e-6)
