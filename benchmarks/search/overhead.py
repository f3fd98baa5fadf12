"""How much of the cores' time a search spends on its trials, and what it leaves behind.

    python -m benchmarks.search.overhead              # four domains at once, trials of about 20 s
    python -m benchmarks.search.overhead --repeat 20  # tiny, 20 times: failures, leftovers, records

Generated images, the packaged `base-x4`, one trial of a domain at a time. A trial's seconds are those of its training,
validations and data included, as its record states them. The window goes from the first trial's start to the last one's
end. On a machine that does other work too, only the share of this search's own processor time says something.
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

from ray._private import state
from ray.util import placement_group_table
from rich.console import Console

from benchmarks.common.arguments import add_out, make_parser
from benchmarks.common.results import write_results
from benchmarks.search.process_times import ProcessTimes
from orchestrator.estimate.rates import SetToTime, measure
from orchestrator.experiment.load import make_experiment
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.storage import Storage
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.pipeline.demo import prepare_demo
from orchestrator.pipeline.preflight import Inputs, preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.runtime.on_ray.ray_session import connect
from orchestrator.runtime.progress import Display
from orchestrator.runtime.task_runner import run_for_all
from orchestrator.search.driver import drive_study
from orchestrator.search.trial_record import TrialRecord

CPUS = 2
TINY = {"steps": 4, "batch": 2, "evaluations": 2, "lr_patch": 16}
REPEATABLE = ("number", "origin", "configuration", "sampled", "status", "psnr", "objective", "curve")


def prepare(folder: str, trials: int, finetuning: dict[str, Any]) -> Experiment:
    """The demo's smallest images, searched from the packaged model."""
    content = prepare_demo(folder, "smallest", _say).dump()
    changes = {
        "name": "overhead",
        "source": {"model": "base-x4"},
        "network": None,
        "finetuning": content["finetuning"] | finetuning,
        "search": content["search"] | {"trials": trials},
        "cluster": {"cpus": CPUS},
    }
    return make_experiment(content | changes, "overhead")


def steps_for(experiment: Experiment, inputs: Inputs, seconds: float) -> int:
    """Steps that make a trial take about so long, measured with as many trials side by side as there will be."""
    jobs = Jobs(experiment)
    rates = measure(experiment, {n: SetToTime(files, jobs.least_side(n)) for n, files in inputs.files.items()}, CPUS)
    return max(10, round(seconds * len(rates.domains) / sum(one.step for one in rates.domains.values())))


def leftovers(experiment: Experiment) -> dict[str, Any]:
    """What stands on the connected Ray and on disk and should not, once a search has ended."""
    deadline = time.monotonic() + 20
    while True:
        # Ray's State API would need the dashboard, which a run does without.
        alive = [one for one in state.actors().values() if one["State"] == "ALIVE"]
        actors = [f"{one['ActorClassName']} ({one['Name']})" for one in alive]
        # Ray Data and Tune keep one helper each for the life of the cluster.
        actors = [actor for actor in actors if not actor.startswith(("_StatsActor", "Board", "_Autoscaling"))]
        groups = [group for group in placement_group_table().values() if group["state"] != "REMOVED"]
        scratch = [facts.path for facts in experiment.home.files() if "/ray/" in facts.path]
        if not (actors or groups or scratch) or time.monotonic() > deadline:
            return {"actors": actors, "placement groups": len(groups), "scratch files": len(scratch)}
        time.sleep(0.5)


def temporary() -> set[str]:
    """Files and folders in the system's folder for temporary ones."""
    return set(os.listdir(tempfile.gettempdir()))  # noqa: PTH208


def search_once(folder: str, seconds: float, trials: int) -> dict[str, Any]:
    """One search of four domains at once; shares of time and what is left."""
    asked = prepare(folder, trials, {"evaluations": 2})
    steps = steps_for(asked, preflight(asked), seconds)
    experiment = prepare(folder, trials, {"evaluations": 2, "steps": steps})
    display = Display(Console(stderr=True))
    before, load = temporary(), os.getloadavg()[0]
    with connect(experiment.cluster), ProcessTimes(os.getpid()) as times:
        run_experiment(experiment, preflight(experiment), display, until="search")
        left = leftovers(experiment)
    jobs = Jobs(experiment)
    records = [record for domain in experiment.targets for record in jobs.records(domain)]
    ends = [datetime.fromisoformat(record.finished_at).timestamp() for record in records]
    begins = [end - record.seconds for end, record in zip(ends, records, strict=True)]
    window, spent = max(ends) - min(begins), times.between(min(begins), max(ends))
    wall, cpu = sum(record.seconds for record in records), sum(record.cpu_seconds or 0.0 for record in records)
    return {
        "steps": steps,
        "trials": len(records),
        "trial seconds": [round(record.seconds, 1) for record in records],
        "window s": round(window, 1),
        "share of the cores' wall time in trials": round(wall / (CPUS * window), 3),
        "share of the cores' time that trials had of the processors": round(cpu / (CPUS * window), 3),
        "share of the search's own processor time in trials": round(cpu / sum(spent.values()), 3),
        "processor seconds by process": {name: round(value, 1) for name, value in spent.most_common(8) if value > 0.5},
        "load before": round(load, 1),
        "left behind": left | {"temporary files": len(temporary() - before)},
    }


def repeat(folder: str, times: int) -> dict[str, Any]:
    """The four searches at once, again and again on one Ray; counts what goes wrong or differs."""
    experiment = prepare(folder, 2, TINY)
    failures, differing, left, seconds = [], [], [], []
    first: dict[str, Any] = {}
    with connect(experiment.cluster) as runner:
        run_experiment(experiment, preflight(experiment), Display(Console(stderr=True)), until="pretrain")
        jobs = Jobs(experiment)
        for number in range(times):
            told: dict[str, list[TrialRecord]] = {}
            place = experiment.home.child("repeated", str(number))
            studies = {domain: _study_at(place, jobs, domain) for domain in experiment.targets}
            start = time.monotonic()
            failed: dict[str, str] = {}
            run_for_all(runner, drive_study, studies, told.__setitem__, failed.__setitem__)
            failures += [f"{number}: {domain}: {reason}" for domain, reason in failed.items()]
            seconds.append(round(time.monotonic() - start, 1))
            kept = {
                name: [trial.model_dump(include=set(REPEATABLE)) for trial in found] for name, found in told.items()
            }
            first = first or kept
            differing += [f"{number}: {name}" for name in first if kept.get(name) != first[name]]
            after = leftovers(experiment)
            left += [f"{number}: {after}"] if any(after.values()) else []
            _say(f"repetition {number}: {seconds[-1]} s, {len(failures)} failures, {len(differing)} differ, {after}")
    return {
        "repetitions": times,
        "failures": failures,
        "differing records": differing,
        "left behind": left,
        "seconds": seconds,
    }


def _study_at(place: Storage, jobs: Jobs, domain: str) -> Any:
    study = jobs.study(domain, ())
    return replace(study, records=place.child(domain, "study-0"), scratch=place.child(domain, "ray"))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--repeat", type=int, metavar="N", help="repeat tiny searches instead")
    parser.add_argument("--seconds", type=float, default=20, help="of a trial, about")
    parser.add_argument("--trials", type=int, default=6, help="per domain")
    add_out(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = (
            repeat(folder, options.repeat) if options.repeat else search_once(folder, options.seconds, options.trials)
        )
    write_results(options.out, "repeat" if options.repeat else "overhead", f"{CPUS}cpu", data=told)
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
