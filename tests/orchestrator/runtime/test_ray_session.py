"""Connecting to Ray, and what is said when that fails."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.settings import Cluster
from orchestrator.runtime import ray_session as cluster
from orchestrator.runtime.ray_session import connect
from trainables.errors import RunError

ROOT = Path(cluster.__file__).parents[2]


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
    session = tmp_path / "session_1"
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


def test_ray_starts_away_from_the_working_folder_and_leaves_us_there(monkeypatch, tmp_path):
    """Ray puts the folder in which it starts on every worker's path, where a user's own module would shadow ours."""
    (tmp_path / "statistics.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["mine", "", "/absolute"]))
    seen = []
    monkeypatch.setattr(ray, "init", lambda **_: seen.append((Path.cwd(), os.environ["PYTHONPATH"])))
    cluster._start(Cluster())
    cluster._start(Cluster(address="auto"))
    assert seen == [(ROOT, f"{tmp_path / 'mine'}{os.pathsep}/absolute")] * 2
    assert Path.cwd() == tmp_path
    monkeypatch.setattr(cluster.site, "getsitepackages", lambda: [str(ROOT)])
    cluster._start(Cluster())
    assert seen[-1][0] == Path(sys.prefix).resolve(), "installed beside all other packages"


def test_a_working_folder_that_is_gone_does_not_keep_ray_from_starting(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(ray, "init", lambda **_: None)
    cluster._start(Cluster())


def test_a_domain_whose_driver_fails_is_named_and_the_others_are_done(monkeypatch):
    def get(job):
        if job == "a":
            raise ValueError("one\ntwo")
        return f"result of {job}"

    monkeypatch.setattr(ray, "wait", lambda pending, num_returns: (pending[:1], pending[1:]))
    monkeypatch.setattr(ray, "get", get)
    drive, done, failed = SimpleNamespace(remote=lambda job: job), {}, {}
    cluster.drive_all("Search", drive, {"x": "a", "y": "b"}, done.__setitem__, failed.__setitem__)
    assert (done, failed) == ({"y": "result of b"}, {"x": "ValueError: one"})
    with pytest.raises(RunError, match=r"^Search failed for x: ValueError: one\. What had finished is kept\.$"):
        cluster.drive_all("Search", drive, {"x": "a", "y": "b"}, done.__setitem__)
