"""``rayscale verify``: checks the files of an experiment, a model or shards for damage."""

from typing import Annotated

import typer

from orchestrator.cli.options import AsJson
from orchestrator.cli.output import print_json
from orchestrator.foundation.quantities import plural
from trainables.errors import printable


def verify(
    place: Annotated[
        str, typer.Argument(metavar="PLACE", help="An experiment's file, its folder or s3:// prefix; a model; shards.")
    ],
    as_json: AsJson = False,
) -> None:
    """Reads all files again and names each that is damaged or missing; exit code 1 if there is one.

    Shards and locked test splits are compared with their manifests, models with their cards, records with their
    schema, and every file of a finished stage with its size and digest. Nothing is changed or scored.
    """
    from orchestrator.pipeline.verify import place_named
    from orchestrator.pipeline.verify import verify as verified

    found = verified(place_named(place))
    if as_json:
        print_json(found.to_dict())
    else:
        for entry in found.problems:
            print(printable(f"{entry.path}: {entry.problem}" if entry.path else entry.problem))
        counts = ", ".join(f"{count} {kind}" for kind, count in found.checked.items())
        wrong = plural(len(found.problems), "problem") if found.problems else "all in good order"
        print(f"{counts} read: {wrong}")
    if found.problems:
        raise typer.Exit(1)
