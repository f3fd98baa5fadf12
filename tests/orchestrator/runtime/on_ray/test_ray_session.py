"""Connecting to Ray, and what is said when that fails."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from ray.runtime_env.runtime_env import _merge_runtime_env

from orchestrator.experiment.settings import Cluster
from orchestrator.runtime.on_ray import ray_session as cluster
from orchestrator.runtime.on_ray.ray_session import connect
from trainables.errors import RunError

ROOT = Path(cluster.__file__).parents[3]


@pytest.mark.parametrize("kind", [Exception, ConnectionError, RuntimeError, ValueError])
def test_a_ray_that_does_not_start_is_one_sentence(monkeypatch, kind):
    def fail(**_):
        raise kind("The node with ID abc timed out during startup.\nTraceback and more")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # other tests may share a Ray of this process
    monkeypatch.setattr(ray, "init", fail)
    said = (
        r"^Ray did not start on this machine: The node with ID abc timed out during startup\. Traceback and more\. "
        r"Where it was only slow, .* longer than 300 s by RAYSCALE_RAY_START_SECONDS\.$"
    )
    with pytest.raises(RunError, match=said), connect(Cluster()):
        pass


@pytest.mark.parametrize(
    ("address", "fails", "kept"), [(None, False, False), (None, True, True), ("10.0.0.1:6379", False, True)]
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
    monkeypatch.setattr(ray, "nodes", list)
    monkeypatch.setattr(ray, "init", lambda **_: seen.append((Path.cwd(), os.environ["PYTHONPATH"])))
    cluster._start(Cluster(), print)
    cluster._start(Cluster(address="10.0.0.1:6379"), print)
    assert seen == [(ROOT, f"{tmp_path / 'mine'}{os.pathsep}/absolute")] * 2
    assert Path.cwd() == tmp_path
    monkeypatch.setattr(cluster.site, "getsitepackages", lambda: [str(ROOT)])
    cluster._start(Cluster(), print)
    assert seen[-1][0] == Path(sys.prefix).resolve(), "installed beside all other packages"


def test_a_working_folder_that_is_gone_does_not_keep_ray_from_starting(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(ray, "init", lambda **_: None)
    cluster._start(Cluster(), print)


def job(monkeypatch, **variables):
    environment = {"working_dir": "gcs://_ray_pkg_1.zip", "env_vars": variables}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": environment, "metadata": {}}))


@pytest.fixture
def given(monkeypatch):
    """What ray.init is given, with the job's environment that it sees."""
    calls = []

    def init(**options):
        calls.append({**options, "job": os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR")})

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "nodes", list)
    return calls


def test_a_job_s_own_variables_are_not_repeated(monkeypatch, given):
    """Ray refuses to merge two values of a variable, even equal ones."""
    job(monkeypatch, AWS_REGION="eu-west-1", AWS_ENDPOINT_URL="http://s3:9000", RAY_DATA_DISABLE_PROGRESS_BARS="0")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3:9000")
    cluster._start(Cluster(address="10.0.0.1:6379"), print)
    ours = given[0]["runtime_env"]["env_vars"]
    assert not ours.keys() & {"AWS_REGION", "AWS_ENDPOINT_URL", "RAY_DATA_DISABLE_PROGRESS_BARS"}
    merged = _merge_runtime_env(json.loads(given[0]["job"])["runtime_env"], {"env_vars": ours})
    assert merged["env_vars"]["AWS_ENDPOINT_URL"] == "http://s3:9000"
    assert merged["env_vars"]["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] == "1"


def test_a_ray_of_our_own_knows_nothing_of_the_job_that_it_runs_in(monkeypatch, given):
    job(monkeypatch, AWS_REGION="eu-west-1")
    cluster._start(Cluster(), print)
    assert given[0]["job"] is None
    assert "AWS_REGION" in os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"]


def test_nodes_get_the_endpoint_and_region_of_the_configuration_file_and_no_keys(monkeypatch, given, tmp_path):
    (tmp_path / "config").write_text(
        "[profile far]\nregion = eu-north-1\nservices = far\naws_access_key_id = a\naws_secret_access_key = b\n"
        "[services far]\ns3 =\n  endpoint_url = http://s3.far:9000\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "far")
    cluster._start(Cluster(address="10.0.0.1:6379"), print)
    ours = {name: value for name, value in given[0]["runtime_env"]["env_vars"].items() if name.startswith("AWS_")}
    assert ours == {
        "AWS_ENDPOINT_URL_S3": "http://s3.far:9000",
        "AWS_REGION": "eu-north-1",
        "AWS_DEFAULT_REGION": "eu-north-1",
    }


def test_a_ray_that_the_environment_names_but_the_experiment_does_not_is_said(monkeypatch, given):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    lines = []
    cluster._start(Cluster(), lines.append)
    assert lines == [
        "RAY_ADDRESS is 10.0.0.1:6379, but cluster.address is not set: this run starts a Ray of its own on this "
        "machine. Set cluster.address=auto to use that cluster."
    ]
    assert given[0]["address"] == "local"
