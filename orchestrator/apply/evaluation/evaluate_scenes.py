"""Evaluation of upscalers on a set of GeoTIFF scenes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

from orchestrator.apply.evaluation.evaluation_record import SceneSet
from orchestrator.apply.evaluation.scene_pairs import is_scene
from orchestrator.apply.evaluation.scene_scores import ScoredScene, score_scene
from orchestrator.archive.scene.types import LoadedModel, SceneError, SceneSettings
from orchestrator.foundation.buckets.s3 import ObjectError
from orchestrator.foundation.file_types import is_tiff
from orchestrator.foundation.statistics import paired_interval
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import Skipped, list_images, no_usable_images
from trainables.degradation import Degradation
from trainables.errors import reason_of
from trainables.metrics.means import mean_of_known

_OF_THE_MACHINE = ("memory", "disk", "transient")
"""Kinds of errors that are not the scene's; leaving the scene out would change the scores silently."""


def are_scenes(place: Storage, paths: Sequence[str], asked: bool) -> bool:
    """True if a set holds GeoTIFF scenes: all are TIFFs, and at least one is no plain image or ``asked`` is true."""
    if not all(is_tiff(path) for path in paths):
        return False
    return asked or any(is_scene(place.child(path)) for path in paths)


def evaluate_scenes(
    name: str,
    place: Storage,
    paths: Iterable[str],
    lr: Storage | Degradation,
    models: Mapping[str, LoadedModel],
    settings: SceneSettings,
) -> SceneSet:
    """Scores every scene of a set.

    Args:
        name: Name of the set.
        place: The folder of HR scenes.
        paths: Paths of the scenes below it.
        lr: The folder of LR scenes of the same names, or the degradation that makes them.
        models: Upscalers by name; ``bicubic`` and ``model`` among them.
        settings: As for archives.

    Returns:
        Means of each upscaler over scenes, the paired gain in dB, each scene's scores, and the files left out.

    Raises:
        ImageSetError: If there is no usable scene.
        SceneError: If memory, disk or storage fail.
    """
    scored: list[ScoredScene] = []
    skipped: list[Skipped] = []
    existing = {facts.path for facts in list_images(lr).files} if isinstance(lr, Storage) else None
    for path in paths:
        missing = existing is not None and path not in existing
        scene = "no LR file of the same name" if missing else _scored(path, place, lr, models, settings)
        if isinstance(scene, ScoredScene) and scored and scene.bands != scored[0].bands:
            scene = f"{scene.bands} bands, where the scenes before have {scored[0].bands}"
        if isinstance(scene, ScoredScene):
            scored.append(scene)
        else:
            skipped.append(Skipped(path, scene))
    if not scored:
        raise no_usable_images(place.uri, skipped)
    gains = [scene.scores["model"].psnr - scene.scores["bicubic"].psnr for scene in scored]
    result = {
        "name": name,
        "images": len(scored),
        "bands": scored[0].bands,
        "lr": f"from {lr.uri}"
        if isinstance(lr, Storage)
        else "made by blur and decimation alone, in the scene's depth",
        "dtype": sorted({scene.dtype for scene in scored}),
        "normalisation": sorted({scene.normalisation for scene in scored}),
        "band_map": sorted({scene.band_map for scene in scored}),
        **{arm: _means([asdict(scene.scores[arm]) for scene in scored]) for arm in models},
        "gain": asdict(paired_interval(gains, [scene.name for scene in scored])),
        "scenes": [asdict(scene) for scene in scored],
        "skipped": [asdict(file) for file in skipped],
    }
    return cast(SceneSet, result)


def _scored(
    path: str,
    place: Storage,
    lr: Storage | Degradation,
    models: Mapping[str, LoadedModel],
    settings: SceneSettings,
) -> ScoredScene | str:
    """The scores of a scene, or the reason why there are none."""
    source = lr if isinstance(lr, Degradation) else lr.child(path)
    try:
        return score_scene(path, place.child(path), source, models, settings)
    except MemoryError:
        raise
    except Exception as error:  # an error of one scene must not end the evaluation
        if isinstance(error, SceneError | ObjectError) and error.kind in _OF_THE_MACHINE:
            raise
        return reason_of(error).rstrip(".")


def _means(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of every measure over the scenes that have it; PSNR by band separately."""
    by_band = zip(*(scene["psnr_by_band"] for scene in scores), strict=True)
    others = [measure for measure in scores[0] if measure != "psnr_by_band"]
    plain = {measure: mean_of_known(scene[measure] for scene in scores) for measure in others}
    return plain | {"psnr_by_band": [mean_of_known(band) for band in by_band]}
