"""What the documents name is there."""

import re

import pytest

from ssimbad.evaluation.metrics import METRICS
from ssimbad.methods import rows
from ssimbad.phases import PHASES
from tests.conftest import REPOSITORY

DOCUMENTS = [
    path
    for folder in (".", "docs", "src/ssimbad/model")
    for path in (REPOSITORY / folder).glob("*.md")
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(document) -> None:
    links = re.findall(r"\]\(([^)#]+)", document.read_text())
    missing = [link for link in links if not link.startswith(("http", "<"))]
    assert [link for link in missing if not (document.parent / link).exists()] == []


def test_the_architecture_names_modules_and_functions_that_are_there() -> None:
    text = (REPOSITORY / "docs/architecture.md").read_text()
    named = re.findall(r"`([\w/]+\.py)(?:: (\w+))?`", text)
    assert len(named) > 20
    for path, function in named:
        found = REPOSITORY / "src/ssimbad" / path
        assert found.exists(), path
        assert f"def {function}" in found.read_text() if function else True, (path, function)


def test_the_glossary_has_every_phase() -> None:
    (line,) = [x for x in glossary() if x.startswith("| phase ")]
    assert re.findall(r"`(\w+)`", line) == list(PHASES)
    assert "ssimbad_refined" in rows()


def test_the_document_of_metrics_has_every_metric() -> None:
    lines = (REPOSITORY / "docs/metrics.md").read_text().splitlines()
    named = [line.split(" | ")[0].strip("| ") for line in lines if line.startswith("| ")]
    assert named[1:] == [metric.title for metric in METRICS.values()]


def test_the_index_has_every_page_and_the_page_on_running_every_config() -> None:
    docs = REPOSITORY / "docs"
    linked = set(re.findall(r"\]\((\w[\w-]*\.md)\)", (docs / "index.md").read_text()))
    assert linked == {page.name for page in docs.glob("*.md")} - {"index.md"}
    named = set(re.findall(r"^\| `config/([\w-]+\.yaml)`", (docs / "running.md").read_text(), re.M))
    assert named == {file.name for file in (REPOSITORY / "config").glob("*.yaml")}


def test_every_file_that_the_report_leaves_is_explained() -> None:
    rules = (REPOSITORY / "workflow/rules/report.smk").read_text()
    outputs = re.findall(r"\{RESULTS\}/([\w]+\.\w+)\"", rules.split("output:")[1])
    text = (REPOSITORY / "docs/results-folder.md").read_text()
    assert len(outputs) > 5
    assert [name for name in outputs if f"`{name}`" not in text] == []


def glossary() -> list[str]:
    text = (REPOSITORY / "docs/architecture.md").read_text()
    return text.split("## Glossary")[1].splitlines()
