"""The command line. Exit codes: 0 done, 1 failed while running, 2 wrong usage, 128 + number stopped by a signal.

130 is Ctrl-C, 143 SIGTERM, 129 SIGHUP; 141 means that the reader of the output closed it early.
"""

import gc
import signal
import sys
from typing import Annotated

import typer

from orchestrator.cli.benchmark_command import benchmark
from orchestrator.cli.cluster_commands import cluster_app, logs, status, stop, submit
from orchestrator.cli.data_commands import data_app
from orchestrator.cli.experiment_commands import analyze, confirm, demo, finish, plan, pretrain, report, run, search
from orchestrator.cli.init_command import init
from orchestrator.cli.model_commands import adapt, evaluate, export, finetune
from orchestrator.cli.shards_commands import shards_app
from orchestrator.cli.upscale_command import upscale
from orchestrator.cli.verify_command import verify
from orchestrator.runtime import stop_signals, terminal
from trainables.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Finds the best super-resolution transfer configuration for your kind of image, and reports the evidence.",
    epilog="Example: rayscale demo",
)
_INTERRUPTED = 130
"""Typer's return value after Ctrl-C."""
_BROKEN_PIPE = 128 + signal.SIGPIPE
_OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""Python's own 700 let the collector take a second of the start: imported modules are all that it finds."""

for _command, _example in (
    (demo, "rayscale demo"),
    (run, "rayscale run experiments/four-domains.yaml --set search.trials=12"),
    (plan, "rayscale plan experiments/four-domains.yaml"),
    (pretrain, "rayscale pretrain experiments/four-domains.yaml"),
    (search, "rayscale search experiments/four-domains.yaml --domain satellite --extend 12"),
    (confirm, "rayscale confirm experiments/four-domains.yaml"),
    (finish, "rayscale finish experiments/four-domains.yaml"),
    (report, "rayscale report experiments/four-domains.yaml --json"),
    (submit, "rayscale submit experiments/four-domains.yaml --address http://127.0.0.1:8265"),
    (status, "rayscale status experiments/four-domains.yaml"),
    (logs, "rayscale logs four-domains --follow"),
    (stop, "rayscale stop four-domains"),
    (upscale, "rayscale upscale s3://my-bucket/scenes s3://my-bucket/upscaled --model base-x4"),
    (evaluate, "rayscale evaluate --model base-x4 --images Set5 --images Set14"),
    (benchmark, "rayscale benchmark set5 --data Set5 --model base-x4"),
    (adapt, "rayscale adapt camera-frames models/camera --model base-x4 --space surveillance"),
    (finetune, "rayscale finetune runs/four-domains/report/best.yaml tiles models/tiles --domain satellite"),
    (export, "rayscale export base-x4 --to onnx"),
    (verify, "rayscale verify runs/four-domains"),
    (init, "rayscale init"),
    (analyze, "rayscale analyze --model base-x4 --images tiles --space satellite-v2"),
):
    app.command(epilog=f"Example: {_example}")(_command)
app.add_typer(shards_app, name="shards")
app.add_typer(data_app, name="data")
app.add_typer(cluster_app, name="cluster")


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


@app.command(epilog="Example: rayscale version")
def version() -> None:
    """Prints the version."""
    print(__version__)


def main() -> None:
    """Runs the command line; any error is printed as one sentence, never as a traceback."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    try:
        terminal.make_safe()
        stop_signals.heed_signals()
        code = run_command()
    except KeyboardInterrupt:  # outside of Typer's own handling
        code = _interrupted()
    stop_signals.end_at_once()
    error = terminal.output_error()
    if error is not None and not code:
        code = _BROKEN_PIPE if terminal.has_left(error) else _fail(f"The output could not be written: {error}.", 1)
    gc.freeze()  # else Python collects all objects of PyTorch one by one before it ends, which takes a second
    sys.exit(code)


def run_command() -> int:
    """Runs the command line; returns its exit code."""
    try:
        code = app(prog_name="rayscale", standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message().replace(": Value error, ", ": ")  # which Typer has from pydantic
        # The message is empty if no command was given: the help has been printed.
        stop = "" if message.endswith((".", "?")) else "."
        return _fail(f"{message}{stop} See `rayscale --help`.", 2) if message else 2
    except KeyboardInterrupt:
        return _interrupted()
    except SystemExit as ended:
        if not isinstance(ended.__context__, OSError):
            raise
        return _failed(ended.__context__)  # Typer exits without a message if any pipe or socket breaks
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


def _fail(message: str, code: int) -> int:
    print(f"rayscale: {terminal.shown(' '.join(message.split()))}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    main()
