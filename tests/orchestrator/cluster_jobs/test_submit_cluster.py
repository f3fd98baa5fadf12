"""Experiments as jobs of a real head that asks for a token: submit, status, logs, stop, and a client that is killed."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_experiment import settings, write_experiment, write_images

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

_HEAD = """
import functools, sys, ray
from ray._private import parameter

# Jobs need the agent's server: at its default port it does not start where another Ray is on this machine.
parameter.RayParams = functools.partial(parameter.RayParams, dashboard_agent_listen_port=0)
context = ray.init(address="local", num_cpus=3, include_dashboard=True, dashboard_port=0, log_to_driver=False,
                   object_store_memory=200 * 2**20, _temp_dir=sys.argv[1])
print(context.dashboard_url, flush=True)
sys.stdin.read()
"""
STALE = "raise SystemExit('a copy that lies on the node was used')"
FEW = {"trials": 1, "startup_trials": 1, "validation_images": 1, "starts": ["default"]}


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A Ray with a dashboard and a token, whose nodes have an unusable RayScale of their own: (address, token)."""
    stale = tmp_path_factory.mktemp("stale")
    for package in ("orchestrator", "trainables", "search_spaces"):
        (stale / package).mkdir()
        (stale / package / "__init__.py").write_text(STALE)
    token = secrets.token_hex(32)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY"))}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "PYTHONPATH": str(stale)}
    environment |= {"AWS_EC2_METADATA_DISABLED": "true", "RAY_agent_register_timeout_ms": "300000"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    folder = f"/tmp/rayscale-{secrets.token_hex(3)}"  # short: the paths of Ray's sockets are limited
    command = [sys.executable, "-c", _HEAD, folder]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield f"http://{process.stdout.readline().strip()}", token
    process.stdin.close()
    process.wait(timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def rayscale(head, tmp_path):
    """Runs a command as a process with the token; gives it back while it runs."""

    def start(*arguments, token=head[1], **more):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment |= {"RAY_API_SERVER_ADDRESS": head[0], "RAY_AUTH_TOKEN": token} | more
        command = [sys.executable, "-m", "orchestrator.cli.app", *map(str, arguments)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def ended(process):
    """Exit code, output and errors of a command."""
    output, errors = process.communicate(timeout=400)
    return process.returncode, output, errors


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


def experiment(folder, images, name, **search):
    content = settings(str(images), str(folder / "runs"), name=name, search=FEW | search, confirmation={"seeds": 1})
    content |= {"source": {"model": "base-x4"}, "targets": {"medical": content["targets"]["medical"]}}
    content.pop("network")
    return write_experiment(folder / f"{name}.yaml", content)


def test_a_job_outlives_its_client_and_is_found_again(head, rayscale, images, tmp_path):
    file = experiment(tmp_path, images, "outlives")
    client = rayscale("submit", file)
    assert client.stdout.readline(), ended(client)  # it shows the run's progress
    client.send_signal(signal.SIGKILL)
    client.wait()

    code, listed, errors = ended(rayscale("status", file, "--address", head[0], "--json"))
    assert code == 0, errors
    (job,) = json.loads(listed)["jobs"]
    assert job["status"] in ("PENDING", "RUNNING")

    code, output, errors = ended(rayscale("logs", "outlives", "--follow"))
    assert code == 0, output + errors
    assert "search medical: done, 1 trials" in output
    code, output, errors = ended(rayscale("status", file))
    assert code == 0
    assert "Finished" in output
    assert (tmp_path / "runs" / "outlives" / "report" / "report.json").exists()


def test_a_job_is_stopped_and_submitted_again(head, rayscale, images, tmp_path):
    file = experiment(tmp_path, images, "stopped", trials=50)
    code, job_id, errors = ended(rayscale("submit", file, "--no-wait"))
    assert code == 0, errors
    code, _, errors = ended(rayscale("submit", file, "--no-wait"))
    assert code == 2
    assert f"Job '{job_id.strip()}' runs experiment 'stopped' already" in errors

    until = time.monotonic() + 200
    while not list(tmp_path.glob("runs/stopped/search/medical/*/0000.json")):
        assert time.monotonic() < until, ended(rayscale("logs", "stopped"))
        time.sleep(1)
    code, output, errors = ended(rayscale("stop", "stopped"))
    assert code == 0, errors
    assert "STOPPED" in output
    assert "Not running" in ended(rayscale("status", file))[1]
    assert "Stopped by SIGTERM. What had finished is kept" in ended(rayscale("logs", "stopped"))[1]


def test_a_failed_run_gives_its_exit_code_and_its_sentence(rayscale, images, tmp_path):
    file = experiment(tmp_path, tmp_path / "no images", "fails")
    code, output, _ = ended(rayscale("submit", file))
    assert code == 2
    assert "There is no folder" in output


@pytest.mark.parametrize(("token", "found"), [("", "was given none"), ("wrong" * 10, "refuses the one it was given")])
def test_a_head_that_asks_for_a_token_is_one_sentence(rayscale, tmp_path, token, found):
    code, output, errors = ended(rayscale("logs", "any", token=token, HOME=str(tmp_path)))
    assert code == 2
    assert found in errors
    assert errors.count("\n") == 1
    assert "RAY_AUTH_TOKEN" in errors
    assert output == ""


def test_aws_variables_of_the_job_do_not_clash_with_those_of_the_run(rayscale, images, tmp_path):
    file = experiment(tmp_path, images, "settings")
    variables = ("--env", "AWS_REGION=eu-central-1", "--env", "AWS_ENDPOINT_URL=http://127.0.0.1:9")
    code, output, errors = ended(rayscale("submit", file, *variables))
    assert code == 0, output + errors
