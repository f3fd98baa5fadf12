"""The commands as Python functions: they return typed results and print nothing.

Options have the same names and defaults as on the command line. Errors are those of :mod:`trainables.errors`. Modules
are imported by the functions that need them: an array is upscaled without Ray.
"""

import copy
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from orchestrator.foundation.task_progress import CountCallback, ProgressCallback, TaskProgress
from trainables.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from orchestrator.apply.adapt import AdaptResult
    from orchestrator.apply.evaluation.evaluation_record import Evaluation
    from orchestrator.apply.export import ExportResult
    from orchestrator.apply.upscale_inputs import InputsSummary
    from orchestrator.archive.batch.archive_progress import Progress
    from orchestrator.archive.batch.summary import ArchiveSummary
    from orchestrator.archive.estimate.plan_archive import ArchiveEstimate
    from orchestrator.archive.scene.types import BandMap, Labels, Normalisation
    from orchestrator.estimate.plan import Plan
    from orchestrator.experiment.settings import Experiment
    from orchestrator.finish.finetune_images import FinetuneResult
    from orchestrator.foundation.file_types import As
    from orchestrator.foundation.model_store import FoundModel
    from orchestrator.foundation.summaries import UpscaleSummary
    from orchestrator.image_sets.deep_reading import ValueRange
    from orchestrator.protocols.result import BenchmarkResult
    from orchestrator.report.schema import Report
    from trainables.inference.downscaling import BackProject
    from trainables.inference.precision import Precision

__all__ = [
    "TaskProgress",
    "adapt",
    "benchmark",
    "evaluate",
    "export",
    "finetune",
    "load_experiment",
    "load_model",
    "plan",
    "read_report",
    "run",
    "upscale",
]

Place = str | os.PathLike[str]
"""A file, a folder or an ``s3://`` URI; as a model also a packaged name."""


def load_experiment(source: Place | Mapping[str, Any], overrides: Sequence[str] = ()) -> "Experiment":
    """Reads and checks an experiment.

    Args:
        source: A YAML file, or the settings that it would hold.
        overrides: Settings that replace the file's, such as ``search.trials=12``.

    Raises:
        UsageError: If the file or a setting is wrong.
    """
    from orchestrator.experiment import load

    if not isinstance(source, Mapping):
        return load.load_experiment(Path(source), overrides)
    return load.make_experiment(copy.deepcopy(dict(source)), "the experiment", overrides)


def plan(experiment: "Experiment", *, trim: bool = False) -> "Plan":
    """Estimates the remaining work of an experiment, as ``rayscale plan`` does.

    Args:
        experiment: Result of :func:`load_experiment`.
        trim: Whether to reduce the number of trials until the run fits its budget.

    Raises:
        UsageError: If something is missing, or the run takes more than its budget.
    """
    from orchestrator.estimate.budget import check_trim, within_budget
    from orchestrator.estimate.plan import make_plan
    from orchestrator.pipeline.preflight import preflight

    check_trim(experiment, trim)
    inputs = preflight(experiment)
    return within_budget(experiment, inputs, make_plan(experiment, inputs), trim).plan


def run(experiment: "Experiment", *, trim: bool = False, progress: ProgressCallback | None = None) -> "Report":
    """Runs an experiment up to its report; an interrupted run is continued.

    Args:
        experiment: Result of :func:`load_experiment`.
        trim: Whether to reduce the number of trials until the run fits its budget.
        progress: Called with each log line and each change of progress.

    Raises:
        UsageError: If something is missing, the budget does not allow it, or another run works on the experiment.
        PartlyDoneError: If some domains failed; :func:`read_report` reads the report of the others.
        RunError: If a stage failed for all domains; finished work is kept.
    """
    from orchestrator.estimate.budget import fit_budget
    from orchestrator.pipeline.preflight import preflight
    from orchestrator.pipeline.run import only_run_of, run_experiment
    from orchestrator.runtime.callback_display import CallbackDisplay

    display = CallbackDisplay(progress or _ignore)
    inputs = preflight(experiment)
    with only_run_of(experiment) as lock:
        experiment = fit_budget(experiment, inputs, trim, display.log)
        run_experiment(experiment, inputs, display, check=lock.check)
    return read_report(experiment)


def read_report(experiment: "Experiment") -> "Report":
    """Reads the report of a finished experiment.

    Raises:
        UsageError: If there is none.
    """
    from orchestrator.report import build

    return build.read_report(experiment)


def load_model(model: Place) -> "FoundModel":
    """Reads a model.

    Args:
        model: A packaged name such as ``base-x4``, a folder or an ``s3://`` prefix. A path object is a folder.

    Raises:
        UsageError: If there is none, or it is damaged.
    """
    from orchestrator.foundation.model_store import find_model

    return find_model(_model_name(model))


@overload
def upscale(
    source: "NDArray[Any]",
    *,
    model: "Place | FoundModel",
    normalisation: "Normalisation" = ...,
    band_map: "BandMap" = ...,
    tile: int = ...,
    self_ensemble: bool = ...,
    precision: "Precision" = ...,
    device: str = ...,
) -> "NDArray[Any]": ...


@overload
def upscale(
    source: Place,
    target: Place,
    *,
    model: "Place | FoundModel",
    as_: "As" = ...,
    include: Sequence[str] = ...,
    exclude: Sequence[str] = ...,
    threads: int | None = ...,
    device: str = ...,
    precision: "Precision" = ...,
    overwrite: bool = ...,
    address: str | None = ...,
    gpus: int | None = ...,
    retry_failed: bool = ...,
    normalisation: "Normalisation" = ...,
    band_map: "BandMap" = ...,
    bands: Sequence[str] = ...,
    expand_palette: bool = ...,
    labels: "Labels" = ...,
    compression: Literal["zstd", "deflate"] = ...,
    memory_mb: int = ...,
    scene_timeout: float | None = ...,
    side_by_side: bool = ...,
    back_project: "BackProject" = ...,
    strict: bool = ...,
    price_per_hour: float | None = ...,
    plan: Literal[False] = ...,
    max_cost: float | None = ...,
    scratch: str | None = ...,
    tile: int = ...,
    slice_axis: int = ...,
    self_ensemble: bool = ...,
    progress: ProgressCallback | None = ...,
) -> "InputsSummary": ...


@overload
def upscale(
    source: Place,
    target: Place,
    *,
    model: "Place | FoundModel",
    as_: "As" = ...,
    include: Sequence[str] = ...,
    exclude: Sequence[str] = ...,
    threads: int | None = ...,
    device: str = ...,
    precision: "Precision" = ...,
    overwrite: bool = ...,
    address: str | None = ...,
    gpus: int | None = ...,
    retry_failed: bool = ...,
    normalisation: "Normalisation" = ...,
    band_map: "BandMap" = ...,
    bands: Sequence[str] = ...,
    expand_palette: bool = ...,
    labels: "Labels" = ...,
    compression: Literal["zstd", "deflate"] = ...,
    memory_mb: int = ...,
    scene_timeout: float | None = ...,
    side_by_side: bool = ...,
    back_project: "BackProject" = ...,
    strict: bool = ...,
    price_per_hour: float | None = ...,
    plan: Literal[True],
    max_cost: float | None = ...,
    scratch: str | None = ...,
    tile: int = ...,
    slice_axis: int = ...,
    self_ensemble: bool = ...,
    progress: ProgressCallback | None = ...,
) -> "ArchiveEstimate": ...


def upscale(
    source: "NDArray[Any] | Place",
    target: Place | None = None,
    *,
    model: "Place | FoundModel",
    as_: "As" = "auto",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    threads: int | None = None,
    device: str = "auto",
    precision: "Precision" = "auto",
    overwrite: bool = False,
    address: str | None = None,
    gpus: int | None = None,
    retry_failed: bool = False,
    normalisation: "Normalisation" = "auto",
    band_map: "BandMap" = "auto",
    bands: Sequence[str] = (),
    expand_palette: bool = False,
    labels: "Labels" = "auto",
    compression: Literal["zstd", "deflate"] = "zstd",
    memory_mb: int = 1024,
    scene_timeout: float | None = None,
    side_by_side: bool = False,
    back_project: "BackProject" = "on",
    strict: bool = False,
    price_per_hour: float | None = None,
    plan: bool = False,
    max_cost: float | None = None,
    scratch: str | None = None,
    tile: int = 256,
    slice_axis: int = 2,
    self_ensemble: bool = False,
    progress: ProgressCallback | None = None,
) -> "NDArray[Any] | InputsSummary | ArchiveEstimate":
    """Upscales an array in memory, or the files of a place as ``rayscale upscale`` does.

    Args:
        source: An array (H, W) or (H, W, C) of uint8, uint16, int16, float32 or float64; or a file, a folder, an
            ``s3://`` prefix or a list of scenes.
        target: Of files: a folder or prefix, for one plain image also a .png or .jpg path.
        model: A packaged name, a place, or a model of :func:`load_model`.
        as_: Kind of the files, as ``--as``; all further options of files are those of the command too.
        include: Patterns; a path must match one of them.
        exclude: Patterns; a path must match none of them.
        threads: CPU cores to work on; all by default.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: Precision of the convolutions.
        overwrite: Whether to write outputs again that exist.
        address: Address of a Ray cluster for scenes.
        gpus: GPUs that this cluster may grow to.
        retry_failed: Whether to try scenes again that failed before.
        normalisation: Values that mean 0 and 1 to the network: ``auto``, ``dtype``, ``scales``, ``measured``, (low,
            high), or {"uint16": (low, high), …} by data type.
        band_map: Bands that the network sees together: ``auto``, ``singly`` or groups such as ((1, 2, 3), (4,)).
        bands: Bands to take of products such as Sentinel-2 SAFE, by name; by default those that suit the model.
        expand_palette: Whether to turn palettes of scenes into colours.
        labels: Treatment of scenes whose values are classes.
        compression: Compression of Cloud-Optimised GeoTIFFs.
        memory_mb: Memory of the network in MiB, for each worker on scenes.
        scene_timeout: Seconds that a worker may take for a scene.
        side_by_side: Whether to share the scenes with other runs on ``target``, all of which have this option.
        back_project: Back-projection of scenes, DICOM and arrays, not of 8-bit pictures: ``on`` makes the mean of
            the output pixels of each pixel its value, ``model`` corrects by the output downscaled as the model's
            training images were.
        strict: Whether scenes and DICOM files with flagged outputs fail.
        price_per_hour: Price of all machines per hour, in any currency, for the report on scenes and ``plan``.
        plan: Whether to estimate the work on scenes only, from some that are upscaled in part.
        max_cost: Most that the work on scenes may be estimated to cost; it is refused otherwise.
        scratch: Folder for work in progress on scenes.
        tile: Largest side of a tile of images and arrays.
        slice_axis: Axis that slices of NIfTI volumes are cut across.
        self_ensemble: Whether to average eight flips and rotations; not for scenes.
        progress: Called with the number of files done; not for arrays.

    Returns:
        For an array, an array of r·H×r·W pixels in the shape and data type of ``source``. For files, the summary that
        ``rayscale upscale --json`` prints; with ``plan``, the estimate of the work.

    Raises:
        UsageError: If the work cannot start. A file that cannot be upscaled is in the summary; the others go on.
    """
    import numpy as np

    if isinstance(source, np.ndarray):
        from orchestrator.apply.array import ArraySettings, upscale_array

        if target is not None:
            raise UsageError("An array is upscaled to an array: leave out the target.")
        settings = ArraySettings(
            normalisation=normalisation,
            band_map=band_map,
            tile=tile,
            ensemble=self_ensemble,
            precision=precision,
            device=device,
            back_project=back_project,
        )
        return upscale_array(source, _loaded(model), settings)
    if target is None:
        raise UsageError("Files are upscaled to files: name the target.")
    from orchestrator.apply.upscale import Settings
    from orchestrator.apply.upscale_inputs import Patterns, plan_inputs, upscale_inputs
    from orchestrator.archive.batch.options import Options
    from orchestrator.archive.products.choose import read_bands
    from orchestrator.archive.scene.types import SceneSettings

    images = Settings(
        tile=tile,
        threads=threads,
        device=device,
        precision=precision,
        overwrite=overwrite,
        ensemble=self_ensemble,
        value_range=None if isinstance(normalisation, str) else normalisation,
        slice_axis=slice_axis,
        back_project=back_project,
        strict=strict,
    )
    scenes = SceneSettings(
        memory_mb=memory_mb,
        precision=precision,
        normalisation=normalisation,
        band_map=band_map,
        compression=compression,
        bands=read_bands(",".join(bands)),
        expand_palette=expand_palette,
        labels=labels,
        back_project=back_project,
    )
    options = Options(
        address=address,
        cpus=threads,
        device=device,
        gpus=gpus,
        scratch=scratch,
        overwrite=overwrite,
        retry_failed=retry_failed,
        scene_timeout=scene_timeout,
        side_by_side=side_by_side,
        strict=strict,
        price_per_hour=price_per_hour,
        max_cost=max_cost,
    )
    display, patterns = _UpscaleProgress(progress), Patterns(include, exclude)
    name = _model_name(model)
    if plan:
        return plan_inputs(name, os.fspath(source), os.fspath(target), as_, scenes, options, display, patterns)
    return upscale_inputs(name, os.fspath(source), os.fspath(target), as_, images, scenes, options, display, patterns)


def evaluate(
    model: "Place | FoundModel",
    images: Place | Sequence[Place],
    *,
    space: str | None = None,
    precision: "Precision" = "auto",
    self_ensemble: bool = False,
    baselines: bool = False,
    lr: Place | Sequence[Place] = (),
    normalisation: "Normalisation" = "auto",
    band_map: "BandMap" = "auto",
    lpips: bool = False,
    back_project: "BackProject" = "model",
    chip: int = 1024,
    slice_axis: int = 2,
    progress: ProgressCallback | None = None,
) -> "Evaluation":
    """Scores a model on folders of HR images beside bicubic, as ``rayscale evaluate`` does.

    Args:
        model: A packaged name, a place, or a model of :func:`load_model`.
        images: Folders or prefixes of HR images, each a set; of any depth and bands if the model's card states a value
            range.
        space: Search space whose degradation makes the LR images; the model's own degradation by default.
        precision: Precision of the convolutions.
        self_ensemble: Whether to average eight flips and rotations.
        baselines: Whether to score bilinear and Lanczos interpolation too.
        lr: Folders of LR images, one for each of ``images``; made from HR by default.
        normalisation: As in :func:`upscale`; for GeoTIFFs.
        band_map: As in :func:`upscale`; for GeoTIFFs.
        lpips: Whether to compare plain images by LPIPS too.
        back_project: As in :func:`upscale`; by default as LR images are made.
        chip: Side in pixels of the parts into which larger images of any depth are cut.
        slice_axis: Axis that slices of NIfTI volumes are cut across.
        progress: Called with the number of images done.

    Raises:
        UsageError: If there is no model or no usable image, or if settings do not go together.
    """
    from orchestrator.apply.evaluation.evaluate import evaluate_model

    return evaluate_model(
        _model_name(model),
        _places(images),
        space,
        self_ensemble,
        precision,
        baselines,
        _places(lr),
        normalisation,
        band_map,
        lpips,
        _counted("evaluate", progress),
        chip,
        slice_axis,
        back_project,
    )


def adapt(
    images: Place,
    out: Place,
    *,
    model: "Place | FoundModel",
    space: str,
    steps: int = 200,
    learning_rate: float = 3e-4,
    seed: int = 0,
    scenes: Literal["file", "folder"] = "file",
    keep: bool = False,
    value_range: "ValueRange | None" = None,
    bands: Sequence[str] = (),
    chip: int = 256,
    slice_axis: int = 2,
    progress: ProgressCallback | None = None,
) -> "AdaptResult":
    """Adapts a model to LR images without HR counterparts, as ``rayscale adapt`` does.

    Args:
        images: Folder or prefix of images like those to be upscaled.
        out: Folder or prefix of the adapted model.
        model: A packaged name, a place, or a model of :func:`load_model`.
        space: Search space whose degradation the images went through.
        steps: Optimiser steps.
        learning_rate: Peak learning rate.
        seed: Seed of the patches.
        scenes: Whether a scene is a file or a folder of files.
        keep: Whether to write the model even if it is no better.
        value_range: For images of any depth and bands: the values (low, high) that mean 0 and 1, ``percentile`` to
            measure them or ``window`` as DICOM files state them; by default the range in the model's card.
        bands: Names of the bands to use, in this order; all by default.
        chip: Side in pixels of the chips into which larger images of any depth are cut.
        slice_axis: Axis that slices of NIfTI volumes are cut across.
        progress: Called with the number of steps done.

    Returns:
        Scores of the adapted model on held-out images, and whether it was written.

    Raises:
        UsageError: If there is no model, space or usable image, or ``out`` holds a model already.
        DivergedError: If training diverges.
    """
    from orchestrator.apply.adapt import Settings, adapt_model

    settings = Settings(
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
        scenes=scenes,
        keep=keep,
        value_range=value_range,
        bands=tuple(bands),
        chip=chip,
        slice_axis=slice_axis,
    )
    return adapt_model(
        os.fspath(images), os.fspath(out), _model_name(model), space, settings, _counted("adapt", progress)
    )


def finetune(
    best: Place,
    images: Place,
    out: Place,
    *,
    domain: str | None = None,
    model: "Place | FoundModel | None" = None,
    lr: Place | None = None,
    scenes: Literal["file", "folder"] = "file",
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> "FinetuneResult":
    """Fine-tunes a model to other images by the best configuration of an experiment, as ``rayscale finetune`` does.

    Args:
        best: ``best.yaml`` in the report of an experiment.
        images: Folder or prefix of HR images of that domain.
        out: Folder or prefix of the fine-tuned model.
        domain: Domain of the file; needed where it holds several.
        model: A packaged name, a place, or a model of :func:`load_model`; the experiment's source model by default.
        lr: Folder or prefix of the LR images, where the domain's images are pairs.
        scenes: Whether a scene is a file or a folder of files.
        seed: Seed of the patches.
        progress: Called with the number of steps done.

    Returns:
        Scores of the fine-tuned model and the source model on validation images.

    Raises:
        UsageError: If there is no such file, domain, model or usable image, the images are of another kind than the
            domain's, or ``out`` is not empty.
        DivergedError: If training diverges.
    """
    from orchestrator.finish.finetune_images import Settings, finetune_images

    settings = Settings(
        domain=domain,
        model=None if model is None else _model_name(model),
        lr=None if lr is None else os.fspath(lr),
        scenes=scenes,
        seed=seed,
    )
    return finetune_images(os.fspath(best), os.fspath(images), os.fspath(out), settings, _counted("finetune", progress))


def export(
    model: "Place | FoundModel",
    *,
    to: Literal["onnx"] = "onnx",
    out: Place | None = None,
    overwrite: bool = False,
) -> "ExportResult":
    """Writes a model as an ONNX file for other programs, as ``rayscale export`` does.

    Args:
        model: A packaged name, a place, or a model of :func:`load_model`.
        to: Format of the file.
        out: The .onnx file, local or at ``s3://``; by default one of the model's name in the current folder.
        overwrite: Whether to replace a file that exists.

    Returns:
        Where the file is, its largest difference from torch, and the latency of both.

    Raises:
        UsageError: If there is no model, a library is not installed, or the file exists or cannot be written.
        RunError: If its output differs from torch's by more than 0.001; nothing is written.
    """
    from orchestrator.apply.export import export_model

    return export_model(_loaded(model), None if out is None else os.fspath(out), to, overwrite)


def benchmark(
    name: str,
    data: Place,
    *,
    model: "Place | FoundModel | Sequence[Place | FoundModel]" = (),
    scale: int | None = None,
    part: Sequence[str] = (),
    precision: "Precision" = "auto",
    self_ensemble: bool = False,
    progress: ProgressCallback | None = None,
) -> "BenchmarkResult":
    """Scores bicubic and models by a published protocol, as ``rayscale benchmark`` does.

    Args:
        name: Name of the benchmark, such as ``realsr``.
        data: Folder of its data set.
        model: Models to score beside bicubic, of one scale factor.
        scale: Scale factor; that of the models, or the benchmark's largest, by default.
        part: Parts to score; all by default.
        precision: Precision of the convolutions.
        self_ensemble: Whether to average eight flips and rotations.
        progress: Called with the number of pairs done.

    Returns:
        Our scores and the published ones; ``refusal`` says why there are none of these.

    Raises:
        UsageError: If the folder, a model or the scale factor does not fit, or pairs lack one side.
    """
    from orchestrator.protocols.all_protocols import find_protocol
    from orchestrator.protocols.run import run_benchmark

    several = [model] if isinstance(model, str | os.PathLike) or not isinstance(model, Sequence) else model
    models = [_model_name(one_model) for one_model in several]
    return run_benchmark(
        find_protocol(name),
        os.fspath(data),
        models,
        scale,
        part,
        self_ensemble,
        precision,
        _counted("benchmark", progress),
    )


class _UpscaleProgress:
    """Display that reports the progress of images and of scenes as a task each."""

    def __init__(self, progress: ProgressCallback | None) -> None:
        self._progress = progress

    def images(self) -> AbstractContextManager[CountCallback]:
        return nullcontext(_counted("upscale images", self._progress))

    def scenes(self) -> AbstractContextManager[Callable[["Progress"], None]]:
        report = _counted("upscale scenes", self._progress)
        return nullcontext(lambda progress: report(progress.done, progress.scenes))

    def note(self, text: str) -> None:
        logging.getLogger(__name__).info(text)

    def images_done(self, result: "UpscaleSummary") -> None:
        """Does nothing: the summary is returned."""

    def scenes_done(self, result: "ArchiveSummary") -> None:
        """Does nothing: the summary is returned."""


def _counted(task: str, progress: ProgressCallback | None) -> CountCallback:
    report = progress or _ignore
    return lambda done, total: report(TaskProgress(task, done, total))


def _ignore(progress: TaskProgress) -> None:
    """Discards progress that nobody asked for."""


def _places(named: Place | Sequence[Place]) -> list[str]:
    return [os.fspath(named)] if isinstance(named, str | os.PathLike) else [os.fspath(place) for place in named]


def _model_name(model: "Place | FoundModel") -> str:
    """Returns a model's name as the commands take it; a path object is a folder, whatever it is called."""
    if isinstance(model, str):
        return model
    return str(Path(model).absolute()) if isinstance(model, os.PathLike) else model.where


def _loaded(model: "Place | FoundModel") -> "FoundModel":
    return load_model(model) if isinstance(model, str | os.PathLike) else model
