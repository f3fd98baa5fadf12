"""The mean of gradients over the workers of one machine, taken in memory that they share.

Gloo, torch's way for CPUs, sends gradients through TCP sockets that its own threads serve. Where every core computes,
each of these threads waits for a core in turn: 2 ms and, every tenth time, 6 for the 0.65 MB of `base`. Here a worker
writes its gradients where the others read them, and waits for them itself: 0.6 ms (`benchmarks/gradients.py`).
"""

import shutil
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

import torch
from torch import Tensor, distributed
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from trainables.errors import RunError

MEMORY = Path("/dev/shm")
"""A file system in memory, as Linux has it; it belongs to one machine, or to one container of it."""

WORKER_LOST = "Another worker of this training has ended, so that its gradients are missing."

_LARGEST = 2**20
"""Values that a worker shares at a time; longer gradients go in parts. Containers often have 64 MiB in all."""


@dataclass(slots=True)
class SharedMean:
    """Takes means over workers; see :func:`shared_mean`.

    Attributes:
        area: Float32 values (2, workers, values), the same memory in every worker. The two halves are used in turns: a
            worker that is a turn ahead must not overwrite what another still reads.
        rank: This worker's number.
        peers: A connection to each of the others.
        turn: The half that comes next.
    """

    area: Tensor
    rank: int
    peers: list[Connection]
    turn: int = 0

    def __call__(self, values: Tensor) -> None:
        """Replaces ``values`` (N,) by their mean over all workers, the same bits in each of them.

        Raises:
            RunError: If another worker has ended.
        """
        for part in values.split(self.area.shape[2]):  # type: ignore[no-untyped-call]
            slots = self.area[self.turn, :, : len(part)]
            self.turn = 1 - self.turn
            slots[self.rank].copy_(part)
            self._meet()
            torch.mean(slots, 0, out=part)

    def _meet(self) -> None:
        try:
            for peer in self.peers:
                peer.send_bytes(b".")
            for peer in self.peers:
                peer.recv_bytes()
        except (EOFError, OSError):
            raise RunError(WORKER_LOST) from None


def share_gradients(parallel: DistributedDataParallel) -> bool:
    """Lets the workers of a wrapped network average its gradients in shared memory, if one machine holds them all.

    To be called by every worker, before the first step.

    Returns:
        Whether they do; otherwise gradients go the usual way, as they always do on GPUs.
    """
    parameters = list(parallel.parameters())
    if any(parameter.device.type != "cpu" for parameter in parameters):
        return False
    mean = shared_mean(min(_LARGEST, sum(parameter.numel() for parameter in parameters)))
    if mean is not None:
        parallel.register_comm_hook(mean, _hook)
    return mean is not None


def shared_mean(values: int) -> SharedMean | None:
    """Agrees with all workers of the process group on memory for ``values`` values of each.

    Returns:
        None in all of them if one does not reach the memory of worker 0 (another machine), or if there is no room.
    """
    rank, workers = distributed.get_rank(), distributed.get_world_size()
    told = [_reserve(4 * 2 * workers * values) if rank == 0 else None]
    distributed.broadcast_object_list(told)
    folder = told[0]
    if folder is None:
        return None
    mean = None
    try:
        opened = _open(folder, rank, 2 * workers * values)
        all_opened: list[bool] = [False] * workers
        distributed.all_gather_object(all_opened, opened is not None)
        if opened is not None:
            area, listener = opened
            with listener:
                if all(all_opened):
                    mean = SharedMean(area.view(2, workers, values), rank, _peers(folder, rank, workers, listener))
        distributed.barrier()
    finally:
        # What is mapped and connected needs no name, and nothing is left behind if a worker is killed later.
        if rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
    return mean


def _reserve(size: int) -> Path | None:
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="rayscale-", dir=MEMORY))
        # Written, not just lengthened: memory that turns out to be missing later would end the process.
        (folder / "area").write_bytes(bytes(size))
    except OSError:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return None
    return folder


def _open(folder: Path, rank: int, values: int) -> tuple[Tensor, Listener] | None:
    try:
        area = torch.from_file(str(folder / "area"), shared=True, size=values)
        return area, Listener(str(folder / str(rank)), "AF_UNIX", distributed.get_world_size())
    except (OSError, RuntimeError):
        return None


def _peers(folder: Path, rank: int, workers: int, listener: Listener) -> list[Connection]:
    peers = [Client(str(folder / str(other))) for other in range(rank)]
    return peers + [listener.accept() for _ in range(rank + 1, workers)]


def _hook(mean: SharedMean, bucket: distributed.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
    gradients: Tensor = bucket.buffer()
    mean(gradients)
    done: Future[Tensor] = Future()
    done.set_result(gradients)
    return done
