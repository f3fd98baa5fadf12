"""Watch over the nodes of a cluster: one line for nodes that were lost, one for nodes that joined."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from orchestrator.foundation.quantities import plural, resources

Nodes = Mapping[str, Mapping[str, float]]
"""Resources of the nodes that are alive, by their id."""

WATCH_SECONDS = 2.0


@contextmanager
def watching_nodes(nodes: Callable[[], Nodes], log: Callable[[str], None]) -> Iterator[None]:
    """Logs which nodes are lost and which join until the block ends.

    Args:
        nodes: Lists the nodes that are alive.
        log: Logs one line.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(nodes, log, nodes(), ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=WATCH_SECONDS)


def _watch(nodes: Callable[[], Nodes], log: Callable[[str], None], before: Nodes, ended: threading.Event) -> None:
    while not ended.wait(WATCH_SECONDS):
        with suppress(Exception):  # the end of Ray is told elsewhere
            now = nodes()
            for line in changes(before, now):
                log(line)
            before = now


def changes(before: Nodes, now: Nodes) -> list[str]:
    """Lines about the nodes that were lost and that joined between two lists."""
    lost = {node: before[node] for node in before.keys() - now.keys()}
    joined = {node: now[node] for node in now.keys() - before.keys()}
    left = f"the cluster has {_counted(now)}"
    verb = "was" if len(lost) == 1 else "were"
    lines = [f"{_named(lost)} {verb} lost: what ran there is done again; {left}"] if lost else []
    return lines + ([f"{_named(joined)} joined; {left}"] if joined else [])


def _named(nodes: Nodes) -> str:
    """The address of a single node, or the number of several, with their resources."""
    if len(nodes) > 1:
        return _counted(nodes)
    [kinds] = nodes.values()
    address = next((f" {key[5:]}" for key in kinds if key.startswith("node:") and "__" not in key), "")
    return f"node{address} with {_amount(nodes)}"


def _counted(nodes: Nodes) -> str:
    return f"{plural(len(nodes), 'node')} with {_amount(nodes)}"


def _amount(nodes: Nodes) -> str:
    """CPUs and GPUs of nodes, in words."""
    cpus, gpus = (float(sum(node.get(kind, 0.0) for node in nodes.values())) for kind in ("CPU", "GPU"))
    return resources(cpus, gpus)
