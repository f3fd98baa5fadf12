"""The driver of an archive: submits scenes to workers, handles their outcomes, and writes the ledger before and after.

One loop in one thread. Only a few of the large scenes, which several workers share, are in work at once, since all
their parts lie on disk until they are joined. Parts take precedence over new scenes, and joining over parts.

Ray Data and ``ray.util.ActorPool`` distribute tasks too, but they neither retry a scene by its kind of failure, nor
split a large scene among workers, nor attribute the death of a worker to a scene; the ledger needs all three.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.archive.batch.archive_progress import Progress
from orchestrator.archive.batch.claims import LOOK_SECONDS, Claim, Claims
from orchestrator.archive.batch.plan import DEATHS, Plan, Recipe, about, brief
from orchestrator.archive.batch.scene_pool import Ended, Pool, Slots, Task
from orchestrator.archive.batch.scene_sizes import SceneSizes
from orchestrator.archive.batch.worker import Failed, Finished, PartFinished, Split
from orchestrator.archive.ledger.ledger import Ledger
from orchestrator.archive.ledger.ledger_event import Event, columns_of
from orchestrator.archive.places.listing import Scene
from orchestrator.archive.scene.types import Rows
from trainables.errors import reason_of

_TRIES = {"transient": 3, "disk": 2, "memory": 2}
"""Attempts at a scene in one run, by the class of its failure; one for other classes."""

PAUSE_SECONDS = 5.0
_NODES_LOST = 5
REFUSED_SECONDS = 600.0
"""Time in which nodes may refuse all tasks before the run ends."""

_BEGUN_PER_GPU = 2
"""Scenes on a node, by GPU, that are still to be computed: one that is, and one that is fetched meanwhile."""

_SYSTEMIC = frozenset({"denied", "disk"})
_SYSTEMIC_AFTER = 10
"""Failures of such a class in a row that end the run: the environment is at fault, and other scenes would fail too."""

_SPLIT_AT_ONCE = 2

_CLAIMING_SECONDS = 1.0
"""Time in which scenes are claimed before the driver attends to those at work again."""

_SUMMARY = ("event", "name", "status", "error", "message", "attempts", "notes")


@dataclass(slots=True)
class _Open:
    """A scene that has not ended."""

    scene: Scene
    deaths: int
    attempts: int = 0
    failures: int = 0
    lost: int = 0
    round: int = 0
    not_before: float = 0.0
    node: str | None = None
    claimed: bool = False
    rows: list[Rows] = field(default_factory=list)
    parts: list[PartFinished] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Share of its rows that are computed."""
        return len(self.parts) / len(self.rows) if self.rows else 0.0

    @property
    def computed(self) -> bool:
        """True if it only has to be joined and stored."""
        return bool(self.rows) and len(self.parts) == len(self.rows)


class Driver:
    """Works through a plan.

    Args:
        pool: Pool that runs the tasks.
        ledger: Takes every event.
        recipe: The model and the settings.
        shared: True if all nodes see the workspaces, so that any may take any part of a scene. Otherwise all of a
            scene runs on one node.
        only_parts: True to split every scene into tasks that compute and one that joins and stores. Where workspaces
            are not shared, each scene then begins on a node that can compute, the one with the fewest scenes.
        report_progress: Called with the progress, about every second.
        scale: Scale factor r of the model.
        claims: Claims by which runs side by side share the scenes; None where this run is alone.
    """

    def __init__(
        self,
        pool: Pool,
        ledger: Ledger,
        recipe: Recipe,
        shared: bool = True,
        only_parts: bool = False,
        report_progress: Callable[[Progress], None] = lambda progress: None,
        scale: int = 1,
        claims: Claims | None = None,
    ) -> None:
        self._scale, self._claims = scale, claims
        self._pool, self._ledger, self._recipe, self._report_progress = pool, ledger, recipe, report_progress
        self._shared, self._only_parts = shared, only_parts
        self._bound = only_parts and not shared
        self._waiting: deque[_Open] = deque()
        self._split: deque[_Open] = deque()
        self._open: dict[str, _Open] = {}
        self._running: Counter[str] = Counter()
        self._running_at: Counter[tuple[str, str | None]] = Counter()
        self._tasks: dict[str, deque[Task]] = {"finish": deque(), "part": deque()}
        self._events: list[Event] = []
        self._systemic = 0
        self._refused_since: float | None = None
        self.ended: list[Event] = []
        self.stopped: str | None = None

    def run(self, plan: Plan) -> Progress:
        """Upscales everything; returns when each scene has ended, or the environment fails for all.

        Afterwards, ``progress`` is what it returned, ``ended`` holds what a summary needs of the outcomes of all scenes
        but those finished before, and ``stopped`` the reason why the run gave up, if it did.
        """
        self.ended += plan.failed
        self._ledger.write(plan.rows)
        self._waiting.extend(_Open(planned.scene, planned.deaths) for planned in plan.work)
        self.progress = Progress(len(plan.work))
        self._sizes = SceneSizes([planned.scene for planned in plan.work])
        with self._sizes:
            self._work_through()
        return self.progress

    def _work_through(self) -> None:
        while (self._waiting or self._open) and self.stopped is None:
            self._fill()
            before = time.monotonic()
            ended = self._pool.wait(1.0)
            for end in ended:
                self._take(end)
            self._write()
            self._measure()
            self._report_progress(self.progress)
            if not ended and time.monotonic() - before < 0.5 and self._waiting:
                time.sleep(0.5)  # all that is left has to wait a little

    def _measure(self) -> None:
        """Takes the samples that are done and left into the progress; a part counts as soon as it is computed."""
        done, left = self._sizes.done_and_left()
        parts = sum(self._sizes.of(state.scene) * state.share for state in self._open.values() if state.parts)
        self.progress.samples_done, self.progress.samples_left = done + parts, max(left - parts, 0.0)

    def _fill(self) -> None:
        """Submits what there is room for; attempts are on record before any of it starts."""
        slots = self._pool.slots()
        chosen: list[Task] = []
        while self._split and self._sharing() < self._under_way(slots):
            self._share(self._split.popleft())
        for step in ("finish", "part"):
            while (task := self._with_room(step, slots)) is not None:
                chosen.append(self._start(task))
        until = time.monotonic() + _CLAIMING_SECONDS
        while self._may_begin(slots) and time.monotonic() < until and (state := self._next()) is not None:
            if not self._is_ours(state):
                continue
            state.node = self._emptiest(slots) if self._bound else None
            state.attempts += 1
            state.round += 1
            self._open[state.scene.output] = state
            self._events.append(brief("attempt", state.scene, self._recipe))
            workers = self._sharers(slots.nodes[state.node].compute if state.node else slots.compute)
            task = Task(scene=state.scene, step="begin", workers=workers, node=state.node, round=state.round)
            chosen.append(self._start(task))
        self._write()
        for task in chosen:
            try:
                self._pool.submit(task)
            except Exception as error:  # no fault of the scene, whatever it is
                self._take(Ended(task, lost=reason_of(error)))

    def _is_ours(self, state: _Open) -> bool:
        """Returns True if this run works on a scene; otherwise it waits, or has ended in another run."""
        if self._claims is None or state.claimed:
            return True
        claim = self._claims.take(state.scene.output, self._recipe.key(state.scene))
        if claim.state == "ours":
            state.claimed = True
            return True
        if claim.state == "held":
            state.not_before = time.monotonic() + LOOK_SECONDS
            self._waiting.append(state)
            return False
        self._end_elsewhere(state, claim)
        return False

    def _end_elsewhere(self, state: _Open, claim: Claim) -> None:
        """Counts a scene whose row is in the ledger of a run beside this one."""
        self.progress.done += 1
        self._sizes.end(state.scene, finished=False)
        if claim.state == "ok":
            self.progress.elsewhere += 1
        else:
            self.progress.failed[claim.error] += 1
            failure: Event = {"status": "failed", "error": claim.error, "message": claim.message}
            self.ended.append(_brief(about(state.scene, self._recipe) | failure))

    def _under_way(self, slots: Slots) -> int:
        """Most scenes whose parts may lie on disk."""
        return 2 * slots.compute + slots.finish if self._only_parts else _SPLIT_AT_ONCE

    def _may_begin(self, slots: Slots) -> bool:
        if self._only_parts and len(self._open) >= self._under_way(slots):
            return False
        if self._bound:
            return self._emptiest(slots) is not None
        at_once = slots.compute + slots.finish if self._only_parts else slots.compute
        return self._running.total() < at_once + _ahead(at_once)

    def _emptiest(self, slots: Slots) -> str | None:
        """The node with the fewest scenes to compute by GPU; None if each has enough of them."""
        scenes = Counter(state.node for state in self._open.values() if not state.computed)
        free = {
            node: scenes[node] / at.compute
            for node, at in slots.nodes.items()
            if scenes[node] < _BEGUN_PER_GPU * at.compute
        }
        return min(free, key=lambda node: free[node], default=None)

    def _with_room(self, step: str, slots: Slots) -> Task | None:
        """Takes the first waiting task of this step that may start: each node has room of its own."""
        for task in self._tasks[step]:
            at = slots.nodes.get(task.node or "")
            running, room = (self._running[step], slots) if at is None else (self._running_at[step, task.node], at)
            if running < (room.finish if step == "finish" else room.compute + _ahead(room.compute)):
                self._tasks[step].remove(task)
                return task
        return None

    def _sharers(self, workers: int) -> int:
        """Number of workers that may share a scene: all where some would be idle, none where there is but one."""
        if workers == 1:
            return 0
        return workers if len(self._waiting) + len(self._open) < workers else 1

    def _start(self, task: Task) -> Task:
        self._running[task.step] += 1
        self._running_at[task.step, task.node] += 1
        return task

    def _next(self) -> _Open | None:
        for _ in range(len(self._waiting)):
            state = self._waiting.popleft()
            if state.not_before <= time.monotonic():
                return state
            self._waiting.append(state)
        return None

    def _sharing(self) -> int:
        return sum(bool(state.rows) for state in self._open.values()) - len(self._split)

    def _share(self, state: _Open) -> None:
        for rows in state.rows:
            self._tasks["part"].append(
                Task(scene=state.scene, step="part", rows=rows, node=state.node, round=state.round)
            )

    def _take(self, ended: Ended) -> None:
        task = ended.task
        self._running[task.step] -= 1
        self._running_at[task.step, task.node] -= 1
        if ended.outcome is not None:
            self._refused_since = None
        state = self._open.get(task.scene.output)
        if state is None or state.round != task.round:
            return  # another part of it has failed meanwhile
        if ended.death is not None:
            self._died(state, ended.death)
        elif ended.lost is not None:
            self._lost(state, ended.lost)
        elif ended.unschedulable is not None:
            self._refused(state, ended.unschedulable)
        elif isinstance(ended.outcome, Failed):
            self._failed(state, ended.outcome)
        elif isinstance(ended.outcome, Split):
            state.rows, state.parts = ended.outcome.rows, []
            state.node = None if self._shared else ended.node
            self._split.append(state)
        elif isinstance(ended.outcome, PartFinished):
            state.parts.append(ended.outcome)
            if state.computed:
                parts = tuple(state.parts)
                self._tasks["finish"].append(
                    Task(scene=state.scene, step="finish", parts=parts, node=state.node, round=state.round)
                )
        elif isinstance(ended.outcome, Finished):
            self._systemic = 0
            columns = ended.outcome.columns
            self.progress.ok += 1
            samples = columns.get("width", 0) * columns.get("height", 0) * columns.get("bands", 0)
            self._sizes.learn(state.scene, samples // self._scale**2)
            self.progress.megapixels += columns.get("width", 0) * columns.get("height", 0) / 1e6
            self._end(state, columns | {"status": "ok", "node": ended.node})

    def _died(self, state: _Open, reason: str) -> None:
        state.deaths += 1
        self._events.append(brief("death", state.scene, self._recipe) | {"message": reason})
        if state.deaths >= DEATHS:
            self._give_up(state, Failed("crashed", f"{reason}, {state.deaths} times"))
        else:
            self._again(state)  # after all others, so that a neighbour's fault does not look like its own

    def _lost(self, state: _Open, reason: str) -> None:
        state.lost += 1
        if state.lost >= _NODES_LOST:
            self._give_up(state, Failed("transient", f"{state.lost} nodes were lost while it was worked on: {reason}"))
        else:
            self._again(state, PAUSE_SECONDS * (state.lost - 1))

    def _refused(self, state: _Open, reason: str) -> None:
        """Tries a scene elsewhere, or later; that counts against the cluster and not against the scene."""
        self._again(state, PAUSE_SECONDS)
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        if now - self._refused_since >= REFUSED_SECONDS:
            self.stopped = f"for {REFUSED_SECONDS / 60:.0f} minutes no node has taken a task: {reason}"

    def _failed(self, state: _Open, outcome: Failed) -> None:
        state.failures += 1
        if state.failures < _TRIES.get(outcome.error, 1):
            self._again(state, PAUSE_SECONDS * state.failures)
        else:
            self._give_up(state, outcome)

    def _give_up(self, state: _Open, outcome: Failed) -> None:
        self._systemic = self._systemic + 1 if outcome.error in _SYSTEMIC else 0
        self.progress.failed[outcome.error] += 1
        self._end(state, {"status": "failed", "error": outcome.error, "message": outcome.message})
        if self._systemic >= _SYSTEMIC_AFTER:
            self.stopped = f"{self._systemic} scenes in a row failed: {outcome.message}"

    def _again(self, state: _Open, pause: float = 0.0) -> None:
        self._close(state)
        state.rows, state.parts, state.node = [], [], None
        state.not_before = time.monotonic() + pause
        self._waiting.append(state)

    def _end(self, state: _Open, columns: Event) -> None:
        self._close(state)
        self.progress.done += 1
        self._sizes.end(state.scene, columns["status"] == "ok")
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        about_it = about(state.scene, self._recipe) | {"attempts": state.attempts, "at": moment}
        self._events.append(about_it | columns)

    def _close(self, state: _Open) -> None:
        """Forgets what of a scene is still to be done; what still runs is passed over when it ends."""
        del self._open[state.scene.output]
        if state in self._split:
            self._split.remove(state)
        for step, tasks in self._tasks.items():
            self._tasks[step] = deque(task for task in tasks if task.scene.output != state.scene.output)

    def _write(self) -> None:
        self._ledger.write(self._events)
        if self._claims is not None:
            for event in self._events:
                if event["event"] == "scene":
                    self._claims.end(event)
        self.ended += [_brief(event) for event in self._events if event["event"] == "scene"]
        self._events = []


def _brief(event: Event) -> Event:
    """The columns that a summary needs; an archive's whole rows would not fit into memory."""
    brief = columns_of(event, _SUMMARY)
    found = event.get("consistency")
    if found and found["flags"]:
        brief["consistency"] = found
    return brief


def _ahead(slots: int) -> int:
    """Tasks that wait at the workers, so that none is idle while the driver writes."""
    return 1 + slots // 8
