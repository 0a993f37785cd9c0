"""``digests.json``: what every file of a run was when its report was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssimbad.files import sha256_file, write_json

if TYPE_CHECKING:
    from ssimbad.layout import Results

_NOT_RESULTS = ("work", "logs", "digests.json")


def digests_of(results: Results) -> dict[str, str]:
    """SHA-256 of every file of the results but other tools' hidden ones (Snakemake's, DVC's) and the
    report's own time, which follows the report."""
    found = {}
    for path in sorted(results.root.rglob("*")):
        name = path.relative_to(results.root)
        hidden = name.name.startswith(".") or name.parts[0] in _NOT_RESULTS
        if path.is_file() and not hidden and path != results.benchmark("report"):
            found[name.as_posix()] = sha256_file(path)
    return found


def write_digests(results: Results) -> None:
    """Note the SHA-256 of every file of the results in ``digests.json``."""
    write_json(results.root / "digests.json", digests_of(results))
