"""Submission of an experiment: its file and this version's code travel with the job."""

import os
import re
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orchestrator
import search_spaces
import trainables
from orchestrator.cluster_jobs.client import EXPERIMENT, HOME, VERSION, ClusterJobs, Job
from orchestrator.experiment.image_settings import ImagePairs, ImageSet, PairFolders, SourceModel, Target, folder_of
from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.buckets import s3_settings
from trainables.errors import UsageError, without_secrets
from trainables.version import __version__

STOP_SECONDS = 30
"""Seconds that a stopped job has to end in good order."""

_PACKAGES = (orchestrator, search_spaces, trainables)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Submission:
    """An experiment that has been checked for a cluster.

    Attributes:
        file: The experiment file.
        experiment: Its experiment.
        overrides: Settings that replace the file's, as ``key=value``.
        environment: Variables of the job and its workers.
        trim: Whether trials are lowered to fit the budget.
    """

    file: Path
    experiment: Experiment
    overrides: tuple[str, ...]
    environment: Mapping[str, str]
    trim: bool


def check_submission(
    file: Path, overrides: Sequence[str] = (), environment: Sequence[str] = (), trim: bool = False
) -> Submission:
    """Checks all that can be checked before a cluster is asked.

    Args:
        file: The experiment file.
        overrides: Settings that replace the file's, as ``key=value``.
        environment: Variables of the job and its workers, as ``NAME=VALUE``, or as ``NAME`` with this shell's value.
        trim: Whether trials are lowered to fit the budget.

    Raises:
        UsageError: If a setting or a variable is wrong, or a place is one of this machine alone.
    """
    experiment = load_experiment(file, overrides)
    check_shared(experiment)
    return Submission(file, experiment, tuple(overrides), job_environment(environment), trim)


def submit(jobs: ClusterJobs, submission: Submission) -> Job:
    """Submits an experiment, to be run as `rayscale run` does.

    Nodes need Ray and the packages that RayScale depends on, and no RayScale of their own: the packages of this version
    are the job's working folder, which comes before anything installed.

    Args:
        jobs: The cluster.
        submission: From :func:`check_submission`.

    Raises:
        UsageError: If a job runs this experiment already.
    """
    experiment = submission.experiment
    for job in jobs.all():
        if job.home == experiment.home.uri and not job.ended:
            raise UsageError(
                f"Job '{job.id}' runs experiment '{experiment.name}' already: `rayscale logs {job.id} --follow` shows "
                f"its progress, and `rayscale stop {job.id}` ends it."
            )
    settings = as_options([*submission.overrides, "cluster.address=auto"])
    command = ["python", "-m", "orchestrator.cli.app", "run", submission.file.name, *settings]
    command += ["--trim"] if submission.trim else []
    job_id = f"{experiment.name}-{secrets.token_hex(3)}"
    metadata = {EXPERIMENT: experiment.name, HOME: experiment.home.uri, VERSION: __version__}
    with packed(submission.file) as folder:
        return jobs.submit(job_id, shlex.join(command), folder, submission.environment, metadata)


def as_options(settings: Sequence[str]) -> list[str]:
    """Settings of the form ``key=value`` as options of a command."""
    return [part for setting in settings for part in ("--set", setting)]


@contextmanager
def packed(file: Path) -> Iterator[Path]:
    """A temporary folder with the packages of this version and an experiment file."""
    with tempfile.TemporaryDirectory(prefix="rayscale-job-") as temporary:
        folder = Path(temporary)
        for package in _PACKAGES:
            source = Path(str(package.__file__)).parent
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copyfile(file, folder / file.name)
        yield folder


def check_shared(experiment: Experiment) -> None:
    """Checks that every place of an experiment means the same on all nodes.

    Raises:
        UsageError: If one is a relative folder, which is this machine's own.
    """
    alone = [f"{setting} '{place}'" for setting, place in _places(experiment) if _is_relative(place)]
    if alone:
        raise UsageError(
            f"The nodes of a cluster cannot find {', '.join(alone)} of this machine: name s3://bucket/prefix, or the "
            "absolute path of a folder that all nodes share, in the experiment or by --set."
        )


def job_environment(environment: Sequence[str]) -> dict[str, str]:
    """Environment of a job: what the user names, and this shell's S3 endpoint and region.

    Raises:
        UsageError: If a variable has no name, or is not set in this shell.
    """
    env = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
    env |= s3_settings.for_workers()  # no credentials
    for entry in environment:
        name, separator, value = entry.partition("=")
        if not _NAME.fullmatch(name):
            raise UsageError(f"--env takes NAME=VALUE, or the NAME of a variable of this shell, found '{entry}'.")
        if not separator and name not in os.environ:
            raise UsageError(f"--env {name} takes this shell's value, and the variable is not set here.")
        env[name] = value if separator else os.environ[name]
    _check_endpoints(env)
    return env


def _check_endpoints(env: Mapping[str, str]) -> None:
    for name in s3_settings.ENDPOINTS:
        if "@" in env.get(name, ""):
            raise UsageError(
                f"{name} must hold no name and password, found '{without_secrets(env[name])}': a job's settings show "
                "it. Write http://host:port."
            )


def _places(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """Every place that an experiment names, by its setting; images and tables below a shared root are left out."""
    yield "storage", experiment.storage
    for place in experiment.search.starts_from:
        yield "search.starts_from", place
    if isinstance(experiment.source, SourceModel) and "/" in experiment.source.model:
        yield "source.model", experiment.source.model
    if not _is_relative(experiment.root):
        return
    sets: dict[str, ImageSet] = {f"targets.{name}": target for name, target in experiment.targets.items()}
    if isinstance(experiment.source, ImageSet):
        sets["source"] = experiment.source
    for name, images in sets.items():
        for place in _image_places(images):
            yield f"{name}.images", place if experiment.root == "." else f"{experiment.root}/{place}"


def _image_places(images: ImageSet) -> Iterator[str]:
    given: list[str | PairFolders | ImagePairs | None] = [images.images]
    if isinstance(images, Target):
        given.append(images.test_images)
    for entry in given:
        if entry is not None:
            places = [folder_of(entry), *([entry.lr] if isinstance(entry, PairFolders) else [])]
            yield from (place for place in places if _is_relative(place))


def _is_relative(place: str) -> bool:
    return "://" not in place and not Path(place).is_absolute()
