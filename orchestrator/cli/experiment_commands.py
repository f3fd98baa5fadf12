"""Commands on an experiment: `demo`, `run`, `plan`, the stages one by one, `report` and `analyze`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from orchestrator.cli.options import AsJson, BandNames, ChipSide, LogFile, SliceAxis, ValueRangeText, Verbose
from orchestrator.cli.output import counter, print_analysis, print_json, print_plan, print_report
from trainables.errors import PartlyDoneError, UsageError

if TYPE_CHECKING:  # imports at run time would slow every command down
    from orchestrator.estimate.plan import Plan
    from orchestrator.experiment.settings import Experiment
    from orchestrator.runtime.progress import Display

ExperimentFile = Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="The experiment file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Replaces a setting, e.g. targets.satellite.images=DIR. May be repeated."
    ),
]
Trim = Annotated[
    bool,
    typer.Option("--trim", help="Lower the trials per domain until the run fits the budget of the cluster section."),
]


def demo(
    storage: Annotated[str, typer.Option(help="Folder for samples and artefacts.")] = "runs",
    size: Annotated[str, typer.Option(help="standard or smallest.")] = "standard",
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Runs a whole experiment on generated samples: minutes, no download, no account."""
    from orchestrator.pipeline.demo import prepare_demo

    display = _display()
    experiment = prepare_demo(storage, size, display.log)
    _run(experiment, display)


def run(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    trim: Trim = False,
    as_json: AsJson = False,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Runs all stages up to the report; an interrupted run is continued."""
    _run(_loaded(experiment, overrides), _display(quiet=as_json), trim=trim, as_json=as_json)


def plan(experiment: ExperimentFile, overrides: Overrides = None, trim: Trim = False, as_json: AsJson = False) -> None:
    """Estimates the work, time and cost of a run, and names missing inputs; starts nothing.

    Finished work is not counted. Exit code 2 if the run exceeds cluster.budget_hours or cluster.budget_cost.
    """
    loaded = _loaded(experiment, overrides)
    from orchestrator.estimate.budget import check_trim, within_budget
    from orchestrator.estimate.plan import make_plan
    from orchestrator.pipeline.preflight import preflight

    check_trim(loaded, trim)
    inputs = preflight(loaded)
    asked = make_plan(loaded, inputs)
    try:
        allowed = within_budget(loaded, inputs, asked, trim)
    except UsageError:
        _print_plan(loaded, asked, "", as_json)
        raise
    _print_plan(allowed.experiment, allowed.plan, allowed.said, as_json)


def pretrain(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Builds the shards and trains the source model, then stops."""
    run_until("pretrain", experiment, overrides)


def search(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    domain: Annotated[
        str | None,
        typer.Option(help="Search this target alone; it can start from targets that were searched before."),
    ] = None,
    extend: Annotated[int | None, typer.Option(min=1, metavar="N", help="Add N trials to the finished search.")] = None,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Runs all stages up to the search, then stops.

    An extended search keeps its length in later runs, which confirm it again.
    """
    loaded = _loaded(experiment, overrides)
    from orchestrator.pipeline.extend_search import run_search
    from orchestrator.pipeline.preflight import preflight
    from orchestrator.pipeline.run import only_run_of

    inputs = preflight(loaded)
    with only_run_of(loaded):
        run_search(loaded, inputs, _display(), domain, extend)


def confirm(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Runs all stages up to the confirmation, then stops."""
    run_until("confirm", experiment, overrides)


def finish(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Runs all stages up to the finished models, then stops."""
    run_until("finish", experiment, overrides)


def report(experiment: ExperimentFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Shows the report of a finished experiment."""
    loaded = _loaded(experiment, overrides)
    from orchestrator.report.build import read_report

    print_report(read_report(loaded), loaded.home.child("report").uri, as_json)


def analyze(
    experiment: Annotated[
        Path | None,
        typer.Argument(metavar="EXPERIMENT.yaml", help="The experiment file, whose targets are analysed."),
    ] = None,
    overrides: Overrides = None,
    model: Annotated[
        str | None, typer.Option(help="Without an experiment: the source model, as in `rayscale evaluate`.")
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            help="Without an experiment: folder or s3:// prefix of HR images, with no test images among them."
        ),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Without an experiment: the search space, such as satellite-v2.")
    ] = None,
    scenes: Annotated[
        Literal["file", "folder"], typer.Option(help="Without an experiment: whether a scene is a file or a folder.")
    ] = "file",
    source_images: Annotated[
        str | None,
        typer.Option(help="Images of the source; by default the experiment's own, or generated natural ones."),
    ] = None,
    value_range: ValueRangeText = None,
    bands: BandNames = None,
    chip: ChipSide = 256,
    slice_axis: SliceAxis = 2,
    as_json: AsJson = False,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Measures the distances of target domains from the source, and advises settings for their search.

    With an experiment, runs all stages up to the source model first. Test images are not read.
    Without one, images of any depth and bands are read where a value range is stated.
    """
    from orchestrator.analysis.analyze import analyze_experiment, analyze_images
    from orchestrator.image_sets.deep_reading import CHIP, SLICE_AXIS, read_bands, read_value_range

    named = {"--model": model, "--images": images, "--space": space}
    given = [name for name, value in named.items() if value is not None]
    deep = {
        "--value-range": value_range is not None,
        "--bands": bands is not None,
        "--chip": chip != CHIP,
        "--slice-axis": slice_axis != SLICE_AXIS,
    }
    stated = [name for name, is_stated in deep.items() if is_stated]
    if experiment is not None and given + stated:
        raise UsageError(
            f"An experiment names its own model, images and spaces: remove {', '.join(given + stated)}, or the file."
        )
    if experiment is None and (len(given) < len(named) or overrides):
        missing = ", ".join(name for name in named if name not in given)
        raise UsageError(
            f"Name an experiment file, or all of --model, --images and --space; found {', '.join(given) or 'none'}"
            + (f", missing {missing}." if missing else " and --set, which changes an experiment.")
        )
    loaded = run_until("pretrain", experiment, overrides, quiet=as_json) if experiment else None
    with counter("analysed") as report_progress:
        if loaded is not None:
            analysis = analyze_experiment(loaded, source_images, report_progress)
        else:
            reading = read_value_range(value_range), read_bands(bands), chip, slice_axis
            analysis = analyze_images(
                model or "", images or "", space or "", scenes, source_images, report_progress, *reading
            )
    if as_json:
        print_json(analysis)
    else:
        print_analysis(analysis)


def run_until(stage: str, experiment: Path, overrides: list[str] | None, quiet: bool = False) -> "Experiment":
    """Runs an experiment up to a stage; returns it."""
    loaded, display = _loaded(experiment, overrides), _display(quiet)
    from orchestrator.pipeline.preflight import preflight
    from orchestrator.pipeline.run import only_run_of, run_experiment

    inputs = preflight(loaded)
    with only_run_of(loaded) as lock:
        run_experiment(loaded, inputs, display, until=stage, check=lock.check)
    return loaded


def _loaded(file: Path, overrides: list[str] | None) -> "Experiment":
    """The experiment of a file; what is wrong in it is said before PyTorch is imported, which takes seconds."""
    from orchestrator.experiment.load import load_experiment

    return load_experiment(file, overrides or [])


def _print_plan(experiment: "Experiment", estimate: "Plan", trimmed: str, as_json: bool) -> None:
    if as_json:
        print_json(estimate.to_dict() | {"trimmed": trimmed, "settings": experiment.dump()})
        return
    print_plan(experiment, estimate)
    if trimmed:
        print(f"{trimmed[0].upper()}{trimmed[1:]}.")


def _run(experiment: "Experiment", display: "Display", trim: bool = False, as_json: bool = False) -> None:
    from orchestrator.estimate.budget import fit_budget
    from orchestrator.pipeline.preflight import preflight
    from orchestrator.pipeline.run import only_run_of, run_experiment
    from orchestrator.report.build import read_report

    inputs = preflight(experiment)
    with only_run_of(experiment) as lock:
        experiment = fit_budget(experiment, inputs, trim, display.log)
        try:
            run_experiment(experiment, inputs, display, check=lock.check)
        except PartlyDoneError:
            print_report(read_report(experiment), experiment.home.child("report").uri, as_json)
            raise
    print_report(read_report(experiment), experiment.home.child("report").uri, as_json)


def _display(quiet: bool = False) -> "Display":
    from orchestrator.runtime.progress import Display

    return Display(Console(stderr=quiet))
