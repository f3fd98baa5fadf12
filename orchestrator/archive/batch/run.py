"""A whole run: list, plan, connect, drive, report."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from orchestrator.archive.batch.archive_progress import Progress
from orchestrator.archive.batch.archive_state import ArchiveState
from orchestrator.archive.batch.claims import Claims, remove_claims, remove_last_claims
from orchestrator.archive.batch.cluster_watch import watching_cluster
from orchestrator.archive.batch.commit import abort_uploads, output_mode, sweep_commits
from orchestrator.archive.batch.compute_nodes import check_weights, choose_precision
from orchestrator.archive.batch.driver import Driver
from orchestrator.archive.batch.heartbeat import others_alive
from orchestrator.archive.batch.machines import Machines, Start, machines_of
from orchestrator.archive.batch.measured_range import with_measured_range
from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.output_lock import alive, only_run
from orchestrator.archive.batch.place_of_work import note_of, threads_here
from orchestrator.archive.batch.plan import Plan, Recipe
from orchestrator.archive.batch.plan_place import remove_dead_plans
from orchestrator.archive.batch.scene_pool import ScenePool, on_every_node
from orchestrator.archive.batch.summary import ArchiveSummary, Summary
from orchestrator.archive.batch.worker import RunContext, SceneWorker, Worker
from orchestrator.archive.ledger.ledger import Ledger, SceneHistory, merge_ledgers
from orchestrator.archive.places.listing import Scene
from orchestrator.archive.places.workspace import (
    WORKSPACES,
    enter_workspace,
    leave_workspace,
    sweep_workspaces,
)
from orchestrator.archive.products.types import ModelBands
from orchestrator.archive.scene.model_facts import facts_of
from orchestrator.archive.scene.types import LoadedModel, SceneSettings
from orchestrator.archive.scene.upscale import load_model
from orchestrator.foundation.model_store import ModelFiles, find_model_files
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.task_runner import TaskRunner
from trainables.errors import UsageError, reason_of

log = logging.getLogger(__name__)


@dataclass
class SharedModel:
    """A model on its way to the workers as the bytes of its files; each worker builds and prepares the network once."""

    files: ModelFiles
    settings: SceneSettings

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model, ready to compute."""
        return load_model(self.files.unpacked(), self.settings)

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
    start: Start | None = None,
    report_note: Callable[[str], None] = log.info,
) -> ArchiveSummary:
    """Upscales scenes to Cloud-Optimised GeoTIFFs; an interrupted run is continued.

    Args:
        model: Packaged name, folder or prefix of the model.
        scenes: From :func:`orchestrator.archive.places.listing.list_archive`.
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
    check_bands(scenes, settings, report_note)
    found, out = find_model_files(model), Storage.at(target)
    with ExitStack() as held:
        check_lock = held.enter_context(only_run(out, options.side_by_side))
        ledger = Ledger.new(out)
        if options.side_by_side:
            held.callback(remove_last_claims, ledger)  # when the heartbeat has ended
        heartbeat = held.enter_context(alive(ledger, out, options.side_by_side))
        # Claims see which scenes have ended before the ledgers are read, which then hold the rows of these.
        claims = held.enter_context(closing(Claims(ledger))) if options.side_by_side else None
        state = ArchiveState.read(found, scenes, out, options)
        ledger.order = state.records.next_order
        if claims is None:
            remove_claims(ledger)
            merge_ledgers(out, state.records)
        remove_dead_plans(out)
        machines = held.enter_context(machines_of(options, scenes, out, settings.threads, start))

        def report(progress: Progress) -> None:
            check_lock()
            heartbeat.beat()
            progress.notes = machines.notes if claims is None else [*machines.notes, *claims.notes]
            machines.ask_for_gpus(progress)
            report_progress(progress)

        settings = resolve_settings(settings, state, machines, report, report_note)
        recipe, plan = state.plan(settings)
        run = Summary(found, out, ledger, settings, state.records.odd)
        if not plan.work:
            ledger.write(plan.rows)
            return run.of(plan.failed, plan.skipped)
        threads = threads_of_this_process(plan, state, machines) if start is None else None
        if threads is not None:
            report_note(note_of(plan))
        driver = work_through(plan, recipe, settings, state, machines, threads, ledger, report, change_worker, claims)
    return run.of(driver.ended, plan.skipped, driver.progress, driver.stopped)


def check_bands(scenes: list[Scene], settings: SceneSettings, report_note: Callable[[str], None]) -> None:
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


def resolve_settings(
    settings: SceneSettings,
    state: ArchiveState,
    machines: Machines,
    report: Callable[[Progress], None],
    report_note: Callable[[str], None],
    record_range: bool = True,
) -> SceneSettings:
    """Settings with the device, the measured range and the precision of a run, on which its outputs depend.

    Where GPUs are to tell the precision and none is there yet, the first one is waited for, unless all is finished.

    Args:
        settings: Settings as the user states them.
        state: The archive.
        machines: Machines of the run.
        report: Called about every second while a GPU is waited for.
        report_note: Called with the measured range in words.
        record_range: False to leave a range that is measured now unrecorded.

    Raises:
        UsageError: If no range can be measured.
        RunError: If a node that computes cannot work, or none answers.
    """
    settings = replace(settings, device=machines.device)
    bands = ModelBands(state.found.architecture.channels, tuple(state.found.card.get("band_names") or ()))
    settings = with_measured_range(settings, state.scenes, state.out, bands, report_note, record_range)
    # On this machine, PyTorch would have to be imported to tell the precision.
    unknown_here = settings.precision == "auto" and machines.joined is None
    if (settings.precision == "auto" and machines.waits_for_gpu) or (unknown_here and state.all_tried):
        settings = state.finished_settings(settings) or settings
        waiting = Progress(len(state.scenes))
        while settings.precision == "auto" and machines.waits_for_gpu:
            report(waiting)
            time.sleep(1.0)
    return replace(settings, precision=choose_precision(settings, machines.joined))


def threads_of_this_process(plan: Plan, state: ArchiveState, machines: Machines) -> int | None:
    """Threads of this process where it does the work of a plan itself; None for Ray."""
    return threads_here(plan, state.histories, state.options, machines.device, int(machines.resources.cpus))


def work_through(
    plan: Plan,
    recipe: Recipe,
    settings: SceneSettings,
    state: ArchiveState,
    machines: Machines,
    threads: int | None,
    ledger: Ledger,
    report: Callable[[Progress], None],
    change_worker: Callable[[SceneWorker], Worker],
    claims: Claims | None = None,
) -> Driver:
    """Upscales the scenes of a plan.

    Args:
        plan: The plan.
        recipe: The model and the settings.
        settings: Settings from :func:`resolve_settings`.
        state: The archive.
        machines: Machines of the run.
        threads: Threads of this process if it does the work itself; None for Ray.
        ledger: The run's ledger.
        report: Called with the progress about every second.
        change_worker: Puts another worker in place.
        claims: Claims by which runs side by side share the scenes.

    Returns:
        The driver, with the outcomes.

    Raises:
        UsageError: If work in progress cannot lie in the folder that is meant for it.
        RunError: If Ray does not start or is lost, or the ledger cannot be written.
    """
    out, options = state.out, state.options
    settings = settings if threads is None else replace(settings, threads=threads)
    scratch = Path(options.scratch or _scratch(out)).expanduser().absolute()
    with ExitStack() as held:
        runner = held.enter_context(machines.started(threads))
        context = RunContext(
            run=ledger.run,
            out=out.uri,
            scratch=str(scratch),
            settings=settings,
            only_parts=machines.gpus,
            mode=output_mode(),
            strict=options.strict,
        )
        facts, shared_model = facts_of(state.found, settings.precision), SharedModel(state.found, settings)
        if threads is None:
            check_weights(runner, state.found)
        else:
            shared_model()  # prepared here, once for all scenes
        worker = change_worker(SceneWorker(context, facts, shared_model))
        held.enter_context(_tidy(runner, out, ledger, scratch, state.histories))
        joined = machines.joined is not None
        show_others = held.enter_context(watching_cluster(runner, out.uri, joined, machines.notes.append))

        def report_to_all(progress: Progress) -> None:
            report(progress)
            show_others(progress)

        pool = ScenePool(runner, worker, settings.threads, 1.0 if machines.gpus else 0.0, options.scene_timeout)
        # A cluster of one node may grow.
        shared = not joined or (not out.remote and options.scratch is None)
        driver = Driver(pool, ledger, recipe, shared, machines.gpus, report_to_all, facts.scale, claims)
        try:
            driver.run(plan)
        finally:
            pool.cancel()
            ledger.close()
    return driver


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
