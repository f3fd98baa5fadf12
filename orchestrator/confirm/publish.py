"""Published results of a confirmation: the domain's models, and crops of test images."""

from collections.abc import Iterable

import torch

from orchestrator.confirm.job import ConfirmJob, facts_of, net_of, test_pairs, upscaler_of
from orchestrator.confirm.record import ArmScores, Candidate, Picture, PicturePanel
from orchestrator.data.shard_reader import read_manifest
from orchestrator.foundation.model_store import write_model
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.vocabulary import INTERPOLATED
from orchestrator.image_sets.values_and_bands import values_and_bands
from orchestrator.training.finetune import DomainJob
from trainables.errors import RunError
from trainables.images.codec import encode_png
from trainables.images.raster import RGB, PixelFormat
from trainables.metrics.constant_fields import constant_field_error
from trainables.metrics.evaluation import Pair, compare, run
from trainables.network.model_files import CARD, WEIGHTS
from trainables.network.network import SuperResolutionNet

_CROP = 96
_FRONT = "front"


def make_pictures(job: ConfirmJob, runs: dict[str, str], choice: dict[str, str]) -> list[Picture]:
    """Writes crops of the chosen test images under each arm as PNG files beside the runs."""
    torch.set_num_threads(job.domain.threads)
    pictures = []
    for index, (reason, name) in enumerate(choice.items()):
        pair = next(pair for pair in test_pairs(job) if pair.name == name)
        top, left = _highest_contrast(pair, _CROP)
        panels = []
        for label, picture in [("HR", pair.hr), *_outputs(job, runs, pair)]:
            file = f"picture-{index}-{label}.png"
            crop = to_view(picture, job.domain.pixel_format, pair.hr)[:, top : top + _CROP, left : left + _CROP]
            pixels = (crop * 255).round().byte().permute(1, 2, 0)
            job.runs.child("pictures", file).write_bytes(encode_png(pixels.numpy()))
            value = None if label == "HR" else compare(picture, pair, job.domain.scale).psnr
            panels.append(PicturePanel(label=label, file=file, psnr=value))
        pictures.append(Picture(image=f"{name} ({reason})", name=name, panels=panels))
    return pictures


def to_view(picture: torch.Tensor, pixel_format: PixelFormat, hr: torch.Tensor) -> torch.Tensor:
    """An image as people look at it: (3, H, W) in [0, 1], or (1, H, W) of one band.

    Of other than 8-bit gray and RGB images these are the bands red, green and blue, or else the first one, and the
    HR image's 1st and 99th percentiles are black and white for every arm alike.

    Args:
        picture: (C, H, W) in [0, 1].
        pixel_format: What its values mean.
        hr: The HR image, (C, H, W).
    """
    if pixel_format.plain:
        return picture
    names = pixel_format.bands
    chosen = [names.index(name) for name in RGB] if set(RGB) <= set(names) else [0]
    ends = torch.quantile(hr[chosen].flatten(), torch.tensor([0.01, 0.99]))
    span = float(ends[1] - ends[0]) or 1.0
    return ((picture[chosen] - ends[0]) / span).clamp(0, 1)


def publish_models(
    job: ConfirmJob,
    answer: Candidate,
    run_name: str,
    averaged: Candidate | None,
    share: float,
    arms: dict[str, ArmScores],
) -> float:
    """Writes the answer's network, that of the first seed (not of the best one on test), as the domain's model.

    Weights averaged with the source's that did better on validation lie in the folder :data:`INTERPOLATED` below it;
    the networks of the front of quality and speed in folders of their own, see :func:`front_model`.

    Args:
        job: The confirmation.
        answer: The answer.
        run_name: Its run, or the first of them.
        averaged: The candidate averaged with the source; None if that gained nothing on validation.
        share: Its share of the tuned weights.
        arms: Scores on the test split.

    Returns:
        Deviation of the answer's constant fields, see :mod:`trainables.metrics.constant_fields`.
    """
    beside = job.model.child(INTERPOLATED)
    net = _publish(job, run_name, job.model, _facts(job, answer, share) | {"metrics": _metrics(arms, "best")})
    if averaged is not None:
        facts = _facts(job, averaged, share) | {"metrics": _metrics(arms, INTERPOLATED)}
        _publish(job, f"{INTERPOLATED}-seed{job.seeds[0]}", beside, facts)
    else:
        for file in (WEIGHTS, CARD):  # of an earlier confirmation
            if beside.child(file).exists():
                beside.child(file).delete()
    _publish_front(job, arms)
    return constant_field_error(net.eval())


def _facts(job: ConfirmJob, candidate: Candidate, share: float) -> dict[str, object]:
    """Entries of a candidate's card: its configuration, and how its weights were made."""
    facts = facts_of(job, job.domain.domain, candidate.configuration, job.seeds[0])
    if candidate.generator == "fresh":
        facts["generator"] = candidate.generator
    if candidate.averaged == "seeds":
        facts["averaged_seeds"] = list(job.seeds)
    return facts | ({"share_of_tuned_weights": share} if candidate.averaged == "source" else {})


def front_model(model: Storage, kept: int) -> Storage:
    """The folder of the front's network with so many blocks, below the domain's model."""
    return model.child(_FRONT, f"kept-{kept}")


def _publish_front(job: ConfirmJob, arms: dict[str, ArmScores]) -> None:
    """Writes the first seed's network of each point of the front, unless it diverged."""
    job.model.child(_FRONT).delete_folder()  # of an earlier confirmation
    for point in job.front:
        run_name = f"{point.name}-seed{job.seeds[0]}"
        net = net_of(job, run_name)
        if net is None:
            continue
        name = f"{job.domain.domain} {point.arm}"
        facts = facts_of(job, name, point.configuration, job.seeds[0]) | origin_of(job.domain, net)
        facts |= {"megapixels_per_second": point.speed, "metrics": _metrics(arms, point.arm)}
        write_model(front_model(job.model, point.kept), net, facts)


def _metrics(arms: dict[str, ArmScores], arm: str) -> dict[str, object]:
    """Scores on the test split, for a card."""
    return {"test_bicubic": arms["bicubic"].plain(), "test": arms[arm].plain()}


def origin_of(job: DomainJob, net: SuperResolutionNet) -> dict[str, object]:
    """Degradation, licence and pixel format of the training images, for a card; that of a sensor's LR is unknown."""
    manifest, share = read_manifest(job.shards), job.pairs_share
    facts: dict[str, object] = {
        "degradation": job.degradation.to_dict(),
        "data_licence": manifest["licence"],
    }
    if manifest.get("pairs") is not None:
        facts |= {"pairs_share": share} | ({"degradation": None} if share == 1 else {})
    return facts | values_and_bands(job.pixel_format, net.architecture.channels)


def _publish(job: ConfirmJob, run_name: str, place: Storage, facts: dict[str, object]) -> SuperResolutionNet:
    net = net_of(job, run_name)
    if net is None:
        raise RunError(f"The weights of {run_name} are missing at '{job.runs.uri}'.")
    write_model(place, net, facts | origin_of(job.domain, net))
    return net


def _outputs(job: ConfirmJob, runs: dict[str, str], pair: Pair) -> Iterable[tuple[str, torch.Tensor]]:
    for label, run_name in runs.items():
        upscale = upscaler_of(job, run_name)
        if upscale is not None:
            yield label, run(upscale, pair)


def _highest_contrast(pair: Pair, side: int) -> tuple[int, int]:
    """Top left corner of the window with the most contrast."""
    plane = pair.hr.mean(0)
    height, width = plane.shape
    if height <= side or width <= side:
        return 0, 0
    corners = [(t, x) for t in range(0, height - side + 1, 16) for x in range(0, width - side + 1, 16)]
    return max(corners, key=lambda corner: float(plane[corner[0] :, corner[1] :][:side, :side].std()))
