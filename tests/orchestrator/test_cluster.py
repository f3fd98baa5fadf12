"""Connecting to Ray, and what is said when that fails."""

import pytest
import ray

from orchestrator import cluster
from orchestrator.cluster import connect
from orchestrator.experiment import Cluster
from orchestrator.feasibility import Resources
from trainables.errors import RunError


@pytest.mark.parametrize("kind", [Exception, ConnectionError, RuntimeError, ValueError])
def test_a_ray_that_does_not_start_is_one_sentence(monkeypatch, kind):
    def fail(**_):
        raise kind("The node with ID abc timed out during startup.\nTraceback and more")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # other tests may share a Ray of this process
    monkeypatch.setattr(ray, "init", fail)
    said = r"^Ray could not be reached at 'local': The node with ID abc timed out during startup\.$"
    with pytest.raises(RunError, match=said), connect(Cluster()):
        pass


@pytest.mark.parametrize(
    ("address", "fails", "kept"), [(None, False, False), (None, True, True), ("auto", False, True)]
)
def test_logs_of_a_ray_of_our_own_stay_only_after_a_failure(monkeypatch, tmp_path, address, fails, kept):
    session = tmp_path / "session"
    session.mkdir()
    monkeypatch.setattr(cluster, "_start", lambda _: str(session))
    monkeypatch.setattr(cluster, "_measured", lambda _: Resources(1, 0, 0))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    try:
        with connect(Cluster(address=address)):
            if fails:
                raise RunError("a stage failed")
    except RunError:
        assert fails
    assert session.exists() == kept
