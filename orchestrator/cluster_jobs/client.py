"""Ray's job API on a cluster's head: submits, lists, follows and stops the jobs of experiments."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from ray.dashboard.modules.job.pydantic_models import JobDetails
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from trainables.errors import RunError, UsageError, reason_of, suggestion

EXPERIMENT, HOME, VERSION = "rayscale_experiment", "rayscale_home", "rayscale_version"
"""Keys of a job's metadata."""

PATIENCE_SECONDS = 300.0
"""Seconds for which a lost connection is tried again while a job's output is followed."""

START_SECONDS = 120.0
"""Seconds for which a head that has just started may refuse a job, before that is an error."""

RETRY_SECONDS = 2.0
"""Seconds between two attempts to reach a head or a job's output."""

_NOT_READY = "No available agent"
"""Part of the answer of a head whose agent, which starts jobs, has not started itself."""

_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_OVERRIDES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
"""Variables by which Ray replaces the address that its client was given."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a cluster.

    Attributes:
        id: Its id.
        experiment: Name of its experiment.
        home: Folder or prefix of the experiment's artefacts.
        version: Version of RayScale that it runs.
        status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        started_at: Time of its start, ISO 8601 in UTC; empty before.
        ended_at: The same of its end.
        exit_code: Exit code of its command; None before it ended, or if it never began.
        message: Ray's sentence about its status.
    """

    id: str
    experiment: str
    home: str
    version: str
    status: str
    started_at: str
    ended_at: str
    exit_code: int | None
    message: str

    @property
    def ended(self) -> bool:
        """True if it has ended, well or not."""
        return self.status in _ENDED

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON output."""
        return asdict(self)


class JobApi(Protocol):
    """The part of Ray's ``JobSubmissionClient`` that is used here."""

    def submit_job(
        self, *, entrypoint: str, submission_id: str, runtime_env: dict[str, Any], metadata: dict[str, str]
    ) -> str:
        """Submits a job; returns its id."""

    def list_jobs(self) -> list[JobDetails]:
        """All jobs of the cluster."""

    def get_job_logs(self, job_id: str) -> str:
        """The whole output of a job."""

    def tail_job_logs(self, job_id: str) -> Any:
        """An asynchronous iterator over a job's output, from its beginning to the job's end."""

    def stop_job(self, job_id: str) -> bool:
        """Requests a job to end."""


class ClusterJobs:
    """The experiments' jobs on one cluster.

    Args:
        address: URL of the head's dashboard, such as ``http://HOST:8265``; ``auto`` is the Ray on this machine.
        open_api: Opens the job API at an address.

    Raises:
        UsageError: If the address is none, no cluster answers there, or it refuses the token.
    """

    def __init__(self, address: str, open_api: "Callable[[str], JobApi] | None" = None) -> None:
        self.address = _url(address)
        with self._asked():
            self._api = (open_api or open_job_api)(self.address)

    def all(self) -> list[Job]:
        """The experiments' jobs, the newest first; jobs of other programs are left out."""
        with self._asked():
            found = self._api.list_jobs()
        jobs = [_job(details) for details in found if EXPERIMENT in (details.metadata or {})]
        return sorted(jobs, key=lambda job: job.started_at, reverse=True)

    def find(self, named: str) -> Job:
        """The job of this id, or the newest of the experiment of this name.

        Raises:
            UsageError: If there is none.
        """
        jobs = self.all()
        for job in jobs:
            if named in (job.id, job.experiment):
                return job
        known = [name for job in jobs for name in (job.id, job.experiment)]
        what = (
            f"The jobs there: {', '.join(job.id for job in jobs[:5])}." if jobs else "It has no job of an experiment."
        )
        raise UsageError(f"'{self.address}' has no job '{named}'. {what}{suggestion(named, known)}")

    def submit(
        self, job_id: str, entrypoint: str, folder: Path, env: Mapping[str, str], metadata: dict[str, str]
    ) -> Job:
        """Submits a command, with a folder that becomes its working folder on every node.

        Args:
            job_id: Id of the job, new on this cluster.
            entrypoint: The command, as a shell takes it.
            folder: Files that are packed and sent.
            env: Environment of the command and of all its workers.
            metadata: :data:`EXPERIMENT`, :data:`HOME` and :data:`VERSION`.
        """
        runtime_env = {"working_dir": str(folder), "env_vars": dict(env)}
        until = time.monotonic() + START_SECONDS
        with self._asked():
            while True:
                try:
                    self._api.submit_job(
                        entrypoint=entrypoint, submission_id=job_id, runtime_env=runtime_env, metadata=metadata
                    )
                    break
                except RuntimeError as error:
                    if _NOT_READY not in str(error) or time.monotonic() > until:
                        raise
                time.sleep(RETRY_SECONDS)
        return self.find(job_id)

    def log(self, job_id: str) -> str:
        """Output of a job so far."""
        with self._asked():
            return self._api.get_job_logs(job_id)

    def follow(self, job_id: str, write: Callable[[str], None]) -> Job:
        """Passes a job's output on until the job ends, over lost connections; returns the job.

        Raises:
            RunError: If the connection stays lost; the job is not touched.
        """
        written, last = 0, time.monotonic()

        async def tail() -> None:
            nonlocal written, last
            seen = 0
            async for text in self._api.tail_job_logs(job_id):
                last = time.monotonic()
                new = text[max(0, written - seen) :]  # a new connection begins with the first line again
                seen += len(text)
                if new:
                    write(new)
                    written = seen

        while True:
            try:
                asyncio.run(tail())
                job = self.find(job_id)
                last = time.monotonic()
                if job.ended:
                    return job
            except Exception as error:  # aiohttp's and Ray's own, which share no class
                if time.monotonic() - last > PATIENCE_SECONDS:
                    raise RunError(
                        f"The connection to '{self.address}' was lost ({reason_of(error).rstrip('.')}). The job goes "
                        f"on there; `rayscale logs {job_id} --follow --address {self.address}` follows it again."
                    ) from None
            time.sleep(RETRY_SECONDS)

    def stop(self, job_id: str, patience: float = 60.0) -> Job:
        """Asks a job to end, and waits until it has; it gets the time to end in good order first.

        Raises:
            RunError: If it still runs after ``patience`` seconds.
        """
        with self._asked():
            self._api.stop_job(job_id)
        until = time.monotonic() + patience
        while not (job := self.find(job_id)).ended:
            if time.monotonic() > until:
                raise RunError(
                    f"Job '{job_id}' still runs {patience:.0f} s after it was asked to stop; "
                    f"`rayscale status --address {self.address}` says when it has ended."
                )
            time.sleep(0.5)
        return job

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Turns the errors of a request into sentences."""
        try:
            yield
        except AuthenticationError as error:
            raise UsageError(self._refused(str(error))) from None
        except OSError as error:  # Ray's ConnectionError, and those of requests
            raise UsageError(
                f"No Ray cluster answers at '{self.address}' ({type(error).__name__}): name the dashboard of its head "
                "by --address, such as http://HOST:8265, or forward its port to this machine with "
                "`ray dashboard CLUSTER.yaml`."
            ) from None
        except (RuntimeError, ValueError) as error:
            raise RunError(f"The cluster at '{self.address}' did not do as asked: {_line(error)}.") from None

    def _refused(self, answer: str) -> str:
        found = "refuses the one it was given" if answer.startswith("Authentication failed") else "was given none"
        return (
            f"The Ray cluster at '{self.address}' asks for a token and {found}: set RAY_AUTH_TOKEN, or "
            "RAY_AUTH_TOKEN_PATH to a file that holds it; on the head, `ray get-auth-token` prints it."
        )


def open_job_api(url: str) -> JobApi:
    """Ray's own client, for exactly this URL and with the token that the environment names."""
    logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)  # it logs each upload
    hidden = {name: os.environ.pop(name) for name in _OVERRIDES if name in os.environ}
    try:
        return JobSubmissionClient(url, headers=_token_header())
    finally:
        os.environ.update(hidden)


def _token_header() -> dict[str, str] | None:
    """Header with the token of RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH; Ray itself reads them in token mode alone."""
    token, path = os.environ.get("RAY_AUTH_TOKEN", ""), os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    if not token and path:
        try:
            token = Path(path).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(
                f"The token in RAY_AUTH_TOKEN_PATH, '{path}', cannot be read: {reason_of(error)}."
            ) from None
    return {"Authorization": f"Bearer {token.strip()}"} if token.strip() else None


def _url(address: str) -> str:
    """The address as Ray's client takes it.

    Raises:
        UsageError: If it is of another kind.
    """
    scheme, separator, rest = address.strip().rstrip("/").partition("://")
    if not separator:
        return scheme if scheme == "auto" or not scheme else f"http://{scheme}"
    if scheme not in ("http", "https") or not rest:
        raise UsageError(
            f"--address must be the dashboard of a cluster's head, such as http://HOST:8265, found '{address}': jobs "
            "are submitted over HTTP."
        )
    return f"{scheme}://{rest}"


def _job(details: JobDetails) -> Job:
    metadata = details.metadata or {}
    return Job(
        id=details.submission_id or "",
        experiment=metadata[EXPERIMENT],
        home=metadata.get(HOME, ""),
        version=metadata.get(VERSION, ""),
        status=str(getattr(details.status, "value", details.status)),
        started_at=_time(details.start_time),
        ended_at=_time(details.end_time),
        exit_code=details.driver_exit_code,
        message=details.message or "",
    )


def _time(milliseconds: int | None) -> str:
    if not milliseconds:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:1]).rstrip(".")[:300] or type(error).__name__
