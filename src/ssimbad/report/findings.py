"""``findings.md``: which of the paper's claims this run bears out, and which of this project's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssimbad.evaluation.metrics import METRICS, against, enumerated, of_images, of_sets
from ssimbad.evaluation.records import read_csv
from ssimbad.evaluation.statistics import holm
from ssimbad.files import read_json, write_text
from ssimbad.methods import Run, methods, title_of
from ssimbad.paper import CLAIMS, EASIER, FEWER_CALLS, PRIMARY_SETTING
from ssimbad.settings import SETTINGS, exact, images_of

if TYPE_CHECKING:
    from ssimbad.evaluation.compare import Measurement
    from ssimbad.layout import Results
    from ssimbad.paper import Claim

LEVEL = 0.05
"""Of the tests."""
FALLING = 0.05
"""A row whose validation loss fell by more than this part in its last interval has not converged."""
_PERHAPS = (
    "Where that may not hold: rendered faces are flat. Sketch and reference fix the answer, and the mean of"
    " one answer is that answer. Of what the reference does not determine, such as shading, texture or the"
    " light in eyes, regression draws the mean, which is blurred, and diffusion one of the possibilities. A"
    " run on such faces does not test that."
)


@dataclass(frozen=True)
class ClaimTest:
    """A difference that speaks of a claim.

    Attributes:
        claim: the claim.
        what: whose difference, as people read it.
        rows: those it is of.
        record: of ``comparisons.csv``.
        primary: whether it is the one that the claim stands or falls with.
        p: that is compared with :data:`LEVEL`; of tests that are not primary corrected for their number.
    """

    claim: Claim
    what: str
    rows: tuple[str, ...]
    record: dict[str, Any]
    primary: bool
    p: float

    def verdict(self, falls: dict[str, float]) -> str:
        """What it says of the claim.

        ``not converged`` where a row was still learning; else ``supported``, ``contradicted``, or
        ``undecided`` where p is above the level or the interval holds 0. One training seed can support
        nothing but ``in this run``, and contradict nothing but ``not in this run``.

        Args:
            falls: by row, by what part its validation loss fell in its last interval.
        """
        if any(falls.get(row, 0) > FALLING for row in self.rows):
            return "not converged"
        sign = METRICS[self.record["metric"]].better
        low, high = sorted((sign * self.record["ci_low"], sign * self.record["ci_high"]))
        several = self.record["seeds"] > 1
        if not self.primary and self.p > LEVEL:
            return "undecided"
        if low > 0:
            return "supported" if several else "in this run"
        if high < 0:
            return "contradicted" if several else "not in this run"
        return "undecided"

    def line(self, falls: dict[str, float]) -> str:
        """A line of a table."""
        record, metric = self.record, METRICS[self.record["metric"]]
        form = metric.format
        numbers = f"{record['difference']:+{form}} [{record['ci_low']:+{form}}, {record['ci_high']:+{form}}]"
        p = f"{self.p:.2g}" if self.p >= 1e-4 else "< 0.0001"
        return (
            f"| {self.claim.name} | {self.what} | {record['setting']} | {metric.heading} | {numbers} | {p} "
            f"| **{self.verdict(falls)}** |"
        )


def claim_tests(rows: list[str], differences: list[dict[str, Any]]) -> list[ClaimTest]:
    """The tests of all claims that a run has the rows for, those that are not primary corrected together."""
    found = {(d["method"], d["baseline"], d["setting"], d["metric"]): d for d in differences}
    settings = [s for s in SETTINGS if any(d["setting"] == s for d in differences)]
    tests = []
    for claim in CLAIMS:
        if claim.better not in rows or claim.worse not in rows:
            continue
        what = f"{title_of(claim.better)} − {title_of(claim.worse)}"
        for setting in settings:
            for metric in of_images():
                record = found[claim.better, claim.worse, setting, metric]
                primary = (setting, metric) == (PRIMARY_SETTING, claim.metric)
                both = claim.better, claim.worse
                tests.append(ClaimTest(claim, what, both, record, primary, record["p"]))
    best = exact(EASIER.worse, settings)
    for row in rows:
        for worse in dict.fromkeys((best, EASIER.worse)):
            for metric in against("truth"):
                record = found[row, row, f"{EASIER.better} - {worse}", metric]
                primary = (worse, metric) == (best, EASIER.metric)
                tests.append(ClaimTest(EASIER, title_of(row), (row,), record, primary, record["p"]))
    others = [k for k, test in enumerate(tests) if not test.primary]
    corrected = dict(zip(others, holm([tests[k].p for k in others]), strict=True))
    return [
        ClaimTest(t.claim, t.what, t.rows, t.record, t.primary, corrected.get(k, t.p))
        for k, t in enumerate(tests)
    ]


def _value(runs: dict[int, Measurement], metric: str) -> float:
    values = [run["metrics"][metric]["value"] for run in runs.values()]
    return sum(values) / len(values)


def _is_diffusion(row: str) -> bool:
    return methods()[Run(row).method].sampling is not None


def headline(rows: list[str], found: dict[tuple[str, str], dict[int, Measurement]]) -> list[str]:
    """One plain sentence on which pictures are best, and where regression wins, where it may not."""
    settings = [setting for _, setting in found]
    shown = [s for s in dict.fromkeys(settings) if images_of(s) == s]
    shown = [exact(setting, settings) for setting in shown]

    def best(candidates: list[str], setting: str, metric: str) -> str:
        better = METRICS[metric].better
        return max(candidates, key=lambda row: better * _value(found[row, setting], metric))

    def told(row: str) -> str:
        numbers = (
            f"{setting} "
            + ", ".join(
                f"{METRICS[m].title} {_value(found[row, setting], m):{METRICS[m].format}}"
                for m in ("lpips", "psnr")
            )
            for setting in shown
        )
        return f"{title_of(row)} ({'; '.join(numbers)})"

    trained = [row for row in rows if Run(row).stage != "none"]
    diffusion = [row for row in trained if _is_diffusion(row)]
    if not trained:
        return ["No row of this run was trained, so it says nothing of the claims."]
    first = best(trained, PRIMARY_SETTING, "lpips")
    if "regression" not in rows or not diffusion:
        return [
            f"Of this run's trained rows {told(first)} makes the pictures nearest to the truth."
        ]
    rival = best(diffusion, PRIMARY_SETTING, "lpips")
    wins = [
        best(["regression", *diffusion], setting, metric) == "regression"
        for setting in shown
        for metric in ("lpips", "psnr")
    ]
    if all(wins):
        return [
            f"{told('regression')}, one network call without any noise, beats every diffusion row of "
            f"this run, "
            f"the best of which is {told(rival)}.",
            "",
            _PERHAPS,
        ]
    if any(wins):
        return [
            f"{told('regression')}, one network call without any noise, beats every diffusion row of "
            f"this run by "
            f"{sum(wins)} of {len(wins)} numbers; the best of those is {told(rival)}.",
            "",
            _PERHAPS,
        ]
    return [
        f"{told(rival)} makes better pictures than {told('regression')}, one network call without any noise."
    ]


@dataclass(frozen=True)
class _Observation:
    """What a run shows of a claim that no paired test speaks of.

    Attributes:
        claim: its name.
        verdicts: of each pair of rows; none where it is not tested.
        lines: what stands below the name.
    """

    claim: str
    verdicts: list[str]
    lines: list[str]


def _told(holds: bool) -> str:
    return "in this run" if holds else "not in this run"


def _phi(results: Results) -> _Observation:
    """Whether φ* is of the paper's family and straighter than what EDM and DDPM step through."""
    claim = "φ* has the straightest decay"
    if not (results.phi / "ranking.csv").exists():
        return _Observation(claim, [], ["Not tested: this run has no search."])
    ranking = read_csv(results.phi / "ranking.csv", "phi", "c", "r2").to_dict("records")
    chosen = read_json(results.phi / "phi.json")
    curves = read_csv(results.phi / "curves.csv", "spacing", "r2").to_dict("records")
    r2 = {line["spacing"]: float(line["r2"]) for line in curves}
    family = ranking[0]["phi"]
    other = next((line for line in ranking if line["phi"] != family), ranking[-1])
    best = float(ranking[0]["r2"])
    verdict = _told(ranking[0]["phi"] == chosen["name"] and best >= max(r2.values()))
    told = "; ".join(f"{spacing} {value:.4f}" for spacing, value in r2.items())
    constant = f" with c = {float(ranking[0]['c']):.3g}" if float(ranking[0]["c"]) else ""
    text = (
        f"**{verdict}**: SSIM falls straightest along {family}{constant}: R² = {best:.4f}; the best"
        f" candidate of another form is {other['phi']}, {float(other['r2']):.4f}. Along the schedules' own"
        f" axes: {told}. The winner is the straightest by how it is found; that it is so much straighter than"
        " EDM's and DDPM's is the finding."
    )
    return _Observation(claim, [verdict], [text])


def _infer(found: dict[tuple[str, str], dict[int, Measurement]], row: str) -> dict[str, Any]:
    runs = next(runs for (name, _), runs in found.items() if name == row)
    return next(iter(runs.values()))["provenance"]["infer"]


def _fewer_calls(
    rows: list[str], found: dict[tuple[str, str], dict[int, Measurement]]
) -> _Observation:
    """Network calls where the sweep finds each row best."""
    claim = "The working point needs fewer calls"
    pairs = [
        pair
        for pair in FEWER_CALLS
        if all(row in rows and "choice" in _infer(found, row) for row in pair)
    ]
    if not pairs:
        told = "Not tested: this run lacks the rows, or their sampling was not chosen."
        return _Observation(claim, [], [told])
    calls = {row: _infer(found, row)["network_calls"] for pair in pairs for row in pair}
    lines = [
        "Network calls an image where validation images choose the sampling; one number each, without an"
        " interval.",
        "",
        "| rows | calls | verdict |",
        "|:--|:--|:--|",
    ]
    verdicts = [_told(calls[own] < calls[other]) for own, other in pairs]
    for (own, other), verdict in zip(pairs, verdicts, strict=True):
        names = f"{title_of(own)} against {title_of(other)}"
        lines.append(f"| {names} | {calls[own]:g} against {calls[other]:g} | **{verdict}** |")
    return _Observation(claim, verdicts, lines)


def _regressors(
    rows: list[str], found: dict[tuple[str, str], dict[int, Measurement]]
) -> _Observation:
    """Whether refined rows' pictures depend less on the noise that they start from."""
    claim = "Refinement makes a regressor"
    pairs = [
        (c.better, c.worse)
        for c in CLAIMS
        if c.name == CLAIMS[0].name and c.better in rows and c.worse in rows
    ]
    spreads = {
        row: _infer(found, row).get("noise_spread", {}).get("levels") for p in pairs for row in p
    }
    pairs = [pair for pair in pairs if None not in (spreads[pair[0]], spreads[pair[1]])]
    if not pairs:
        return _Observation(claim, [], ["Not tested: this run lacks the rows."])
    lines = [
        "Spread of a row's pictures over the noise they start from, in levels of 255, each row as it is"
        " sampled. Where it is 0, the row is a regression in several steps.",
        "",
        "| rows | spread | verdict |",
        "|:--|:--|:--|",
    ]
    verdicts = [_told(spreads[after] < spreads[before]) for after, before in pairs]
    for (after, before), verdict in zip(pairs, verdicts, strict=True):
        names = f"{title_of(after)} against {title_of(before)}"
        lines.append(
            f"| {names} | {spreads[after]:.2f} against {spreads[before]:.2f} | **{verdict}** |"
        )
    return _Observation(claim, verdicts, lines)


_VERDICTS = (
    *("supported", "in this run", "not in this run", "contradicted", "undecided", "mixed"),
    *("not converged", "not tested"),
)


def _tally(verdicts: dict[str, list[str]]) -> str:
    """The claims by what a run says of them, in a line.

    Args:
        verdicts: of each claim's primary tests, by its name; mixed are those that differ.
    """
    by_verdict: dict[str, list[str]] = {}
    for claim, own in verdicts.items():
        one = own[0] if len(set(own)) == 1 else "mixed" if own else "not tested"
        by_verdict.setdefault(one, []).append(claim)
    return "; ".join(
        f"**{verdict}**: {', '.join(by_verdict[verdict])}"
        for verdict in _VERDICTS
        if verdict in by_verdict
    )


def _table(tests: list[ClaimTest], falls: dict[str, float], p: str) -> list[str]:
    return [
        f"| claim | rows | setting | metric | difference | {p} | verdict |",
        "|:--|:--|:--|:--|:--|:--|:--|",
        *(test.line(falls) for test in tests),
    ]


def _explained() -> list[str]:
    references = against("reference")
    verb = "compares" if len(references) == 1 else "compare"
    return [
        "- Differences are paired, with 95 % bootstrap intervals over test images and, where there are"
        " several, training seeds.",
        f"- Each claim has one primary test, declared beforehand (setting {PRIMARY_SETTING}), whose p is as"
        " it is. All other tests are corrected together by Holm's method.",
        "- A claim is supported where the interval lies on its side of 0, contradicted where it lies on the"
        f" other, undecided where it holds 0 or a corrected p is above {LEVEL:g}.",
        "- One training seed supports nothing: it can only be so “in this run”.",
        f"- A row whose validation loss still fell by more than {FALLING:.0%} in its last checkpoint interval"
        " has not converged, and no verdict is given.",
        f"- In the setting cross {enumerated(against('truth'))} compare with the sketch's own truth, which"
        f" the reference does not show; {enumerated(references, '`{}`')} {verb} with the reference."
        f" {enumerated(of_sets())} speak of whole image sets, so they have no paired interval here.",
    ]


def write_findings(
    rows: list[str],
    differences: list[dict[str, Any]],
    found: dict[tuple[str, str], dict[int, Measurement]],
    falls: dict[str, float],
    results: Results,
) -> None:
    """Write ``findings.md``: the answer first, then the primary tests, then all others.

    Args:
        rows: the table's, without variants.
        differences: between rows and settings, paired.
        found: the measurements by (row, setting) and seed.
        falls: by row, by what part its validation loss fell in its last checkpoint interval, where known.
        results: where everything lies.
    """
    tests = claim_tests(rows, differences)
    primary = [test for test in tests if test.primary]
    others = [test for test in tests if not test.primary]
    observed = [_phi(results), _fewer_calls(rows, found), _regressors(rows, found)]
    verdicts: dict[str, list[str]] = {claim.name: [] for claim in (*CLAIMS, EASIER)}
    for test in primary:
        verdicts[test.claim.name].append(test.verdict(falls))
    verdicts |= {each.claim: each.verdicts for each in observed}
    answer, *qualified = headline(rows, found)
    lines = [
        "# What this run says about the paper's claims",
        "",
        answer,
        "",
        _tally(verdicts),
    ]
    if unready := [row for row in rows if falls.get(row, 0) > FALLING]:
        told = ", ".join(f"{title_of(row)} ({falls[row]:.0%})" for row in unready)
        lines += ["", f"Not converged: {told}."]
    lines += [*qualified, "", "## Primary tests", "", *_table(primary, falls, "p")]
    reasons = {(c.name, c.metric, c.why) for c in (*CLAIMS, EASIER) if verdicts[c.name]}
    lines += ["", "Why that metric:", ""]
    lines += [f"- {name}, {METRICS[metric].title}: {why}." for name, metric, why in sorted(reasons)]
    for each in observed:
        lines += ["", f"## {each.claim}", "", *each.lines]
    lines += ["", "## How to read this", "", *_explained()]
    lines += ["", "## All other tests", "", *_table(others, falls, "p (Holm)")]
    write_text(results.root / "findings.md", "\n".join(lines) + "\n")
