"""Ray's job API behind sentences: what is asked of it, and what is made of its answers."""

import os
from types import SimpleNamespace

import pytest
from ray.exceptions import AuthenticationError

from orchestrator.cluster_jobs import client
from orchestrator.cluster_jobs.client import EXPERIMENT, HOME, VERSION, ClusterJobs
from trainables.errors import RunError, UsageError

HEAD = "http://head:8265"


class FakeApi:
    """A cluster's jobs in memory; `faults` are raised by the next calls, `outputs` given to those who tail."""

    def __init__(self):
        self.jobs, self.faults, self.outputs, self.stopped = [], [], [], []

    def add(self, name, status="RUNNING", at=1, **changes):
        metadata = {EXPERIMENT: name.rpartition("-")[0], HOME: f"s3://bucket/{name}", VERSION: "1"}
        facts = {
            "metadata": metadata,
            "message": "",
            "start_time": at * 1000,
            "end_time": None,
            "driver_exit_code": None,
        }
        self.jobs.append(SimpleNamespace(submission_id=name, status=status, **facts | changes))
        return self.jobs[-1]

    def _answer(self):
        if self.faults:
            raise self.faults.pop(0)

    def list_jobs(self):
        self._answer()
        return self.jobs

    def submit_job(self, *, entrypoint, submission_id, runtime_env, metadata):
        self._answer()
        self.add(submission_id, metadata=metadata, entrypoint=entrypoint, runtime_env=runtime_env)

    def get_job_logs(self, job_id):
        self._answer()
        return f"output of {job_id}"

    async def tail_job_logs(self, job_id):
        for text in self.outputs.pop(0):
            if isinstance(text, Exception):
                raise text
            yield text

    def stop_job(self, job_id):
        self.stopped.append(job_id)
        return True


@pytest.fixture
def api():
    return FakeApi()


@pytest.fixture
def jobs(api, monkeypatch):
    monkeypatch.setattr(client, "RETRY_SECONDS", 0)
    return ClusterJobs(HEAD, lambda url: api)


def test_jobs_are_listed_newest_first_without_those_of_other_programs(api, jobs):
    api.add("a-1", at=1)
    api.add("b-1", at=2)
    api.add("x-1", metadata=None)
    assert [job.id for job in jobs.all()] == ["b-1", "a-1"]
    assert jobs.all()[1].started_at == "1970-01-01T00:00:01+00:00"


def test_a_job_is_found_by_its_id_and_the_newest_one_by_its_experiment(api, jobs):
    api.add("four-domains-1", "FAILED", at=1)
    api.add("four-domains-2", at=2)
    assert jobs.find("four-domains-1").ended
    assert jobs.find("four-domains").id == "four-domains-2"
    with pytest.raises(UsageError, match=r"has no job 'four-domain'\. The jobs there: four-domains-2, .*Did you mean"):
        jobs.find("four-domain")


def test_output_is_followed_over_a_lost_connection_and_no_line_is_shown_twice(api, jobs):
    job = api.add("a-1")
    api.outputs = [["one\n", "two\n", ConnectionResetError()], ["one\ntwo\n"], ["one\n", "two\nthree\n"]]
    shown = []

    def write(text):
        shown.append(text)
        if "three" in text:
            job.status, job.driver_exit_code = "FAILED", 2

    ended = jobs.follow("a-1", write)
    assert "".join(shown) == "one\ntwo\nthree\n"
    assert (ended.status, ended.exit_code) == ("FAILED", 2)


def test_a_connection_that_stays_lost_is_said_with_the_command_that_goes_on(api, jobs, monkeypatch):
    api.add("a-1")
    monkeypatch.setattr(client, "PATIENCE_SECONDS", -1)
    api.outputs = [[ConnectionResetError("gone")]]
    with pytest.raises(RunError, match=rf"The job goes on there; `rayscale logs a-1 --follow --address {HEAD}`"):
        jobs.follow("a-1", print)


def test_stopping_waits_for_the_end(api, jobs):
    job = api.add("a-1", "RUNNING")
    with pytest.raises(RunError, match="still runs 0 s after"):
        jobs.stop("a-1", patience=0)
    job.status = "STOPPED"
    assert jobs.stop("a-1").status == "STOPPED"
    assert api.stopped == ["a-1", "a-1"]


def test_a_head_that_has_just_started_is_waited_for(api, jobs, tmp_path, monkeypatch):
    busy = "Request failed with status code 500: No available agent to submit job, please try again later."
    metadata = {EXPERIMENT: "a", HOME: "s3://bucket/a", VERSION: "1"}
    api.faults = [RuntimeError(busy), RuntimeError(busy)]
    job = jobs.submit("a-1", "command", tmp_path, {"KEY": "value"}, metadata)
    assert (job.id, job.home) == ("a-1", "s3://bucket/a")
    assert api.jobs[0].runtime_env == {"working_dir": str(tmp_path), "env_vars": {"KEY": "value"}}
    monkeypatch.setattr(client, "START_SECONDS", -1)
    api.faults = [RuntimeError(busy)]
    with pytest.raises(RunError, match="No available agent"):
        jobs.submit("a-2", "command", tmp_path, {}, metadata)


@pytest.mark.parametrize(
    ("fault", "kind", "sentence"),
    [
        (AuthenticationError("Authentication required: x\n\nmore"), UsageError, "asks for a token and was given none"),
        (AuthenticationError("Authentication failed: x\n\nmore"), UsageError, "asks for a token and refuses the one"),
        (ConnectionError("refused"), UsageError, "No Ray cluster answers at"),
        (RuntimeError("status code 500\nTraceback"), RunError, r"did not do as asked: status code 500\.$"),
    ],
)
def test_each_fault_of_the_api_is_a_sentence(api, jobs, fault, kind, sentence):
    api.faults = [fault]
    with pytest.raises(kind, match=sentence) as raised:
        jobs.log("a-1")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "url"),
    [("head:8265", HEAD), (HEAD + "/", HEAD), ("https://x/ray", "https://x/ray"), ("auto", "auto")],
)
def test_addresses(given, url):
    assert ClusterJobs(given, lambda url: FakeApi()).address == url


def test_an_address_that_is_no_dashboard_is_refused():
    with pytest.raises(UsageError, match=r"found 'ray://head:10001'"):
        ClusterJobs("ray://head:10001", lambda url: FakeApi())


def test_ray_gets_the_address_given_and_the_token_of_the_environment(monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr(
        client, "JobSubmissionClient", lambda *given, **named: opened.append((given, named, dict(os.environ)))
    )
    monkeypatch.setenv("RAY_ADDRESS", "http://another:8265")
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    ClusterJobs(HEAD)
    (address,), named, environment = opened[0]
    assert address == HEAD
    assert named == {"headers": {"Authorization": "Bearer secret"}}
    assert "RAY_ADDRESS" not in environment
    assert os.environ["RAY_ADDRESS"] == "http://another:8265"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"RAY_AUTH_TOKEN_PATH, '.*none', cannot be read"):
        ClusterJobs(HEAD)


def test_no_server_is_one_sentence():
    with pytest.raises(UsageError, match=r"^No Ray cluster answers at 'http://127\.0\.0\.1:9'"):
        ClusterJobs("http://127.0.0.1:9")
