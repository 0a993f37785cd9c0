"""A finished run is what it says, until somebody changes something in it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from ssimbad.config.files import load_merged
from ssimbad.data.store import Split
from ssimbad.errors import UserError
from ssimbad.evaluation.measure import read_results
from ssimbad.evaluation.metrics import of_images
from ssimbad.files import read_json, sha256_file, write_json
from ssimbad.layout import Results
from ssimbad.report.digests import write_digests
from ssimbad.verify import verify
from tests.conftest import config_file, run_cli
from tests.workflow.conftest import ROWS


def test_a_finished_run_matches(finished: Results) -> None:
    done = run_cli("verify", str(finished.root))
    assert done.returncode == 0, done.stderr
    files = [
        p
        for p in finished.root.rglob("*")
        if p.is_file() and p.relative_to(finished.root).parts[0] not in ("work", "logs")
        if not p.name.startswith(".")
    ]
    # Digests know neither themselves nor the report's time; six images, three settings.
    count = 6 * len(ROWS) * 3 * len(of_images())
    assert f"{len(files) - 2} files and {count} measurements" in done.stdout


def brighten(path: Path) -> None:
    with Image.open(path) as image:
        pixels = np.asarray(image).copy()
    pixels[0, 0] ^= 64
    Image.fromarray(pixels).save(path)


def edit(path: Path, change: Callable[[dict], object]) -> None:
    value = read_json(path)
    change(value)
    write_json(path, value)


def improve(results: Results) -> None:
    def change(found: dict) -> None:
        found["metrics"]["psnr"]["value"] += 1

    edit(results.metrics("ssimbad") / "same.json", change)


def backdate(results: Results) -> None:
    def change(found: dict) -> None:
        found["provenance"]["code"]["commit"] = "0" * 40

    edit(results.metrics("ssimbad") / "same.json", change)


def retrain(results: Results) -> None:
    path = results.checkpoint("ssimbad")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def polish(results: Results) -> None:
    path = results.root / "table.csv"
    path.write_text(
        path.read_text().replace("ssimbad_refined,same,psnr,", "ssimbad_refined,same,psnr,9")
    )


CHANGES: dict[str, tuple[Callable[[Results], object], str, bool]] = {
    # What is changed; what is told of it; whether it is found out with the digests made anew as well.
    "an image": (
        lambda r: brighten(next((r.images("ssimbad") / "cross").glob("*.png"))),
        "metrics/ssimbad/cross.json: the images are not those that were measured",
        True,
    ),
    "a lost image": (
        lambda r: next((r.images("ssimbad") / "same").glob("*.png")).unlink(),
        "metrics/ssimbad/same.json: .*: missing",
        True,
    ),
    "a measurement": (
        improve,
        r"metrics/ssimbad/same.json: metrics.psnr: is .* measured again",
        True,
    ),
    "a floor": (
        lambda r: edit(r.metrics("ssimbad") / "same.json", lambda v: v["floor"].update(fid=1.0)),
        "metrics/ssimbad/same.json: floor: other values when measured again",
        True,
    ),
    "an origin": (backdate, "metrics/ssimbad/same.json: changed since the report was made", False),
    "a checkpoint": (retrain, "metrics/ssimbad/same.json: does not match its checkpoint", True),
    "a pretrained one": (
        retrain,
        "metrics/ssimbad_refined/same.json: does not match the checkpoint it was refined from",
        True,
    ),
    "a pretrained one that is gone": (
        lambda r: r.checkpoint("ssimbad").unlink(),
        r"metrics/ssimbad_refined/same.json: .*checkpoints/train/ssimbad.safetensors: no such file",
        True,
    ),
    "the choice of sampling": (
        lambda r: edit(r.choice("ssimbad"), lambda v: v.update(value=0.0)),
        "metrics/ssimbad/same.json: does not match the choice of its sampling",
        True,
    ),
    "the table": (polish, "table.csv: ssimbad_refined same psnr: not what", True),
    "φ": (
        lambda r: edit(r.phi / "phi.json", lambda v: v.update(c=0.5)),
        "metrics/ssimbad/same.json: does not match its φ",
        True,
    ),
    "the data": (
        lambda r: (r.data / "train_images.npy").write_bytes(b"other"),
        "data/train_images.npy: not as manifest.json has it",
        True,
    ),
    "the config": (
        lambda r: (r.root / "config.yaml").write_text(
            (r.root / "config.yaml").read_text().replace("resamples: 200", "resamples: 201")
        ),
        "metrics/reference/same.json: does not match its config",
        True,
    ),
    "a file too many": (
        lambda r: (r.root / "gallery/extra.png").write_bytes(b""),
        "gallery/extra.png: not there when the report was made",
        False,
    ),
}


@pytest.fixture(scope="module")
def verified(finished: Results, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The finished run with fewer rows, which take less time to measure again."""
    root = tmp_path_factory.mktemp("verified") / "results"
    shutil.copytree(finished.root, root)
    results = Results(root)
    rows = ["reference", "ssimbad", "ssimbad_refined"]
    values = yaml.safe_load((root / "config.yaml").read_text()) | {"rows": rows}
    (root / "config.yaml").write_text(yaml.safe_dump(values))
    lines = (root / "table.csv").read_text().splitlines()
    kept = [line for line in lines if line.split(",")[0] in ("method", *rows)]
    (root / "table.csv").write_text("\n".join(kept) + "\n")
    write_digests(results)
    verify(results)
    return results


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_found(verified: Results, tmp_path: Path, name: str) -> None:
    change, told, beyond_digests = CHANGES[name]
    shutil.copytree(verified.root, tmp_path / "results")
    results = Results(tmp_path / "results")
    before = sha256_file(results.root / "digests.json")
    change(results)
    with pytest.raises(UserError, match=told):
        verify(results)
    if beyond_digests:
        write_digests(results)
        assert sha256_file(results.root / "digests.json") != before
        with pytest.raises(UserError, match=told):
            verify(results)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_says_that_a_gpu_made_it_is_verified_without_one(
    verified: Results, tmp_path: Path
) -> None:
    shutil.copytree(verified.root, tmp_path / "results")
    results = Results(tmp_path / "results")
    config = results.root / "config.yaml"
    values = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(values | {"device": "cuda"}))
    write_digests(results)
    with pytest.raises(UserError, match=r"metrics/reference/same\.json: does not match its config"):
        verify(results)
    for path in sorted((results.root / "metrics").glob("*/*.json")):
        edit(path, lambda v: v["provenance"]["config"].update(device="cuda"))
    write_digests(results)
    assert "measurements of images match" in verify(results)


def test_images_depend_on_the_number_of_threads_by_no_more_than_promised(
    finished: Results, tmp_path: Path
) -> None:
    values = load_merged(finished.config).model_dump(mode="json")
    images = []
    for threads in (1, 2):
        root = tmp_path / str(threads)
        root.mkdir()
        for part in ("data", "phi", "checkpoints", "sweep"):
            (root / part).symlink_to(finished.root / part)
        config = config_file(values, Results(root))
        done = run_cli("infer", "ssimbad_refined", "--config", config, OMP_NUM_THREADS=str(threads))
        assert done.returncode == 0, done.stderr
        names = Split(finished.data, "test").names
        images.append(read_results(Results(root).images("ssimbad_refined") / "cross", names, 32))
    assert (images[0].int() - images[1].int()).abs().max() <= 1


def test_what_is_no_results_folder_is_one_line(tmp_path: Path) -> None:
    done = run_cli("verify", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == f"ssimbad: {tmp_path}/config.yaml: no such file\n"
