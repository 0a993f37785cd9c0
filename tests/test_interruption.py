"""Whoever asked for the work is gone: told apart from a parent that lives, on systems of every kind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REAPED = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become this process's children
subprocess.run(["sh", "-c", 'exec "$@" & ', "sh", *sys.argv[1:]])
_, status = os.wait()
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Runs a command as the orphan of a shell, left to a reaper that is not process 1, as in many containers."""

LEAVE = """
import time
from ssimbad.interruption import leave_with_dvc
leave_with_dvc()
print("goes on")
time.sleep(float(__import__("sys").argv[1]))
"""


def environment(root: Path) -> dict[str, str]:
    return os.environ | {"DVC_STAGE": "phi", "DVC_ROOT": str(root)}


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers are Linux's")
@pytest.mark.parametrize("locked", [False, True])
def test_an_orphan_of_dvc_ends_whoever_adopted_it(tmp_path: Path, locked: bool) -> None:
    if locked:
        ended = subprocess.Popen(["true"])
        ended.wait()
        lock(tmp_path, ended.pid)
    done = subprocess.run(
        [sys.executable, "-c", REAPED, sys.executable, "-c", LEAVE, "0"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "snakemake: the dvc that asked for this is gone\n"


def test_dvc_within_another_program_is_known_by_its_lock(tmp_path: Path) -> None:
    lock(tmp_path, os.getpid())
    done = subprocess.run(
        [sys.executable, "-c", LEAVE, "0"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "goes on\n")


@pytest.mark.kill
def test_a_snakemake_is_killed_once_its_dvc_has_gone(tmp_path: Path) -> None:
    dvc = tmp_path / "dvc"
    dvc.write_text('#!/bin/sh\n"$@" & wait\n')
    dvc.chmod(0o755)
    process = subprocess.Popen(
        [dvc, sys.executable, "-u", "-c", LEAVE, "60"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "goes on\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    # The pipe ends once the last process that holds it has: well before the 60 s are over.
    assert process.stdout.read() == ""


def lock(root: Path, pid: int) -> None:
    """DVC's lock file as it stands while ``pid`` runs a stage."""
    path = root / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True)
    path.write_text(
        json.dumps({"write": {str(root / "results"): {"pid": pid, "cmd": "repro"}}, "read": {}})
    )
