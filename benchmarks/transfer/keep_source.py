"""Searches with `keep_source` against weight averaging of an unlimited winner, at equal loss of source PSNR.

    python -m benchmarks.transfer.keep_source --root DATA --out runs/keep-source   # goes on with what is there

Each arm is one study of the same number of trials, with the sampler, starts and constraint of `rayscale search`; its
best feasible configuration is trained with fresh seeds. The winner of the unlimited search is averaged with the
source's weights up to the limit (WiSE-FT). All that is chosen is chosen on scenes carved out of train/ and on held-out
source images; then val/ is scored once, and the loss is measured on source images that chose nothing.

DATA is as in `benchmarks.transfer.methods`. Other questions: `--few-scenes 4`, `--steps 1000`, `--arms`,
`--adapter-rank`, and `--model` with a folder of a model of another size. One thread, one run after the other.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.common.arguments import add_out, command, make_parser, one_sentence, positive
from benchmarks.common.domain import Domain, write_source
from benchmarks.common.domain_images import DOMAINS
from benchmarks.common.environment import environment
from benchmarks.common.results import ONE_THREAD, today, write_results
from benchmarks.transfer.domain_set import domain_of, further, images_of_split
from benchmarks.transfer.keep_arms import FREE, METHODS, Limits, best_of, finished_study, study_of
from benchmarks.transfer.keep_judging import Json, chosen_arms, judge
from benchmarks.transfer.keep_page import describe
from benchmarks.transfer.runs import Row, Runs
from orchestrator.foundation.model_store import find_model
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile, list_files
from orchestrator.search.trial_record import TrialRecord
from trainables.errors import UsageError
from trainables.network.adapters import check_rank
from trainables.version import __version__

ARMS = (FREE, "limit, L2-SP", "limit, replay", "limit, adapters")


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
    model = find_model(options.model)
    check_rank(options.adapter_rank, model.net.architecture)
    write_source(out, model)
    facts: Json = {
        "date": today(),
        "command": command("transfer.keep_source", ["--root", "DATA", "--out", "DIR", *further(options)]),
        "environment": environment() | {"rayscale": __version__},
        "model": Path(model.where).name,
        "budget": f"{options.steps} steps of {options.batch} patches",
        "lr_patch": options.lr_patch,
        "trials": options.trials,
        "seeds": options.seeds,
        "keep_source": options.keep_source,
        "wanted": len(options.domains),
        "results": [],
    }
    runs = Runs(Path(out.path), _print_row)
    for name in options.domains:
        test = list_files(images_of_split(name, "val", options.scenes), root)
        domain = domain_of(name, root, model, options, out)
        facts["results"].append(_result(domain, options, runs, test, out))
        file = write_results(options.results, "keep-source-x4", ONE_THREAD, data=facts, page=describe(facts))
        print(f"{name}: judged; {file}", flush=True)


def _result(domain: Domain, options: argparse.Namespace, runs: Runs, test: list[SourceFile], out: Storage) -> Json:
    scenes: int | None = options.few_scenes
    if scenes is not None and domain.shards(scenes) is None:
        scenes = None  # there are no more than that
    limits = Limits(options.keep_source, options.trials, options.sampler, options.seed, options.adapter_rank)
    chosen, studies = [], {}
    for arm in dict.fromkeys([FREE, *options.arms]):
        study = study_of(arm, domain.job(scenes), domain.space, (0, domain.depth_limit), limits, out)
        records = finished_study(study)
        studies[arm] = [_trial(record) for record in records]
        found = chosen_arms(arm, study.domain, best_of(records), limits, options.seeds, runs)
        chosen += found
        for one in found:
            print(f"{domain.name}, {one.arm}: {one.configuration}, share {one.share}", flush=True)
    facts = {"domain": domain.name, "training_scenes": scenes or "all", "studies": studies}
    return facts | judge(domain.job(scenes), chosen, runs, test, options.test_crop, Path(out.path))


def _trial(record: TrialRecord) -> Json:
    return {
        **record.configuration.to_dict(),
        "psnr": record.psnr,
        "source_loss": record.source.loss if record.source else None,
        "cpu_seconds": record.cpu_seconds,
    }


def _print_row(row: Row) -> None:
    score = "diverged" if row["validation"] is None else f"{row['validation']:.3f} dB, source {row['source']:.2f} dB"
    print(f"{row['domain']}, {row['arm']}, seed {row['seed']}: {score}", flush=True)


def _parsed() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--root", required=True, help="folder or bucket of the images")
    parser.add_argument("--out", required=True, help="folder of studies, runs, weights and shards")
    add_out(parser, "--results")
    parser.add_argument("--model", default="base-x4", help="source model: a packaged name, a folder or s3:// prefix")
    parser.add_argument("--domains", nargs="+", default=list(DOMAINS), help="domains with a search space")
    parser.add_argument("--scenes", choices=("table", "file", "folder"), default="table", help="what a scene is")
    parser.add_argument("--arms", nargs="+", choices=list(METHODS), default=list(ARMS), help="searches")
    parser.add_argument("--keep-source", type=float, default=1.0, help="dB of source PSNR that may be lost (1.0)")
    parser.add_argument("--sampler", choices=("gp", "tpe", "random"), default="gp", help="sampler of the searches")
    parser.add_argument("--few-scenes", type=positive, help="a smaller number of training scenes")
    parser.add_argument("--seed", type=int, default=0, help="seed of the searches; fresh ones follow it")
    for name, default, text in (
        ("adapter-rank", 2, "rank of the arms with adapters"),
        ("trials", 10, "trials of each search"),
        ("seeds", 2, "fresh seeds of each winner"),
        ("steps", 100, "optimiser steps"),
        ("batch", 4, "patches per step"),
        ("lr-patch", 20, "side of a patch in LR pixels"),
        ("validation-images", 12, "validation and source images scored"),
        ("validation-crop", 128, "HR pixels of their middle that count"),
        ("test-crop", 192, "the same for test images"),
    ):
        parser.add_argument(f"--{name}", type=positive, default=default, help=f"{text} ({default})")
    return parser.parse_args()


if __name__ == "__main__":
    main()
