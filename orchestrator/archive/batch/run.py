"""A whole run: list, plan, connect, drive, report."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from orchestrator.archive.batch.archive_progress import Progress
from orchestrator.archive.batch.claims import Claims, remove_claims
from orchestrator.archive.batch.cluster_watch import watching_cluster
from orchestrator.archive.batch.commit import abort_uploads, output_mode, sweep_commits
from orchestrator.archive.batch.compute_nodes import ON_CPUS, choose_device, choose_precision
from orchestrator.archive.batch.driver import Driver
from orchestrator.archive.batch.heartbeat import others_alive
from orchestrator.archive.batch.ledger import Ledger, SceneHistory, merge_ledgers, read_records
from orchestrator.archive.batch.listing import Scene
from orchestrator.archive.batch.measured_range import with_measured_range
from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.output_lock import alive, only_run
from orchestrator.archive.batch.place_of_work import note_of, on_ray, threads_here
from orchestrator.archive.batch.plan import Plan, Recipe, digest, make_plan
from orchestrator.archive.batch.scene_pool import ScenePool, on_every_node
from orchestrator.archive.batch.summary import ArchiveSummary, Summary
from orchestrator.archive.batch.worker import RunContext, SceneWorker, Worker
from orchestrator.archive.batch.workspace import (
    WORKSPACES,
    enter_workspace,
    leave_workspace,
    sweep_workspaces,
)
from orchestrator.archive.products.types import ModelBands
from orchestrator.archive.scene.types import LoadedModel, SceneSettings
from orchestrator.archive.scene.upscale import load_model
from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.settings import Cluster
from orchestrator.foundation.model_store import FoundModel, find_model
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.gpu_demand import GpuDemand, gpus_of
from orchestrator.runtime.task_runner import InProcessRunner, TaskRunner
from orchestrator.runtime.this_machine import local_resources
from trainables.errors import UsageError, reason_of

log = logging.getLogger(__name__)

_FORMAT = "archive-2"
"""Version of this package's outputs: changes with what their bytes depend on beside model and settings."""


@dataclass
class SharedModel:
    """A model on its way to the workers, each of which prepares it once."""

    found: FoundModel
    settings: SceneSettings

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model, ready to compute."""
        return load_model(self.found, self.settings)

    def __call__(self) -> LoadedModel:
        """The model, ready to compute."""
        return self.loaded


def upscale_archive(
    model: str,
    scenes: list[Scene],
    target: str,
    settings: SceneSettings,
    options: Options,
    report_progress: Callable[[Progress], None],
    change_worker: Callable[[SceneWorker], Worker] = lambda worker: worker,
    start: Callable[[Cluster], AbstractContextManager[TaskRunner]] | None = None,
    report_note: Callable[[str], None] = log.info,
) -> ArchiveSummary:
    """Upscales scenes to Cloud-Optimised GeoTIFFs; an interrupted run is continued.

    Args:
        model: Packaged name, folder or prefix of the model.
        scenes: From :func:`orchestrator.archive.batch.listing.list_archive`.
        target: Folder or prefix of the outputs and the ledger.
        settings: Settings for upscaling; device and precision are resolved here.
        options: Options of the run.
        report_progress: Called with the progress about every second.
        change_worker: Puts another worker in place, for tests of what happens to it.
        start: Starts what runs tasks; by default this process does for a few small scenes, and Ray for all others.
        report_note: Called with what is decided before work starts, such as a measured range.

    Returns:
        Counts by outcome, each failure, and where the ledger is.

    Raises:
        UsageError: If nothing can be started, or another run works on the same outputs.
        RunError: If no cluster answers, it is lost, or the ledger cannot be written.
    """
    _check_bands(scenes, settings, report_note)
    found, out = find_model(model), Storage.at(target)
    out.check_writable()
    cluster = Cluster(address=options.address, cpus=options.cpus, gpus=options.gpus)
    with ExitStack() as held:
        check_lock = held.enter_context(only_run(out, options.side_by_side))
        ledger = Ledger.new(out)
        heartbeat = held.enter_context(alive(ledger, out, options.side_by_side))
        claims = held.enter_context(closing(Claims(ledger))) if options.side_by_side else None
        existing = _existing(scenes, out)
        # Read after the claims and the outputs: what a run beside this one has ended by then has a row.
        records = read_records(out)
        ledger.order, histories = records.next_order, records.histories
        if claims is None:
            remove_claims(ledger)
            merge_ledgers(out, records)
        # A Ray of our own is started only if there is something to do.
        own = options.address is None
        runner = None if own else held.enter_context((start or on_ray)(cluster))
        if runner is not None and runner.distributed:
            from orchestrator.runtime.node_check import check_nodes  # which needs Ray

            # GPUs are looked at with the precision, by the nodes that compute.
            check_nodes(runner, out, reads=_readable(scenes))
        resources = local_resources(cluster) if runner is None else runner.resources
        settings = replace(settings, device=choose_device(options, resources))
        bands = ModelBands(found.net.architecture.channels, tuple(found.card.get("band_names") or ()))
        settings = with_measured_range(settings, scenes, out, report_note, bands)
        gpus = settings.device == "cuda"
        demand = None
        if gpus and runner is not None:
            demand = held.enter_context(closing(GpuDemand(runner, int(resources.gpus), settings.threads)))
        notes = [] if own or gpus or options.device == "cpu" else [ON_CPUS]
        shown = [report_progress]

        def report(progress: Progress) -> None:
            check_lock()
            heartbeat.beat()
            progress.notes = notes if claims is None else [*notes, *claims.notes]
            if demand is not None:
                progress.joined = demand.ask(progress.scenes - progress.done)
            for show in shown:
                show(progress)

        def planned(settings: SceneSettings) -> tuple[Recipe, Plan]:
            recipe = _recipe(found, settings)
            again = options.overwrite, options.retry_failed
            return recipe, make_plan(scenes, histories, existing, recipe, *again, out.uri, options.strict)

        if gpus and runner is not None and settings.precision == "auto" and not gpus_of(runner.nodes()):
            settings = _finished_settings(settings, lambda known: planned(known)[1]) or settings
            waiting = Progress(len(scenes))
            while settings.precision == "auto" and not gpus_of(runner.nodes()):
                report(waiting)
                time.sleep(1.0)
        settings = replace(settings, precision=choose_precision(settings, runner))
        recipe, plan = planned(settings)
        run = Summary(found, out, ledger, settings, records.odd)
        if not plan.work:
            ledger.write(plan.rows)
            return run.of(plan.failed, plan.skipped)
        threads = (
            threads_here(plan, histories, options, settings.device, int(resources.cpus)) if start is None else None
        )
        if threads is not None:
            report_note(note_of(plan))
            settings = replace(settings, threads=threads)
            held.callback(torch.set_num_threads, torch.get_num_threads())
            runner = InProcessRunner(Resources(threads, 0, 0))  # one scene at a time
        elif runner is None:
            runner = held.enter_context((start or on_ray)(cluster))
        scratch = Path(options.scratch or _scratch(out)).expanduser().absolute()
        context = RunContext(
            run=ledger.run,
            out=out.uri,
            scratch=str(scratch),
            settings=settings,
            only_parts=gpus,
            mode=output_mode(),
            strict=options.strict,
        )
        shared_model = SharedModel(found, settings)
        # Only where it stays in this process is the model prepared once for all.
        ready = load_model(found, replace(settings, device="cpu")) if threads is None else shared_model.loaded
        worker = change_worker(SceneWorker(context, ready.facts, shared_model))
        held.enter_context(_tidy(runner, out, ledger, scratch, histories))
        shown.append(held.enter_context(watching_cluster(runner, out.uri, not own, notes.append)))
        pool = ScenePool(runner, worker, settings.threads, 1.0 if gpus else 0.0, options.scene_timeout)
        # A cluster of one node may grow.
        shared = own or (not out.remote and options.scratch is None)
        driver = Driver(pool, ledger, recipe, shared, gpus, report, ready.facts.scale, claims)
        try:
            progress = driver.run(plan)
        finally:
            pool.cancel()
            ledger.close()
    return run.of(driver.ended, plan.skipped, progress, driver.stopped)


def _existing(scenes: list[Scene], out: Storage) -> dict[str, int]:
    """Bytes of the outputs that exist, by their places."""
    wanted = {scene.output for scene in scenes}
    return {uri: file.size for file in out.files() if (uri := out.child(file.path).uri) in wanted}


def _finished_settings(settings: SceneSettings, planned: Callable[[SceneSettings], Plan]) -> SceneSettings | None:
    """Settings with the precision in which all scenes are finished: then no GPU is needed to tell its precision."""
    either = (replace(settings, precision="bfloat16"), replace(settings, precision="float32"))
    return next((known for known in either if not planned(known).work), None)


def _check_bands(scenes: list[Scene], settings: SceneSettings, report_note: Callable[[str], None]) -> None:
    """Says which scenes chosen bands do not concern.

    Raises:
        UsageError: If they concern none.
    """
    single = sum(scene.product is None for scene in scenes)
    if settings.bands and single == len(scenes):
        raise UsageError(
            "--bands chooses bands of products, such as a Sentinel-2 .SAFE, and INPUT has none. Single files keep all "
            "their bands; --band-map states which of them the model sees together."
        )
    if settings.bands and single:
        report_note(f"--bands is for products: single files keep all their bands, here {single}.")


def _readable(scenes: list[Scene]) -> list[str]:
    """Place of the first scene, which every node must see too; none if it cannot be read from here."""
    with suppress(OSError):
        return [
            scene.source for scene in scenes[:1] if scene.problem is None and Storage(scene.source).kind() == "file"
        ]
    return []


def _recipe(found: FoundModel, settings: SceneSettings) -> Recipe:
    files = {name: digest(data.hex()) for name, data in found.files.items()}
    return Recipe(digest(files), digest([_FORMAT, settings.of_the_result(), settings.device]))


def _scratch(out: Storage) -> str:
    return tempfile.gettempdir() if out.remote else out.child(WORKSPACES).path


@contextmanager
def _tidy(
    runner: TaskRunner, out: Storage, ledger: Ledger, scratch: Path, histories: Mapping[str, SceneHistory]
) -> Iterator[None]:
    """Removes what killed runs left behind, and in the end what this one did.

    Raises:
        UsageError: If work in progress cannot lie in ``scratch``.
    """
    if out.remote:
        abort_uploads(out, not others_alive(ledger), histories)
    else:
        sweep_commits(out)
    new = not scratch.exists()
    try:
        enter_workspace(scratch, ledger.run)
    except OSError as error:
        raise UsageError(
            f"Work in progress cannot lie in '{scratch}' ({reason_of(error)}); name another folder by --scratch."
        ) from None
    try:
        yield
    finally:
        for _ in on_every_node(runner, _leave, scratch, ledger.run) if len(runner.nodes()) > 1 else ():
            pass
        _leave(scratch, ledger.run)
        with suppress(OSError):
            if new:
                scratch.rmdir()  # which takes an empty folder only
        if not out.remote:
            sweep_commits(out)


def _leave(scratch: Path, run: str) -> None:
    sweep_workspaces(scratch)
    leave_workspace(scratch, run)
