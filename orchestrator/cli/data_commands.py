"""`rayscale data`: public data sets, from their official homes."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import AsJson
from orchestrator.cli.output import counter, print_json, print_shards

if TYPE_CHECKING:
    from orchestrator.public_sets.get import DownloadPlan

_MEGABYTE = 10**6

data_app = typer.Typer(
    no_args_is_help=True,
    help="List public data sets, and fetch them from their official homes.",
    epilog="Example: rayscale data list",
)


@data_app.command("list", epilog="Example: rayscale data list")
def data_list(as_json: AsJson = False) -> None:
    """Lists public data sets with size, licence, home and the benchmarks that read them; nothing is fetched."""
    from dataclasses import asdict

    from orchestrator.public_sets.catalogue import SETS

    if as_json:
        print_json({"sets": [asdict(public_set) for public_set in SETS.values()]})
        return
    for public_set in SETS.values():
        print(f"{public_set.name}: {public_set.content}")
        size = f"{public_set.size}; " if public_set.size else ""
        print(f"  {size}licence: {public_set.licence}")
        print(f"  {public_set.home}" + (" (by hand)" if public_set.manual else ""))
        if public_set.benchmarks:
            print(f"  benchmarks: {', '.join(public_set.benchmarks)}")


@data_app.command("get", epilog="Example: rayscale data get div2k data/div2k --yes")
def data_get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of `rayscale data list`.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder to fetch it into.")],
    only: Annotated[
        list[str] | None, typer.Option(help="File or pattern to fetch, such as 'IXI-T2*'. May be repeated.")
    ] = None,
    shards: Annotated[bool, typer.Option("--shards", help="Pack its HR images into shards, in OUT/shards.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Start without asking.")] = False,
) -> None:
    """Fetches a data set, after showing size, licence and checksums; the same command goes on after an interruption.

    Files are verified by the checksum that their home publishes, or by their size where it publishes none, and archives
    are unpacked. OUT/rayscale-download.json records address, size and SHA-256 of each file.
    """
    from orchestrator.public_sets.catalogue import find_set
    from orchestrator.public_sets.get import fetch, plan_download
    from orchestrator.public_sets.pack import check_packable, pack

    public_set = find_set(name)
    if shards:
        check_packable(public_set)
    plan = plan_download(public_set, out, only or ())
    _print_plan(plan)
    if plan.missing:
        _confirm(yes)
    with counter("here", unit="megabyte") as report_progress:
        fetch(plan, print, lambda done, of: report_progress(done // _MEGABYTE, of // _MEGABYTE))
    print(f"{public_set.name} is in {out}")
    if shards:
        for place, manifest in pack(public_set, plan.folder).items():
            print_shards(f"{out}/{place}", manifest, None)
    for benchmark in public_set.benchmarks:
        print(f"Next: rayscale benchmark {benchmark} --data {out}")


def _print_plan(plan: "DownloadPlan") -> None:
    public_set = plan.public_set
    print(f"{public_set.name}: {public_set.content}")
    print(f"Licence: {public_set.licence}")
    print(f"Home: {public_set.home}")
    for planned in plan.files:
        size = "unknown size" if planned.facts.size is None else f"{planned.facts.size / 1e6:,.1f} MB"
        checksum = planned.file.digest.replace(":", " ") or "no checksum published: verified by size"
        state = "already here" if planned.done else checksum
        print(f"  {planned.file.path}: {size}, {state}")
    print(f"To fetch: {plan.size / 1e9:.2f} GB into {plan.folder}" if plan.missing else "Nothing to fetch.")


def _confirm(yes: bool) -> None:
    from trainables.errors import UsageError

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("Nothing was fetched: add --yes to accept the licence and start.")
    if not typer.confirm("Accept the licence and start?"):
        raise typer.Exit(1)
