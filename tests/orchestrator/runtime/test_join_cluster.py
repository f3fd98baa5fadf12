"""A real cluster with a token is joined as a user joins it, by another process; what it prints is all that is seen."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.cluster

TOKEN = "0123456789abcdef" * 4
JOIN = """
import sys
from orchestrator.experiment.settings import Cluster
from orchestrator.foundation.error_sentence import sentence_of
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.node_check import check_nodes
from orchestrator.runtime.on_ray.ray_session import connect

try:
    with connect(Cluster(address=sys.argv[1])) as runner:
        check_nodes(runner, Storage.at(sys.argv[2]), needs_gpus=True)
        print("can work")
except Exception as error:
    print(sentence_of(error))
"""


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A head with a token, one CPU and a GPU that is a number only."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("head")
    start = ["start", "--head", "--block", f"--port={port}", "--num-cpus=1", "--num-gpus=1", "--disable-usage-stats"]
    start += ["--include-dashboard=false", "--node-ip-address=127.0.0.1", "--object-store-memory=100000000"]
    start += [f"--temp-dir=/tmp/rs-{port}"]
    log = folder / "log"
    process = _started(start, log) or _started(start, log)  # Ray gives its node 30 s, too few on a busy machine
    assert process is not None, log.read_text()
    yield f"127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def _started(start, log):
    """The process of a head that is up; None if it ended before."""
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", *start],
            env=os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN},
            stdout=lines,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    until = time.monotonic() + 300
    while b"--block" not in log.read_bytes() and time.monotonic() < until:
        if process.poll() is not None:
            return None
        time.sleep(0.5)
    return process


def join(address, home, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | variables
    done = subprocess.run(
        [sys.executable, "-c", JOIN, address, str(home)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=True,
    )
    return done.stdout.strip(), done.stderr.strip()


def test_a_missing_and_a_wrong_token_are_one_sentence(head, tmp_path):
    printed, beside = join(head, tmp_path)
    assert printed == (
        f"The Ray cluster at '{head}' asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
        "RAY_AUTH_TOKEN_PATH to the token of its head."
    )
    assert beside == ""
    printed, beside = join(head, tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="f" * 64)
    assert (
        printed == f"The Ray cluster at '{head}' refuses the token in RAY_AUTH_TOKEN: set it to the token of its head."
    )
    assert beside == ""


def test_with_the_token_inside_of_a_job_it_is_joined_and_described_and_its_nodes_are_checked(head, tmp_path):
    job = {"runtime_env": {"env_vars": {"AWS_REGION": "here", "AWS_ENDPOINT_URL": "http://s3:9000"}}, "metadata": {}}
    variables = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "AWS_REGION": "here",
        "AWS_ENDPOINT_URL": "http://s3:9000",
        "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    printed, beside = join(head, tmp_path, **variables, RAYSCALE_LOGICAL_GPUS="1")
    assert printed == "can work"
    port = head.rpartition(":")[2]  # Ray names the host by another of its addresses
    assert re.fullmatch(
        rf"Joined the Ray cluster at [0-9.]+:{port} \(session_\S+, Ray [0-9.]+\): 1 node, 1 CPU and 1 GPU\.", beside
    )
    printed, _ = join(head, tmp_path, **variables)
    assert re.match(r"Node [0-9.]+ \([0-9a-f]{8}\) claims 1 GPU, but PyTorch sees 0 there: ", printed)
    assert list(tmp_path.iterdir()) == []
