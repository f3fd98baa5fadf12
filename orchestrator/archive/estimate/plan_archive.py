"""Estimate of a run: some scenes are upscaled in part, by the same workers on the same machines, and thrown away."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TypedDict

from orchestrator.archive.batch.archive_progress import Progress
from orchestrator.archive.batch.archive_state import ArchiveState
from orchestrator.archive.batch.machines import Machines, Start, machines_of
from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.place_of_work import note_of
from orchestrator.archive.batch.plan import Plan, Planned, Recipe
from orchestrator.archive.batch.plan_place import plan_place, remove_dead_plans
from orchestrator.archive.batch.run import check_bands, resolve_settings, threads_of_this_process, work_through
from orchestrator.archive.estimate.extrapolate import choose, extrapolate, makespan, strata_of
from orchestrator.archive.estimate.sampling_worker import SAMPLES, Sample, SamplingWorker
from orchestrator.archive.ledger.ledger import Ledger
from orchestrator.archive.places.listing import Scene
from orchestrator.archive.scene.types import SceneError, SceneSettings
from orchestrator.archive.scene.upscale import describe_scene
from orchestrator.foundation.model_store import find_model_files
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.usable_cpus import usable_cpus
from trainables.errors import UsageError

SAMPLED = 12
"""Scenes that are sampled, or three for each worker if that is more; at most 48."""

_MOST_SAMPLED = 48
_HEADERS = 2000
"""Most scenes whose headers are read; of more, the bytes decide."""


class ArchiveEstimate(TypedDict):
    """Estimate of a run.

    Scenes to upscale, those that are finished, and those that the run will not try since they failed before or cannot
    be started; the sampled ones, those of them that failed by class, and the share of pixels that was upscaled;
    core-hours of all workers; hours of the run, its start included; price and price per 1,000 km², None where not
    known; HR megapixels; bytes of outputs and of work in progress; area in km²; workers.
    """

    scenes: int
    finished: int
    not_tried: int
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
    start: Start | None = None,
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
        start: Starts what runs tasks; by default what the run would take, this process or Ray.

    Raises:
        UsageError: If nothing can be started.
        RunError: If no cluster answers, or it is lost.
    """
    begun = time.monotonic()
    check_bands(scenes, settings, report_note)
    found, out = find_model_files(model), Storage.at(target)
    out.check_writable()
    remove_dead_plans(out)
    state = ArchiveState.read(found, scenes, out, options)
    with machines_of(options, scenes, out, settings.threads, start) as machines:

        def report(progress: Progress) -> None:
            progress.notes = machines.notes
            machines.ask_for_gpus(progress)
            report_progress(progress)

        settings = resolve_settings(settings, state, machines, report, report_note, record_range=False)
        recipe, plan = state.plan(settings)
        threads = threads_of_this_process(plan, state, machines) if start is None else None
        start_seconds = time.monotonic() - begun
        to_do = [planned.scene for planned in plan.work]
        headers = _headers(to_do)
        strata = strata_of(to_do, headers)

        def weight_of(scene: Scene) -> float:
            header = headers.get(scene.name)
            return float(scene.size if header is None else header[0])

        chosen = choose(strata, weight_of, _count(options))
        begun = time.monotonic()
        samples, failed = _upscale_parts(chosen, recipe, settings, state, machines, threads, report, report_note)
        upscaling_seconds = time.monotonic() - begun
    slots = 1 if threads is not None else machines.slots
    totals = extrapolate(strata, weight_of, samples, slots)
    # What the sample took beside its scenes is the start of Ray and of the workers.
    start_seconds += max(upscaling_seconds - makespan((sample.wall for sample in samples.values()), slots), 0.0)
    hours = (start_seconds + totals.busy_seconds) / 3600 if to_do else 0.0
    price = None if options.price_per_hour is None else hours * options.price_per_hour
    per_area = price / totals.area_km2 * 1000 if price is not None and totals.area_km2 else None
    measured = sum(sample.measured for sample in samples.values()) / 1e6
    return {
        "scenes": len(to_do),
        "finished": plan.skipped,
        "not_tried": len(plan.failed),
        "sampled": len(chosen),
        "sampled_failed": failed,
        "sampled_share": round(measured / totals.lr_megapixels, 4) if totals.lr_megapixels else 0.0,
        "core_hours": round(totals.work_seconds / 3600, 4),
        "hours": round(hours, 4),
        "price": None if price is None else round(price, 4),
        "price_per_1000_km2": None if per_area is None else round(per_area, 4),
        "megapixels": round(totals.lr_megapixels * found.architecture.scale**2, 3),
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


def _upscale_parts(
    chosen: list[Scene],
    recipe: Recipe,
    settings: SceneSettings,
    state: ArchiveState,
    machines: Machines,
    threads: int | None,
    report: Callable[[Progress], None],
    report_note: Callable[[str], None],
) -> tuple[dict[str, Sample], dict[str, int]]:
    """Upscales a part of each scene; gives the samples by name, and the failures by class."""
    if not chosen:
        return {}, {}
    with plan_place(state.out) as place:
        moved = [replace(scene, output=place.uri + scene.output.removeprefix(state.out.uri)) for scene in chosen]
        plan = Plan([Planned(scene) for scene in sorted(moved, key=lambda scene: -scene.size)], failed=[])
        if threads is not None:
            report_note(note_of(plan))
        here = replace(state, out=place)
        driver = work_through(
            plan, recipe, settings, here, machines, threads, Ledger.new(place), report, SamplingWorker.of
        )
        samples = {sample.name: sample for sample in _read_samples(place)}
    return samples, dict(Counter(event["error"] for event in driver.ended if event["status"] == "failed"))


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


def _read_samples(place: Storage) -> Iterator[Sample]:
    folder = place.child(SAMPLES)
    if folder.exists():
        for file in folder.files():
            if (sample := Sample.read(folder.child(file.path))) is not None:
                yield sample
