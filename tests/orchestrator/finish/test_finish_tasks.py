"""Tasks of a finished model: scores of other weights go, however a run ends."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_models import net, write

from orchestrator.finish.job import ALL_SPLITS, run_name
from orchestrator.finish.record import FINISHED, Decision, Length
from orchestrator.finish.tasks import assemble
from orchestrator.foundation.storage import Storage
from trainables.loops.settings import TransferConfiguration
from trainables.network.model_files import CARD

STEPS = 8
SCORES = (f"test-{FINISHED}.json", f"source-{FINISHED}.json")


@pytest.fixture
def job(tmp_path):
    """As much of a job as weights are put together from, with one trained network and its scores."""
    runs = Storage.at(str(tmp_path))
    confirmation = SimpleNamespace(domain=SimpleNamespace(domain="art"), lineage={})
    training = SimpleNamespace(runs=runs)
    job = SimpleNamespace(confirmation=confirmation, training=lambda *_: training, runs=runs, seeds=(1,), share=1)
    job.start = "source"
    train(job, 0)
    assert assemble(job, decision()) == ([1], ALL_SPLITS)
    for name in SCORES:
        runs.child(name).write_json([])
    return job


def train(job, seed):
    write(Path(job.runs.path, f"{run_name(STEPS, ALL_SPLITS)}-seed1"), net(seed=seed))


def decision():
    configuration = TransferConfiguration(learning_rate=1e-3, lambda_=0.0, frozen_depth=0)
    lengths = [Length(steps=STEPS, validation_psnr=[30.0])]
    return Decision(
        winner="default", configuration=configuration, lengths=lengths, steps=STEPS, still_rises=False, averaging=None
    )


def scored(job):
    return [name for name in SCORES if job.runs.child(name).exists()]


def test_scores_of_the_same_weights_are_kept(job):
    assemble(job, decision())
    assert scored(job) == list(SCORES)


def test_scores_of_other_weights_go_though_the_run_was_killed_when_it_had_written_these(job, monkeypatch):
    train(job, 1)
    write_bytes = Storage.write_bytes

    def killed(place, data):
        write_bytes(place, data)
        if place.uri.endswith(CARD):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            assemble(job, decision())
    assemble(job, decision())
    assert scored(job) == []
