"""The configuration reaches the weights: through a trial and through a confirmation's run, and a fault is caught.

Twelve configurations are trained by the real chain, ``run_trial`` or ``train_run`` → ``run_finetuning`` → ``finetune``.
All weights must differ, and equal configurations must give equal bits. Seeded faults hard-wire one setting.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from searched_experiment import record, searched

from orchestrator.confirm import tasks as confirmation
from orchestrator.confirm.candidates import candidates_of, trials_of
from orchestrator.confirm.tasks import train_run
from orchestrator.search import trial as trials
from orchestrator.search.trial import run_trial
from orchestrator.search.trial_record import TrialRecord, parse_record, read_record, record_place
from orchestrator.training import finetune as training
from orchestrator.training.certificate import Certificate
from trainables.errors import RunError
from trainables.loops import finetune as loop
from trainables.loops.received import digest_of_weights
from trainables.loops.settings import Budget, TransferConfiguration

DEFAULT = TransferConfiguration(learning_rate=1e-4, lambda_=0.0, frozen_depth=0)
TWELVE = [
    TransferConfiguration(learning_rate=rate, lambda_=lambda_, frozen_depth=depth)
    for rate in (3e-4, 1e-3, 2e-3)
    for lambda_, depth in ((0.0, 0), (0.5, 0), (0.0, 2), (0.5, 2))
]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    return searched(tmp_path_factory.mktemp("certified"), 6, 0.4, [record(0, 25.0, DEFAULT)])


@pytest.fixture
def study(jobs, tmp_path):
    """A study on a network and a budget so small that a trial takes a moment."""
    made = jobs.study("satellite", ())
    small = replace(made.domain, budget=Budget(steps=3, batch=1, evaluations=1), lr_patch=8, validation_images=1)
    return replace(made, domain=small, records=made.records.child("..", str(tmp_path.name)))


@pytest.fixture
def confirming(jobs, study, tmp_path):
    made = jobs.confirmation("satellite")
    return replace(made, domain=study.domain, runs=made.runs.child(tmp_path.name), trials={})


Trained = list[tuple[str, Certificate | None]]
"""Digest of the weights, and certificate, of each training."""


def through_trials(study, configurations, monkeypatch) -> Trained:
    weights = []
    whole = training.run_finetuning

    def keeping(*arguments, **options):
        net, curve = whole(*arguments, **options)
        weights.append(digest_of_weights(net))
        return net, curve

    monkeypatch.setattr(trials, "run_finetuning", keeping)
    found = []
    for number, wanted in enumerate(configurations):
        run_trial({"number": number, **wanted.to_dict()}, study)
        told = read_record(record_place(study.records, number), number)
        assert told is not None
        assert told.configuration == wanted
        found.append(told.certificate)
    return list(zip(weights, found, strict=True))


def through_runs(job, configurations) -> Trained:
    for number, wanted in enumerate(configurations):
        train_run(job, f"trial-{number}", wanted, 1)
    runs = [f"trial-{number}-seed1" for number in range(len(configurations))]
    nets = [confirmation.load_run(job, run) for run in runs]
    records = [confirmation.read_run(job.runs.child(run, "run.json")) for run in runs]
    return [(digest_of_weights(net), told.certificate) for net, told in zip(nets, records, strict=True)]


def different(found: list[object]) -> int:
    return len({str(value) for value in found})


def fault_in_rate(monkeypatch) -> None:
    made = loop.make_optimizer
    monkeypatch.setattr(loop, "make_optimizer", lambda net, rate, *rest: made(net, 1e-4, *rest))


def fault_in_lambda(monkeypatch) -> None:
    made = loop.TransferObjective
    monkeypatch.setattr(loop, "TransferObjective", lambda regularizer, weight, half: made(regularizer, 0.0, half))


def fault_in_depth(monkeypatch) -> None:
    freeze = loop.SuperResolutionNet.freeze
    monkeypatch.setattr(loop.SuperResolutionNet, "freeze", lambda net, depth, end: freeze(net, 0, end))


def fault_in_configuration(**hard_wired) -> Callable[[pytest.MonkeyPatch], None]:
    """The whole configuration arrives, with one setting replaced on the way to the loop."""

    def put(monkeypatch) -> None:
        whole = training.finetune
        monkeypatch.setattr(
            training,
            "finetune",
            lambda net, configuration, *rest: whole(net, replace(configuration, **hard_wired), *rest),
        )

    return put


BASE = TransferConfiguration(learning_rate=1e-3, lambda_=0.1, frozen_depth=1)
FAULTS = {
    "rate in the optimiser": (fault_in_rate, {"learning_rate": 3e-4}),
    "λ in the objective": (fault_in_lambda, {"lambda_": 0.5}),
    "depth in the network": (fault_in_depth, {"frozen_depth": 2}),
    "rate on the way": (fault_in_configuration(learning_rate=1e-4), {"learning_rate": 3e-4}),
    "λ on the way": (fault_in_configuration(lambda_=0.5), {"lambda_": 0.5}),
    "depth on the way": (fault_in_configuration(frozen_depth=2), {"frozen_depth": 2}),
}
"""Faults that hard-wire a setting, and a change of that setting alone."""


def test_twelve_configurations_give_twelve_networks(study, confirming, monkeypatch):
    """And twelve certificates, which differ in nothing else."""
    for found in (through_trials(study, TWELVE, monkeypatch), through_runs(confirming, TWELVE)):
        assert different([weights for weights, _ in found]) == 12
        assert different([told.configuration for _, told in found]) == 12
        assert different([told.model_copy(update={"configuration": "", "method": ""}) for _, told in found]) == 1


@pytest.mark.parametrize("name", FAULTS)
def test_a_hard_wired_setting_gives_equal_weights_and_equal_certificates(name, study, confirming, monkeypatch):
    """So the test above would fail; through a trial and through a confirmation's run alike."""
    put, change = FAULTS[name]
    put(monkeypatch)
    pair = [BASE, replace(BASE, **change)]
    for found in (through_trials(study, pair, monkeypatch), through_runs(confirming, pair)):
        assert different([weights for weights, _ in found]) == 1
        assert different([told for _, told in found]) == 1


def test_equal_configurations_give_equal_bits_and_equal_certificates(study, confirming, monkeypatch):
    """Of one seed; of another the weights differ, and the certificates in the seed alone."""
    first = through_trials(study, TWELVE[:3], monkeypatch)
    again = through_runs(confirming, TWELVE[:3])
    for (weights, told), (others, other) in zip(first, again, strict=True):
        assert told.unlike(other) == []
        assert (told.seed, other.seed) == (study.seed, 1)
        assert weights != others
    train_run(confirming, "trial-0", TWELVE[0], study.seed)
    net = confirmation.load_run(confirming, f"trial-0-seed{study.seed}")
    assert digest_of_weights(net) == first[0][0]


def test_a_trial_that_was_trained_otherwise_is_not_confirmed(study, confirming, monkeypatch):
    """The search's trials had one learning rate for all, as a fault has it; the confirmation trains as asked."""
    with monkeypatch.context() as faulty:
        fault_in_rate(faulty)
        run_trial({"number": 0, **TWELVE[0].to_dict()}, study)
    told = read_record(record_place(study.records, 0), 0)
    candidates = candidates_of([told], 1, DEFAULT)
    job = replace(confirming, candidates=candidates, trials=trials_of([told], candidates))
    for _ in range(2):  # the second time from its record
        with pytest.raises(RunError, match=r"Trial 0 was trained otherwise .*\(configuration differ.*0000\.json"):
            train_run(job, "trial-0", TWELVE[0], 1)
    # Once the trial has been run again, its confirmation's run is taken as it is.
    record_place(study.records, 0).delete()
    run_trial({"number": 0, **TWELVE[0].to_dict()}, study)
    mended = read_record(record_place(study.records, 0), 0)
    assert train_run(replace(job, trials={"trial-0": mended}), "trial-0", TWELVE[0], 1)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"budget": Budget(steps=4, batch=1, evaluations=1)}, "budget"),
        ({"lr_patch": 12}, "patches"),
        ({"shards_digest": "other"}, "images"),
        ({"method": loop.TransferMethod(generator="fresh")}, "method"),
    ],
)
def test_a_certificate_names_the_part_that_differs(study, changes, part):
    def certified(job) -> Certificate:
        found: list[Certificate] = []
        training.run_finetuning(job, TWELVE[0], 0, lambda *_: None, certify=found.append)
        return found[0]

    assert certified(replace(study.domain, **changes)).unlike(certified(study.domain)) == [part]


def test_records_without_a_certificate_are_whole_and_confirmed(confirming):
    """Earlier versions wrote none."""
    old = record(3, 26.0, TWELVE[0])
    assert parse_record(old.plain(), 3) == old
    assert "certificate" not in old.plain()
    assert isinstance(old, TrialRecord)
    assert train_run(replace(confirming, trials={"trial-3": old}), "trial-3", TWELVE[0], 1)
