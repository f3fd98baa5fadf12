"""What tests of the plan share: a machine whose speed is known, and shards built without a run."""

from orchestrator.data.shards import build_shards
from orchestrator.estimate.rates import Rates
from orchestrator.estimate.timed_work import DomainRates
from orchestrator.experiment.settings import Experiment
from orchestrator.foundation.stage_record import finish_stage
from orchestrator.jobs.stage_jobs import SOURCE, Jobs
from orchestrator.pipeline.preflight import preflight


def steady_rates(worker: float = 4.0, **domains: DomainRates) -> Rates:
    """Rates of the tiny experiment's two domains; a tenth of a second for everything unless told otherwise."""
    tenth = DomainRates(0.1, 0.1, 0.1, 0.1, 0.1, 0.1)
    domains = {"medical": tenth, "satellite": tenth} | domains
    return Rates(worker, dict.fromkeys(("source", *domains), 0.01), 0.5, domains, "a steady machine")


def pack(experiment: Experiment) -> Jobs:
    """Builds all shards as a run does."""
    jobs = Jobs(experiment)
    for name, listed in preflight(experiment).files.items():
        place = jobs.place("shards", name)
        locked = None if name == SOURCE else jobs.locked_test(name)
        build_shards(listed, jobs.shares(name), jobs.least_side(name), place, "none", locked)
        finish_stage("shards", place, jobs.shard_inputs(name, listed), 0.0, {"digest": "", "test_images": 0})
    return jobs
