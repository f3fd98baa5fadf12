"""A whole run: list, plan, connect, drive, report."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from orchestrator.archive.batch.commit import abort_uploads, output_mode, sweep_commits
from orchestrator.archive.batch.driver import Driver, Progress
from orchestrator.archive.batch.heartbeat import others_alive
from orchestrator.archive.batch.ledger import Ledger, SceneHistory, read_records
from orchestrator.archive.batch.listing import Scene
from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.output_lock import alive, only_run
from orchestrator.archive.batch.plan import Recipe, digest, make_plan
from orchestrator.archive.batch.scene_pool import ScenePool, on_every_node
from orchestrator.archive.batch.summary import ArchiveSummary, Summary
from orchestrator.archive.batch.worker import RunContext, SceneWorker, Worker
from orchestrator.archive.batch.workspace import (
    WORKSPACES,
    enter_workspace,
    leave_workspace,
    sweep_workspaces,
)
from orchestrator.archive.scene.types import LoadedModel, SceneSettings
from orchestrator.archive.scene.upscale import load_model
from orchestrator.experiment.feasibility import Resources
from orchestrator.experiment.settings import Cluster
from orchestrator.foundation.model_store import FoundModel, find_model
from orchestrator.foundation.storage import Storage
from orchestrator.runtime.ray_session import connect, local_resources, loss_explained
from orchestrator.runtime.task_runner import TaskRunner
from trainables.errors import RunError, UsageError, reason_of
from trainables.inference.precision import Precision, resolve

_FORMAT = "archive-1"
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
    start: Callable[[Cluster], AbstractContextManager[TaskRunner]] = connect,
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
        start: Starts what runs tasks; Ray by default.

    Returns:
        Counts by outcome, each failure, and where the ledger is.

    Raises:
        UsageError: If nothing can be started, or another run works on the same outputs.
        RunError: If no cluster answers, it is lost, or the ledger cannot be written.
    """
    found, out = find_model(model), Storage.at(target)
    out.check_writable()
    cluster = Cluster(address=options.address, cpus=options.cpus)
    with ExitStack() as held, loss_explained():
        check_lock = held.enter_context(only_run(out, options.side_by_side))
        records = read_records(out)
        ledger = Ledger.new(out, records.next_order)
        heartbeat = held.enter_context(alive(ledger, out, options.side_by_side))
        # A Ray of our own is started only if there is something to do.
        own = options.address is None
        runner = None if own else held.enter_context(start(cluster))
        gpus = _gpus(options.device, local_resources(cluster) if runner is None else runner.resources)
        settings = replace(settings, device="cuda" if gpus else "cpu")
        settings = replace(settings, precision=_precision(settings, runner, out))
        recipe, histories = _recipe(found, settings), records.histories
        existing = {out.child(file.path).uri: file.size for file in out.files()}
        plan = make_plan(scenes, histories, existing, recipe, options.overwrite, options.retry_failed, out.uri)
        run = Summary(found, out, ledger, settings, records.odd)
        if not plan.work:
            ledger.write(plan.settled)
            return run.of(plan.settled)
        if runner is None:
            runner = held.enter_context(start(cluster))
        scratch = Path(options.scratch or _scratch(out)).expanduser().absolute()
        context = RunContext(
            run=ledger.run,
            out=out.uri,
            scratch=str(scratch),
            settings=settings,
            only_parts=gpus,
            mode=output_mode(),
        )
        facts = load_model(found, replace(settings, device="cpu")).facts
        worker = change_worker(SceneWorker(context, facts, SharedModel(found, settings)))
        held.enter_context(_tidy(runner, out, ledger, scratch, histories))
        pool = ScenePool(runner, worker, settings.threads, 1.0 if gpus else 0.0, options.scene_timeout)
        shared = len(runner.nodes()) == 1 or (not out.remote and options.scratch is None)

        def report(progress: Progress) -> None:
            check_lock()
            heartbeat.beat()
            report_progress(progress)

        driver = Driver(pool, ledger, recipe, shared, gpus, report)
        try:
            progress = driver.run(plan)
        finally:
            pool.cancel()
            ledger.close()
    return run.of(driver.ended, progress, driver.stopped)


def _gpus(device: str, resources: Resources) -> bool:
    if device == "cuda" and not resources.gpus:
        raise UsageError("--device is cuda, but no node of this Ray has a GPU; take --device cpu.")
    return device != "cpu" and resources.gpus > 0


def _precision(settings: SceneSettings, runner: TaskRunner | None, out: Storage) -> Precision:
    """Resolves one precision for all nodes, since outputs depend on it; all of them must see where outputs go."""
    if runner is None:
        return resolve(settings.precision, torch.device(settings.device))
    place = None if out.remote else out.path
    if place is not None:
        Path(place).mkdir(parents=True, exist_ok=True)
    found = set()
    for node, answer in on_every_node(runner, _survey, settings.precision, settings.device, place):
        if isinstance(answer, Exception):
            raise RunError(f"Node {node[:8]} of the cluster cannot work: {answer}")
        sees, precision = answer
        if not sees:
            raise UsageError(
                f"Node {node[:8]} of the cluster does not see the folder '{place}'; outputs must go to s3:// or to a "
                "folder that all nodes share."
            )
        found.add(precision)
    return found.pop() if len(found) == 1 else "float32"


def _survey(precision: Precision, device: str, place: str | None) -> tuple[bool, Precision]:
    usable = device if torch.cuda.is_available() else "cpu"
    return place is None or os.access(place, os.W_OK), resolve(precision, torch.device(usable))


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
