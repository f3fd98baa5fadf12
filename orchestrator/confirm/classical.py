"""Classical baselines as arms of a confirmation: fitted to training images, tuned on validation, and stored."""

from itertools import islice

from orchestrator.confirm.run_record import (
    FITTED,
    ExampleFit,
    FittedBaselines,
    FixedBaseline,
    TotalVariationFit,
    read_fitted,
)
from orchestrator.data.shard_reader import read_split
from orchestrator.foundation.storage import Storage
from orchestrator.training.finetune import DomainJob, validation_pairs
from trainables.classical import AnchoredRegression, TotalVariation, fit_baselines, fixed_baselines
from trainables.classical.fitting import LR_PATCH
from trainables.errors import RunError
from trainables.metrics.evaluation import Upscaler, mean_psnr

MOST_IMAGES = 128
"""Most training images from which the regression draws its patches."""

_MAPS = "example.safetensors"


def fit_classical(job: DomainJob, place: Storage) -> FittedBaselines:
    """Fits and tunes the domain's baselines unless their record exists.

    Args:
        job: The domain's training and validation images.
        place: Folder of the fitted baselines.

    Returns:
        Validation PSNR in dB of each classical arm, and the chosen settings of the fitted ones.
    """
    record = read_fitted(place.child(FITTED))
    if record is None or not place.child(_MAPS).exists():
        pairs = validation_pairs(job)
        images = [image.prepared for image in islice(read_split(job.shards, "train"), MOST_IMAGES)]
        # Images that are large enough for fine-tuning must be so for the baselines.
        side = min(job.lr_patch, LR_PATCH)
        fitted = fit_baselines(images, pairs, job.degradation, job.scale, seed=0, lr_patch=side)
        fixed = {
            name: FixedBaseline(validation_psnr=mean_psnr(upscale, pairs, job.scale))
            for name, upscale in fixed_baselines(job.scale).items()
        }
        record = FittedBaselines(
            **fixed,
            tv=TotalVariationFit.parse(fitted.chosen["tv"]),
            example=ExampleFit.parse(fitted.chosen["example"]),
        )
        example = fitted.upscalers["example"]
        assert isinstance(example, AnchoredRegression)
        place.child(_MAPS).write_bytes(example.pack())
        record.write(place.child(FITTED))
    return record


def classical_upscaler(job: DomainJob, place: Storage | None, name: str) -> Upscaler:
    """Upscaler of a classical arm; arms that are not fitted need no ``place``."""
    fixed = fixed_baselines(job.scale)
    if name in fixed or place is None:
        return fixed[name]
    if name == "example":
        return AnchoredRegression.unpack(place.child(_MAPS).read_bytes())
    fitted = read_fitted(place.child(FITTED))
    if fitted is None or fitted.tv is None:
        raise RunError(f"The fitted baselines at '{place.uri}' are damaged; run again.")
    return TotalVariation(job.degradation, job.scale, fitted.tv.weight, fitted.tv.iterations)
