"""Submission of an experiment: what travels with the job, and what is refused before it."""

import re
import shlex
import subprocess
import sys

import pytest
from tiny_experiment import settings, write_experiment

from orchestrator.cluster_jobs.client import EXPERIMENT, HOME, VERSION, Job
from orchestrator.cluster_jobs.submit import check_shared, check_submission, job_environment, packed, submit
from orchestrator.experiment.load import make_experiment
from trainables.errors import UsageError
from trainables.version import __version__


class Recorded:
    """The jobs of a cluster, which keep what they are given."""

    def __init__(self, *running):
        self.running, self.given = running, None

    def all(self):
        return list(self.running)

    def submit(self, job_id, entrypoint, folder, env, metadata):
        self.given = (entrypoint, env, metadata, sorted(path.name for path in folder.iterdir()))
        return job_id


@pytest.fixture
def file(tmp_path):
    return write_experiment(tmp_path / "my tiny.yaml", settings("s3://bucket/images", "s3://bucket/runs"))


def test_the_experiment_and_the_code_travel_with_the_job(file):
    jobs = Recorded()
    job_id = submit(jobs, check_submission(file, ["search.trials=5"], ["KEY=a b"], trim=True))
    command, env, metadata, files = jobs.given
    assert job_id.startswith("tiny-")
    run = ["python", "-m", "orchestrator.cli.app", "run"]
    assert shlex.split(command) == [
        *(*run, "my tiny.yaml", "--set", "search.trials=5", "--set", "cluster.address=auto", "--trim")
    ]
    assert env["KEY"] == "a b"
    assert metadata == {EXPERIMENT: "tiny", HOME: "s3://bucket/runs/tiny", VERSION: __version__}
    assert files == ["my tiny.yaml", "orchestrator", "search_spaces", "trainables"]


def test_the_packed_folder_is_all_the_code_that_a_run_needs(file):
    """Started in it, without the checkout and without an installed copy on the path."""
    with packed(file) as folder:
        assert not list(folder.rglob("__pycache__"))
        script = (
            "import orchestrator, trainables, search_spaces as s; print(orchestrator.__file__, s.find_space('art').id)"
        )
        ran = subprocess.run(
            [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'); {script}"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert str(folder.resolve()) in ran.stdout
        assert (folder / "trainables" / "weights" / "base-x4" / "model.safetensors").exists()
    assert not folder.exists()


def test_an_experiment_that_runs_already_is_not_submitted_again(file):
    def job(status):
        return Job("tiny-1", "tiny", "s3://bucket/runs/tiny", "1", status, "", "", None, "")

    with pytest.raises(
        UsageError, match=r"Job 'tiny-1' runs experiment 'tiny' already: `rayscale logs tiny-1 --follow`"
    ):
        submit(Recorded(job("RUNNING")), check_submission(file))
    assert submit(Recorded(job("STOPPED")), check_submission(file))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "search.trails=5"], "Unknown key 'search.trails'. Did you mean 'trials'"),
        (["--set", "storage=runs"], "cannot find storage 'runs' of this machine"),
        (["--env", "1A=b"], "--env .*1A"),
    ],
)
def test_the_experiment_is_checked_before_the_cluster_is_asked(rayscale, file, monkeypatch, arguments, words):
    monkeypatch.setattr("orchestrator.cluster_jobs.client.open_job_api", lambda _: pytest.fail("the cluster was asked"))
    code, _, said = rayscale("submit", file, "--address", "http://127.0.0.1:9", *arguments)
    assert code == 2
    assert re.search(words, said, re.IGNORECASE)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"storage": "runs"}, "storage 'runs'"),
        ({"storage": "~/runs"}, "storage '~/runs'"),
        ({"root": "data"}, "source.images 'data/natural'"),
        ({"search": {"starts_from": ["runs/before"]}}, "search.starts_from 'runs/before'"),
        ({"source": {"model": "models/mine"}}, "source.model 'models/mine'"),
    ],
)
def test_places_of_this_machine_alone_are_refused(changes, named):
    content = settings("s3://bucket/images", "s3://bucket/runs") | changes
    if "source" in changes:
        content.pop("network")
    with pytest.raises(
        UsageError, match=r"^The nodes of a cluster cannot find .* of this machine: name s3://"
    ) as raised:
        check_shared(make_experiment(content, "tiny"))
    assert named in str(raised.value)


def test_shared_places_are_taken():
    content = settings("s3://bucket/images", "/mnt/shared/runs") | {"source": {"model": "base-x4"}}
    content.pop("network")
    check_shared(make_experiment(content, "tiny"))


def test_the_job_gets_the_variables_named_and_the_endpoint_and_no_key_by_itself(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://server:9000")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    env = job_environment(["A=1=2", "AWS_REGION=us-east-1"])
    assert {**env, "RAY_JOB_STOP_WAIT_TIME_S": ""} == {
        "A": "1=2",
        "AWS_ENDPOINT_URL": "http://server:9000",
        "AWS_REGION": "us-east-1",
        "RAY_JOB_STOP_WAIT_TIME_S": "",
    }
    assert job_environment(["AWS_SECRET_ACCESS_KEY"])["AWS_SECRET_ACCESS_KEY"] == "secret"


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("=x", "--env takes NAME=VALUE"),
        ("a b=1", "--env takes NAME=VALUE"),
        ("NOT_SET_HERE", "--env NOT_SET_HERE takes this shell's value"),
        ("AWS_ENDPOINT_URL=http://me:pw@server", r"must hold no name and password, found 'http://\*\*\*@server'"),
    ],
)
def test_wrong_variables_are_refused(entry, sentence):
    with pytest.raises(UsageError, match=sentence):
        job_environment([entry])
