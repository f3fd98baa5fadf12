"""The command line. Exit codes: 0 done, 1 failed while running, 2 wrong usage, 128 + number stopped by a signal.

130 is Ctrl-C, 143 SIGTERM, 129 SIGHUP; 141 that nobody read all of the output.
"""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from orchestrator.cli.init_command import init
from orchestrator.cli.model_commands import adapt, evaluate
from orchestrator.cli.options import AsJson, LogFile, Verbose
from orchestrator.cli.output import (
    counter,
    print_analysis,
    print_json,
    print_plan,
    print_report,
    print_shards,
)
from orchestrator.cli.upscale_command import upscale
from orchestrator.cli.verify_command import verify
from orchestrator.runtime import stop_signals, terminal
from trainables.errors import PartlyDoneError, UsageError
from trainables.version import __version__

if TYPE_CHECKING:  # else each command would wait for what the others need
    from contextlib import AbstractContextManager

    from orchestrator.estimate.plan import Plan
    from orchestrator.experiment.settings import Experiment
    from orchestrator.foundation.run_lock import RunLock
    from orchestrator.runtime.progress import Display

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Finds the best super-resolution transfer configuration for your kind of image, and says how it knows.",
    epilog="Example: rayscale demo",
)
_INTERRUPTED = 130
"""What Typer returns where Ctrl-C was pressed."""
_BROKEN_PIPE = 128 + signal.SIGPIPE

shards_app = typer.Typer(
    no_args_is_help=True,
    help="Build, verify and show shards.",
    epilog="Example: rayscale shards info runs/demo/shards/satellite",
)
app.add_typer(shards_app, name="shards")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


ExperimentFile = Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="The experiment file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replaces a setting, e.g. targets.satellite.images=DIR."),
]
Trim = Annotated[
    bool, typer.Option("--trim", help="Lower the trials per domain until the run fits cluster.budget_hours and -cost.")
]


@app.command(epilog="Example: rayscale demo")
def demo(
    storage: Annotated[str, typer.Option(help="Folder for samples and artefacts.")] = "runs",
    size: Annotated[str, typer.Option(help="standard or smallest.")] = "standard",
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """The whole story on generated samples: minutes, no download, no account."""
    from orchestrator.pipeline.demo import prepare_demo

    display = _display()
    experiment = prepare_demo(storage, size, display.say)
    _run(experiment, display)


@app.command(epilog="Example: rayscale run experiments/four-domains.yaml --set search.trials=12")
def run(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    trim: Trim = False,
    as_json: AsJson = False,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Runs everything, and goes on where an interrupted run was."""
    from orchestrator.experiment.load import load_experiment

    _run(load_experiment(experiment, overrides or []), _display(quiet=as_json), trim=trim, as_json=as_json)


@app.command(epilog="Example: rayscale plan experiments/four-domains.yaml")
def plan(experiment: ExperimentFile, overrides: Overrides = None, trim: Trim = False, as_json: AsJson = False) -> None:
    """Says what would run, how long it would take, what it would cost and what is missing; starts nothing.

    What is finished already is not counted. Exit code 2 if it is more than cluster.budget_hours or -cost allow.
    """
    from orchestrator.estimate.budget import check_trim, within_budget
    from orchestrator.estimate.plan import make_plan
    from orchestrator.experiment.load import load_experiment
    from orchestrator.pipeline.preflight import preflight

    loaded = load_experiment(experiment, overrides or [])
    check_trim(loaded, trim)
    inputs = preflight(loaded)
    asked = make_plan(loaded, inputs)
    try:
        allowed = within_budget(loaded, inputs, asked, trim)
    except UsageError:
        _print_plan(loaded, asked, "", as_json)
        raise
    _print_plan(allowed.experiment, allowed.plan, allowed.said, as_json)


@app.command(epilog="Example: rayscale pretrain experiments/four-domains.yaml")
def pretrain(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Builds the shards and trains the source model, then stops."""
    _run_until("pretrain", experiment, overrides)


@app.command(epilog="Example: rayscale search experiments/four-domains.yaml --domain satellite --extend 12")
def search(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    domain: Annotated[
        str | None, typer.Option(help="Search this target alone; those searched before become its siblings.")
    ] = None,
    extend: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Go on with the finished search for so many more trials.")
    ] = None,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Runs all up to the search, then stops.

    A search that was extended stays so long in every later run, whose confirmation is done again.
    """
    from orchestrator.experiment.load import load_experiment
    from orchestrator.pipeline.extend_search import run_search
    from orchestrator.pipeline.preflight import preflight

    loaded = load_experiment(experiment, overrides or [])
    inputs = preflight(loaded)
    with _alone(loaded):
        run_search(loaded, inputs, _display(), domain, extend)


@app.command(epilog="Example: rayscale confirm experiments/four-domains.yaml")
def confirm(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Runs all up to the confirmation, then stops."""
    _run_until("confirm", experiment, overrides)


@app.command(epilog="Example: rayscale report experiments/four-domains.yaml --json")
def report(experiment: ExperimentFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Shows the report of a finished experiment."""
    from orchestrator.experiment.load import load_experiment
    from orchestrator.report.build import read_report

    loaded = load_experiment(experiment, overrides or [])
    if loaded.home.remote:
        loaded.home.check_readable()
    print_report(read_report(loaded), loaded.home.child("report").uri, as_json)


app.command(epilog="Example: rayscale upscale s3://my-bucket/scenes s3://my-bucket/upscaled --model base-x4")(upscale)
app.command(epilog="Example: rayscale evaluate --model base-x4 --images Set5 --images Set14")(evaluate)
app.command(epilog="Example: rayscale adapt camera-frames models/camera --model base-x4 --space surveillance")(adapt)
app.command(epilog="Example: rayscale verify runs/four-domains")(verify)
app.command(epilog="Example: rayscale init")(init)


@app.command(epilog="Example: rayscale analyze --model base-x4 --images tiles --space satellite-v2")
def analyze(
    experiment: Annotated[
        Path | None,
        typer.Argument(metavar="[EXPERIMENT.yaml]", help="The experiment file, whose targets are analysed."),
    ] = None,
    overrides: Overrides = None,
    model: Annotated[
        str | None, typer.Option(help="Without an experiment: the source model, as of `rayscale evaluate`.")
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
        Literal["file", "folder"], typer.Option(help="Without an experiment: what an image's scene is.")
    ] = "file",
    source_images: Annotated[
        str | None,
        typer.Option(help="Images to take for the source's; else the experiment's own, or generated natural ones."),
    ] = None,
    as_json: AsJson = False,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Measures how far target domains lie from the source, and what that suggests for their search.

    With an experiment, runs all up to the source model first. Training and validation images alone are read.
    """
    from orchestrator.analysis.analyze import analyze_experiment, analyze_images

    named = {"--model": model, "--images": images, "--space": space}
    given = [name for name, value in named.items() if value is not None]
    if experiment is not None and given:
        raise UsageError(
            f"An experiment names its own model, images and spaces: remove {', '.join(given)}, or the file."
        )
    if experiment is None and (len(given) < len(named) or overrides):
        missing = ", ".join(name for name in named if name not in given)
        raise UsageError(
            f"Name an experiment file, or all of --model, --images and --space; found {', '.join(given) or 'none'}"
            + (f", missing {missing}." if missing else " and --set, which changes an experiment.")
        )
    loaded = _run_until("pretrain", experiment, overrides, quiet=as_json) if experiment else None
    with counter("analysed") as tell:
        if loaded is not None:
            told = analyze_experiment(loaded, source_images, tell)
        else:
            told = analyze_images(model or "", images or "", space or "", scenes, source_images, tell)
    if as_json:
        print_json(told)
    else:
        print_analysis(told)


@shards_app.command("build", epilog="Example: rayscale shards build experiments/four-domains.yaml")
def shards_build(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Packs the images of all domains into shards, then stops."""
    _run_until("shards", experiment, overrides)


@shards_app.command("verify", epilog="Example: rayscale shards verify runs/demo/shards/satellite")
def shards_verify(place: str) -> None:
    """Reads shards again and compares every byte with the manifest; exit 1 if anything differs.

    Of an experiment's domain, the locked test split is compared too; nothing is scored.
    """
    from orchestrator.data.locked_test import locked_beside
    from orchestrator.data.shard_verify import verify_shards
    from orchestrator.data.shards import read_manifest
    from orchestrator.foundation.storage import Storage

    shards = Storage.at(place)
    shards.check_readable()
    locked = locked_beside(shards)
    every = [shards, locked] if locked else [shards]
    problems = verify_shards(*every)
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(1)
    print(f"{sum(sum(read_manifest(one)['images'].values()) for one in every)} images in good order")


@shards_app.command("info", epilog="Example: rayscale shards info runs/demo/shards/satellite")
def shards_info(place: str, as_json: AsJson = False) -> None:
    """Shows what shards hold, and how much was set aside as their locked test split."""
    from orchestrator.data.locked_test import locked_beside
    from orchestrator.data.shards import read_manifest
    from orchestrator.foundation.storage import Storage

    shards = Storage.at(place)
    shards.check_readable()
    manifest, locked = read_manifest(shards), locked_beside(shards)
    test = read_manifest(locked) if locked else None
    if as_json:
        print_json({**manifest, **({"locked_test": test} if test else {})})
        return
    print_shards(shards.uri, manifest, test)


@app.command(epilog="Example: rayscale version")
def version() -> None:
    """Prints the version."""
    print(__version__)


def main() -> None:
    """Runs the command line; whatever goes wrong is one sentence, never a traceback."""
    try:
        terminal.make_safe()
        stop_signals.heed_signals()
        code = run_command()
    except KeyboardInterrupt:  # at a moment at which Typer does not watch
        code = _interrupted()
    stop_signals.end_at_once()
    error = terminal.output_error()
    if error is not None and not code:
        code = _BROKEN_PIPE if terminal.has_left(error) else _fail(f"The output could not be written: {error}.", 1)
    sys.exit(code)


def run_command() -> int:
    """Runs the command line; gives its exit code."""
    try:
        code = app(prog_name="rayscale", standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message()
        # There is none where no command was given and the help has been printed instead.
        stop = "" if message.endswith((".", "?")) else "."
        return _fail(f"{message}{stop} See `rayscale --help`.", 2) if message else 2
    except KeyboardInterrupt:
        return _interrupted()
    except SystemExit as ended:
        if not isinstance(ended.__context__, OSError):
            raise
        return _failed(ended.__context__)  # Typer ends in silence where any pipe or socket is broken
    except typer.Abort:  # the end of standard input
        return _fail("Nothing was entered.", 1)
    except BaseException as error:
        return _failed(error)
    if code == _INTERRUPTED:
        return _interrupted()
    return code if isinstance(code, int) else 0


def _interrupted() -> int:
    number = stop_signals.received()
    by = "Interrupted" if number is None else f"Stopped by {signal.Signals(number).name}"
    code = _INTERRUPTED if number is None else 128 + number
    return _fail(f"{by}. What had finished is kept; the same command goes on from there.", code)


def _failed(error: BaseException) -> int:
    from orchestrator.foundation.error_sentence import exit_code_of, sentence_of, traceback_of

    print(traceback_of(error), end="", file=sys.stderr)
    return _fail(sentence_of(error), exit_code_of(error))


def _run_until(stage: str, experiment: Path, overrides: list[str] | None, quiet: bool = False) -> "Experiment":
    from orchestrator.experiment.load import load_experiment
    from orchestrator.pipeline.preflight import preflight
    from orchestrator.pipeline.run import run_experiment

    loaded, display = load_experiment(experiment, overrides or []), _display(quiet)
    inputs = preflight(loaded)
    with _alone(loaded) as lock:
        run_experiment(loaded, inputs, display, until=stage, check=lock.check)
    return loaded


def _alone(experiment: "Experiment") -> "AbstractContextManager[RunLock]":
    """The lock that one run of an experiment holds."""
    from orchestrator.foundation.run_lock import locked

    return locked(experiment.home, f"Experiment '{experiment.name}' in '{experiment.storage}'")


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
    from orchestrator.pipeline.run import run_experiment
    from orchestrator.report.build import read_report

    inputs = preflight(experiment)
    with _alone(experiment) as lock:
        experiment = fit_budget(experiment, inputs, trim, display.say)
        try:
            run_experiment(experiment, inputs, display, check=lock.check)
        except PartlyDoneError:
            print_report(read_report(experiment), experiment.home.child("report").uri, as_json)
            raise
    print_report(read_report(experiment), experiment.home.child("report").uri, as_json)


def _display(quiet: bool = False) -> "Display":
    from orchestrator.runtime.progress import Display

    return Display(Console(stderr=quiet))


def _fail(message: str, code: int) -> int:
    print(f"rayscale: {terminal.shown(' '.join(message.split()))}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    main()
