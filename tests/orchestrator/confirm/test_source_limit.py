"""A confirmation that limits what the source may lose: candidates, the check with fresh seeds, and averaged weights."""

from dataclasses import replace

import pytest
from searched_experiment import record, searched

from orchestrator.confirm import tasks as confirming_tasks
from orchestrator.confirm.candidates import candidates_of
from orchestrator.confirm.driver import drive_confirmation
from orchestrator.confirm.run_record import read_interpolation
from orchestrator.experiment.feasibility import Resources
from orchestrator.foundation.storage import Storage
from orchestrator.foundation.vocabulary import INTERPOLATED
from orchestrator.runtime.task_runner import InProcessRunner
from orchestrator.search.trial_record import SourceKept
from orchestrator.training.finetune import load_source
from trainables.loops.settings import TransferConfiguration
from trainables.network.weight_average import FINE_SHARES, SHARES

DEFAULT = TransferConfiguration(learning_rate=1e-4, lambda_=0.0, frozen_depth=0)
FREE = TransferConfiguration(learning_rate=2e-3, lambda_=0.0, frozen_depth=0)
HELD = TransferConfiguration(learning_rate=5e-4, lambda_=1e-1, frozen_depth=2)


def lost(one, loss, limit=1.0):
    return one.model_copy(update={"source": SourceKept(psnr=32 - loss, loss=loss, allowed=limit)})


RECORDS = [lost(record(0, 25.0, HELD), 0.4), lost(record(1, 26.0, FREE), 3.5), lost(record(2, 24.0, HELD), 0.2)]


def test_the_best_feasible_trials_are_candidates_and_the_best_of_all_is_one_more():
    second = replace(HELD, frozen_depth=4)
    found = [*RECORDS, lost(record(3, 25.5, replace(FREE, frozen_depth=1)), 2.0), lost(record(4, 24.5, second), 0.1)]
    assert [c.name for c in candidates_of(found, 1, DEFAULT)] == ["trial-1", "trial-0", "default", "zero_shot"]
    assert [c.name for c in candidates_of(found, 2, DEFAULT)] == [
        *("trial-1", "trial-0", "trial-4", "default", "zero_shot")
    ]
    assert [c.name for c in candidates_of(found[1:2], 2, DEFAULT)] == ["trial-1", "default", "zero_shot"]
    unlimited = [one.model_copy(update={"source": None}) for one in found]
    assert [c.name for c in candidates_of(unlimited, 1, DEFAULT)] == ["trial-1", "default", "zero_shot"]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limited")
    return searched(folder, 9, 0.67, RECORDS, confirmation={"classical": False}).confirmation("satellite")


@pytest.fixture
def confirm(job, tmp_path, monkeypatch):
    """Confirms with a limit; the loss is 1 dB for each 0.1 that the weights are away from the source's in total."""

    def distance(domain, net):
        source, own = load_source(domain).state_dict(), net.cpu().state_dict()
        return 10 * sum(float((own[name] - value).abs().sum()) for name, value in source.items())

    monkeypatch.setattr(confirming_tasks, "source_psnr", lambda domain, net: 30 - distance(domain, net))
    monkeypatch.setattr(
        confirming_tasks, "source_loss", lambda domain, net: (30 - distance(domain, net), distance(domain, net))
    )

    def run(limit):
        places = {name: Storage.at(str(tmp_path / name)) for name in ("runs", "opening", "model")}
        own = replace(job, keep_source=limit, **places)
        return drive_confirmation(own, InProcessRunner(Resources(2, 0, 0))), read_interpolation(
            own.runs.child("interpolation.json")
        )

    return run


def test_what_exceeds_the_limit_with_fresh_seeds_cannot_be_the_answer(confirm):
    found, interpolation = confirm(1e-6)
    losses = {candidate.name: candidate.source_loss for candidate in found.candidates}
    assert losses.pop("zero_shot") == 0
    assert min(losses.values()) > 1e-6
    assert found.winner == found.choice.best_mean == "zero_shot"
    assert interpolation.share == FINE_SHARES[0]


def test_averaged_weights_take_the_best_share_that_keeps_the_limit(confirm):
    found, interpolation = confirm(300.0)
    losses = {candidate.name: candidate.source_loss for candidate in found.candidates}
    assert [share for share, _ in interpolation.validation] == list(FINE_SHARES)
    assert losses["trial-1"] > 300
    assert losses[INTERPOLATED] <= 300
    assert 0 < interpolation.share < 1
    assert losses[found.winner] <= 300


def test_without_a_limit_no_loss_is_measured(confirm):
    found, interpolation = confirm(None)
    assert {candidate.source_loss for candidate in found.candidates} == {None}
    assert [share for share, _ in interpolation.validation] == list(SHARES)
    assert "source_loss" not in found.candidates[0].plain()
