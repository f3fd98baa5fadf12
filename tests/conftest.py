"""What every test starts from: a clean environment, one thread, and real services when it asks for them."""

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

# For what reads the environment before any fixture runs: imports, and Ray's workers.
QUIET = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "MPLBACKEND": "Agg",
    "RAY_agent_register_timeout_ms": "300000",  # a raylet on a busy machine would end itself after 30 s
}
MARKER_OF_FIXTURE = {"ray_session": "cluster", "s3_bucket": "s3"}


def pytest_configure() -> None:
    os.environ.update(QUIET)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks a test by the service it uses, so that a forgotten marker cannot start one in a quick run."""
    for item in items:
        for fixture in MARKER_OF_FIXTURE.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(MARKER_OF_FIXTURE[fixture])


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Ray's workers share the cores with the test process."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_torch_thread_again() -> Iterator[None]:
    """Tasks set the threads of their process, which in these tests is the next test's too."""
    import torch

    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def clean_environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own settings and credentials reach no test, save an S3 server's the tests marked s3."""
    foreign = ("RAYSCALE_",) if request.node.get_closest_marker("s3") else ("RAYSCALE_", "AWS_")
    for name in [name for name in os.environ if name.startswith(foreign)]:
        monkeypatch.delenv(name)
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def rayscale(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Any, str, str]]:
    """Runs a command in this process; gives its exit code, output and error output."""
    from orchestrator.cli import app as cli

    def run(*arguments: object) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["rayscale", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def s3_bucket() -> str:
    """A fresh bucket on the S3 server in AWS_ENDPOINT_URL, as 's3://bucket'."""
    if not os.environ.get("AWS_ENDPOINT_URL"):
        pytest.fail(
            'No S3 server: run `make test-s3`, or eval "$(tests/services/start-s3.sh .services/s3)" first.',
            pytrace=False,
        )
    import boto3

    bucket = f"rayscale-test-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}"


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One real Ray instance of two cores for all tests marked cluster."""
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.1"  # 2 s by default, paid at every start and stop
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=300 * 2**20,
    )
    yield
    ray.shutdown()
