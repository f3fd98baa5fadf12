"""Estimate of a run: some scenes are upscaled in part, by the same workers on the same machines, and thrown away."""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from orchestrator.archive.batch.archive_progress import Progress
from orchestrator.archive.batch.listing import Scene
from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.place_of_work import on_ray
from orchestrator.archive.batch.run import upscale_archive
from orchestrator.archive.batch.worker import SceneWorker
from orchestrator.archive.batch.workspace import WORKSPACES
from orchestrator.archive.estimate.extrapolate import choose, extrapolate, makespan, strata_of
from orchestrator.archive.estimate.sampling_worker import SAMPLES, Sample, SamplingWorker
from orchestrator.archive.report.outcomes import read_latest_outcomes
from orchestrator.archive.scene.types import SceneError, SceneSettings
from orchestrator.archive.scene.upscale import describe_scene
from orchestrator.experiment.settings import Cluster
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.usable_cpus import usable_cpus
from orchestrator.runtime.task_runner import TaskRunner
from trainables.errors import UsageError

SAMPLED = 12
"""Scenes that are sampled, or three for each worker if that is more; at most 48."""

_MOST_SAMPLED = 48
_HEADERS = 2000
"""Most scenes whose headers are read; of more, the bytes decide."""


class ArchiveEstimate(TypedDict):
    """Estimate of a run.

    Scenes to upscale and those that are finished; the sampled ones, those of them that failed by class, and the share
    of pixels that was upscaled; core-hours of all workers; hours of the run, its start included; price and price per
    1,000 km², None where not known; HR megapixels; bytes of outputs and of work in progress; area in km²; workers.
    """

    scenes: int
    finished: int
    sampled: int
    sampled_failed: dict[str, int]
    sampled_share: float
    core_hours: float
    hours: float
    price: float | None
    price_per_1000_km2: float | None
    megapixels: float
    output_bytes: int
    scratch_bytes: int
    area_km2: float | None
    workers: int


def plan_archive(
    model: str,
    scenes: list[Scene],
    target: str,
    settings: SceneSettings,
    options: Options,
    report_progress: Callable[[Progress], None],
    report_note: Callable[[str], None],
    start: Callable[[Cluster], AbstractContextManager[TaskRunner]] | None = None,
) -> ArchiveEstimate:
    """Estimates a run; nothing of it is left.

    Args:
        model: As :func:`orchestrator.archive.batch.run.upscale_archive`.
        scenes: As there.
        target: As there.
        settings: As there.
        options: As there.
        report_progress: Called with the progress of the sampled scenes.
        report_note: Called with what is decided before work starts.
        start: Starts what runs tasks; by default Ray, or this process if all scenes are sampled and it would run them.

    Raises:
        UsageError: If nothing can be started.
        RunError: If no cluster answers, or it is lost.
    """
    out = Storage.at(target)
    to_do = _to_do(scenes, out, options)
    headers = _headers(to_do)
    strata = strata_of(to_do, headers)

    def weight_of(scene: Scene) -> float:
        header = headers.get(scene.name)
        return float(scene.size if header is None else header[0])

    seen: list[int] = []
    chosen = choose(strata, weight_of, _count(options))
    complete = len(chosen) == len(to_do)
    place = out.child(WORKSPACES, f"plan-{secrets.token_hex(4)}")

    @contextmanager
    def watched(cluster: Cluster) -> Iterator[TaskRunner]:
        with (start or on_ray)(cluster) as runner:
            gpus = int(runner.resources.gpus)
            seen.append(gpus if gpus and options.device != "cpu" else int(runner.resources.cpus))
            yield runner

    def worker_of(worker: SceneWorker) -> SamplingWorker:
        return SamplingWorker(worker.context, worker.facts, worker.model)

    begun = time.monotonic()
    try:
        result = upscale_archive(
            model,
            [_moved(scene, out, place) for scene in chosen],
            place.uri,
            settings,
            options,
            report_progress,
            worker_of,
            None if complete and start is None else watched,
            report_note,
        )
        wall = time.monotonic() - begun
        samples = {sample.name: sample for sample in _read_samples(place)}
    finally:
        _remove(place, out)
    slots = max(seen[0] if seen else 1, 1)
    totals = extrapolate(strata, weight_of, samples, slots)
    start_seconds = max(wall - makespan((sample.wall for sample in samples.values()), slots), 0.0)
    hours = (start_seconds + totals.busy_seconds) / 3600 if to_do else 0.0
    price = None if options.price_per_hour is None else hours * options.price_per_hour
    per_area = price / totals.area_km2 * 1000 if price is not None and totals.area_km2 else None
    measured = sum(sample.measured for sample in samples.values()) / 1e6
    return {
        "scenes": len(to_do),
        "finished": len(scenes) - len(to_do),
        "sampled": len(chosen),
        "sampled_failed": dict(Counter(failure.get("error", "error") for failure in result["failed"])),
        "sampled_share": round(measured / totals.lr_megapixels, 4) if totals.lr_megapixels else 0.0,
        "core_hours": round(totals.work_seconds / 3600, 4),
        "hours": round(hours, 4),
        "price": None if price is None else round(price, 4),
        "price_per_1000_km2": None if per_area is None else round(per_area, 4),
        "megapixels": round(totals.lr_megapixels * result["scale"] ** 2, 3),
        "output_bytes": round(totals.output_bytes),
        "scratch_bytes": round(totals.scratch_bytes),
        "area_km2": None if totals.area_km2 is None else round(totals.area_km2, 3),
        "workers": slots,
    }


def check_cost(estimate: ArchiveEstimate, most: float) -> None:
    """Refuses a run that is estimated to cost more.

    Raises:
        UsageError: If it is.
    """
    if estimate["price"] is not None and estimate["price"] > most:
        raise UsageError(
            f"The run would cost about {estimate['price']:.2f}, and --max-cost allows {most:g}: allow more, or choose "
            "fewer scenes by --include and --exclude. Nothing was upscaled."
        )


def _to_do(scenes: list[Scene], out: Storage, options: Options) -> list[Scene]:
    """Scenes without a finished output of the same content."""
    outcomes = {} if options.overwrite else read_latest_outcomes(out)
    existing = {out.child(file.path).uri: file.size for file in out.files()} if outcomes else {}

    def finished(scene: Scene) -> bool:
        outcome = outcomes.get(scene.output)
        return (
            outcome is not None
            and outcome.status == "ok"
            and outcome.version == scene.version
            and existing.get(scene.output) == outcome.output_bytes
        )

    return [scene for scene in scenes if scene.problem is None and not finished(scene)]


def _headers(scenes: list[Scene]) -> dict[str, tuple[int, int, str]]:
    """Samples, bands and data type of scenes on disk, from their headers; none where there are very many."""
    found: dict[str, tuple[int, int, str]] = {}
    if len(scenes) > _HEADERS:
        return found
    for scene in scenes:
        if scene.product is None and not Storage(scene.source).remote:
            with suppress(SceneError, OSError):
                facts = describe_scene(scene.source)
                found[scene.name] = facts.pixels * facts.bands, facts.bands, facts.dtype
    return found


def _count(options: Options) -> int:
    return min(max(SAMPLED, 3 * (options.cpus or usable_cpus())), _MOST_SAMPLED)


def _moved(scene: Scene, out: Storage, place: Storage) -> Scene:
    return replace(scene, output=place.uri + scene.output.removeprefix(out.uri))


def _read_samples(place: Storage) -> Iterator[Sample]:
    folder = place.child(SAMPLES)
    if folder.exists():
        for file in folder.files():
            yield Sample.parse(folder.child(file.path).read_json())


def _remove(place: Storage, out: Storage) -> None:
    """Removes the outputs of the sampled scenes, and folders that are empty then."""
    place.delete_folder()
    if not out.remote:
        for folder in (Path(out.path, WORKSPACES), Path(out.path)):
            with suppress(OSError):
                folder.rmdir()
