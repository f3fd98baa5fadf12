"""Limits of time and cost of an experiment, checked before a run.

The upper end of the plan's range must fit. Trimming removes the same number of trials from every domain's study and
leaves the confirmation unchanged. The trimmed number is recorded beside the experiment, so that the same command later
continues the same study, and not a longer one because less of it remains.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.estimate.plan import Plan, make_plan
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.stage_record import now
from orchestrator.pipeline.preflight import Inputs
from orchestrator.pipeline.remaining_work import remaining
from trainables.errors import UsageError

RECORD = "budget.json"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Experiment that the budget allows.

    Attributes:
        experiment: As it was asked for, or with fewer trials.
        plan: Plan of its remaining work.
        said: Trimming in one sentence; empty if there is none.
    """

    experiment: Experiment
    plan: Plan
    said: str


def check_trim(experiment: Experiment, trim: bool) -> None:
    """Refuses, before anything is measured, to trim without a budget.

    Raises:
        UsageError: If there is none.
    """
    if trim and _limit_seconds(experiment) == math.inf:
        raise UsageError("--trim needs a budget to fit: set cluster.budget_hours or cluster.budget_cost.")


def fit_budget(experiment: Experiment, inputs: Inputs, trim: bool, log: Callable[[str], None]) -> Experiment:
    """Fits an experiment to its budget, if it has one: measures, plans, and records the trimming.

    Raises:
        UsageError: As of :func:`check_trim` and :func:`within_budget`.
    """
    check_trim(experiment, trim)
    if _limit_seconds(experiment) == math.inf:
        return experiment
    log("budget: measuring what the run would take")
    plan = make_plan(experiment, inputs)
    allowed = within_budget(experiment, inputs, plan, trim)
    if allowed.plan.unknown and not allowed.said:
        unknown = ", ".join(allowed.plan.unknown)
        log(f"budget: not checked, since the time of {unknown} is unknown on this machine, which lacks the GPUs for it")
        return experiment
    log(f"budget: {allowed.said or f'fits {_allowed(experiment)}'}")
    if allowed.said:
        facts = _asked(experiment) | {"trimmed_to": allowed.experiment.search.limit, "at": now()}
        experiment.home.child(RECORD).write_json(facts)
    return allowed.experiment


def within_budget(experiment: Experiment, inputs: Inputs, plan: Plan, trim: bool = False) -> Allowed:
    """The experiment that may run: unchanged if it fits, otherwise with fewer trials.

    Args:
        experiment: Requested experiment.
        inputs: The result of :func:`~orchestrator.pipeline.preflight.preflight`.
        plan: Plan of its remaining work.
        trim: True to trim whatever ``cluster.budget_action`` says.

    Raises:
        UsageError: If it does not fit and must not be trimmed, or not as far as that takes.
    """
    trims = trim or experiment.cluster.budget_action == "trim"
    if trims and (before := _trimmed_before(experiment)):
        less = _with_trials(experiment, before)
        trimmed_plan = make_plan(less, inputs, plan.rates)
        return Allowed(
            less, trimmed_plan, f"trimmed as before: {before} trials per domain instead of {experiment.search.limit}"
        )
    limit = _limit_seconds(experiment)
    if plan.seconds_range[1] <= limit:
        return Allowed(experiment, plan, "")
    fewest = max(min(experiment.cluster.budget_trials, experiment.search.limit), _most_finished(experiment, inputs))
    trials = _most_trials(experiment, inputs, plan, fewest)
    if trials is None or not trims:
        raise UsageError(_refusal(experiment, inputs, plan, fewest, trials, trims))
    less = _with_trials(experiment, trials)
    said = f"trimmed to fit {_allowed(experiment)}: {trials} trials per domain instead of {experiment.search.limit}"
    return Allowed(less, make_plan(less, inputs, plan.rates), said)


def _trimmed_before(experiment: Experiment) -> int | None:
    record = experiment.home.child(RECORD).read_json()
    asked = _asked(experiment)
    if not isinstance(record, dict) or {key: record.get(key) for key in asked} != asked:
        return None
    return int(record["trimmed_to"])


def _asked(experiment: Experiment) -> dict[str, object]:
    """Settings that a trimming belongs to; with other settings it is computed anew."""
    cluster = experiment.cluster
    included = {"source", "targets", "finetuning", "search", "confirmation", "finish"}
    settings = experiment.model_dump(mode="json", include=included)
    return settings | {"budget_hours": cluster.budget_hours, "budget_cost": cluster.budget_cost}


def _limit_seconds(experiment: Experiment) -> float:
    cluster = experiment.cluster
    hours = [cluster.budget_hours] if cluster.budget_hours is not None else []
    if cluster.budget_cost is not None and cluster.price_per_hour:
        hours.append(cluster.budget_cost / cluster.price_per_hour)
    return min(hours, default=math.inf) * 3600


def _most_finished(experiment: Experiment, inputs: Inputs) -> int:
    """Most finished trials of a study, which trimming keeps."""
    left = remaining(experiment, inputs.files).trials
    return experiment.search.limit - min(left.values())


def _with_trials(experiment: Experiment, trials: int) -> Experiment:
    changed = {_setting(experiment): trials}
    return experiment.model_copy(update={"search": experiment.search.model_copy(update=changed)})


def _setting(experiment: Experiment) -> str:
    """The setting of the search that limits its trials."""
    return "most_trials" if experiment.search.trials == "auto" else "trials"


def _fits(experiment: Experiment, inputs: Inputs, plan: Plan) -> bool:
    return make_plan(experiment, inputs, plan.rates).seconds_range[1] <= _limit_seconds(experiment)


def _most_trials(experiment: Experiment, inputs: Inputs, plan: Plan, fewest: int) -> int | None:
    """The most trials, from ``fewest`` on, that fit; None if not even those do."""
    counts = range(fewest, experiment.search.limit)
    fitting = bisect_left(counts, True, key=lambda count: not _fits(_with_trials(experiment, count), inputs, plan))
    return counts[fitting - 1] if fitting else None


def _fitting_steps(experiment: Experiment, inputs: Inputs, plan: Plan) -> int | None:
    section = experiment.finetuning
    for steps in (max(1, round(section.steps * share)) for share in (0.75, 0.5, 0.25)):
        less = experiment.model_copy(update={"finetuning": section.model_copy(update={"steps": steps})})
        if _fits(less, inputs, plan):
            return steps
    return None


def _refusal(experiment: Experiment, inputs: Inputs, plan: Plan, fewest: int, trials: int | None, trims: bool) -> str:
    cluster, needed = experiment.cluster, plan.seconds_range[1]
    settings = (
        [f"search.{_setting(experiment)}={trials}{'' if trims else ' (--trim does that)'}"]
        if trials is not None
        else []
    )
    if (steps := _fitting_steps(experiment, inputs, plan)) is not None:
        settings.append(f"finetuning.steps={steps}")
    budget = [f"cluster.budget_hours={_up(needed / 3600)}"] if cluster.budget_hours is not None else []
    if cluster.budget_cost is not None and cluster.price_per_hour:
        budget.append(f"cluster.budget_cost={_up(needed / 3600 * cluster.price_per_hour)}")
    least = f"not even {fewest} trials per domain fit; " if trims else ""
    cost = f" and cost {plan.cost_range[1]:.2f}" if plan.cost_range else ""
    return (
        f"What is left of this run would take up to {_up(needed / 3600)} hours{cost}, more than "
        f"{_allowed(experiment)}: {least}set {' or '.join([*settings, ' with '.join(budget)])}."
    )


def _up(value: float) -> str:
    """Two decimals, rounded up so that the value still fits."""
    return f"{math.ceil(value * 100) / 100:.2f}"


def _allowed(experiment: Experiment) -> str:
    cluster = experiment.cluster
    limits = [("hours", cluster.budget_hours), ("cost", cluster.budget_cost)]
    return " with ".join(f"cluster.budget_{name} = {value:g}" for name, value in limits if value is not None)
