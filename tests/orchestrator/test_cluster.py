"""Connecting to Ray, and what is said when that fails."""

import pytest
import ray

from orchestrator.cluster import connect
from orchestrator.experiment import Cluster
from trainables.errors import RunError


@pytest.mark.parametrize("kind", [Exception, ConnectionError, RuntimeError, ValueError])
def test_a_ray_that_does_not_start_is_one_sentence(monkeypatch, kind):
    def fail(**_):
        raise kind("The node with ID abc timed out during startup.\nTraceback and more")

    monkeypatch.setattr(ray, "init", fail)
    said = r"^Ray could not be reached at 'local': The node with ID abc timed out during startup\.$"
    with pytest.raises(RunError, match=said), connect(Cluster()):
        pass
