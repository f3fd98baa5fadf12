"""Training on real pairs against training on the simulated degradation of the domain.

    python -m benchmarks.training.real_pairs --data DATA --out runs/pairs

DATA holds train/ and val/ of medical/, satellite/, surveillance/ and art/, and manifest.csv with columns `file` and
`scene_group`. LR images are taken by a camera that no domain's degradation describes (hidden_camera.py). Arms differ in
the LR of their training patches alone: `simulated` degrades HR by the domain's model, `pairs` takes the camera's
images, `mixed` half of each. The learning rate of each arm is chosen on pairs carved out of train/, also for
`simulated`; val/ is scored once, for what was chosen. Sets that are wrong in a known way must be refused by the checks
before a step is run. Trained runs are kept below --out: the same command goes on.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common.arguments import add_out, command, make_parser, one_sentence, positive
from benchmarks.common.domain import source_place, write_source
from benchmarks.common.domain_images import DOMAINS, PAINTER
from benchmarks.common.environment import environment
from benchmarks.common.pair_sets import WRONG, checked, list_set, write_set
from benchmarks.common.results import ONE_THREAD, today, write_results
from orchestrator.data.shard_reader import read_manifest, read_split
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import ImageSet, PairReading
from orchestrator.foundation.model_store import FoundModel, find_model, read_model, write_model
from orchestrator.foundation.stage_record import fingerprint
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile, list_files
from orchestrator.training.finetune import DomainJob, run_finetuning
from search_spaces import find_space
from trainables.errors import RunError
from trainables.images.patch_pool import smallest_image
from trainables.loops.settings import Budget, TransferConfiguration
from trainables.metrics.evaluation import Upscaler, bicubic, make_pairs, score
from trainables.version import __version__

SHARES = {"simulated": 0.0, "mixed": 0.5, "pairs": 1.0}
"""Share of training patches with the camera's LR, by arm."""

COMPARED = (("pairs", "simulated"), ("mixed", "simulated"), ("pairs", "zero-shot"), ("simulated", "zero-shot"))
RESAMPLES = 10_000
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One training."""

    job: DomainJob
    rate: float
    seed: int

    def place(self, out: Path) -> Storage:
        """Folder of its weights."""
        job = self.job
        key = fingerprint(
            [__version__, torch.__version__, job.shards_digest, job.source_digest, job.degradation.to_dict()],
            [job.pairs_share, repr(job.budget), job.lr_patch, job.validation_images, job.validation_crop],
            [self.rate, self.seed],
        )
        return Storage.at(str(out / "runs" / f"{job.domain}-{key[:16]}"))


def main() -> None:
    torch.set_num_threads(1)
    with one_sentence():
        compare(_parsed())


def compare(options: argparse.Namespace) -> Path:
    """Runs what is missing and writes the table; it is written anew after each domain."""
    out, root = Path(options.out), Storage.at(options.data)
    root.check_readable()
    model = find_model(options.model)
    write_source(Storage.at(str(out)), model)
    found: Json = {
        "date": today(),
        "command": command("training.real_pairs", ["--data", "DATA", "--out", "DIR", *_further(options)]),
        "environment": environment() | {"rayscale": __version__},
        "model": Path(model.where).name,
        "budget": f"{options.steps} steps of {options.batch} patches",
        "seeds": options.seeds,
        "margin": options.margin,
        "domains": {},
    }
    written = out
    for name in options.domains:
        found["domains"][name] = _compare_domain(name, root, model, options, out)
        written = write_results(options.results, "real-pairs-x4", ONE_THREAD, data=found, page=describe(found))
        print(f"{name}: {json.dumps(found['domains'][name]['differences'][0])}; {written}", flush=True)
    return written


def _compare_domain(name: str, root: Storage, model: FoundModel, options: argparse.Namespace, out: Path) -> Json:
    scale = model.net.architecture.scale
    train, test = (list_files(_images(name, split, options.scenes), root) for split in ("train", "val"))
    write_set(train, out / name / "train", scale)
    write_set(test, out / name / "test", scale)
    least = smallest_image(options.lr_patch, scale)
    lines, refused = checked(out / name / "train", scale, least)
    if refused:
        raise RunError(f"The camera's own pairs were refused: {refused}")
    job = _job(name, model, options, out, least)
    chosen = {arm: _choose(replace(job, pairs_share=share), options, out) for arm, share in SHARES.items()}
    upscalers = {arm: [_network(run, out) for run in runs] for arm, (_, runs) in chosen.items()} | {
        "bicubic": [bicubic(scale)],
        "zero-shot": [model.net.eval()],
    }
    psnr, scenes = _scored(upscalers, out / name / "test", job, options.test_crop)
    return {
        "checks": lines,
        "refused": _refusals(train[: options.wrong], out / name, scale, least),
        "images": read_manifest(job.shards)["images"] | {"test": len(scenes)},
        "test_scenes": len(set(scenes)),
        "rates": {arm: rate for arm, (rate, _) in chosen.items()},
        "psnr": {arm: float(values.mean()) for arm, values in psnr.items()},
        "differences": [_difference(psnr, scenes, *pair) for pair in COMPARED],
    }


def _refusals(files: Sequence[SourceFile], folder: Path, scale: int, least: int) -> dict[str, str | None]:
    """The sentence that refuses each wrong set, None where nothing does."""
    found = {}
    for number, (kind, camera) in enumerate(WRONG.items()):
        write_set(files, folder / f"wrong-{number}", scale, camera)
        found[kind] = checked(folder / f"wrong-{number}", scale, least)[1]
    return found


def _job(name: str, model: FoundModel, options: argparse.Namespace, out: Path, least: int) -> DomainJob:
    scale, shards = model.net.architecture.scale, Storage.at(str(out / name / "shards"))
    files = list_set(out / name / "train", scale)
    build_shards(files, {"validation": 0.2}, least, shards, "see its sources", pairs=PairReading(scale))
    return DomainJob(
        domain=name,
        shards=shards,
        shards_digest=str(read_manifest(shards)["digest"]),
        source=source_place(Storage.at(str(out)), model),
        source_digest=str(model.card["sha256"]),
        degradation=find_space(name).degradation,
        scale=scale,
        budget=Budget(steps=options.steps, batch=options.batch, evaluations=1),
        lr_patch=options.lr_patch,
        validation_images=options.validation_images,
        validation_crop=options.validation_crop,
        threads=1,
        on_gpu=False,
    )


def _choose(job: DomainJob, options: argparse.Namespace, out: Path) -> tuple[float, list[Run]]:
    """The learning rate that is best on validation with the first seed, and the runs of all seeds with it."""
    scores = {rate: _train(Run(job, rate, options.seed), out) for rate in options.rates}
    best = max(scores, key=lambda rate: scores[rate])
    runs = [Run(job, best, seed) for seed in range(options.seed, options.seed + options.seeds)]
    for run in runs:
        _train(run, out)
    return best, runs


def _train(run: Run, out: Path) -> float:
    """PSNR on validation; weights and score are kept."""
    place = run.place(out)
    kept = place.child("run.json").read_json()
    if isinstance(kept, dict):
        return float(kept["validation_psnr"])
    start = time.process_time()
    configuration = TransferConfiguration(learning_rate=run.rate, lambda_=0.0, frozen_depth=0)
    net, curve = run_finetuning(run.job, configuration, run.seed, lambda *_: None)
    write_model(place, net, {"name": run.job.domain})
    place.child("run.json").write_json({"validation_psnr": curve[-1][1]})
    print(
        f"{run.job.domain}, share {run.job.pairs_share:g}, lr {run.rate:g}, seed {run.seed}: {curve[-1][1]:.2f} dB in "
        f"{time.process_time() - start:.0f} s",
        flush=True,
    )
    return curve[-1][1]


def _network(run: Run, out: Path) -> Upscaler:
    return read_model(run.place(out))[0].eval()


def _scored(
    upscalers: Mapping[str, Sequence[Upscaler]], folder: Path, job: DomainJob, crop: int
) -> tuple[dict[str, Any], list[str]]:
    """PSNR in dB by arm, (seeds, images), and the images' scenes."""
    place = Storage.at(str(folder / "shards"))
    build_shards(list_set(folder, job.scale), {}, 1, place, "see its sources", pairs=PairReading(job.scale))
    pairs = make_pairs(read_split(place, "train"), job.degradation, job.scale, crop)
    psnr = {
        arm: np.array([[s.psnr for s in score(upscale, pairs, job.scale)] for upscale in runs])
        for arm, runs in upscalers.items()
    }
    return psnr, [pair.scene for pair in pairs]


def _difference(psnr: Mapping[str, Any], scenes: Sequence[str], arm: str, baseline: str) -> Json:
    """Mean difference in dB with its 95 % interval, over scenes and seeds drawn anew with replacement.

    Seeds of two trained arms are paired, because they draw the same patches.
    """
    values = psnr[arm] - psnr[baseline]
    _, scene_of = np.unique(scenes, return_inverse=True)
    count = scene_of.max() + 1
    sums = np.stack([np.bincount(scene_of, row, count) for row in values])
    images = np.bincount(scene_of, minlength=count)
    rng = np.random.default_rng(0)
    drawn = rng.integers(count, size=(RESAMPLES, count))
    seeds = rng.integers(len(values), size=(RESAMPLES, len(values)))
    means = sums[seeds[:, :, None], drawn[:, None, :]].mean(1).sum(1) / images[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"arm": arm, "baseline": baseline, "mean": float(values.mean()), "low": float(low), "high": float(high)}


def describe(found: Json) -> str:
    """The page of a result."""
    arms, machine = ["bicubic", "zero-shot", *SHARES], found["environment"]
    lines = [
        "# Real pairs against the simulated degradation, ×4",
        "",
        f"{found['date']}, `{found['command']}`, {machine['hardware']}, {machine['versions']}, commit "
        f"{machine['commit']}. Source model {found['model']}, {found['budget']}, "
        f"{found['seeds']} seeds. PSNR in dB on the camera's LR images of val/; intervals are 95 %, over scenes and "
        "seeds.",
        "",
        f"| domain | test images (scenes) | {' | '.join(arms)} | pairs - simulated | at least {found['margin']:g} dB |",
        f"|---|---:|{'---:|' * len(arms)}---:|---|",
    ]
    for name, domain in found["domains"].items():
        scores = " | ".join(f"{domain['psnr'][arm]:.2f}" for arm in arms)
        first = domain["differences"][0]
        lines.append(
            f"| {name} | {domain['images']['test']} ({domain['test_scenes']}) | {scores} | "
            f"{first['mean']:+.2f} ({first['low']:+.2f} to {first['high']:+.2f}) | "
            f"{'yes' if first['low'] >= found['margin'] else 'no'} |"
        )
    lines += ["", "| domain | wrong pairs | refused before a step |", "|---|---|---|"]
    lines += [
        f"| {name} | {kind} | {_short(sentence)} |"
        for name, domain in found["domains"].items()
        for kind, sentence in domain["refused"].items()
    ]
    return "\n".join(lines) + "\n"


def _short(sentence: str | None) -> str:
    """The fault in a refusal."""
    return "**no**" if sentence is None else sentence.partition(" do not fit: ")[2].partition(". Correct ")[0]


def _images(name: str, split: str, scenes: str) -> ImageSet:
    found: object = scenes
    if scenes == "table":
        pattern = PAINTER if name == "art" else None
        found = {"table": "manifest.csv", "scene_column": "scene_group", "pattern": pattern}
    return ImageSet.model_validate({"images": f"{name}/{split}", "scenes": found})


def _further(options: argparse.Namespace) -> list[str]:
    found = []
    for name, value in vars(options).items():
        if name not in ("data", "out", "results", "model"):
            values = [str(part) for part in value] if isinstance(value, list) else [str(value)]
            found += [f"--{name.replace('_', '-')}", *values]
    return found


def _parsed() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder or bucket of the images")
    parser.add_argument("--out", required=True, help="folder of pairs, shards and runs")
    add_out(parser, "--results")
    parser.add_argument("--model", default="base-x4", help="source model: a packaged name, a folder or s3:// prefix")
    parser.add_argument("--domains", nargs="+", default=list(DOMAINS), help="domains with a search space")
    parser.add_argument("--scenes", choices=("table", "file", "folder"), default="table", help="what a scene is")
    parser.add_argument("--rates", nargs="+", type=float, default=[3e-4, 1e-3], help="learning rates")
    parser.add_argument("--seed", type=int, default=0, help="the first one, with which rates are chosen")
    parser.add_argument("--margin", type=float, default=0.3, help="dB by which pairs are to win")
    for name, default, said in (
        ("seeds", 3, "seeds of each arm"),
        ("steps", 300, "optimiser steps"),
        ("batch", 8, "patches per step"),
        ("lr-patch", 24, "side of a patch in LR pixels"),
        ("validation-images", 12, "validation images scored"),
        ("validation-crop", 192, "HR pixels of their middle that count"),
        ("test-crop", 384, "the same for test images"),
        ("wrong", 16, "images of each wrong set"),
    ):
        parser.add_argument(f"--{name}", type=positive, default=default, help=f"{said} ({default})")
    return parser.parse_args()


if __name__ == "__main__":
    main()
