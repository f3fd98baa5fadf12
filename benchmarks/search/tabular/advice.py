"""What the domain analysis advises on a table's own training and validation images, kept beside the table.

    python -m benchmarks.search.tabular.advice runs/tabular

Reads the shards and the source model that `build.py` left there, and generated images as the source's, which is
what a search does that starts from a model. Writes `advice.json`, which `replay.py` finds: the policy whose
studies start from advice needs it.
"""

import argparse
import json
import time
from datetime import UTC, datetime
from typing import Any

from benchmarks.common.arguments import make_parser, one_sentence, positive
from benchmarks.common.environment import environment
from benchmarks.search.tabular.table import ADVICE, read_table
from orchestrator.analysis.analyze import advise_target, observe_source
from orchestrator.foundation.model_store import find_model
from orchestrator.foundation.storage import Storage
from search_spaces import find_space
from trainables.errors import UsageError
from trainables.version import __version__


def main() -> None:
    with one_sentence():
        options = _parsed()
        place = Storage.at(options.table)
        told = advise(place, options.images)
        place.child(ADVICE).write_json(told)
    print(json.dumps({name: one["advice"] for name, one in told["domains"].items()}, indent=1, ensure_ascii=False))
    print(place.child(ADVICE).uri)


def advise(place: Storage, images: int) -> dict[str, Any]:
    """The advice for each domain of the table in a folder.

    Raises:
        UsageError: If the folder has no table, or no shards or source model beside it.
    """
    _, facts = read_table(place.child("table.parquet"))
    source = place.child("source", facts["source"]["sha256"][:16])
    if not source.exists():
        raise UsageError(f"'{source.uri}' is missing: name the folder that build.py wrote to (--out).")
    start = time.monotonic()
    found = find_model(source.uri)
    reference, domains = observe_source(found, None, images), {}
    for name, domain in facts["domains"].items():
        shards, space = place.child("shards", name, "all"), find_space(domain["space"]["id"])
        domains[name] = advise_target(found, reference, name, shards, space, images)
    return {
        "command": f"python -m benchmarks.search.tabular.advice TABLE --images {images}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment() | {"rayscale": __version__},
        "seconds": round(time.monotonic() - start, 1),
        "domains": domains,
    }


def _parsed() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("table", help="folder of table, shards and source model: --out of build.py")
    parser.add_argument("--images", type=positive, default=96, help="most images of each set (96)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
