"""What a confirmation runs on a worker: train one arm, score one run, cut out pictures, publish the model.

Each leaves its result on storage and does not run again where that stands. The test split is read here and nowhere
else, by tasks that the confirmation starts once its winner is chosen.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import ray
import torch

from orchestrator.finetuning import DomainJob, load_source, run_finetuning, validation_psnr
from orchestrator.model_files import read_model, write_model
from orchestrator.progress import teller
from orchestrator.shards import read_manifest, read_split
from orchestrator.stages import now
from orchestrator.storage import Storage
from trainables.errors import DivergedError, RunError
from trainables.evaluation import Pair, Upscaler, bicubic, make_pairs, run, score
from trainables.finetune import TransferConfiguration
from trainables.images import encode_png
from trainables.metrics import comparable
from trainables.metrics import psnr as psnr_of
from trainables.models import WEIGHTS
from trainables.network import SuperResolutionNet

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


@ray.remote
def train_run(
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
            write_model(place, net, facts)
            record = {"validation_psnr": curve[-1][1], "curve": curve, "finished_at": now()}
        except DivergedError:
            record = {"validation_psnr": None, "curve": [], "finished_at": now()}
        place.child("run.json").write_json(record)
    return name, seed, record["validation_psnr"]


@ray.remote
def validate_source(job: ConfirmJob) -> float:
    """Validation PSNR of the source model as it is, in dB."""
    torch.set_num_threads(job.domain.threads)
    return validation_psnr(job.domain, load_source(job.domain).to(job.domain.device))


@ray.remote
def score_run(job: ConfirmJob, run_name: str) -> tuple[str, list[tuple[str, str, float, float]] | None]:
    """Scores one run on the test split unless its scores stand; None if the run diverged."""
    place = job.runs.child(f"test-{run_name}.json")
    told = place.read_json()
    if told is None:
        torch.set_num_threads(job.domain.threads)
        upscale = _upscaler(job, run_name)
        if upscale is None:
            return run_name, None
        values = score(upscale, _test_pairs(job.domain), job.domain.scale)
        told = [[v.name, v.scene, v.psnr, v.ssim] for v in values]
        place.write_json(told)
    return run_name, [(name, scene, float(psnr), float(ssim)) for name, scene, psnr, ssim in told]


@ray.remote
def make_pictures(job: ConfirmJob, winner: str, choice: dict[str, str]) -> list[dict[str, Any]]:
    """Crops of the chosen test images under each arm, as PNG files beside the runs."""
    torch.set_num_threads(job.domain.threads)
    seed = job.seeds[0]
    best = winner if winner == "zero_shot" else f"{winner}-seed{seed}"
    runs = {"bicubic": "bicubic", "zero-shot": "zero_shot", "default": f"default-seed{seed}", "best": best}
    told = []
    for index, (reason, name) in enumerate(choice.items()):
        pair = next(pair for pair in _test_pairs(job.domain) if pair.name == name)
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
def publish_model(job: ConfirmJob, winner: str, summary: dict[str, Any]) -> None:
    """Writes the winner of the first seed (not of the best one on test) as the domain's model."""
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
        "data_licence": read_manifest(job.domain.shards)["licence"],
        "metrics": {"test": summary["best"], "test_bicubic": summary["bicubic"]},
    }
    write_model(job.model, net, facts)


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
    return read_model(place)[0]


@lru_cache(maxsize=1)
def _test_pairs(domain: DomainJob) -> list[Pair]:
    return make_pairs(read_split(domain.shards, "test"), domain.degradation, domain.scale)


def _liveliest(pair: Pair, side: int) -> tuple[int, int]:
    """Top left corner of the window with the most contrast."""
    plane = pair.hr.mean(0)
    height, width = plane.shape
    if height <= side or width <= side:
        return 0, 0
    corners = [(t, x) for t in range(0, height - side + 1, 16) for x in range(0, width - side + 1, 16)]
    return max(corners, key=lambda corner: float(plane[corner[0] :, corner[1] :][:side, :side].std()))
