"""What is said where a tool that adoption asks fails."""

from pathlib import Path

import pytest

from ssimbad.dvc_adoption import touch
from ssimbad.errors import UserError


def test_snakemakes_own_error_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles" / "default").mkdir(parents=True)
    (tmp_path / "profiles" / "default" / "config.yaml").write_text("printshellcmds: true\n")
    (tmp_path / "Snakefile").write_text(
        'rule a:\n    input: "nowhere.txt"\n    output: "a.txt"\n    shell: "true"\n'
    )
    with pytest.raises(UserError) as told:
        touch(["a.txt"], [])
    (line,) = str(told.value).splitlines()
    assert line.startswith("snakemake: MissingInputException in rule a")
    assert line.endswith("nowhere.txt")
