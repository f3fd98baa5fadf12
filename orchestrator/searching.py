"""One Ray Tune + Optuna study per domain, all domains on one cluster.

A trial writes its own record, whole, before anybody hears of its score: what has finished is on storage and is never
run again. A killed study goes on as a fresh Tuner over the missing numbers whose Optuna study holds the finished
ones. With one trial of a domain at a time, the sampler's randomness restarts for each trial number, so that a resumed
study suggests what an unbroken one would have.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna
import ray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from orchestrator.experiment import Search
from orchestrator.finetuning import DomainJob, run_finetuning, validation_pairs
from orchestrator.progress import teller
from orchestrator.stages import now
from orchestrator.storage import Storage
from trainables.errors import DivergedError, RunError
from trainables.evaluation import bicubic, mean_psnr
from trainables.finetune import TransferConfiguration
from trainables.objective import effective_lambda

_ROUNDS = 3
"""How often a study is taken up again when trials are lost to crashes."""

PENALTY_DB = 3.0
"""What a diverged trial scores below bicubic: finite, because Optuna drops NaN, and near enough to leave the model of
the other trials in shape."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StudyJob:
    """One domain's study.

    Attributes:
        domain: What every trial trains on.
        settings: Trials, sampler and resources.
        seed: Seed of every trial's training and start of the sampler's randomness.
        learning_rate: Range, log scale.
        lambda_: Range that λ is sampled from, log scale; None where λ is 0 and not searched.
        lambda_floor: λ below this means exactly 0.
        frozen_depth: Range, both ends included.
        starts: First configurations: the default fine-tune, then the space's own.
        records: Folder of this study's trial records.
        scratch: Folder for Ray Tune's own state.
        board: Where progress is told.
    """

    domain: DomainJob
    settings: Search
    seed: int
    learning_rate: tuple[float, float]
    lambda_: tuple[float, float] | None
    lambda_floor: float
    frozen_depth: tuple[int, int]
    starts: tuple[TransferConfiguration, ...]
    records: Storage
    scratch: Storage
    board: Any

    def distributions(self) -> dict[str, BaseDistribution]:
        """Exactly the settings that are searched: three, or without λ two."""
        lambda_ = {} if self.lambda_ is None else {"lambda_": FloatDistribution(*self.lambda_, log=True)}
        return {
            "learning_rate": FloatDistribution(*self.learning_rate, log=True),
            **lambda_,
            "frozen_depth": IntDistribution(*self.frozen_depth),
        }

    def start_points(self) -> list[dict[str, Any]]:
        """The starts as points of the sampled space, moved inside it where a range was narrowed."""
        return [self._inside(start) for start in self.starts]

    def _inside(self, start: TransferConfiguration) -> dict[str, Any]:
        lambda_ = {}
        if self.lambda_ is not None:
            wanted = start.lambda_ if start.lambda_ >= self.lambda_floor else self.lambda_[0]
            lambda_ = {"lambda_": _clamp(wanted, self.lambda_)}
        return {
            "learning_rate": _clamp(start.learning_rate, self.learning_rate),
            **lambda_,
            "frozen_depth": int(_clamp(start.frozen_depth, self.frozen_depth)),
        }


def read_records(records: Storage) -> list[Record]:
    """All whole trial records of a study, by number."""
    found = [records.child(facts.path).read_json() for facts in records.files()]
    return sorted((record for record in found if record is not None), key=lambda record: int(record["number"]))


@ray.remote(num_cpus=0, max_retries=2)
def drive_study(job: StudyJob) -> list[Record]:
    """Runs one domain's study to its end, as a driver of its own, and returns its records.

    Raises:
        RunError: If trials keep getting lost.
    """
    reason = ""
    for round_number in range(_ROUNDS + 1):
        records = read_records(job.records)
        missing = sorted(set(range(job.settings.trials)) - {record["number"] for record in records})
        if not missing:
            job.scratch.delete_folder()
            return records[: job.settings.trials]
        if round_number < _ROUNDS:
            reason = _fit(job, records, missing, round_number)
    raise RunError(f"{len(missing)} of {job.settings.trials} trials were lost in each of {_ROUNDS} rounds ({reason})")


def _fit(job: StudyJob, records: list[Record], missing: list[int], round_number: int) -> str:
    """Runs the missing trials; returns why the last of those that were lost was lost."""
    # Tune's registry of trainables is one for the cluster: a name of our own keeps domains apart.
    name = f"finetune-{job.domain.domain}-{job.records.uri.rpartition('-')[2]}"
    resources = {"cpu": job.settings.cpus_per_trial, "gpu": job.settings.gpus_per_trial}
    tune.register_trainable(name, tune.with_resources(tune.with_parameters(run_trial, job=job), resources))
    search = NumberedSearch(
        missing,
        space=job.distributions(),
        metric="psnr",
        mode="max",
        sampler=RepeatableSampler(job.settings.sampler, job.seed, job.settings.startup_trials),
        **_study_with(job, records),
    )
    tuner = tune.Tuner(
        name,
        tune_config=tune.TuneConfig(
            search_alg=search,
            num_samples=len(missing),
            max_concurrent_trials=job.settings.concurrent_trials,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"{time.time_ns()}-{round_number}",
            storage_path=job.scratch.path,
            storage_filesystem=job.scratch.filesystem,
            verbose=0,
        ),
    )
    errors = tuner.fit().errors
    return str(errors[-1]).strip().splitlines()[-1] if errors else "no error was reported"


def _study_with(job: StudyJob, records: list[Record]) -> dict[str, Any]:
    """An Optuna study that knows the finished trials and the starts still to be tried."""
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name=job.domain.domain, direction="maximize")
    for record in records:
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                params=record["sampled"],
                distributions=job.distributions(),
                value=record["objective"],
            )
        )
    tried = {record["number"] for record in records}
    for number, point in enumerate(job.start_points()[: job.settings.trials]):
        if number not in tried:
            study.enqueue_trial(point)
    return {"storage": storage, "study_name": job.domain.domain}


def run_trial(config: dict[str, Any], job: StudyJob) -> None:
    """One trial: fine-tunes, scores on validation, writes its record, reports to Tune."""
    place = job.records.child(f"{config['number']:04d}.json")
    record = place.read_json()
    if record is None:
        record = _new_record(config, job)
        place.write_json(record)
    tune.report({"psnr": record["objective"]})


def _new_record(config: dict[str, Any], job: StudyJob) -> Record:
    number, sampled = config["number"], {name: config[name] for name in job.distributions()}
    configuration = TransferConfiguration(
        learning_rate=sampled["learning_rate"],
        lambda_=effective_lambda(sampled.get("lambda_", 0.0), job.lambda_floor),
        frozen_depth=sampled["frozen_depth"],
    )
    tell = teller(job.board, f"search {job.domain.domain}")

    def tell_trial(done: float, total: float, note: str) -> None:
        tell(number + done / total, job.settings.trials, f"trial {number}: {note}")

    tell_trial(0, 1, "started")
    start, spent = time.monotonic(), time.process_time()
    try:
        curve: list[tuple[int, float]] = run_finetuning(job.domain, configuration, job.seed, tell_trial)[1]
        status, psnr, objective = "finished", curve[-1][1], curve[-1][1]
    except DivergedError:
        floor = mean_psnr(bicubic(job.domain.scale), validation_pairs(job.domain), job.domain.scale)
        status, psnr, objective, curve = "diverged", None, floor - PENALTY_DB, []
    starts = len(job.starts)
    return {
        "number": number,
        "origin": "default" if number == 0 else "start" if number < starts else "sampler",
        "configuration": asdict(configuration),
        "sampled": sampled,
        "status": status,
        "psnr": psnr,
        "objective": objective,
        "curve": curve,
        "seconds": round(time.monotonic() - start, 2),
        "cpu_seconds": round(time.process_time() - spent, 2),
        "finished_at": now(),
    }


class NumberedSearch(OptunaSearch):
    """Ray's OptunaSearch, which also gives each trial the next of the numbers that are missing."""

    def __init__(self, numbers: Sequence[int] = (), **settings: Any) -> None:
        super().__init__(**settings)
        self._numbers = list(numbers)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next configuration with its ``number``."""
        if not self._numbers:
            return None
        config: dict[str, Any] | None = super().suggest(trial_id)
        return None if config is None else {**config, "number": self._numbers.pop(0)}


class RepeatableSampler(optuna.samplers.BaseSampler):
    """An Optuna sampler whose randomness depends on the seed and the trial's number alone."""

    def __init__(self, kind: str, seed: int, startup_trials: int) -> None:
        self._kind, self._seed, self._startup = kind, seed, startup_trials
        self._number, self._inner = -1, self._make(0)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See Optuna."""
        return self._for(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See Optuna."""
        return self._for(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See Optuna."""
        return self._for(trial).sample_independent(study, trial, param_name, param_distribution)

    def _for(self, trial: FrozenTrial) -> optuna.samplers.BaseSampler:
        if trial.number != self._number:
            self._number, self._inner = trial.number, self._make(trial.number)
        return self._inner

    def _make(self, number: int) -> optuna.samplers.BaseSampler:
        seed = self._seed * 100_003 + number
        if self._kind == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if self._kind == "tpe":
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=self._startup)
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=self._startup)


def _clamp(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])
