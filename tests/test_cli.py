"""Help: its examples are commands."""

import re
import shlex
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator

import pytest

from ssimbad import cli
from ssimbad.phases import PHASES

COMMANDS = [*PHASES, "colorize", "run", "tune", "measure", "config", "adopt", "verify", "plan"]


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def help_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> str:
    monkeypatch.setattr(sys, "argv", ["ssimbad", *arguments, "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    return capsys.readouterr().out


def test_help_lists_every_command_and_the_exit_statuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = help_of(monkeypatch, capsys)
    assert re.findall(r"^    (\w+) ", text, re.MULTILINE) == COMMANDS
    assert re.findall(r"^  (\d+) ", text, re.MULTILINE) == ["0", "1", "2", "143"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_s_examples_are_understood(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    text = help_of(monkeypatch, capsys, command)
    examples = re.findall(r"^  (ssimbad .*)$", text, re.MULTILINE)
    assert len(examples) == 2
    taken: list[Namespace] = []
    monkeypatch.setattr(cli, "_run", taken.append)
    for example in examples:
        monkeypatch.setattr(sys, "argv", shlex.split(example))
        cli.main()
    assert [arguments.command for arguments in taken] == [command] * 2
    if command in PHASES and PHASES[command].suits:
        assert {arguments.row for arguments in taken} <= {*PHASES[command].rows}
