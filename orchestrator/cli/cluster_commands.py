"""`rayscale submit`, `status`, `logs` and `stop`, and `rayscale cluster`: experiments as jobs of a Ray cluster."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from orchestrator.cli.experiment_commands import ExperimentFile, Overrides, Trim
from orchestrator.cli.options import AsJson
from orchestrator.cli.output import print_json, wide_console
from orchestrator.foundation.quantities import duration
from orchestrator.runtime import stop_signals
from trainables.errors import UsageError, printable

if TYPE_CHECKING:
    from orchestrator.cluster_jobs.client import ClusterJobs, Job
    from orchestrator.pipeline.status import ExperimentStatus

Address = Annotated[
    str,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS",
        metavar="URL",
        help="Dashboard of the cluster's head; auto: this machine's Ray.",
    ),
]
JobName = Annotated[
    str, typer.Argument(metavar="JOB", help="Id of a job, or the name of its experiment, whose newest job is meant.")
]
_HEAD = "http://127.0.0.1:8265"
"""Address of Ray's dashboard on a head itself, and on a machine to which `ray dashboard` forwards it."""

cluster_app = typer.Typer(
    no_args_is_help=True,
    help="Files that set up a Ray cluster for an experiment.",
    epilog="Example: rayscale cluster render experiments/four-domains.yaml",
)


def submit(
    experiment: ExperimentFile,
    address: Address = _HEAD,
    overrides: Overrides = None,
    environment: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            metavar="NAME[=VALUE]",
            help="Environment variable of the job and its workers; without a value, this shell's. The S3 endpoint and "
            "region of this shell are passed on in any case. Whoever reaches the cluster can read it.",
        ),
    ] = None,
    trim: Trim = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the job's id and return at once.")] = False,
) -> None:
    """Runs an experiment as a job of a Ray cluster, and shows its progress; the job goes on without this command.

    The experiment and this version's code travel with the job. The exit code is that of the run.
    """
    from orchestrator.cluster_jobs.client import ClusterJobs
    from orchestrator.cluster_jobs.submit import check_submission
    from orchestrator.cluster_jobs.submit import submit as submitted

    checked = check_submission(experiment, overrides or [], environment or [], trim)
    jobs = ClusterJobs(address)
    job = submitted(jobs, checked)
    if no_wait:
        print(job.id)
        return
    print(f"Job {job.id} on {jobs.address}", file=sys.stderr, flush=True)
    _follow(jobs, job)


def status(
    place: Annotated[
        str | None,
        typer.Argument(metavar="EXPERIMENT", help="An experiment's YAML file, or its folder or s3:// prefix."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="URL", help="List the jobs of this cluster too, by its head's dashboard.")
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Shows which stages of an experiment have finished and whether a run of it is alive, here or anywhere.

    With --address, shows the jobs of a cluster: all of them, or those of the experiment.
    """
    from orchestrator.pipeline.status import experiment_status, home_named, is_file_name

    if place is None and address is None:
        raise UsageError("Name an experiment, or the dashboard of a cluster's head by --address, or both.")
    if overrides and (place is None or not is_file_name(place)):
        raise UsageError("--set changes the settings of an experiment's YAML file: name one, or remove it.")
    jobs = _jobs_of(address) if address is not None else []
    found = None
    if place is not None:
        home = home_named(place, overrides or [])
        jobs = [job for job in jobs if job.home == home.uri]
        # A job that has just been submitted has written nothing yet.
        found = experiment_status(home) if not jobs or home.child("experiment.json").exists() else None
    if as_json:
        listed = {} if address is None else {"jobs": [job.to_dict() for job in jobs]}
        print_json(({} if found is None else found.to_dict()) | listed)
        return
    if found is not None:
        _print_status(found)
    if address is not None:
        _print_jobs(jobs)


def logs(
    job: JobName,
    address: Address = _HEAD,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
) -> None:
    """Prints the output of a job; with --follow, the exit code is that of the run."""
    from orchestrator.cluster_jobs.client import ClusterJobs

    jobs = ClusterJobs(address)
    found = jobs.find(job)
    if follow:
        _follow(jobs, found)
    else:
        print(jobs.log(found.id), end="")


def stop(job: JobName, address: Address = _HEAD) -> None:
    """Ends a job, whose run first gets half a minute to end in good order; finished work is kept."""
    from orchestrator.cluster_jobs.client import ClusterJobs

    jobs = ClusterJobs(address)
    found = jobs.find(job)
    if found.ended:
        print(f"Job {found.id} had ended already: {found.status}.")
        return
    print(f"Job {found.id}: {jobs.stop(found.id).status}. `rayscale submit` goes on from what has finished.")


@cluster_app.command("render", epilog="Example: rayscale cluster render experiments/four-domains.yaml deploy-mine")
def cluster_render(
    experiment: ExperimentFile,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write the files.")] = Path(
        "deploy-rendered"
    ),
    overrides: Overrides = None,
    image: Annotated[
        str,
        typer.Option(help="Image of the nodes without its tag; the tags are VERSION-cpu and VERSION-cuda."),
    ] = "my-registry/rayscale",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Writes cluster.yaml (AWS) and two RayJobs (Kubernetes), with an experiment's bucket, workers and GPUs."""
    from orchestrator.cluster_jobs.render import render
    from orchestrator.experiment.load import load_experiment

    rendered = render(
        load_experiment(experiment, overrides or []), experiment, overrides or [], folder, image, overwrite
    )
    print(rendered.summary)
    for file in rendered.files:
        print(printable(f"{file}: written"))
    print("Next, after the edits that the files name:")
    print("\n".join(printable(f"  {command}") for command in rendered.next_commands[:-1]))
    print(f"or, on Kubernetes:\n  {printable(rendered.next_commands[-1])}")


def _follow(jobs: "ClusterJobs", job: "Job") -> None:
    """Prints a job's output until it ends, then ends with the exit code of its run."""
    try:
        ended = jobs.follow(job.id, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        number = stop_signals.received()
        print(
            f"\nThe job goes on. `rayscale logs {job.id} --follow --address {jobs.address}` shows its progress, and "
            f"`rayscale stop {job.id} --address {jobs.address}` ends it.",
            file=sys.stderr,
        )
        raise typer.Exit(130 if number is None else 128 + number) from None
    if ended.status != "SUCCEEDED":
        print(
            f"Job {ended.id}: {ended.status}. {ended.message.splitlines()[0] if ended.message else ''}", file=sys.stderr
        )
        raise typer.Exit(ended.exit_code or 1)


def _jobs_of(address: str) -> "list[Job]":
    from orchestrator.cluster_jobs.client import ClusterJobs

    return ClusterJobs(address).all()


def _print_status(found: "ExperimentStatus") -> None:
    table = Table("stage", "of", "status", "finished", "time", title=f"{found.experiment} → {found.home}")
    for stage in found.stages:
        state = f"{stage.state}, {stage.done}" if stage.done else stage.state
        took = "" if stage.seconds is None else duration(stage.seconds)
        table.add_row(stage.stage, stage.name, state, stage.finished_at, took)
    wide_console().print(table)
    print(found.sentence)


def _print_jobs(jobs: "list[Job]") -> None:
    if not jobs:
        print("The cluster has no job of an experiment.")
        return
    table = Table("job", "status", "began", "ended", "storage")
    for job in jobs:
        table.add_row(job.id, job.status, job.started_at, job.ended_at, job.home)
    wide_console().print(table)
