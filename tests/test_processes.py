"""Places among processes, and what leads to them."""

import os

import pytest

from ssimbad.errors import UserError
from ssimbad.processes import ALONE, Place, lead, place_of


@pytest.mark.parametrize(("total", "count"), [(8, 2), (5, 2), (1, 4), (7, 3)])
def test_shares_cover_all_once_and_evenly(total: int, count: int) -> None:
    shares = [Place(rank, rank, count, 1).share(total) for rank in range(count)]
    assert [i for share in shares for i in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_place_is_what_slurm_or_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        # Set first, so that what the place sets goes again.
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    assert place_of(1, 1) == ALONE
    assert place_of(2, 2) is None
    step = {"NODELIST": "gpu[3-4]", "JOB_ID": "71234", "PROCID": "3", "LOCALID": "1", "NODEID": "1"}
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert place_of(2, 2) is None  # a job's script, which no srun started
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert place_of(2, 2) == Place(rank=3, local=1, devices=2, nodes=2)
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("gpu3", "16234")


def test_several_nodes_must_know_where_they_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "gpu3")
    for name in ("MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="nodes: 2: MASTER_PORT, NODE_RANK must be set"):
        lead(["true"], devices=1, nodes=2)
