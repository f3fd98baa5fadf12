"""The winners again, with fresh seeds, beside the baselines; the only reader of the test split.

First every candidate is trained with fresh seeds and scored on validation, and the best mean chooses the winner: one
of the study's top configurations, the default fine-tune, or no fine-tuning at all. Only then is the test split opened,
and the moment is recorded. Every run leaves its weights and scores on storage and is not run again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import ray
import torch

from orchestrator.finetuning import DomainJob, load_source, run_finetuning, validation_psnr
from orchestrator.progress import teller
from orchestrator.searching import Record
from orchestrator.shards import read_split
from orchestrator.stages import fingerprint, now
from orchestrator.statistics import paired_interval
from orchestrator.storage import Storage
from trainables.errors import DivergedError, RunError
from trainables.evaluation import Pair, Score, Upscaler, bicubic, make_pairs, run, score
from trainables.finetune import TransferConfiguration
from trainables.images import encode_png
from trainables.metrics import comparable
from trainables.metrics import psnr as psnr_of
from trainables.models import CARD, WEIGHTS, pack_model, unpack_model
from trainables.network import SuperResolutionNet
from trainables.version import __version__

BASELINES = ("bicubic", "zero_shot", "scratch", "default")
_CROP = 96


@dataclass(frozen=True, slots=True)
class Candidate:
    """One configuration that stands for confirmation; None is the source model as it is."""

    name: str
    label: str
    configuration: TransferConfiguration | None
    search_psnr: float | None


@dataclass(frozen=True, slots=True)
class ConfirmJob:
    """One domain's confirmation.

    Attributes:
        domain: What every run trains on.
        candidates: What can win.
        scratch: Configuration of training from scratch.
        seeds: Fresh seeds, the same for every arm.
        runs: Folder of this confirmation's runs.
        model: Folder of the domain's best model.
        lineage: Digests for the model's card.
        cpus: CPUs of each run.
        gpus: GPUs of each run.
        board: Where progress is told.
    """

    domain: DomainJob
    candidates: tuple[Candidate, ...]
    scratch: TransferConfiguration
    seeds: tuple[int, ...]
    runs: Storage
    model: Storage
    lineage: dict[str, str]
    cpus: float
    gpus: float
    board: Any


def candidates_of(records: Sequence[Record], top: int, default: TransferConfiguration) -> tuple[Candidate, ...]:
    """The study's ``top`` best configurations, the default fine-tune and no fine-tuning."""
    best = sorted((r for r in records if r["status"] == "finished"), key=lambda r: -r["psnr"])
    by_configuration: dict[TransferConfiguration, Record] = {}
    for record in best:
        by_configuration.setdefault(TransferConfiguration(**record["configuration"]), record)
    untuned = Candidate("default", "default fine-tune", default, None)
    chosen: list[Candidate] = []
    for configuration, record in list(by_configuration.items())[:top]:
        number, psnr = record["number"], record["psnr"]
        if configuration == default:
            untuned = Candidate("default", "default fine-tune", default, psnr)
        else:
            chosen.append(Candidate(f"trial-{number}", f"trial {number}", configuration, psnr))
    return (*chosen, untuned, Candidate("zero_shot", "source model as it is", None, None))


def run_confirmations(jobs: Sequence[ConfirmJob], done: Callable[[ConfirmJob, dict[str, Any]], None]) -> None:
    """Confirms all domains at once and calls ``done`` with each one's confirmation.

    Raises:
        RunError: If one could not be finished; the others are finished first.
    """
    pending = {_drive.remote(job): job for job in jobs}
    failures = []
    while pending:
        ready, _ = ray.wait(list(pending), num_returns=1)
        job = pending.pop(ready[0])
        try:
            done(job, ray.get(ready[0]))
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            failures.append(f"{job.domain.domain}: {str(cause).strip().splitlines()[-1]}")
    if failures:
        raise RunError(f"Confirmation failed for {'; '.join(failures)}. Finished runs are kept.")


@ray.remote(num_cpus=0, max_retries=2)
def _drive(job: ConfirmJob) -> dict[str, Any]:
    on_worker = {"num_cpus": job.cpus, "num_gpus": job.gpus, "max_retries": 2}
    trained = {c.name: c.configuration for c in job.candidates if c.configuration is not None}
    wanted = [(seed, item) for seed in job.seeds for item in (trained | {"scratch": job.scratch}).items()]
    training = [_train.options(**on_worker).remote(job, name, config, seed) for seed, (name, config) in wanted]
    told = {(name, seed): value for name, seed, value in _collect(job, training, "training")}
    validation = {name: [told[name, seed] for seed in job.seeds] for name in trained}
    validation["zero_shot"] = [ray.get(_validate_source.options(**on_worker).remote(job))]
    winner = max(validation, key=lambda name: (np.mean([_or_worst(v) for v in validation[name]]), name == "zero_shot"))
    opened = _open_test(job, winner)

    arms = _arms(job, winner)
    scoring = [
        _score.options(**on_worker).remote(job, arm, run_name) for arm, runs in arms.items() for run_name in runs
    ]
    scores: dict[str, list[list[Score]]] = {arm: [] for arm in arms}
    for arm, values in _collect(job, scoring, "test"):
        if values is not None:
            scores[arm].append([Score(*value) for value in values])
    pictures = ray.get(_pictures.options(**on_worker).remote(job, winner, _picture_choice(scores)))
    ray.get(_publish.options(**on_worker).remote(job, winner, _summary(scores)))
    return {
        "winner": winner,
        "validation": validation,
        "test_opened_at": opened["at"],
        "arms": _summary(scores),
        "differences": [entry for baseline in BASELINES for entry in _differences(scores, baseline)],
        "pictures": pictures,
    }


def _arms(job: ConfirmJob, winner: str) -> dict[str, list[str]]:
    def of(name: str) -> list[str]:
        return [f"{name}-seed{seed}" for seed in job.seeds]

    best = ["zero_shot"] if winner == "zero_shot" else of(winner)
    return {
        "bicubic": ["bicubic"],
        "zero_shot": ["zero_shot"],
        "scratch": of("scratch"),
        "default": of("default"),
        "best": best,
    }


@ray.remote
def _train(
    job: ConfirmJob, name: str, configuration: TransferConfiguration, seed: int
) -> tuple[str, int, float | None]:
    """Trains one run unless its record stands; returns its validation PSNR, None if it diverged."""
    run_name = f"{name}-seed{seed}"
    place = job.runs.child(run_name)
    record = place.child("run.json").read_json()
    if record is None:
        tell = teller(job.board, f"confirm {job.domain.domain}: {run_name}")
        try:
            net, curve = run_finetuning(job.domain, configuration, seed, tell, from_scratch=name == "scratch")
            facts = {
                "name": run_name,
                "configuration": asdict(configuration),
                "seed": seed,
                "lineage": job.lineage,
            }
            for file, data in pack_model(net, facts).items():
                place.child(file).write_bytes(data)
            record = {"validation_psnr": curve[-1][1], "curve": curve, "finished_at": now()}
        except DivergedError:
            record = {"validation_psnr": None, "curve": [], "finished_at": now()}
        place.child("run.json").write_json(record)
    return name, seed, record["validation_psnr"]


@ray.remote
def _validate_source(job: ConfirmJob) -> float:
    torch.set_num_threads(job.domain.threads)
    return validation_psnr(job.domain, load_source(job.domain).to(job.domain.device))


@ray.remote
def _score(job: ConfirmJob, arm: str, run_name: str) -> tuple[str, list[tuple[str, str, float, float]] | None]:
    """Scores one run on the test split unless its scores stand; None if the run diverged."""
    place = job.runs.child(f"test-{run_name}.json")
    told = place.read_json()
    if told is None:
        torch.set_num_threads(job.domain.threads)
        upscale = _upscaler(job, run_name)
        if upscale is None:
            return arm, None
        values = score(upscale, _test_pairs(job), job.domain.scale)
        told = [[v.name, v.scene, v.psnr, v.ssim] for v in values]
        place.write_json(told)
    return arm, [(name, scene, float(psnr), float(ssim)) for name, scene, psnr, ssim in told]


@ray.remote
def _pictures(job: ConfirmJob, winner: str, choice: dict[str, str]) -> list[dict[str, Any]]:
    """Crops of the chosen test images under each arm, as PNG files beside the runs."""
    torch.set_num_threads(job.domain.threads)
    seed = job.seeds[0]
    best = winner if winner == "zero_shot" else f"{winner}-seed{seed}"
    runs = {"bicubic": "bicubic", "zero-shot": "zero_shot", "default": f"default-seed{seed}", "best": best}
    told = []
    for index, (reason, name) in enumerate(choice.items()):
        pair = next(pair for pair in _test_pairs(job) if pair.name == name)
        top, left = _liveliest(pair, _CROP)
        panels = []
        for label, picture in [("HR", pair.hr), *_outputs(job, runs, pair)]:
            file = f"picture-{index}-{label}.png"
            pixels = (picture[:, top : top + _CROP, left : left + _CROP] * 255).round().byte().permute(1, 2, 0)
            job.runs.child("pictures", file).write_bytes(encode_png(pixels.numpy()))
            planes = [comparable(image, pair.gray, job.domain.scale) for image in (picture, pair.hr)]
            panels.append({"label": label, "file": file, "psnr": None if label == "HR" else psnr_of(*planes)})
        told.append({"image": f"{name} ({reason})", "name": name, "panels": panels})
    return told


def _outputs(job: ConfirmJob, runs: dict[str, str], pair: Pair) -> Iterable[tuple[str, torch.Tensor]]:
    for label, run_name in runs.items():
        upscale = _upscaler(job, run_name)
        if upscale is not None:
            yield label, run(upscale, pair)


@ray.remote
def _publish(job: ConfirmJob, winner: str, summary: dict[str, Any]) -> None:
    net = load_source(job.domain) if winner == "zero_shot" else _load_run(job, f"{winner}-seed{job.seeds[0]}")
    if net is None:
        raise RunError(f"The weights of {winner} are missing.")
    configuration = next(c.configuration for c in job.candidates if c.name == winner)
    facts = {
        "name": job.domain.domain,
        "degradation": job.domain.degradation.to_dict(),
        "configuration": asdict(configuration) if configuration else None,
        "seed": job.seeds[0],
        "lineage": job.lineage,
        "metrics": {"test": summary["best"], "test_bicubic": summary["bicubic"]},
    }
    for name, data in pack_model(net, facts).items():
        job.model.child(name).write_bytes(data)


def _upscaler(job: ConfirmJob, run_name: str) -> Upscaler | None:
    if run_name == "bicubic":
        return bicubic(job.domain.scale)
    net = load_source(job.domain) if run_name == "zero_shot" else _load_run(job, run_name)
    if net is None:
        return None
    device = job.domain.device
    net = net.to(device)
    return lambda lr: net(lr.to(device))


def _load_run(job: ConfirmJob, run_name: str) -> SuperResolutionNet | None:
    place = job.runs.child(run_name)
    if not place.child(WEIGHTS).exists():
        return None
    return unpack_model({name: place.child(name).read_bytes() for name in (WEIGHTS, CARD)})[0]


def _open_test(job: ConfirmJob, winner: str) -> dict[str, str]:
    place = job.runs.child("test-opened.json")
    opened: dict[str, str] | None = place.read_json()
    if opened is None:
        opened = {"at": now(), "by": f"rayscale {__version__}, confirmation", "after_choosing": winner}
        place.write_json(opened)
    return opened


_PAIRS: dict[str, list[Pair]] = {}


def _test_pairs(job: ConfirmJob) -> list[Pair]:
    key = fingerprint(job.domain.shards.uri, job.domain.shards_digest, job.domain.scale)
    if key not in _PAIRS:
        _PAIRS.clear()
        _PAIRS[key] = make_pairs(read_split(job.domain.shards, "test"), job.domain.degradation, job.domain.scale)
    return _PAIRS[key]


def _collect(job: ConfirmJob, tasks: list[Any], phase: str) -> list[Any]:
    tell, collected, pending = teller(job.board, f"confirm {job.domain.domain}"), [], list(tasks)
    tell(0, len(tasks), phase)
    while pending:
        ready, pending = ray.wait(pending, num_returns=1)
        collected += ray.get(ready)
        tell(len(collected), len(tasks), phase)
    return collected


def _or_worst(value: float | None) -> float:
    return -1e9 if value is None else value


def _summary(scores: dict[str, list[list[Score]]]) -> dict[str, Any]:
    return {
        arm: {
            "psnr": float(np.mean([s.psnr for run_scores in runs for s in run_scores])),
            "ssim": float(np.mean([s.ssim for run_scores in runs for s in run_scores])),
            "psnr_by_seed": [float(np.mean([s.psnr for s in run_scores])) for run_scores in runs],
            "images": len(runs[0]),
        }
        for arm, runs in scores.items()
        if runs
    }


def _differences(scores: dict[str, list[list[Score]]], baseline: str) -> list[dict[str, Any]]:
    if not scores[baseline] or not scores["best"]:
        return []
    scenes, told = [s.scene for s in scores["best"][0]], []
    for metric in ("psnr", "ssim"):
        interval = paired_interval(_per_image(scores, "best", metric) - _per_image(scores, baseline, metric), scenes)
        told.append(
            {
                "arm": "best",
                "baseline": baseline,
                "metric": metric,
                **asdict(interval),
                "verdict": interval.verdict,
            }
        )
    return told


def _per_image(scores: dict[str, list[list[Score]]], arm: str, metric: str) -> Any:
    return np.mean([[getattr(s, metric) for s in run_scores] for run_scores in scores[arm]], axis=0)


def _picture_choice(scores: dict[str, list[list[Score]]]) -> dict[str, str]:
    """The test images where the best arm gains most, least and in the middle over zero-shot: no cherry-picking."""
    gains = _per_image(scores, "best", "psnr") - _per_image(scores, "zero_shot", "psnr")
    order, names = np.argsort(gains, kind="stable"), [s.name for s in scores["best"][0]]
    picks = {"largest gain": order[-1], "median gain": order[len(order) // 2], "smallest gain": order[0]}
    return {f"{reason}, {gains[i]:+.2f} dB over zero-shot": names[i] for reason, i in picks.items()}


def _liveliest(pair: Pair, side: int) -> tuple[int, int]:
    """Top left corner of the window with the most contrast."""
    plane = pair.hr.mean(0)
    height, width = plane.shape
    if height <= side or width <= side:
        return 0, 0
    corners = [(t, x) for t in range(0, height - side + 1, 16) for x in range(0, width - side + 1, 16)]
    return max(corners, key=lambda corner: float(plane[corner[0] :, corner[1] :][:side, :side].std()))
