"""A Ray cluster of several nodes on this machine, whose nodes and processes can be killed."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster
from waiting import wait_for


class EmulatedCluster:
    """A head without CPUs and worker nodes, each of its own raylet; Ray is not joined by this process."""

    def __init__(self, nodes: int = 2, cpus: int = 1) -> None:
        os.environ["RAY_raylet_start_wait_time_s"] = "120"  # noqa: SIM112 - Ray reads this name
        memory = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, connect=False, head_node_args={"num_cpus": 0, **memory})
        self._added: dict[str, Any] = {"num_cpus": cpus, "object_store_memory": 100 * 2**20}
        self.nodes = [self.add_node() for _ in range(nodes)]

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add_node(self) -> Any:
        return self._cluster.add_node(**self._added, wait=True)

    def kill_node(self, node: Any) -> None:
        """Kills all processes of a node, as a spot instance goes."""
        self._cluster.remove_node(node, allow_graceful=False)

    def process_of(self, node: Any) -> int:
        """Id of a node's raylet, below which its workers run."""
        return int(node.all_processes["raylet"][0].process.pid)

    def shutdown(self) -> None:
        self._cluster.shutdown()


@contextmanager
def emulated_cluster(nodes: int = 2, cpus: int = 1) -> Iterator[EmulatedCluster]:
    cluster = EmulatedCluster(nodes, cpus)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def processes(title: str, below: int | None = None) -> list[int]:
    """Ids of the processes below this one whose title, which Ray sets, contains a text."""
    parents: dict[int, int] = {}
    titles: dict[int, str] = {}
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            stat, command = (place / "stat").read_text(), (place / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        parents[int(place.name)] = int(stat.rpartition(")")[2].split()[1])
        titles[int(place.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    root = below or os.getpid()

    def is_below(process: int) -> bool:
        while process in parents:
            process = parents[process]
            if process == root:
                return True
        return False

    return [process for process, found in titles.items() if title in found and is_below(process)]


def kill_process(title: str, seconds: float = 120.0) -> None:
    """Kills a process of Ray's as soon as there is one with this title."""
    found = wait_for(lambda: processes(title), seconds, title, pause=0.05)
    os.kill(found[0], signal.SIGKILL)
