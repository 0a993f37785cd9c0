"""Processes that share the work: their ranks, and what starts them."""

import os

import pytest

from ssimbad.distributed import SINGLE, World, is_launcher, launch, world_of
from ssimbad.errors import UserError


@pytest.mark.parametrize(("total", "count"), [(8, 2), (5, 2), (1, 4), (7, 3)])
def test_shares_cover_all_once_and_evenly(total: int, count: int) -> None:
    shares = [World(rank, rank, count, 1).share(total) for rank in range(count)]
    assert [i for share in shares for i in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_rank_is_what_slurm_or_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        # Set first, so that what is set here goes again.
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    assert not is_launcher(1, 1)
    assert world_of(1, 1) == SINGLE
    assert is_launcher(2, 2)
    step = {"NODELIST": "gpu[3-4]", "JOB_ID": "71234", "PROCID": "3", "LOCALID": "1", "NODEID": "1"}
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert is_launcher(2, 2)  # a job's script, which no srun started
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert not is_launcher(2, 2)
    assert world_of(2, 2) == World(rank=3, local_rank=1, devices=2, nodes=2)
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("gpu3", "16234")


def test_several_nodes_must_know_where_they_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "gpu3")
    for name in ("MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="nodes: 2: MASTER_PORT, NODE_RANK must be set"):
        launch(["true"], devices=1, nodes=2)
