"""Phases of a resampled row: another row's weights, sampled in its own way."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from tests.conftest import run_phase, tiny_values

from ssimbad.files import sha256_file
from ssimbad.layout import Results


def test_the_few_step_row_samples_the_refined_weights(prepared: Results, tmp_path: Path) -> None:
    results = Results(tmp_path)
    for part in ("data", "phi"):
        shutil.copytree(prepared.root / part, results.root / part)
    values = tiny_values()
    for section in ("train", "refine"):
        values[section] |= {"steps": 0, "epochs": 1, "warmup": 0, "checkpoint_every": 1}
    values["refine"]["strategy"] = {"mse": 1.0}
    values["sweep"]["choose_by"] = "config"
    values["ssimbad"]["refined_sampling"] |= {"steps": 3, "guidance": 1.0}
    values["ssimbad"]["few_steps"] |= {"steps": 1}
    run_phase(values, "train", results, "ssimbad")
    run_phase(values, "refine", results, "ssimbad_refined")
    summary = json.loads(results.history("ssimbad").with_suffix(".json").read_text())
    assert summary["step"] == 24 / 4  # one pass over 24 images in batches of 4
    infers, pixels = {}, {}
    for row in ("ssimbad_refined", "ssimbad_few_steps"):
        run_phase(values, "infer", results, row)
        infers[row] = json.loads((results.images(row) / "infer.json").read_text())
        image = next((results.images(row) / "same").glob("*.png"))
        pixels[row] = np.asarray(Image.open(image)).astype(int)
    assert [infer["network_calls"] for infer in infers.values()] == [3, 1]
    weights = sha256_file(results.checkpoint("ssimbad_refined"))
    assert {infer["checkpoint"] for infer in infers.values()} == {weights}
    assert infers["ssimbad_few_steps"]["header"]["row"] == "ssimbad_refined"
    assert (pixels["ssimbad_refined"] != pixels["ssimbad_few_steps"]).any()
    stages = infers["ssimbad_few_steps"]["header"]["stages"]
    assert [(s["stage"], s["steps"], s["epochs"]) for s in stages] == [
        ("train", 6, 1),
        ("refine", 6, 1),
    ]
