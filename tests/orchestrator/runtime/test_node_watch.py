"""Lines about nodes that are lost and that join."""

import pytest
from waiting import wait_for

from orchestrator.runtime import node_watch
from orchestrator.runtime.node_watch import changes, watching_nodes

HEAD = {"CPU": 0.0, "node:10.0.0.1": 1.0, "node:__internal_head__": 1.0}
GPU = {"CPU": 8.0, "GPU": 1.0, "node:10.0.0.2": 1.0}
CPU = {"CPU": 4.0, "node:10.0.0.3": 1.0}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"h": HEAD, "a": GPU}, {"h": HEAD, "a": GPU}, []),
        (
            {"h": HEAD, "a": GPU, "b": CPU},
            {"h": HEAD, "b": CPU},
            [
                "node 10.0.0.2 with 8 CPUs and 1 GPU was lost: what ran there is done again; "
                "the cluster has 2 nodes with 4 CPUs"
            ],
        ),
        (
            {"h": HEAD, "a": GPU, "b": CPU},
            {"h": HEAD, "c": CPU},
            [
                "2 nodes with 12 CPUs and 1 GPU were lost: what ran there is done again; "
                "the cluster has 2 nodes with 4 CPUs",
                "node 10.0.0.3 with 4 CPUs joined; the cluster has 2 nodes with 4 CPUs",
            ],
        ),
        ({"h": HEAD}, {"h": HEAD, "a": GPU, "b": GPU}, ["2 nodes with 16 CPUs and 2 GPUs joined; the cluster has 3"]),
    ],
)
def test_lines_about_lost_and_new_nodes(before, now, expected):
    found = changes(before, now)
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))


def test_nodes_are_watched_until_the_end_and_through_errors(monkeypatch):
    monkeypatch.setattr(node_watch, "WATCH_SECONDS", 0.01)
    lists, lines, looks = [{"h": HEAD, "b": CPU}, RuntimeError("no answer"), {"h": HEAD}], [], []

    def nodes():
        looks.append(1)
        found = lists.pop(0) if len(lists) > 1 else lists[0]
        if isinstance(found, Exception):
            raise found
        return found

    with watching_nodes(nodes, lines.append):
        wait_for(lambda: len(looks) > 10)
    assert [line.partition(":")[0] for line in lines] == ["node 10.0.0.3 with 4 CPUs was lost"]
