"""A budget: what fits, what is trimmed to fit, and what is refused."""

import noise_images
import pytest
from planning import pack, steady_rates
from records import trial_record
from tiny_experiment import settings

from orchestrator.estimate import plan
from orchestrator.estimate.budget import RECORD, fit_budget, within_budget
from orchestrator.estimate.plan import make_plan
from orchestrator.estimate.timed_work import DomainRates
from orchestrator.experiment.load import make_experiment
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.pipeline.preflight import preflight
from trainables.errors import UsageError

EACH = DomainRates(step=0.5, frozen_step=0.5, make_validation=0, validate=0, make_test=0, test=0)
RATES = steady_rates(1.0, medical=EACH, satellite=EACH)


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "measure", lambda *_: RATES)
    for domain, count in {"natural": 5, "medical": 9, "satellite": 9}.items():
        noise_images.write(tmp_path / domain, [f"{i}.png" for i in range(count)])

    def make(**cluster):
        content = settings(str(tmp_path), str(tmp_path / "runs"), search={"trials": 40})
        return make_experiment(content | {"cluster": {"cpus": 2, **cluster}}, "test")

    return make


def hours(experiment, trials):
    """What a budget must be for so many trials."""
    less = experiment.model_copy(update={"search": experiment.search.model_copy(update={"trials": trials})})
    return make_plan(less, preflight(less)).seconds_range[1] / 3600


def keep(experiment, trim=False):
    inputs = preflight(experiment)
    return within_budget(experiment, inputs, make_plan(experiment, inputs), trim)


def test_what_fits_runs_as_it_was_asked_for(experiment):
    made = experiment()
    for limit in ({}, {"budget_hours": hours(made, 40)}, {"budget_cost": 3 * hours(made, 40), "price_per_hour": 3}):
        asked = experiment(**limit, budget_action="trim")
        assert keep(asked).experiment is asked


@pytest.mark.parametrize("trials", [39, 20, 8])
def test_trimming_leaves_the_most_trials_that_fit_and_all_else(experiment, trials):
    asked = experiment(budget_hours=(hours(experiment(), trials) + hours(experiment(), trials + 1)) / 2)
    allowed = keep(asked, trim=True)
    assert allowed.experiment.search.trials == trials
    assert f"{trials} trials per domain instead of 40" in allowed.said
    assert allowed.plan.seconds_range[1] <= asked.cluster.budget_hours * 3600
    assert allowed.experiment.model_dump(exclude={"search"}) == asked.model_dump(exclude={"search"})


def test_a_budget_is_no_part_of_a_study_but_for_its_trials(experiment):
    asked = experiment(budget_hours=hours(experiment(), 20))
    trimmed = keep(asked, trim=True).experiment
    for made in (asked, trimmed):
        Jobs(made).place("shards", "medical", "manifest.json").write_json({"format": 1, "digest": "d"})
        Jobs(made).place("shards", "source", "manifest.json").write_json({"format": 1, "digest": "d"})
    assert Jobs(asked).search_inputs("medical") == Jobs(experiment()).search_inputs("medical")
    assert Jobs(trimmed).study_inputs("medical") == Jobs(asked).study_inputs("medical")
    assert Jobs(trimmed).search_inputs("medical") != Jobs(asked).search_inputs("medical")


def test_trimming_stops_at_the_stated_minimum(experiment):
    between = (hours(experiment(), 9) + hours(experiment(), 10)) / 2
    with pytest.raises(UsageError, match=r"not even 10 trials per domain fit; set .*cluster.budget_hours="):
        keep(experiment(budget_hours=between, budget_trials=10), trim=True)
    assert keep(experiment(budget_hours=between, budget_trials=9), trim=True).experiment.search.trials == 9


def test_a_refusal_names_settings_that_would_fit(experiment):
    made = experiment(budget_cost=3 * hours(experiment(), 30), price_per_hour=3)
    with pytest.raises(UsageError) as refused:
        keep(made)
    said = str(refused.value)
    assert "more than cluster.budget_cost = " in said
    assert "search.trials=30 (--trim does that) or finetuning.steps=6 or cluster.budget_cost=" in said
    needed = float(said.rpartition("budget_cost=")[2].rstrip("."))
    assert keep(experiment(budget_cost=needed, price_per_hour=3)).said == ""


def test_the_same_command_later_goes_on_with_what_was_trimmed(experiment, monkeypatch):
    asked, said = experiment(budget_hours=hours(experiment(), 20)), []
    assert fit_budget(asked, preflight(asked), True, said.append).search.trials == 20
    assert "20 trials per domain instead of 40" in said[-1]
    # Later less of it is left, and more would fit.
    monkeypatch.setattr(plan, "measure", lambda *_: steady_rates(0.1, medical=EACH, satellite=EACH))
    assert fit_budget(asked, preflight(asked), True, said.append).search.trials == 20
    assert "as before" in said[-1]
    other = experiment(budget_hours=2 * asked.cluster.budget_hours)
    assert fit_budget(other, preflight(other), True, said.append).search.trials == 40
    assert asked.home.child(RECORD).read_json()["trimmed_to"] == 20


def test_finished_trials_are_never_trimmed_away(experiment):
    asked = experiment(budget_hours=hours(experiment(), 8))
    jobs = pack(asked)
    for number in range(30):
        jobs.records_place("medical").child(f"{number:04d}.json").write_json(trial_record(number))
    with pytest.raises(UsageError, match="not even 30 trials"):
        keep(asked, trim=True)


def test_a_cost_needs_a_price(experiment):
    with pytest.raises(UsageError, match="budget_cost of 5, which needs a price_per_hour above 0"):
        experiment(budget_cost=5)
