"""`rayscale shards`: builds, verifies and shows shards."""

from typing import Annotated

import typer

from orchestrator.cli.experiment_commands import ExperimentFile, Overrides, run_until
from orchestrator.cli.options import AsJson, LogFile, Verbose
from orchestrator.cli.output import print_json, print_shards

Shards = Annotated[str, typer.Argument(metavar="PLACE", help="Folder or s3:// prefix of the shards of one domain.")]

shards_app = typer.Typer(
    no_args_is_help=True,
    help="Build, verify and show shards.",
    epilog="Example: rayscale shards info runs/demo/shards/satellite",
)


@shards_app.command("build", epilog="Example: rayscale shards build experiments/four-domains.yaml")
def shards_build(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    log_file: LogFile = None,
    verbose: Verbose = False,
) -> None:
    """Packs the images of all domains into shards, then stops."""
    run_until("shards", experiment, overrides)


@shards_app.command("verify", epilog="Example: rayscale shards verify runs/demo/shards/satellite")
def shards_verify(place: Shards) -> None:
    """Reads shards again and compares every byte with the manifest; exit code 1 if anything differs.

    The locked test split of a domain is compared too; nothing is scored.
    """
    from orchestrator.data.locked_test import locked_beside
    from orchestrator.data.shard_reader import read_manifest
    from orchestrator.data.shard_verify import verify_shards
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
    print(f"{sum(sum(read_manifest(part)['images'].values()) for part in every)} images in good order")


@shards_app.command("info", epilog="Example: rayscale shards info runs/demo/shards/satellite")
def shards_info(place: Shards, as_json: AsJson = False) -> None:
    """Shows the content of shards, and the size of their locked test split."""
    from orchestrator.data.locked_test import locked_beside
    from orchestrator.data.shard_reader import read_manifest
    from orchestrator.foundation.storage import Storage

    shards = Storage.at(place)
    shards.check_readable()
    manifest, locked = read_manifest(shards), locked_beside(shards)
    test = read_manifest(locked) if locked else None
    if as_json:
        print_json({**manifest, **({"locked_test": test} if test else {})})
        return
    print_shards(shards.uri, manifest, test)
