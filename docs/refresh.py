"""Copy finished runs' tables, findings, times and pictures into README.md, docs/results.md and docs/images.

    .venv/bin/python docs/refresh.py [RESULTS | speed | rehearsal | gpu | card | plan]

RESULTS is the run to show, ``results`` unless given. ``speed`` copies what ``make benchmark`` left in
``results`` into docs/speed.md instead, and ``rehearsal`` the times and memory of
``config/rehearsal.yaml``'s jobs into docs/gpu.md; ``gpu`` puts what ``make benchmark-gpu`` left in
``results`` there; ``card`` puts
what a run of config/gpu.yaml left in ``benchmarks/h200`` there; ``plan`` puts what ``ssimbad plan`` says of
config/paper.yaml into docs/plan.md. What stands between a file's
``<!-- results -->`` markers (the GPU's: ``<!-- results gpu -->``) is replaced; nothing in it is typed by
hand.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from ssimbad.config.files import load, load_merged
from ssimbad.methods import title_of
from ssimbad.plan.workload import Workload
from ssimbad.report.figures import FIGURES, figures_of

ROOT = Path(__file__).resolve().parents[1]


def minutes(results: Path) -> float:
    """Time of a run, from its first job to the report."""
    times = pd.read_csv(results / "times.csv")
    ended = pd.to_datetime(times["ended"])
    return (ended.max() - (ended - pd.to_timedelta(times["seconds"], "s")).min()).seconds / 60


def commit(code: dict[str, Any], results: Path) -> str:
    """The commit that a record of the code's version names."""
    if code["dirty"]:
        raise SystemExit(f"{results} was made by uncommitted code; run it on a commit")
    return f"commit {code['commit'][:10]}"


def cost(results: Path) -> str:
    """Time, memory, machine and commit of a run, as a sentence."""
    times = pd.read_csv(results / "times.csv")
    (history,) = (results / "history").rglob("ssimbad_refined.json")
    summary = json.loads(history.read_text())
    machine = summary["machine"]
    overlay = "" if results.name == "results" else f" CONFIG=config/{results.name[8:]}.yaml"
    return (
        f"`make reproduce{overlay}` took {minutes(results):.0f} minutes from its first job to the report,"
        f" at most {times['max_rss_mib'].max() / 1024:.1f} GiB a job, on {machine['cores']} cores of an "
        f"{machine['processor']} ({commit(summary['code'], results)})."
    )


def replace(path: Path, text: str, name: str = "results") -> None:
    """Put ``text`` between the markers of a file."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, rest = path.read_text().split(begin)
    tail = rest.split(end)[1]
    path.write_text(f"{head}{begin}\n\n{text.strip()}\n\n{end}{tail}")


def operations_of_the_default_run() -> float:
    """FLOP of its networks, as ``ssimbad plan`` counts them."""
    default = load([])
    counts = default.data.make_source(default.seed).counts([])
    lines = Workload(default, counts, 1).lines()
    return sum(line.total.total for line in lines)


def arithmetic_seconds(step: pd.Series) -> float:
    """Seconds of a training step within PyTorch's convolutions, matrix products and attention."""
    return step["forward_convolution_s"] + step["backward_convolution_s"] + step["product_s"]


def at_best(step: pd.Series) -> float:
    """The fraction of peak that a training step would reach were all but those free."""
    return step["fraction_of_peak"] * step["ours"] / arithmetic_seconds(step)


def step_limits(step: pd.Series, copy_gb_per_s: float) -> str:
    """What a training step's time is made of, and what each part leaves to gain."""
    forward, backward = step["forward_convolution_s"], step["backward_convolution_s"]
    arithmetic = arithmetic_seconds(step)
    rest = step["ours"] - arithmetic - step["normalisation_s"]
    fused = step["fused_bytes"] / copy_gb_per_s / 1e9
    others = (
        f"The other {rest:.3g} are additions, concatenations, pooling, the optimizer and PyTorch's own"
        " bookkeeping."
        if rest > 0
        else f"The steps profiled were slower than those timed, by more than {-rest:.3g}."
    )
    return (
        f"Of `{step.name}`'s {step['ours']:.3g} s in ours, PyTorch's convolutions take {forward:.3g}"
        f" forwards and {backward:.3g} back, for about twice the arithmetic, its matrix products and"
        f" attention {step['product_s']:.3g}: were all else free, the ratio would be"
        f" {step['plain'] / arithmetic:.2f}, at {at_best(step):.0%} of peak. Group normalisation and"
        f" SiLU take {step['normalisation_s']:.3g}; as one kernel, which reads and writes each tensor once,"
        f" they would take {fused:.3g} at the rate of copies, and the ratio would be"
        f" {step['plain'] / (arithmetic + rest + fused):.2f}. {others}"
    )


def evaluation_limits(entry: pd.Series) -> str:
    """What evaluation's time is made of, and what each part leaves to gain."""
    inception, convolution = entry["inception_s"], entry["convolution_s"]
    return (
        f"Of `evaluation`'s {entry['ours']:.3g} s in ours, Inception takes {inception:.3g}, by itself and a"
        f" moment before: were all other metrics free, the ratio would be {entry['plain'] / inception:.2f}."
        f" PyTorch's convolutions, its and those of LPIPS, take {convolution:.3g}: were all but those free,"
        f" {entry['plain'] / convolution:.2f}."
    )


def refresh_speed() -> None:
    """The benchmarks' entries, the commands' start, the scaling study and the figures."""
    results, images = ROOT / "results", ROOT / "docs" / "images"
    for name in ("benchmarks", "benchmarks_scaling"):
        shutil.copyfile(results / "figures" / f"{name}.png", images / f"{name}.png")
    entries = pd.DataFrame(json.loads((results / "benchmarks.json").read_text()))
    columns = [
        "name",
        "unit",
        "plain",
        "ours",
        "ratio",
        "target",
        "fraction_of_peak",
        "ratio_at_peak",
    ]
    named = entries.set_index("name")
    item, xdog = named.loc["batches"], named.loc["xdog", "ours"]
    eaten = load([]).train.batch / named.loc["train_step_default", "ours"]
    machine = json.loads((results / "benchmarks_machine.json").read_text())
    steps = [
        step_limits(step, machine["copy_gb_per_s"])
        for _, step in named.loc[["train_step_paper", "train_step_default"]].iterrows()
    ]
    table = entries[[*columns, "equal_within", "compared"]].to_markdown(index=False, floatfmt=".3g")
    start = pd.Series(machine["startup_s"], name="seconds").to_markdown(floatfmt=".2f")
    scaling = pd.read_csv(results / "benchmarks_scaling.csv")
    studies = [
        study.pivot_table(["seconds", "peak_mib"], "phase", "at", sort=False)[kind]
        .rename_axis(f"{kind}, by {axis}")
        .to_markdown(floatfmt=".0f")
        for axis, study in scaling.groupby("axis", sort=False)
        for kind in ("seconds", "peak_mib")
    ]
    flops, took = operations_of_the_default_run(), minutes(results)
    times = pd.read_csv(results / "times.csv")
    phases = (
        times["seconds"].groupby(times["job"].str.split("_").str[0]).sum() / times["seconds"].sum()
    )
    least = flops / machine["matmul_gflops"] / 1e9 / 60
    slowed = least / at_best(named.loc["train_step_default"])
    parts = [
        f"{machine['processor']}, {machine['cores']} cores: {machine['matmul_gflops']:.0f} GFLOP/s in"
        f" matrix products, {machine['copy_gb_per_s']:.0f} GB/s in copies. All of it was"
        f" measured in {machine['minutes']:.1f} minutes ({commit(machine['code'], results)}).",
        table,
        f"Of a training item's {item['ours']:.2f} ms, by themselves and a moment before, drawing its warp"
        f" took {item['draw_ms']:.2f}, warping {item['warp_ms']:.2f} and scaling pixels"
        f" {item['scale_ms']:.2f}. OpenCV's remap alone, of a map that is there already, took"
        f" {item['opencv_remap_ms']:.2f}: were that all there is, the ratio would be"
        f" {item['plain'] / item['opencv_remap_ms']:.1f}.",
        f"One core makes {1000 / item['ours']:.0f} items of 256 px a second; the default's training step uses"
        f" up {eaten:.0f} of 64 px on all of them. The sketches of 31,696"
        f" images of 256 px take {31.696 * xdog / machine['cores']:.0f} s on {machine['cores']} cores.",
        *steps,
        evaluation_limits(named.loc["evaluation"]),
        f"The default run's networks do {flops / 1e15:.3f} PFLOP (`ssimbad plan`): {least:.0f} minutes at the"
        f" rate of matrix products above, {slowed:.0f} at the rate that PyTorch's"
        " convolutions, matrix products and attention reach in `train_step_default`. The whole of"
        f" it took {took:.0f}, from its first job to the report; of its jobs' time,"
        f" {phases['train'] + phases['refine']:.0%} are training and refinement and"
        f" {phases['evaluate']:.0%} evaluation.",
        "![Ratios](images/benchmarks.png)",
        "Seconds of imports and of `ssimbad --help`:",
        start,
        "Seconds and peak memory (MiB, all of a command's processes) by number of images and by size:",
        *studies,
        "![Scaling](images/benchmarks_scaling.png)",
    ]
    replace(ROOT / "docs/speed.md", "\n\n".join(parts))


def refresh_rehearsal() -> None:
    """Every job's time and peak memory."""
    results = ROOT / "results-rehearsal"
    times = pd.read_csv(results / "times.csv")[["job", "seconds", "max_rss_mib"]]
    jobs = times.to_markdown(index=False, floatfmt=".0f")
    replace(ROOT / "docs/gpu.md", f"{cost(results)}\n\n{jobs}")


def refresh_gpu() -> None:
    """The benchmark's phases on a GPU."""
    record = json.loads((ROOT / "results/benchmarks_gpu.json").read_text())
    machine, reached = record["machine"], record["machine"]["matmul_gflops"]
    rates = " and ".join(f"{rate / 1000:.0f} TFLOP/s in `{name}`" for name, rate in reached.items())
    entries = pd.DataFrame(record["entries"])
    columns = {
        "name": "phase",
        "unit": "unit",
        "plain": "plain",
        "ours": "ours",
        "ratio": "ratio",
        "plain_peak_mib": "plain, MiB",
        "our_peak_mib": "ours, MiB",
        "fraction_of_peak": "of peak",
        "equal_within": "equal within",
        "compared": "compared",
    }
    memory = ["plain_peak_mib", "our_peak_mib"]
    entries[memory] = entries[memory].round().astype(int)
    table = entries[list(columns)].rename(columns=columns).to_markdown(index=False, floatfmt=".3g")
    parts = [
        f"{machine['gpu']}, {machine['cores']} cores of an {machine['processor']}, PyTorch"
        f" {record['packages']['torch']}: matrix products reach {rates}.",
        table,
    ]
    replace(ROOT / "docs/gpu.md", "\n\n".join(parts), "results gpu")


def refresh_card() -> None:
    """A run of config/gpu.yaml: rates, jobs, what the sweep chose; the shipped model's test images."""
    records = ROOT / "benchmarks/h200"
    rates = json.loads((records / "rates.json").read_text())
    entries = pd.DataFrame(rates["entries"])[
        ["pass", "size", "batch", "how", "images_per_s", "of_peak"]
    ]
    jobs = json.loads((records / "conducted.json").read_text())
    config = load([ROOT / "config/gpu.yaml"])
    lines = []
    for job, record in jobs.items():
        stage, _, row = job.partition(" ")
        history = records / "history" / stage / f"{row}.json"
        line = {"job": job, "seconds": record["seconds"], "images a second": "–"}
        if history.exists():
            summary, schedule = json.loads(history.read_text()), getattr(config, stage)
            steps = int(pd.read_csv(history.with_suffix(".csv"))["step"].max())
            line["images a second"] = f"{steps * schedule.batch / summary['seconds']:.0f}"
        lines.append(line)
    chosen = pd.concat(
        pd.read_csv(path).query("chosen == 1").assign(row=path.stem)
        for path in sorted((records / "sweep").glob("*.csv"))
    )[["row", "setting", "sampler", "steps", "guidance", "network_calls", "psnr", "lpips"]]
    measured = pd.concat(
        pd.read_csv(path).assign(setting=path.stem)
        for path in sorted((records / "measured").glob("*"))
    )
    for column in ("value", "ci_low", "ci_high"):
        measured[column] = [f"{v:.4f}" if v == v else "–" for v in measured[column]]
    shown = measured[["setting", "metric", "value", "ci_low", "ci_high", "n"]]
    table = shown.to_markdown(index=False, disable_numparse=True)
    replace(ROOT / "src/ssimbad/model/README.md", table, "measured")
    stages = []
    for folder, batch in ((records / "batch_128", 128), (records, config.train.batch)):
        for stage, row in (("train", "ssimbad"), ("refine", "ssimbad_refined")):
            history = folder / "history" / stage / f"{row}.csv"
            steps = int(pd.read_csv(history)["step"].max())
            seconds = json.loads(history.with_suffix(".json").read_text())["seconds"]
            line = {"stage": f"{stage} {row}", "images a step": batch, "steps": steps}
            line |= {"seconds": f"{seconds:.0f}", "ms a step": f"{1000 * seconds / steps:.0f}"}
            best = pd.read_csv(folder / "sweep" / f"{row}.csv").query("chosen == 1")
            values = best.set_index("setting")["psnr"]
            stages.append(line | {f"psnr, {setting}": f"{v:.2f}" for setting, v in values.items()})
    took = sum(record["seconds"] for record in jobs.values()) / 60
    parts = [
        f"{rates['machine']['gpu']}, {rates['machine']['cores']} processor cores, PyTorch"
        f" {rates['packages']['torch']}; a bf16 matrix product reaches {rates['matmul_flops'] / 1e12:.0f}"
        " TFLOP/s. Images a second of one step, by what PyTorch is asked for:",
        entries.to_markdown(index=False, floatfmt=".4g"),
        f"Jobs of `ssimbad run`, in the order they ran until the time was up, {took:.1f} minutes in all:",
        pd.DataFrame(lines).to_markdown(index=False, floatfmt=".0f"),
        "What the sweep chose on 64 validation faces, and its quality there:",
        chosen.to_markdown(index=False, floatfmt=".4g"),
        "The same images in steps of two sizes, and the quality on validation faces:",
        pd.DataFrame(stages).to_markdown(index=False, disable_numparse=True),
    ]
    replace(ROOT / "docs/gpu.md", "\n\n".join(parts), "results card")


def refresh_plan() -> None:
    """What the paper's run is estimated to take."""
    command = [str(Path(sys.executable).with_name("ssimbad"))]
    command += ["plan", "--config", str(ROOT / "config/paper.yaml")]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    replace(ROOT / "docs/plan.md", f"```\n{told.rstrip()}\n```")


def pictures(names: list[str]) -> str:
    """Figures with their captions."""
    captions = {name: FIGURES[name].caption.replace("*", r"\*") for name in names}
    shown = [f"![{text}](images/{name}.png)\n\n{text}." for name, text in captions.items()]
    return "\n\n".join(shown)


SHOWN = ("reference", "regression", "animediffusion", "ssimbad", "ssimbad_refined")
"""Rows of README's table."""


def short_table(results: Path) -> str:
    """README's table: PSNR and LPIPS of a few rows, and their network calls."""
    values = pd.read_csv(results / "table.csv", dtype={"seed": str})
    values = values[values["seed"].isna()].set_index(["method", "setting", "metric"])["value"]
    calls = pd.read_csv(results / "systems.csv").set_index("method")["network_calls"]
    lines = []
    for row in SHOWN:
        line = {"method": title_of(row), "network calls": f"{calls[row]:g}"}
        for setting, told in (("same", "same"), ("cross_exact", "cross")):
            psnr, lpips = (values[row, setting, metric] for metric in ("psnr", "lpips"))
            line[f"{told} reference: PSNR ↑, LPIPS ↓"] = f"{psnr:.2f} dB, {lpips:.3f}"
        lines.append(line)
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def main() -> None:
    parts = {
        "speed": refresh_speed,
        "rehearsal": refresh_rehearsal,
        "gpu": refresh_gpu,
        "card": refresh_card,
        "plan": refresh_plan,
    }
    if refresh := parts.get(sys.argv[-1]):
        refresh()
        return
    shown = ROOT / (sys.argv[1] if len(sys.argv) > 1 else "results")
    images = ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    drawn = figures_of(load_merged(shown / "config.yaml"))
    for name in drawn:
        shutil.copyfile(shown / "figures" / f"{name}.png", images / f"{name}.png")
    table, found = (shown / "table.md").read_text(), (shown / "findings.md").read_text()
    answer = found.splitlines()[2]
    replace(ROOT / "README.md", f"{short_table(shown)}\n\n{answer}\n\n{cost(shown)}")
    claims = found.split("\n", 1)[1].replace("\n## ", "\n### ")
    replace(ROOT / "docs/results.md", f"{cost(shown)}\n\n{table}\n## The paper's claims\n{claims}")
    replace(ROOT / "docs/results.md", pictures(drawn), "figures")


if __name__ == "__main__":
    main()
