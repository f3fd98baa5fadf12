"""Feature transfer, model transfer, joint optimisation and their relatives, at few and at many training scenes.

    python -m benchmarks.transfer.methods --root DATA --out runs/transfer --estimate   # how long it takes
    python -m benchmarks.transfer.methods --root DATA --out runs/transfer              # goes on with what is there

DATA holds train/ and val/ of medical/, satellite/, surveillance/ and art/, and manifest.csv with columns `file` and
`scene_group`. Every setting is chosen on scenes carved out of train/; val/ is the test split, and is scored once for
what was chosen. One thread, one run after the other; a line in runs.jsonl for each. The table is written anew after
every combination of domain and training scenes.
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.common.arguments import add_out, command, make_parser, one_sentence, positive
from benchmarks.common.domain import Domain, write_source
from benchmarks.common.domain_images import DOMAINS
from benchmarks.common.environment import environment
from benchmarks.common.results import ONE_THREAD, today, write_results
from benchmarks.transfer.arms import MODEL, Candidate, Grid, first, steps_of_model_transfer
from benchmarks.transfer.domain_set import domain_of, further, images_of_split
from benchmarks.transfer.judging import Json, choose, judge
from benchmarks.transfer.runs import Row, Run, Runs, train
from benchmarks.transfer.telling import describe
from orchestrator.data.shard_reader import read_manifest
from orchestrator.foundation.model_store import FoundModel, find_model
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile, list_files
from trainables.errors import UsageError
from trainables.version import __version__

ALL = "all scenes"


def main() -> None:
    torch.set_num_threads(1)
    with one_sentence():
        compare(_parsed())


def compare(options: argparse.Namespace) -> None:
    """Runs what is missing and writes the table."""
    out, root = Storage.at(options.out), Storage.at(options.root)
    root.check_readable()
    out.check_writable()
    if out.remote:
        raise UsageError(f"--out must be a folder, found '{out.uri}'.")
    model, grid = find_model(options.model), _grid(options)
    write_source(out, model)
    test = {name: list_files(images_of_split(name, "val", options.scenes), root) for name in options.domains}
    domains = {name: domain_of(name, root, model, options, out) for name in options.domains}
    budgets = [*options.few_scenes, None]
    wanted = [(name, scenes) for scenes in budgets for name in domains if domains[name].shards(scenes) is not None]
    if options.estimate:
        _estimate(domains[wanted[0][0]], grid, options.seeds, len(wanted))
        return
    told = _described(options, model, grid, budgets) | {"wanted": len(wanted)}
    runs = Runs(Path(out.path), _tell)
    for name, scenes in wanted:
        told["results"].append(_result(domains[name], scenes, grid, options, runs, test[name], Path(out.path)))
        told |= {"finished": len(told["results"]), "cpu_minutes": runs.cpu_seconds() / 60}
        file = _write(told, options.results)
        print(f"{name}, {_called(scenes)}: judged; {told['finished']} of {len(wanted)}; {file}", flush=True)


def _result(
    domain: Domain,
    scenes: int | None,
    grid: Grid,
    options: argparse.Namespace,
    runs: Runs,
    test: list[SourceFile],
    out: Path,
) -> Json:
    job = domain.job(scenes)
    manifest = read_manifest(job.shards)
    seeds = list(range(options.seed, options.seed + options.seeds))
    chosen = choose(job, grid, seeds, runs)
    counts = {
        f"{'training' if split == 'train' else split}_{what}": value if what == "images" else len(value)
        for split in ("train", "validation")
        for what, value in (("images", manifest["images"][split]), ("scenes", manifest["scenes"][split]))
    }
    facts = {"domain": domain.name, "budget": _called(scenes), **counts}
    return facts | judge(job, chosen, runs, test, options.test_crop, out)


def _called(scenes: int | None) -> str:
    return ALL if scenes is None else f"{scenes} scenes"


def _grid(options: argparse.Namespace) -> Grid:
    return Grid(
        tuple(options.rates),
        tuple(options.lambdas),
        tuple(options.depths_from_input),
        tuple(options.depths_from_output),
    )


def _described(options: argparse.Namespace, model: FoundModel, grid: Grid, budgets: list[int | None]) -> Json:
    return {
        "date": today(),
        "command": command("transfer.methods", ["--root", "DATA", "--out", "DIR", *further(options)]),
        "environment": environment() | {"rayscale": __version__},
        "model": Path(model.where).name,
        "budget": f"{options.steps} steps of {options.batch} patches",
        "lr_patch": options.lr_patch,
        "seeds": options.seeds,
        "grid": asdict(grid),
        "budgets": [_called(scenes) for scenes in budgets],
        "finished": 0,
        "cpu_minutes": 0.0,
        "results": [],
    }


def _write(told: Json, results: Path) -> Path:
    return write_results(results, "transfer-methods-x4", ONE_THREAD, data=told, page=describe(told))


def _tell(row: Row) -> None:
    settings = row["configuration"]
    score = "diverged" if row["validation"] is None else f"{row['validation']:.3f} dB, source {row['source']:.2f} dB"
    cell = f"lr {settings['learning_rate']:g}, λ {settings['lambda_']:g}, depth {settings['frozen_depth']}"
    print(f"{row['domain']}, {row['arm']}, {cell}, seed {row['seed']}: {score}", flush=True)


def _estimate(domain: Domain, grid: Grid, seeds: int, combinations: int) -> None:
    """Times one run of model transfer, which is not kept."""
    candidate: Candidate = next(each for each in first(grid) if each.arm == MODEL)
    start = time.process_time()
    _, seconds = train(Run(domain.job(None), candidate, 0))
    whole = steps_of_model_transfer(grid, seeds) * combinations
    print(f"one run of {MODEL}: {seconds:.1f} CPU seconds ({time.process_time() - start:.1f} with everything read)")
    print(
        f"{combinations} combinations cost as much as {whole:.0f} of them: about {whole * seconds / 60:.0f} CPU minutes"
    )


def _parsed() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--root", required=True, help="folder or bucket of the images")
    parser.add_argument("--out", required=True, help="folder of runs, weights and shards")
    add_out(parser, "--results")
    parser.add_argument("--model", default="base-x4", help="source model: a packaged name, a folder or s3:// prefix")
    parser.add_argument("--domains", nargs="+", default=list(DOMAINS), help="domains with a search space")
    parser.add_argument("--scenes", choices=("table", "file", "folder"), default="table", help="what a scene is")
    parser.add_argument("--few-scenes", nargs="*", type=positive, default=[4, 16], help="smaller training sets")
    parser.add_argument("--rates", nargs="+", type=float, default=[3e-4, 1e-3], help="learning rates")
    parser.add_argument("--lambdas", nargs="+", type=float, default=[1e-3, 1e-2], help="λ above 0")
    parser.add_argument("--depths-from-input", nargs="+", type=positive, default=[3, 6])
    parser.add_argument("--depths-from-output", nargs="+", type=positive, default=[1, 5])
    parser.add_argument("--seed", type=int, default=0, help="the first one, with which settings are chosen")
    for name, default, told in (
        ("seeds", 2, "seeds of the chosen settings"),
        ("steps", 80, "optimiser steps"),
        ("batch", 4, "patches per step"),
        ("lr-patch", 20, "side of a patch in LR pixels"),
        ("validation-images", 12, "validation images scored"),
        ("validation-crop", 128, "HR pixels of their middle that count"),
        ("test-crop", 192, "the same for test images"),
    ):
        parser.add_argument(f"--{name}", type=positive, default=default, help=f"{told} ({default})")
    parser.add_argument("--estimate", action="store_true", help="tell how long all takes, from one run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
