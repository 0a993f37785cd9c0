"""``findings.md``: which of the paper's claims this run bears out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssimbad.evaluation.metrics import METRICS, against, enumerated, of_images, of_sets
from ssimbad.files import write_text
from ssimbad.methods import title_of
from ssimbad.paper import CLAIMS, EASIER
from ssimbad.settings import SETTINGS

if TYPE_CHECKING:
    from ssimbad.layout import Results


def verdict(record: dict[str, Any]) -> str:
    """``supported``, ``contradicted`` or, where the interval holds 0, ``undecided``."""
    sign = METRICS[record["metric"]].better
    low, high = sorted((sign * record["ci_low"], sign * record["ci_high"]))
    if low > 0:
        return "supported"
    return "contradicted" if high < 0 else "undecided"


def _line(record: dict[str, Any], what: str) -> str:
    metric = METRICS[record["metric"]]
    form = metric.format
    numbers = (
        f"{record['difference']:+{form}} [{record['ci_low']:+{form}}, {record['ci_high']:+{form}}]"
    )
    return (
        f"| {what} | {record['setting']} | {metric.heading} | {numbers} | **{verdict(record)}** |"
    )


def write_findings(rows: list[str], differences: list[dict[str, Any]], results: Results) -> None:
    """Write ``findings.md`` from the paired differences."""
    found = {(d["method"], d["baseline"], d["setting"], d["metric"]): d for d in differences}
    measured = [s for s in SETTINGS if any(d["setting"] == s for d in differences)]
    references = against("reference")
    verb = "compares" if len(references) == 1 else "compare"
    lines = [
        "# What this run says about the paper's claims",
        "",
        "Paired differences of per-image means with 95 % bootstrap intervals over test images. "
        "A claim is supported where the interval lies on its side of 0, contradicted where it lies on "
        "the other, undecided where it holds 0. In the setting cross "
        f"{enumerated(against('truth'))} compare with the sketch's own truth, which the reference does "
        f"not show; {enumerated(references, '`{}`')} {verb} with the reference. {enumerated(of_sets())} "
        "speak of whole image sets, so they have no paired interval here.",
    ]
    head = ["", "| rows | setting | metric | difference | verdict |", "|:--|:--|:--|:--|:--|"]
    for name in dict.fromkeys(claim.name for claim in CLAIMS):
        claims = [c for c in CLAIMS if c.name == name and c.better in rows and c.worse in rows]
        lines += ["", f"## {name}"]
        if not claims:
            lines += ["", "Not tested: this run lacks the rows."]
            continue
        lines += head
        for claim in claims:
            what = f"{title_of(claim.better)} − {title_of(claim.worse)}"
            for setting in measured:
                for metric in of_images():
                    lines.append(_line(found[claim.better, claim.worse, setting, metric], what))
    lines += ["", f"## {EASIER.name}", *head]
    settings = f"{EASIER.better} - {EASIER.worse}"
    for row in rows:
        for metric in against("truth"):
            lines.append(_line(found[row, row, settings, metric], title_of(row)))
    write_text(results.root / "findings.md", "\n".join(lines) + "\n")
