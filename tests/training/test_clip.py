"""The refinement loss of CLIP embeddings, with a small random CLIP."""

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ssimbad.errors import UserError
from ssimbad.training.clip import clip_distance, load_clip
from ssimbad.training.losses import refinement_losses


def network() -> CLIPVisionModelWithProjection:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    return CLIPVisionModelWithProjection(config).requires_grad_(False).eval()


def test_it_vanishes_at_the_truth_and_has_gradients_beyond_the_range() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 3, 24, 24, generator=generator) * 2 - 1
    distance = clip_distance(network())
    assert distance(truth, truth).item() == pytest.approx(0, abs=1e-6)
    far = (truth + 0.5 * torch.randn(truth.shape, generator=generator)).requires_grad_()
    value = distance(far, truth)
    assert 1e-4 < value < 2
    (gradient,) = torch.autograd.grad(value, far)
    assert (gradient[far.abs() > 1] != 0).float().mean() > 0.9


def test_it_is_one_minus_the_cosine_of_embeddings_of_normalised_images() -> None:
    clip = network()
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.rand(3, 3, 32, 32, generator=generator) * 2 - 1 for _ in range(2))
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    u, v = (clip(pixel_values=((x + 1) / 2 - mean) / std).image_embeds for x in (a, b))
    cosine = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))
    torch.testing.assert_close(clip_distance(clip)(a, b), (1 - cosine).mean())


def test_weights_out_of_reach_are_one_line_that_names_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    weights = {"mse": 0.0, "ssim": 0.0, "lpips-vgg": 0.0, "clip": 1.0}
    with pytest.raises(UserError, match=r"^refine\.strategy\.clip: .*package index does not") as e:
        refinement_losses(weights, False, "index", torch.device("cpu"))
    assert "\n" not in str(e.value)

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to\nthe host")

    monkeypatch.setattr(CLIPVisionModelWithProjection, "from_pretrained", unreachable)
    with pytest.raises(UserError, match=r"no weights of openai/.*: no route to the host$"):
        load_clip("auto")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'ssimbad\[clip\]'"):
        load_clip("auto")
