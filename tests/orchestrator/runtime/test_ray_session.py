"""Connecting to Ray, and what is said when that fails."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

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
    started = SimpleNamespace(address_info={"session_dir": str(session)})
    monkeypatch.setattr(ray, "init", lambda **_: started)
    monkeypatch.setattr(ray, "nodes", list)
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
