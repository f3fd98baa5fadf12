"""What one scene, one trial and one node cost the head: processor time and memory of the real code, without Ray."""

import pathlib
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from orchestrator.archive.batch.driver import Driver
from orchestrator.archive.batch.plan import Recipe, about, brief, make_plan
from orchestrator.archive.batch.scene_pool import Ended, Slots, Task
from orchestrator.archive.batch.worker import Finished, PartFinished, Split
from orchestrator.archive.ledger.ledger import Ledger, read_histories
from orchestrator.archive.ledger.ledger_event import Event
from orchestrator.archive.places.listing import Scene
from orchestrator.archive.scene.types import PartFacts
from orchestrator.foundation.storage import Storage
from orchestrator.search.region import Region
from orchestrator.search.samplers import RepeatableSampler

RECIPE = Recipe("m" * 64, "s" * 64)
OUT = "/archive/out"
ROWS = PartFacts(
    path=Path("rows.tif"),
    rows=(0, 1),
    tile=(1, 1),
    halo=0,
    seconds={},
    valid=1,
    samples=1,
    minimum=[0.0],
    maximum=[1.0],
)


def scenes(count: int) -> list[Scene]:
    """An archive that is in S3, as listing finds it."""
    return [
        Scene(
            name=f"tiles/31/T/CJ/2026/{number:08d}/visual.tif",
            source=f"s3://archive/tiles/31/T/CJ/2026/{number:08d}/visual.tif",
            version=f"{number:032x}",
            size=50_000_000 + number,
            modified=1.8e9 + number,
            output=f"{OUT}/tiles/31/T/CJ/2026/{number:08d}/visual.tif",
        )
        for number in range(count)
    ]


@dataclass
class InstantPool:
    """A pool on which every task ends at once.

    Attributes:
        columns: The ledger's columns of a finished scene.
        gpus: Number of its GPUs.
    """

    columns: Event
    gpus: int
    _ended: list[Ended] = field(default_factory=list)

    def slots(self) -> Slots:
        """Tasks that can run at once."""
        at = {f"{node:056x}": Slots(8, 8) for node in range(self.gpus // 8)}
        return Slots(self.gpus, self.gpus, at)

    def submit(self, task: Task) -> None:
        """Ends a task."""
        outcome: Any = Finished(self.columns)
        if task.step == "begin":
            outcome = Split([(0, 1)])
        elif task.step == "part":
            outcome = PartFinished(ROWS)
        self._ended.append(Ended(task, outcome, task.node or "0" * 56))

    def wait(self, seconds: float) -> list[Ended]:
        """All tasks that were submitted since."""
        del seconds
        ended, self._ended = self._ended, []
        return ended


def driver_us(columns: Event, count: int, gpus: int) -> float:
    """Microseconds of the driver for a scene in GPU mode, all nodes idle at once: planning, loop and ledger lines."""
    plan = make_plan(scenes(count), {}, {}, RECIPE, out=OUT)
    with tempfile.TemporaryDirectory() as folder:
        driver = Driver(InstantPool(columns, gpus), Ledger.new(Storage(folder), 1), RECIPE, False, True)
        start = time.process_time()
        progress = driver.run(plan)
        seconds = time.process_time() - start
    assert progress.ok == count
    return 1e6 * seconds / count


def planning(columns: Event, count: int) -> dict[str, float]:
    """Bytes in memory and microseconds for a scene of an archive that is half done, when it is planned again."""
    archive = scenes(count)
    with tempfile.TemporaryDirectory() as folder:
        ledger, events = Ledger.new(Storage(folder), 1), list[Event]()
        for scene in archive:
            outcome = about(scene, RECIPE) | columns | {"status": "ok"}
            events += [brief("attempt", scene, RECIPE), outcome]
        ledger.write(events)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.jsonl"))
        del events
        start = time.process_time()
        read_histories(Storage(folder))
        seconds = time.process_time() - start
        tracemalloc.start()
        histories = read_histories(Storage(folder))
        records_bytes = _traced_bytes()
        fresh = scenes(count)
        plan = make_plan(fresh, {}, {}, RECIPE, out=OUT)
        plan_bytes = _traced_bytes() - records_bytes
        tracemalloc.stop()
        start = time.process_time()
        make_plan(fresh, histories, {}, RECIPE, out=OUT)
        planned = time.process_time() - start
        assert len(plan.work) == count
    return {
        "ledger_bytes": size / count,
        "read_us": 1e6 * seconds / count,
        "plan_us": 1e6 * planned / count,
        "records_bytes": records_bytes / count,
        "plan_bytes": plan_bytes / count,
    }


def _traced_bytes() -> int:
    # Without Python's table of interned strings, which pathlib makes grow by many megabytes at once.
    held = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, pathlib.__file__)])
    return sum(trace.size for trace in held.traces)


DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
    "lambda_": FloatDistribution(1e-6, 1.0, log=True),
    "frozen_depth": IntDistribution(0, 8),
}


def suggestion_s(kind: str, trials: int, repeats: int = 3) -> float:
    """Seconds of processor time of the sampler for the next suggestion of a study with so many finished trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=RepeatableSampler(kind, 1, 5, Region(1e-5)))
    rng = np.random.default_rng(0)
    for _ in range(trials):
        rate, weight, depth = 10 ** rng.uniform(-5, -2), 10 ** rng.uniform(-6, 0), int(rng.integers(9))
        score = 30 - (np.log10(rate) + 3.2) ** 2 - 0.1 * weight - 0.02 * depth + 0.02 * rng.normal()
        params = {"learning_rate": rate, "lambda_": weight, "frozen_depth": depth}
        study.add_trial(create_trial(params=params, distributions=DISTRIBUTIONS, values=[float(score)]))
    return statistics.median(_seconds(lambda: study.ask(DISTRIBUTIONS)) for _ in range(repeats))


def _seconds(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start
