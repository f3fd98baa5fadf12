"""The command line. Exit codes: 0 done, 1 failed while running, 2 wrong usage, 130 interrupted."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from trainables.errors import RayScaleError
from trainables.version import __version__

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

_LOG_SECONDS = 30

shards_app = typer.Typer(
    no_args_is_help=True,
    help="Build, verify and show shards.",
    epilog="Example: rayscale shards info runs/demo/shards/satellite",
)
app.add_typer(shards_app, name="shards")

ExperimentFile = Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="The experiment file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replaces a setting, e.g. targets.satellite.images=DIR."),
]
Model = Annotated[
    str,
    typer.Option(
        help="A packaged model (base-x2, base-x4), a folder or an s3:// prefix. A folder that is called like a "
        "packaged model is meant only where written with a slash: ./base-x4"
    ),
]
SelfEnsemble = Annotated[
    bool, typer.Option("--self-ensemble", help="Average the model's eight flips and rotations; takes 8 × as long.")
]
PrecisionName = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option("--precision", help="What convolutions compute in; auto is bfloat16 where that is faster."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for scripts.")]


@app.command(epilog="Example: rayscale demo")
def demo(
    storage: Annotated[str, typer.Option(help="Folder for samples and artefacts.")] = "runs",
    size: Annotated[str, typer.Option(help="standard or smallest.")] = "standard",
) -> None:
    """The whole story on generated samples: minutes, no download, no account."""
    from orchestrator.demo import prepare_demo

    display = _display()
    experiment = prepare_demo(storage, size, display.say)
    _run(experiment, display)


@app.command(epilog="Example: rayscale run experiments/four-domains.yaml --set search.trials=12")
def run(experiment: ExperimentFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Runs everything, and goes on where an interrupted run was."""
    from orchestrator.reading import load_experiment

    _run(load_experiment(experiment, overrides or []), _display(quiet=as_json), as_json=as_json)


@app.command(epilog="Example: rayscale plan experiments/four-domains.yaml")
def plan(experiment: ExperimentFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Says what would run, how long it would take, what it would cost and what is missing; starts nothing."""
    from orchestrator.pipeline import preflight
    from orchestrator.plan import make_plan
    from orchestrator.reading import load_experiment

    loaded = load_experiment(experiment, overrides or [])
    told = make_plan(loaded, preflight(loaded))
    if as_json:
        _print_json(told.to_dict() | {"settings": loaded.dump()})
    else:
        _print_plan(loaded, told)


@app.command(epilog="Example: rayscale pretrain experiments/four-domains.yaml")
def pretrain(experiment: ExperimentFile, overrides: Overrides = None) -> None:
    """Builds the shards and trains the source model, then stops."""
    _run_until("pretrain", experiment, overrides)


@app.command(epilog="Example: rayscale search experiments/four-domains.yaml")
def search(experiment: ExperimentFile, overrides: Overrides = None) -> None:
    """Runs all up to the search, then stops."""
    _run_until("search", experiment, overrides)


@app.command(epilog="Example: rayscale confirm experiments/four-domains.yaml")
def confirm(experiment: ExperimentFile, overrides: Overrides = None) -> None:
    """Runs all up to the confirmation, then stops."""
    _run_until("confirm", experiment, overrides)


@app.command(epilog="Example: rayscale report experiments/four-domains.yaml --json")
def report(experiment: ExperimentFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Shows the report of a finished experiment."""
    from orchestrator.reading import load_experiment
    from orchestrator.reporting import read_report

    loaded = load_experiment(experiment, overrides or [])
    if loaded.home.remote:
        loaded.home.check_readable()
    _print_report(read_report(loaded), loaded.home.child("report").uri, as_json)


@app.command(epilog="Example: rayscale upscale photos upscaled --model base-x4")
def upscale(
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="An image file, a folder or an s3:// prefix of 8-bit images.")
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT",
            help="A folder or s3:// prefix, which mirrors INPUT's names as PNG; for one file also a .png or .jpg path.",
        ),
    ],
    model: Model,
    tile: Annotated[
        int, typer.Option(min=16, help="Largest side of a tile in LR pixels; less takes less memory.")
    ] = 256,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")] = None,
    device: Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu or cuda.")] = "auto",
    precision: PrecisionName = "auto",
    self_ensemble: SelfEnsemble = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make outputs again that are there already.")] = False,
    as_json: AsJson = False,
) -> None:
    """Upscales images with a model. Files that cannot be upscaled are named, stop nothing, and make the exit code 1.

    Gray stays gray, transparency is kept in PNG, palette and CMYK images become RGB.

    Outputs that are there already are skipped, so the same command goes on after an interruption.
    """
    from orchestrator.upscaling import Settings, upscale_images

    settings = Settings(
        tile=tile, threads=threads, device=device, precision=precision, overwrite=overwrite, ensemble=self_ensemble
    )
    with _counter("upscaled") as tell:
        told = upscale_images(model, source, target, settings, tell)
    if as_json:
        _print_json(told)
    else:
        _print_upscaled(told)
    if told["failed"]:
        raise typer.Exit(1)


@app.command(epilog="Example: rayscale evaluate --model base-x4 --images Set5 --images Set14")
def evaluate(
    model: Model,
    images: Annotated[
        list[str], typer.Option(help="Folder or s3:// prefix of HR images; give it again for further sets.")
    ],
    space: Annotated[
        str | None,
        typer.Option(help="Search space whose degradation makes the LR images; the model's own by default."),
    ] = None,
    precision: PrecisionName = "auto",
    self_ensemble: SelfEnsemble = False,
    as_json: AsJson = False,
) -> None:
    """Scores a model against bicubic on HR images of your own, which it degrades itself.

    PSNR and SSIM are on luma (BT.601, studio range), on the one channel of gray images, without a border of r pixels.
    """
    from orchestrator.evaluating import evaluate_model

    told = evaluate_model(model, images, space, self_ensemble, precision)
    if as_json:
        _print_json(told)
    else:
        _print_evaluation(told)


@shards_app.command("build", epilog="Example: rayscale shards build experiments/four-domains.yaml")
def shards_build(experiment: ExperimentFile, overrides: Overrides = None) -> None:
    """Packs the images of all domains into shards, then stops."""
    _run_until("shards", experiment, overrides)


@shards_app.command("verify", epilog="Example: rayscale shards verify runs/demo/shards/satellite")
def shards_verify(place: str) -> None:
    """Reads shards again and compares every byte with the manifest; exit 1 if anything differs."""
    from orchestrator.shards import read_manifest, verify_shards
    from orchestrator.storage import Storage

    shards = Storage.at(place)
    shards.check_readable()
    problems = verify_shards(shards)
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(1)
    print(f"{sum(read_manifest(shards)['images'].values())} images in good order")


@shards_app.command("info", epilog="Example: rayscale shards info runs/demo/shards/satellite")
def shards_info(place: str, as_json: AsJson = False) -> None:
    """Shows what shards hold."""
    from orchestrator.shards import read_manifest
    from orchestrator.storage import Storage

    shards = Storage.at(place)
    shards.check_readable()
    manifest = read_manifest(shards)
    if as_json:
        _print_json(manifest)
        return
    table = Table("split", "images", "scenes", "megapixels", "files", title=shards.uri)
    for split, count in manifest["images"].items():
        files = sum(part["split"] == split for part in manifest["files"])
        megapixels = manifest["pixels"][split] / 1e6
        table.add_row(split, str(count), str(len(manifest["scenes"][split])), f"{megapixels:.1f}", str(files))
    Console().print(table)
    for entry in manifest["skipped"]:
        print(f"left out: {entry['file']}: {entry['reason']}")


@app.command(epilog="Example: rayscale version")
def version() -> None:
    """Prints the version."""
    print(__version__)


def main() -> None:
    """Runs the command line; a user's mistake is one sentence, never a traceback."""
    try:
        code = app(prog_name="rayscale", standalone_mode=False)
    except RayScaleError as error:
        code = _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        message = error.format_message()
        # There is none where no command was given and the help has been printed instead.
        stop = "" if message.endswith((".", "?")) else "."
        code = _fail(f"{message}{stop} See `rayscale --help`.", 2) if message else 2
    except OSError as error:
        code = _fail(str(error), 1)
    if code == _INTERRUPTED:
        _fail("Interrupted. What had finished is kept; the same command goes on from there.", code)
    sys.exit(code if isinstance(code, int) else 0)


def _run_until(stage: str, experiment: Path, overrides: list[str] | None) -> None:
    from orchestrator.pipeline import preflight, run_experiment
    from orchestrator.reading import load_experiment

    loaded, display = load_experiment(experiment, overrides or []), _display()
    run_experiment(loaded, preflight(loaded), display, until=stage)


def _run(experiment: Any, display: Any, as_json: bool = False) -> None:
    from orchestrator.pipeline import preflight, run_experiment
    from orchestrator.reporting import read_report

    run_experiment(experiment, preflight(experiment), display)
    _print_report(read_report(experiment), experiment.home.child("report").uri, as_json)


def _print_report(told: Any, place: str, as_json: bool) -> None:
    from orchestrator.rendering import terminal_table

    if as_json:
        print(told.model_dump_json(indent=2))
        return
    # A log has no width of its own; the table needs 100 columns.
    console = Console() if sys.stdout.isatty() else Console(width=100)
    console.print(terminal_table(told))
    print(f"\nReport: {place}/index.html (and report.json, best.yaml, table.md)")
    print("Next:")
    for command in told.next_commands:
        print(f"  {command}")


def _print_upscaled(told: Any) -> None:
    print(f"{_images(told['written'])} upscaled x{told['scale']} with {told['model']}, in {told['output']}")
    if told["skipped"]:
        print(f"{_images(told['skipped'])} skipped: already there (--overwrite makes them again)")
    for entry in told["notes"]:
        print(f"{entry['file']}: {entry['note']}")
    for entry in told["failed"]:
        print(f"failed: {entry['file']}: {entry['reason']}")
    if told["failed"]:
        print(f"{_images(len(told['failed']))} failed")


def _print_evaluation(told: Any) -> None:
    title = f"{told['model']}, x{told['scale']}, {told['degradation']}"
    columns = ("images", "bicubic\nPSNR", "model\nPSNR", "bicubic\nSSIM", "model\nSSIM", "gain in dB, 95 % interval")
    table = Table("set", title=title + (", self-ensemble" if told["self_ensemble"] else ""), title_justify="left")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for one in told["sets"]:
        psnr, ssim = ([one[arm][metric] for arm in ("bicubic", "model")] for metric in ("psnr", "ssim"))
        gain = "{mean:+.2f} [{low:+.2f}, {high:+.2f}]".format(**one["gain"])
        cells = [*(f"{value:.2f}" for value in psnr), *(f"{value:.4f}" for value in ssim), gain]
        table.add_row(one["name"], str(one["images"]), *cells)
    console = Console() if sys.stdout.isatty() else Console(width=100)
    console.print(table)
    for one in told["sets"]:
        for entry in one["skipped"]:
            print(f"left out of {one['name']}: {entry['file']}: {entry['reason']}")


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"


@contextmanager
def _counter(word: str) -> Iterator[Callable[[int, int], None]]:
    """Shows a bar on a terminal and a line every half minute in a log; what it gives is told (done, of)."""
    console = Console(stderr=True)
    if not console.is_terminal:
        said = time.monotonic()

        def tell_line(done: int, of: int) -> None:
            nonlocal said
            if time.monotonic() - said >= _LOG_SECONDS:
                said = time.monotonic()
                print(f"{done} of {_images(of)} {word}", file=sys.stderr)

        yield tell_line
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(word, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


def _print_plan(experiment: Any, told: Any) -> None:
    table = Table("stage", "work", "time", title=f"{experiment.name} → {experiment.home.uri}")
    for stage in told.stages:
        table.add_row(stage.stage, stage.work, _duration(stage.seconds))
    console = Console()
    console.print(table)
    low, high = told.seconds_range
    where = experiment.cluster.address or "a Ray of its own on this machine"
    print(f"{sum(told.images.values())} images: {', '.join(f'{n} {name}' for name, n in told.images.items())}")
    print(f"On {where}, {told.slots} trials at once, {told.step_seconds * 1000:.0f} ms a step (measured here).")
    print(f"Time: {_duration(low)} to {_duration(high)}.")
    if told.cost_range is None:
        print("Cost: set cluster.price_per_hour for an estimate.")
    else:
        print(f"Cost: {told.cost_range[0]:.2f} to {told.cost_range[1]:.2f} at {told.price_per_hour:g} an hour.")
    print("Nothing is missing.")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _display(quiet: bool = False) -> Any:
    from orchestrator.progress import Display

    return Display(Console(stderr=quiet))


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _fail(message: str, code: int) -> int:
    print(f"rayscale: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
