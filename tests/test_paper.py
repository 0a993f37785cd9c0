"""The paper's configs: their sizes, and that docs/departures.md says how they differ."""

import re
from pathlib import Path

import torch
import yaml

from ssimbad.config.files import load
from ssimbad.methods import Run
from ssimbad.networks.scft import Generator
from ssimbad.networks.unet import UNet
from ssimbad.phases.slices import phase_json
from tests.conftest import REPOSITORY

PAPER, AS_PUBLISHED = Path("config/paper.yaml"), Path("config/paper-as-published.yaml")
REHEARSAL = Path("config/rehearsal.yaml")


def flat(values: object, prefix: str = "") -> dict[str, object]:
    """Every value by its path."""
    if not isinstance(values, dict):
        return {prefix[:-1]: values}
    return {
        k: v for key, below in values.items() for k, v in flat(below, f"{prefix}{key}.").items()
    }


def values_of(path: Path) -> dict[str, object]:
    return flat(load([path]).model_dump(mode="json"))


def departures() -> dict[str, object]:
    """The published value of every key in the tables of docs/departures.md."""
    found = {}
    for line in (REPOSITORY / "docs/departures.md").read_text().splitlines():
        if line.startswith("| `"):
            keys, published, *_ = line.strip("| ").split(" | ")
            value = yaml.safe_load(re.findall("`(.*?)`", published)[0])
            found |= dict.fromkeys(re.findall("`(.*?)`", keys), value)
    return found


def test_as_published_has_every_published_value() -> None:
    values = values_of(AS_PUBLISHED)
    assert {key: values[key] for key in departures()} == departures()


def test_as_published_differs_in_documented_departures_only() -> None:
    paper, published = values_of(PAPER), values_of(AS_PUBLISHED)
    differing = {key for key in paper if paper[key] != published[key]}
    assert differing - departures().keys() == {"results"}
    repairs = {"train.schedule", "train.ema", "train.choose_by", "train.clip_scaled"}
    assert repairs <= differing


def test_the_networks_have_the_published_sizes() -> None:
    config = load([PAPER])
    with torch.device("meta"):
        unet, scft = UNet(config.unet, inputs=7, outputs=3), Generator(config.scft)
    assert sum(p.numel() for p in unet.parameters()) == 52_301_251
    assert sum(p.numel() for p in scft.parameters()) == 82_926_195


def test_the_rehearsal_has_the_papers_networks_and_size() -> None:
    paper, rehearsal = values_of(PAPER), values_of(REHEARSAL)
    same = {k for k, v in paper.items() if rehearsal[k] == v}
    assert {k for k in paper if k.startswith("unet.")} <= same
    assert {"data.size", "scft.width", "scft.depth", "scft.blocks", "scft.trunk"} <= same
    assert paper["results"] != rehearsal["results"]


def test_the_few_step_row_is_the_refined_rows_checkpoint_sampled_anew() -> None:
    config = load([PAPER])
    own, refined = (
        yaml.safe_load(phase_json(config, "infer", Run(row)))
        for row in ("ssimbad_few_steps", "ssimbad_refined")
    )
    assert own["trained_by"] == refined["trained_by"]
    assert (own["method"]["steps"], refined["method"]["steps"]) == (8, 50)
    assert own | {"method": None} == refined | {"method": None}


def test_refined_rows_have_50_levels_and_pretrained_ones_500() -> None:
    config = load([PAPER])
    steps = {
        row: yaml.safe_load(phase_json(config, "infer", Run(row)))["method"]["steps"]
        for row in ("ssimbad", "edm", "ssimbad_refined", "edm_refined")
    }
    assert list(steps.values()) == [500, 500, 50, 50]


SCALE = {
    *("results", "rows", "data.source", "data.size", "data.faces.train"),
    *("data.folder.path", "data.folder.expect.train", "data.folder.expect.test"),
    *("phi.size", "unet.width", "unet.blocks", "unet.groups"),
    *("train.epochs", "train.batch", "train.lr", "train.precision", "train.checkpoint_every"),
    *("refine.epochs", "refine.lr", "refine.precision"),
    *(f"{row}.{part}.steps" for row in ("ssimbad", "edm") for part in ("refinement", "sampling")),
    *(f"{row}.refined_sampling.steps" for row in ("ssimbad", "edm")),
    *(f"{row}.refinement.checkpointing" for row in ("ssimbad", "edm", "animediffusion")),
    *("ssimbad.few_steps.steps", "scft.width", "scft.depth"),
    *(f"scft.recipe.{key}" for key in ("steps", "epochs", "batch", "lr", "min_lr")),
    *("scft.recipe.precision", "scft.recipe.checkpoint_every"),
    *("sweep.steps", "sweep.images", "oracle.images"),
}
"""Sizes, budgets and numbers of steps."""


def test_the_small_published_config_is_the_published_algorithm() -> None:
    published, small = values_of(AS_PUBLISHED), values_of(Path("config/published-small.yaml"))
    differing = {key for key in published if published[key] != small[key]}
    assert differing == SCALE, differing ^ SCALE
    # It is the default's size.
    default = flat(load([]).model_dump(mode="json"))
    own = ("data.size", "unet.width", "unet.blocks", "scft.width", "train.batch", "phi.size")
    assert {key: small[key] for key in own} == {key: default[key] for key in own}


def test_the_papers_two_gpus_have_32_images_and_a_rate_of_1e_4_each() -> None:
    paper, node = values_of(PAPER), values_of(Path("config/paper-two-gpus.yaml"))
    differing = {key: node[key] for key in paper if paper[key] != node[key]}
    assert differing == {
        **{"results": "results-paper-two-gpus", "devices": 2},
        **{"train.batch": 2 * 32, "train.lr": 2 * 1e-4},
        **{"refine.batch": 2 * 1, "refine.lr": 2 * 1e-4},
    }
