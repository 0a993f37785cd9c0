"""What `ssimbad run` takes for done."""

from pathlib import Path

from ssimbad.conduct import done, keys_of
from ssimbad.config.files import load
from ssimbad.data.schema import STORE
from ssimbad.files import sha256_file, write_json
from ssimbad.layout import Results
from ssimbad.methods import Run

TRAINED = Run("ssimbad")


def test_a_job_is_done_only_while_all_that_it_leaves_is_there(tmp_path: Path) -> None:
    overlay = tmp_path / "few.yaml"
    overlay.write_text(
        f"results: {tmp_path / 'made'}\nrows: [ssimbad]\nsweep: {{rows: [ssimbad]}}\noracle: {{rows: []}}\n"
    )
    config = load([overlay])
    results = Results(config.results)
    first = {
        ("data", None): results.data / "manifest.json",
        ("phi", None): results.phi / "phi.json",
        ("train", TRAINED): results.checkpoint(TRAINED),
        ("sweep", TRAINED): results.choice(TRAINED),
        ("infer", TRAINED): results.images(TRAINED) / "infer.json",
    }
    further = {
        ("data", None): [results.data / "pairs.csv", results.data / "test_images.npy"],
        ("phi", None): [results.phi / "ranking.csv", results.phi / "curves.csv"],
        ("train", TRAINED): [
            results.history(TRAINED),
            results.history(TRAINED).with_suffix(".json"),
        ],
        ("sweep", TRAINED): [results.sweep / "ssimbad.csv"],
        ("infer", TRAINED): [results.images(TRAINED) / "same", results.images(TRAINED) / "cross"],
    }
    assert keys_of(config).keys() == first.keys()
    files = [*first.values(), *(results.data / name for name in STORE), results.phi / "noisy.npz"]
    files += [path for paths in further.values() for path in paths]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if path.suffix else path.mkdir(exist_ok=True)
    records = {
        " ".join(filter(None, job)): {"key": key, "sha256": sha256_file(first[job])}
        for job, key in keys_of(config).items()
    }
    write_json(results.conducted, records)
    assert all(done(config, results).values())
    for job, paths in further.items():
        for path in paths:
            kept = path.rename(tmp_path / "kept")
            assert not done(config, results)[job], path
            kept.rename(path)
    first["sweep", TRAINED].write_text("edited")
    found = done(config, results)
    assert [job for job, there in found.items() if not there] == [
        ("sweep", TRAINED),
        ("infer", TRAINED),
    ]
