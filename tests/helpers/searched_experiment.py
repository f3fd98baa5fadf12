"""An experiment of one domain that starts from a tiny model, and trial records: no cluster and no training."""

import tiny_models
from rich.console import Console
from tiny_experiment import settings

from orchestrator.experiment.load import make_experiment
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.pipeline.preflight import preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.runtime.progress import Display
from orchestrator.search.trial_record import TrialRecord
from trainables.samples import write_samples

DOMAIN = "satellite"


def record(number, psnr, configuration, status="finished", origin=None):
    """A trial's record; ``psnr`` is None where it diverged."""
    return TrialRecord(
        number=number,
        origin=origin or ("default" if number == 0 else "sampler"),
        configuration=configuration,
        sampled=configuration.to_dict(),
        status=status,
        psnr=psnr,
        objective=20.0 if psnr is None else psnr,
        curve=[] if psnr is None else [(4, psnr)],
        seconds=1.0,
        finished_at="2026-01-01T00:00:00+00:00",
    )


def searched(folder, scenes, test_share, records, **changes):
    """The experiment's jobs, with its shards and source model in place and these trials done."""
    write_samples(folder / "images" / DOMAIN, DOMAIN, scenes, 1, seed=3, size=(96, 96))
    content = settings(str(folder / "images"), str(folder / "runs"), search={"trials": 2}, **changes)
    content |= {"source": {"model": tiny_models.write(folder / "source", tiny_models.net())}}
    content["targets"] = {DOMAIN: {"images": DOMAIN, "test_share": test_share}}
    content["finetuning"] |= {"steps": 4}
    del content["network"], content["pretraining"]
    experiment = make_experiment(content, "test")
    run_experiment(experiment, preflight(experiment), Display(Console(quiet=True)), until="pretrain")
    jobs = Jobs(experiment)
    for each in records:
        jobs.records_place(DOMAIN).child(f"{each.number:04d}.json").write_json(each.plain())
    return jobs
