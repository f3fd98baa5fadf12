"""Fine-tuning by a best configuration, on other images of its domain and without a cluster.

The images are packed and split by scene as an experiment packs a target's. The model is trained on the training split
alone and compared with the source model on validation images, which no choice has been made on here.
"""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, NotRequired, TypedDict

import numpy as np
import torch

from orchestrator.apply.adapt import Gain, gain_of, worth_it
from orchestrator.confirm.publish import origin_of
from orchestrator.data.manifest import Manifest
from orchestrator.data.shard_reader import pixel_format_of
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import ImagePairs, PairReading, Target
from orchestrator.finish.recipe import BestConfiguration, read_best
from orchestrator.foundation.file_listing import FileListing, lines_about
from orchestrator.foundation.model_store import FoundModel, check_free, find_rgb_model, write_model
from orchestrator.foundation.statistics import paired_interval
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.summaries import LeftOutFile
from orchestrator.foundation.task_progress import CountCallback
from orchestrator.foundation.usable_cpus import usable_cpus
from orchestrator.foundation.vocabulary import Verdict
from orchestrator.image_sets.set_files import list_files
from orchestrator.training.finetune import DomainJob, load_source, run_finetuning, validation_pairs, zero_shot
from search_spaces import find_space
from trainables.errors import ImageSetError, UsageError
from trainables.images.patch_pool import smallest_image
from trainables.loops.settings import Budget
from trainables.metrics.evaluation import Upscaler, bicubic, score
from trainables.network.adapters import check_rank
from trainables.network.architecture import check_frozen_depth, shortened
from trainables.network.weight_average import interpolated

_VALIDATION_SHARE, _MOST_SCORED, _CROP = 0.2, 64, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a fine-tuning by a best configuration.

    Attributes:
        domain: Domain of the file; needed where it holds several.
        model: Source model; by default that of the experiment.
        lr: Folder of the LR images, where the domain's images are pairs.
        scenes: Whether a scene is a ``file`` or a ``folder``; no scene is in both splits.
        seed: Seed of the patches.
    """

    domain: str | None = None
    model: str | None = None
    lr: str | None = None
    scenes: Literal["file", "folder"] = "file"
    seed: int = 0


class ValidationPsnr(TypedDict):
    """PSNR in dB on validation images."""

    bicubic: float
    source: float
    finetuned: float


class FinetuneResult(TypedDict):
    """Result of a fine-tuning by a best configuration; ``values`` are those of images of other depths."""

    model: str
    best: str
    domain: str
    space: str
    scale: int
    configuration: dict[str, float]
    steps: int
    images: int
    validation_images: int
    psnr: ValidationPsnr
    gain: Gain
    verdict: Verdict
    worth_it: bool
    skipped: list[LeftOutFile]
    notes: list[str]
    output: str
    values: NotRequired[str]


def finetune_images(
    best: str, images: str, out: str, settings: Settings, report_progress: CountCallback
) -> FinetuneResult:
    """Fine-tunes a model by the best configuration of a domain, and writes it.

    Args:
        best: Path or URI of ``best.yaml``.
        images: Folder or prefix of HR images of that domain.
        out: Folder or prefix of the model, without anything in it.
        settings: Domain, source model and scenes.
        report_progress: Called with the steps done and all steps.

    Returns:
        PSNR in dB of bicubic, source and fine-tuned model on validation images, the paired gain, and whether it is
        above zero. The model is written in any case.

    Raises:
        UsageError: If there is no such file, domain, model or usable image, the images are of another kind than the
            domain's, the model does not fit the configuration, or ``out`` is not empty.
        DivergedError: If training diverges.
    """
    entry = read_best(best, settings.domain)
    _check_pairs(entry, settings.lr)
    place = _empty(out)
    found = _source(entry, settings.model)
    with tempfile.TemporaryDirectory(prefix="rayscale-finetune-") as folder:
        shards, source = (Storage.at(f"{folder}/{part}") for part in ("shards", "source"))
        manifest, notes = _pack(entry, images, settings, shards)
        for name, data in found.files.items():
            source.child(name).write_bytes(data)
        job = _job(entry, manifest, shards, source, found)
        result = _train(job, entry, found, settings, report_progress, place, manifest["images"]["train"])
    result["skipped"] = [{"file": left_out["file"], "reason": left_out["reason"]} for left_out in manifest["skipped"]]
    result["notes"] = [*notes, *manifest.get("notes", [])]
    return result


def _train(
    job: DomainJob,
    entry: BestConfiguration,
    found: FoundModel,
    settings: Settings,
    report_progress: CountCallback,
    place: Storage,
    images: int,
) -> FinetuneResult:
    """Trains, scores and writes the model."""
    torch.set_num_threads(job.threads)
    pairs = validation_pairs(job)

    def scores(upscale: Upscaler) -> list[float]:
        return [image.psnr for image in score(upscale, pairs, job.scale)]

    before, plain = scores(zero_shot(job)), scores(bicubic(job.scale))
    net, _ = run_finetuning(
        job, entry.configuration, settings.seed, lambda done, total, _: report_progress(int(done), int(total))
    )
    if entry.recipe.share < 1:
        net = interpolated(load_source(job, entry.configuration.kept_blocks), net, entry.recipe.share)
    after = scores(net)
    gain = paired_interval(np.subtract(after, before).tolist(), [pair.scene for pair in pairs])
    result: FinetuneResult = {
        "model": found.where,
        "best": entry.where,
        "domain": entry.domain,
        "space": entry.space,
        "scale": job.scale,
        "configuration": entry.configuration.to_dict(),
        "steps": job.budget.steps,
        "images": images,
        "validation_images": len(pairs),
        "psnr": {
            "bicubic": float(np.mean(plain)),
            "source": float(np.mean(before)),
            "finetuned": float(np.mean(after)),
        },
        "gain": gain_of(gain),
        "verdict": gain.verdict,
        "worth_it": worth_it(gain),
        "skipped": [],
        "notes": [],
        "output": place.uri,
    }
    if not job.pixel_format.plain:
        result["values"] = job.pixel_format.describe()
    write_model(place, net, _card(entry, found, settings, result) | origin_of(job, net))
    return result


def _check_pairs(entry: BestConfiguration, lr: str | None) -> None:
    if entry.recipe.pairs and lr is None:
        raise UsageError(
            f"The images of '{entry.domain}' are pairs of HR and LR images: name the folder of the LR ones with --lr."
        )
    if lr is not None and not entry.recipe.pairs:
        raise UsageError(f"The images of '{entry.domain}' are HR images alone, from which LR is made: remove --lr.")


def _empty(out: str) -> Storage:
    place = Storage.at(out)
    check_free(place)
    if place.kind() == "file" or any(True for _ in place.files()):
        raise UsageError(f"'{place.uri}' holds something already; name another OUT, or remove it.")
    return place


def _source(entry: BestConfiguration, model: str | None) -> FoundModel:
    """The source model, if the configuration fits it."""
    named = model or entry.recipe.source
    try:
        found = find_rgb_model(named)
    except UsageError as error:
        if model is not None:
            raise
        raise UsageError(f"{str(error).rstrip('.')}; '{entry.where}' names it, --model names another one.") from None
    architecture, configuration = found.net.architecture, entry.configuration
    if architecture.scale != entry.scale:
        raise UsageError(
            f"'{entry.where}' is of scale factor {entry.scale}, and model '{found.where}' of {architecture.scale}: "
            "name a model of the same one."
        )
    if configuration.kept_blocks is not None:
        architecture = shortened(architecture, configuration.kept_blocks)
    check_frozen_depth(configuration.frozen_depth, architecture)
    if entry.recipe.adapter_rank is not None:
        check_rank(entry.recipe.adapter_rank, architecture)
    return found


def _pack(entry: BestConfiguration, images: str, settings: Settings, shards: Storage) -> tuple[Manifest, list[str]]:
    """Packs the images as an experiment packs a target's; returns the manifest, and lines that a user should know."""
    recipe, notes = entry.recipe, list[str]()
    target = Target(
        images=images if settings.lr is None else ImagePairs(hr=images, lr=settings.lr),
        scenes=settings.scenes,
        value_range=recipe.value_range,
        bands=tuple(recipe.bands) if recipe.bands else None,
        chip=recipe.chip,
        slice_axis=recipe.slice_axis,
    )

    def report(folder: str, listing: FileListing) -> None:
        notes.extend(lines_about(folder, listing))

    files = list_files(target, Storage.at("."), None, report, notes.append, scale=lambda: entry.scale)
    least = smallest_image(recipe.lr_patch, entry.scale)
    reading = PairReading(entry.scale) if recipe.pairs else None
    shares = {"validation": _VALIDATION_SHARE}
    manifest = build_shards(files, shares, least, shards, "not stated", deep=target.deep, pairs=reading)
    bands = pixel_format_of(manifest).bands
    if recipe.channels is not None and len(bands) != recipe.channels:
        raise ImageSetError(
            f"The images of '{images}' have {len(bands)} bands ({', '.join(bands)}), and those of '{entry.domain}' in "
            f"'{entry.where}' {recipe.channels}: its configuration is for images of one kind."
        )
    return manifest, notes


def _job(
    entry: BestConfiguration, manifest: Manifest, shards: Storage, source: Storage, found: FoundModel
) -> DomainJob:
    recipe, pixel_format = entry.recipe, pixel_format_of(manifest)
    return DomainJob(
        domain=entry.domain,
        shards=shards,
        shards_digest=f"{manifest['digest']}-{shards.uri}",
        source=source,
        source_digest=str(found.card["sha256"]),
        degradation=find_space(entry.space).degradation.for_format(pixel_format),
        scale=entry.scale,
        budget=Budget(steps=recipe.steps, batch=recipe.batch, evaluations=min(10, recipe.steps)),
        lr_patch=recipe.lr_patch,
        validation_images=_MOST_SCORED,
        validation_crop=_CROP,
        threads=usable_cpus(),
        on_gpu=torch.cuda.is_available(),
        method=recipe.method(),
        pixel_format=pixel_format,
    )


def _card(entry: BestConfiguration, found: FoundModel, settings: Settings, result: FinetuneResult) -> dict[str, object]:
    data = Storage.at(entry.where).read_bytes()
    return {
        "name": PurePosixPath(result["output"]).name,
        "configuration": result["configuration"],
        "seed": settings.seed,
        "lineage": {
            "best": entry.where,
            "best_sha256": hashlib.sha256(data).hexdigest(),
            "experiment": entry.experiment,
            "domain": entry.domain,
            "source": found.where,
            "source_model": found.card["sha256"],
            "source_licence": found.licence,
        },
        "training": {
            "steps": result["steps"],
            "batch": entry.recipe.batch,
            "lr_patch": entry.recipe.lr_patch,
            "images": result["images"],
            "validation_images": result["validation_images"],
        },
        "metrics": {"validation": {"psnr": result["psnr"], "gain": result["gain"], "verdict": result["verdict"]}},
    }
