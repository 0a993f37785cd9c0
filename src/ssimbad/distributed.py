"""One phase's work shared by several processes, each with a device of its own.

:func:`launch` starts a node's processes and answers for them. Each finds its rank in the variables that
torchrun sets too, or in SLURM's where ``srun`` started one process for each device.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from ssimbad.errors import UserError
from ssimbad.interruption import ASKED_BY, STOPPED
from ssimbad.machine import processors

if TYPE_CHECKING:
    import torch

_GRACE = 10.0  # seconds the others have to end by themselves once one process has failed
_POLL = 0.05  # seconds

Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    """The processes that share a phase's work, as one of them sees them.

    Attributes:
        rank: its number among all, from 0; the first alone writes files and tells of progress.
        local_rank: its number on its node, and its GPU's.
        devices: processes on each node.
        nodes: nodes.
    """

    rank: int = 0
    local_rank: int = 0
    devices: int = 1
    nodes: int = 1

    @property
    def size(self) -> int:
        """All processes."""
        return self.devices * self.nodes

    def share(self, total: int) -> range:
        """Which of ``total`` items are this process's: consecutive, as many as any other's or one more."""
        return range(total * self.rank // self.size, total * (self.rank + 1) // self.size)


SINGLE = World()
"""A process that shares with none."""


def is_launcher(devices: int, nodes: int) -> bool:
    """Whether this node's processes are still to be started, by this one."""
    count, given = devices * nodes, os.environ
    if count > 1 and given.get("SLURM_STEP_NUM_TASKS") == str(count):
        os.environ |= _of_slurm(given)
    return count > 1 and (given.get("WORLD_SIZE") != str(count) or "RANK" not in given)


def world_of(devices: int, nodes: int) -> World:
    """The processes as this one sees them, which is not their launcher."""
    if devices * nodes == 1:
        return SINGLE
    return World(int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"]), devices, nodes)


def _of_slurm(given: Any) -> dict[str, str]:
    from pytorch_lightning.plugins.environments import SLURMEnvironment

    main = SLURMEnvironment.resolve_root_node_address(given["SLURM_NODELIST"])
    return {
        "RANK": given["SLURM_PROCID"],
        "LOCAL_RANK": given["SLURM_LOCALID"],
        "NODE_RANK": given["SLURM_NODEID"],
        "WORLD_SIZE": given["SLURM_STEP_NUM_TASKS"],
        "MASTER_ADDR": given.get("MASTER_ADDR", main),
        # A port that all tasks of the job know, and other jobs on the node seldom have.
        "MASTER_PORT": given.get("MASTER_PORT", str(15000 + int(given["SLURM_JOB_ID"]) % 10000)),
    }


def _meeting_point(nodes: int) -> dict[str, str]:
    """Where the processes find one another.

    Raises:
        UserError: there are several nodes, and the variables that say so are not set.
    """
    if nodes == 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    names = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
    if missing := [name for name in names if name not in os.environ]:
        raise UserError(
            f"nodes: {nodes}: {', '.join(missing)} must be set on each node, or the command started"
            " by srun with a task for each device"
        )
    return {name: os.environ[name] for name in names}


def launch(command: list[str], devices: int, nodes: int) -> None:
    """Run ``command`` once for each device of this node, and see all of them to their end.

    The first one's output is this process's; of the others only what they fail with is shown. They leave
    when this process is gone, and a SIGTERM is passed on to them.

    Raises:
        UserError: one was killed, or another than the first failed; the rest has been ended.
        SystemExit: they stopped in good order, or the first failed and said why.
    """
    meeting = _meeting_point(nodes)
    first = int(meeting["NODE_RANK"]) * devices
    shared = meeting | {
        "WORLD_SIZE": str(devices * nodes),
        "OMP_NUM_THREADS": str(max(1, processors() // devices)),
        ASKED_BY: str(os.getpid()),
    }
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as folder, _passed_on(processes):
        logs = [Path(folder) / f"{first + local}.log" for local in range(devices)]
        try:
            for local, log in enumerate(logs):
                own = {"RANK": str(first + local), "LOCAL_RANK": str(local)}
                with log.open("wb") as stream:
                    output = stream if local else None
                    processes.append(
                        subprocess.Popen(
                            command, env=os.environ | shared | own, stdout=output, stderr=output
                        )
                    )
            codes = _wait(processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        texts = [log.read_text(errors="replace") for log in logs]
    _answer(codes, texts, first, devices * nodes)


@contextmanager
def _passed_on(processes: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Meanwhile a SIGTERM is the processes' to answer."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _killed(code: int | None) -> bool:
    return code is not None and code < 0 and code != -signal.SIGTERM


def _wait(processes: list[subprocess.Popen[bytes]]) -> list[int | None]:
    """Exit statuses once all have ended, or too long after one failed: None are those that still run."""
    deadline = float("inf")
    while True:
        codes = [process.poll() for process in processes]
        if None not in codes or any(map(_killed, codes)) or time.monotonic() > deadline:
            return codes
        if any(codes):
            deadline = min(deadline, time.monotonic() + _GRACE)
        time.sleep(_POLL)


def _answer(codes: list[int | None], texts: list[str], first: int, count: int) -> None:
    for local, code in enumerate(codes):
        if code is not None and _killed(code):
            name = signal.Signals(-code).name
            # The first process may have left its progress bar open: this shall stand on a line of its own.
            print(file=sys.stderr)
            raise UserError(
                f"process {first + local} of {count} was ended by {name}, and the others with it:"
                " the same command goes on from what is saved"
            )
    if STOPPED in codes or -signal.SIGTERM in codes:
        sys.exit(STOPPED)
    if codes[0]:
        sys.exit(codes[0])
    for text, code in zip(texts, codes, strict=True):
        if code:
            raise UserError(text.rstrip().replace("ssimbad: ", "") or f"exit status {code}")


@contextmanager
def process_group(world: World, device: torch.device) -> Iterator[None]:
    """Let the processes talk to one another: NCCL between GPUs, gloo between CPUs.

    Raises:
        UserError: another process has gone.
    """
    if world.size == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    backend, own = "gloo", None
    if device.type == "cuda":
        backend, own = "nccl", device
        torch.cuda.set_device(device)
    try:
        dist.init_process_group(backend, device_id=own)
        yield
        dist.destroy_process_group()
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        # Whoever started the processes knows which one and why, and ends this one now.
        time.sleep(2 * _GRACE)
        raise UserError(
            f"process {world.rank} of {world.size}: another one has gone:"
            " the same command goes on from what is saved"
        ) from error


def broadcast(world: World, value: Value) -> Value:
    """The first process's value, in each of them; waits for it."""
    if world.size == 1:
        return value
    import torch.distributed as dist

    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def all_gather(world: World, value: Value) -> list[Value]:
    """Every process's value, by rank; waits for all."""
    if world.size == 1:
        return [value]
    import torch.distributed as dist

    values = [value] * world.size
    dist.all_gather_object(values, value)
    return values


@contextmanager
def rank_zero_first(world: World) -> Iterator[None]:
    """The first process does it before the others: what it fetches is then there for them."""
    if world.rank:
        broadcast(world, None)
    yield
    if not world.rank:
        broadcast(world, None)
