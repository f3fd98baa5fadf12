"""A fine-tuning on a worker, from the shards, the source model, a configuration and a seed."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch

from orchestrator.data.shard_reader import read_manifest, read_split
from orchestrator.data.source_images import held_out_images, replayed_images
from orchestrator.foundation.model_store import degradation_of, read_model
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.progress_updates import Reporter
from orchestrator.training.certificate import Certificate, certificate_of
from trainables.degradation import Degradation
from trainables.errors import ImageSetError, RunError, UsageError
from trainables.images.patch_pool import PatchPool, Pixels, TrainingImage, smallest_image
from trainables.images.raster import PLAIN, RGB, PixelFormat
from trainables.inference.precision import Precision
from trainables.loops.finetune import finetune
from trainables.loops.received import Received
from trainables.loops.seeding import restart
from trainables.loops.settings import Budget, TransferConfiguration, TransferMethod
from trainables.metrics.evaluation import NamedImage, Pair, Upscaler, make_pairs, mean_psnr, psnr_of_each
from trainables.network.bands import by_band, with_bands
from trainables.network.model_card import ModelCard
from trainables.network.model_files import weights_of
from trainables.network.network import SuperResolutionNet

_HELD_IMAGES = 500
"""Most training images that a worker process keeps decoded between trials; a larger split is read again."""

_GPU_BATCH = 16
"""Validation images in a batch on a GPU."""

_ANY_BUDGET = Budget(steps=1, batch=1, evaluations=1)

Curve = list[tuple[int, float]]
Watch = Callable[[int, float], None]
Certify = Callable[[Certificate], None]


@dataclass(frozen=True, slots=True)
class DomainJob:
    """Input of a worker that fine-tunes to one domain; the location of the test split is not part of it.

    Attributes:
        domain: Name of the target.
        shards: Folder of the domain's shards.
        shards_digest: Digest of the shards.
        source: Folder of the source model.
        source_digest: Digest of the source model.
        degradation: The domain's degradation.
        scale: Scale factor r.
        budget: Steps, batch and evaluations.
        lr_patch: Side of an LR patch in pixels.
        validation_images: Most validation images that are scored.
        validation_crop: Side in HR pixels of the central crop that is scored.
        threads: torch threads of a worker.
        on_gpu: Whether to use the GPUs that Ray assigned.
        method: Method of transfer: which weights are carried over, and the regularizer that holds them.
        source_images: Shards of the source's images; None to use generated natural images.
        precision: Number format of the training's convolutions; ``auto`` is bfloat16 on GPUs that have it.
        device_count: Devices that share each batch of a training; all else runs on the first.
        pixel_format: What the values of the domain's images mean.
        pairs_share: Of pairs, share of training patches with their real LR.
        splits: Splits of the shards that are trained on; validation is one of them for a finished model alone.
    """

    domain: str
    shards: Storage
    shards_digest: str
    source: Storage
    source_digest: str
    degradation: Degradation
    scale: int
    budget: Budget
    lr_patch: int
    validation_images: int
    validation_crop: int
    threads: int
    on_gpu: bool
    method: TransferMethod = field(default_factory=TransferMethod)
    source_images: Storage | None = None
    pixel_format: PixelFormat = PLAIN
    pairs_share: float = 1.0
    splits: tuple[str, ...] = ("train",)
    precision: Precision = "auto"
    device_count: int = 1

    @property
    def scored_together(self) -> int:
        """Most validation images of one size that go through a network together; on a CPU that gains nothing."""
        return _GPU_BATCH if self.on_gpu else 1

    @property
    def device(self) -> torch.device:
        """Device on which the worker trains."""
        return torch.device("cuda" if self.on_gpu else "cpu")

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """Devices that share each batch of a training, :attr:`device` first; on a CPU it is shared by copies there.

        Raises:
            RunError: If the worker sees fewer GPUs than it was given.
        """
        if self.device_count == 1 or not self.on_gpu:
            return (self.device,) * self.device_count
        if torch.cuda.device_count() < self.device_count:
            raise RunError(
                f"A training needs {self.device_count} GPUs (search.gpus_per_trial), but its process sees "
                f"{torch.cuda.device_count()}: check the driver and CUDA_VISIBLE_DEVICES of that node, or lower "
                "gpus_per_trial."
            )
        return tuple(torch.device("cuda", number) for number in range(self.device_count))


def run_finetuning(
    job: DomainJob,
    configuration: TransferConfiguration,
    seed: int,
    report_progress: Reporter,
    from_scratch: bool = False,
    watch: Watch = lambda step, value: None,
    certify: Certify = lambda certificate: None,
) -> tuple[SuperResolutionNet, Curve]:
    """Fine-tunes the source model, or trains a fresh network of the same shape on the same budget.

    The result depends on the arguments alone, not on earlier work of this process.

    Args:
        job: Data, source model, method and budget.
        configuration: Learning rate, λ, frozen depth and, where the network is shortened, kept blocks.
        seed: Seed of the patches and of everything else that is random.
        report_progress: Called with (step, steps, note) after each evaluation.
        from_scratch: Whether to train a fresh network; the job's method is then ignored.
        watch: Called with each (step, validation PSNR); an exception that it raises ends the training.
        certify: Called with the certificate of what the training loop received, before its first step.

    Returns:
        The trained network and its (step, validation PSNR) curve.

    Raises:
        DivergedError: If training diverges.
        RunError: If the worker sees fewer GPUs than the job's devices.
    """
    torch.set_num_threads(job.threads)
    devices = job.devices
    source = load_source(job, configuration.kept_blocks)
    method = TransferMethod() if from_scratch else job.method
    pool = _pool(job, lambda: _training_images(job), job.degradation, seed)
    replays = method.regularizer == "replay" and configuration.lambda_ > 0
    replay = _pool(job, lambda: _source_images(job), source_degradation(job), seed) if replays else None
    validation_pairs(job)
    # All images are loaded, so that random numbers do not depend on whether this process had them cached.
    restart(seed, job.threads)
    net = SuperResolutionNet(source.architecture) if from_scratch else source
    net = net.to(job.device)
    anchor = {} if from_scratch else weights_of(net)

    def report(step: int, value: float) -> None:
        report_progress(step, job.budget.steps, f"{value:.2f} dB on validation")
        watch(step, value)

    def validate(net: SuperResolutionNet) -> float:
        return validation_psnr(job, net)

    def received(settings: Received) -> None:
        certify(certificate_of(settings, job.shards_digest, job.splits))

    curve = finetune(
        net,
        configuration,
        job.budget,
        pool,
        anchor,
        validate,
        report,
        method,
        replay,
        received,
        job.precision,
        devices,
    )
    return net.cpu(), curve


def validation_psnr(job: DomainJob, net: SuperResolutionNet) -> float:
    """Mean PSNR in dB on the domain's validation images."""
    device = next(net.parameters()).device
    return mean_psnr(lambda lr: net(lr.to(device)), validation_pairs(job), job.scale, job.scored_together)


def validation_images(job: DomainJob, upscale: Upscaler) -> list[tuple[str, str, float]]:
    """Name, scene and PSNR in dB of each of the domain's validation images, which are the same for every upscaler."""
    pairs = validation_pairs(job)
    scores = psnr_of_each(upscale, pairs, job.scale, job.scored_together)
    return [(pair.name, pair.scene, psnr) for pair, psnr in zip(pairs, scores, strict=True)]


def source_psnr(job: DomainJob, net: SuperResolutionNet) -> float:
    """Mean PSNR in dB on held-out source images under the source model's own degradation, a measure of forgetting.

    They are the validation split of the source's shards, or generated images of seeds that no training uses; at most
    as many as the target's, cropped in the same way.
    """
    device = next(net.parameters()).device
    return mean_psnr(
        lambda lr: net(lr.to(device)), _source_pairs(_of_any_training(job)), job.scale, job.scored_together
    )


def source_loss(job: DomainJob, net: SuperResolutionNet) -> tuple[float, float]:
    """:func:`source_psnr` of a fine-tuned network, and the source model's minus that: both in dB."""
    psnr = source_psnr(job, net)
    return psnr, _source_psnr_before(_of_any_training(job)) - psnr


def check_source_images(domain: str, pixel_format: PixelFormat) -> None:
    """Checks that the networks of a domain can upscale the source's images, which are 8-bit RGB.

    Raises:
        UsageError: If they take other bands.
    """
    if not pixel_format.plain and tuple(pixel_format.bands) != RGB:
        raise UsageError(
            f"search.keep_source needs source images that the networks of '{domain}' can upscale, but these take the "
            f"bands {', '.join(pixel_format.bands)} and source images have {', '.join(RGB)}: remove `keep_source`, or "
            "name these `bands` for the target."
        )


def source_degradation(job: DomainJob) -> Degradation:
    """Degradation that the source model was trained on; antialiased bicubic decimation if its card names none."""
    return degradation_of(_held_source(job.source, job.source_digest)[1]) or Degradation()


def load_source(job: DomainJob, kept_blocks: int | None = None) -> SuperResolutionNet:
    """A copy of the source model for the domain's bands, which the caller may train.

    With ``kept_blocks``, it has the first residual blocks alone. Its bands are those of the domain
    (:mod:`trainables.network.bands`); the network of 8-bit images takes gray as three equal bands.
    """
    net = source_as_it_is(job)
    if not job.pixel_format.plain:
        net = with_bands(net, job.pixel_format.bands)
    if kept_blocks is not None:
        net.keep_blocks(kept_blocks)
    return net


def source_as_it_is(job: DomainJob) -> SuperResolutionNet:
    """A copy of the source model with its own bands."""
    return copy.deepcopy(_held_source(job.source, job.source_digest)[0])


def zero_shot(job: DomainJob) -> Upscaler:
    """The source model as it is, on the job's device; images with other bands than its own go through it one by one."""
    net = source_as_it_is(job).to(job.device).eval()
    own = net.architecture.channels == job.pixel_format.channels or job.pixel_format.plain
    return (lambda lr: net(lr.to(job.device))) if own else by_band(lambda lr: net(lr.to(job.device)))


def validation_pairs(job: DomainJob) -> list[Pair]:
    """The validation images that are scored: at most the wanted number, taken from all scenes in turn.

    Raises:
        ImageSetError: If the split is empty.
    """
    return _validation_pairs(_of_any_training(job))


@lru_cache(maxsize=4)
def _validation_pairs(job: DomainJob) -> list[Pair]:
    images = _in_turn(list(read_split(job.shards, "validation")))[: job.validation_images]
    if not images:
        raise ImageSetError(f"'{job.domain}' has no validation images.")
    return make_pairs(images, job.degradation, job.scale, job.validation_crop)


@lru_cache(maxsize=4)
def _source_pairs(job: DomainJob) -> list[Pair]:
    images = held_out_images(job.source_images, job.validation_images)
    return make_pairs(images, source_degradation(job), job.scale, job.validation_crop)


@lru_cache(maxsize=4)
def _source_psnr_before(job: DomainJob) -> float:
    """:func:`source_psnr` of the source model itself."""
    return source_psnr(job, load_source(job).to(job.device).eval())


def _of_any_training(job: DomainJob) -> DomainJob:
    """The job without what concerns its training alone: the cache key of scored images, which all trainings share."""
    return replace(job, method=TransferMethod(), budget=_ANY_BUDGET, splits=(), device_count=1)


def _pool(
    job: DomainJob, images: Callable[[], Iterator[TrainingImage]], degradation: Degradation, seed: int
) -> PatchPool:
    return PatchPool(
        images,
        scale=job.scale,
        lr_patch=job.lr_patch,
        degradation=degradation,
        seed=seed,
        device=job.device,
        channels=3 if job.pixel_format.plain else job.pixel_format.channels,
        pairs_share=job.pairs_share,
    )


def _source_images(job: DomainJob) -> Iterator[Pixels]:
    return replayed_images(job.source_images, job.source_digest, smallest_image(job.lr_patch, job.scale))


def _in_turn(images: list[NamedImage]) -> list[NamedImage]:
    by_scene: dict[str, list[NamedImage]] = {}
    for image in sorted(images, key=lambda image: image.name):
        by_scene.setdefault(image.scene, []).append(image)
    ranked = [(rank, scene, image) for scene, group in by_scene.items() for rank, image in enumerate(group)]
    return [image for _, _, image in sorted(ranked, key=lambda entry: entry[:2])]


def _training_images(job: DomainJob) -> Iterator[TrainingImage]:
    counts = read_manifest(job.shards)["images"]
    if sum(counts[split] for split in job.splits) <= _HELD_IMAGES:
        return iter(_held_images(job.shards, job.shards_digest, job.splits))
    return _read_images(job.shards, job.splits)


@lru_cache(maxsize=4)
def _held_images(shards: Storage, digest: str, splits: tuple[str, ...]) -> list[TrainingImage]:
    del digest  # part of the key: other shards at the same place are other images
    return list(_read_images(shards, splits))


def _read_images(shards: Storage, splits: tuple[str, ...]) -> Iterator[TrainingImage]:
    return (image.prepared for split in splits for image in read_split(shards, split))


@lru_cache(maxsize=4)
def _held_source(source: Storage, digest: str) -> tuple[SuperResolutionNet, ModelCard]:
    del digest  # part of the key, as above
    return read_model(source)
