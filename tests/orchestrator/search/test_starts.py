"""What a study starts from: settled once, moved into the space, taken from finished siblings."""

import re

import pytest
import tiny_experiment
import tiny_models

from orchestrator.experiment.load import make_experiment
from orchestrator.experiment.settings import FORMAT
from orchestrator.foundation.stage_record import finish_stage
from orchestrator.foundation.storage import Storage
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.jobs.study_starts import study_starts
from orchestrator.pipeline.preflight import preflight
from orchestrator.search.result import BestTrial, SearchResult
from orchestrator.search.starts import Start, found_best, inside, searched_domains, settle_starts
from trainables.errors import UsageError
from trainables.loops.settings import TransferConfiguration

DEFAULT = TransferConfiguration(learning_rate=1e-4, lambda_=0.0, frozen_depth=0)
FOUND = TransferConfiguration(learning_rate=2e-3, lambda_=5e-1, frozen_depth=7)


def test_starts_are_settled_once_and_each_configuration_counts_once(tmp_path):
    place = Storage.at(str(tmp_path))
    gathered = [Start("default", DEFAULT), Start("sibling", FOUND, "art of x"), Start("sibling", DEFAULT, "ct of x")]
    first = settle_starts(place, lambda: gathered)
    assert first == tuple(gathered[:2])
    assert settle_starts(place, lambda: pytest.fail("they are written already")) == first


@pytest.mark.parametrize(
    "written",
    [{}, [1], "text", [{"origin": "sibling"}], [{"origin": "guess", "of": ""}], [{"origin": "sibling", "of": 3}]],
)
def test_starts_that_are_not_whole_are_gathered_again(tmp_path, written):
    place = Storage.at(str(tmp_path))
    if isinstance(written, list) and isinstance(written[0], dict):
        written = [{"configuration": FOUND.to_dict()} | written[0]]
    place.child("starts.json").write_json(written)
    gathered = (Start("advice", DEFAULT, "new degradation"),)
    assert settle_starts(place, lambda: gathered) == gathered
    assert place.child("starts.json").read_json() == [
        {"origin": "advice", "configuration": DEFAULT.to_dict(), "of": "new degradation"}
    ]


@pytest.mark.parametrize("written", [[], {"settings": 3}, {"settings": {"targets": ["art"]}}, {}])
def test_an_experiment_s_folder_that_is_damaged_is_named(tmp_path, written):
    place = Storage.at(str(tmp_path / "old"))
    place.child("experiment.json").write_json(written)
    with pytest.raises(UsageError, match=r"old', whose experiment\.json is damaged"):
        searched_domains(place)


def test_a_search_without_a_best_configuration_is_no_start(tmp_path):
    place = Storage.at(str(tmp_path))
    place.child("experiment.json").write_json({"settings": {"targets": {"art": {}, "ct": {}, "mr": {}}}})
    best = BestTrial(number=0, configuration=FOUND, psnr=30.0)
    for domain, found in {"art": best, "ct": None}.items():
        result = SearchResult(trials=1, trial_seconds=1.0, best=found)
        finish_stage(f"search {domain}", place.child("search", domain), "inputs", 0.0, result.plain())
    assert found_best(place, "art") == FOUND
    assert found_best(place, "ct") is None
    assert found_best(place, "mr") is None
    assert searched_domains(place) == ["art"]


def test_a_configuration_of_another_space_is_moved_inside():
    ranges = ((3e-5, 1e-3), (1e-5, 1e-1), (0, 5))
    assert inside(FOUND, *ranges) == TransferConfiguration(learning_rate=1e-3, lambda_=1e-1, frozen_depth=5)
    within = TransferConfiguration(learning_rate=1e-4, lambda_=1e-3, frozen_depth=2)
    assert inside(within, *ranges) == within
    tiny = TransferConfiguration(learning_rate=1e-6, lambda_=1e-7, frozen_depth=0)
    assert inside(tiny, *ranges) == TransferConfiguration(learning_rate=3e-5, lambda_=0.0, frozen_depth=0)


@pytest.fixture
def experiment_of(tmp_path, monkeypatch):
    """Makes experiments on shards that hold nothing but a digest; their searches are finished by hand."""
    monkeypatch.chdir(tmp_path)
    model = tiny_models.write(tmp_path / "model", tiny_models.net(4))

    def make(name, **changes):
        content = tiny_experiment.settings(str(tmp_path), str(tmp_path / "runs"), **changes)
        content |= {"name": name, "source": {"model": model}}
        del content["network"]
        experiment = make_experiment(content, name)
        for domain in experiment.targets:
            manifest = {"format": 1, "digest": domain}
            experiment.home.child("shards", domain, "manifest.json").write_json(manifest)
            beside = manifest | {"beside": domain}
            experiment.home.child("test-locked", domain, "manifest.json").write_json(beside)
        experiment.home.child("experiment.json").write_json({"format": FORMAT, "settings": experiment.dump()})
        return experiment

    return make


def finish_search(experiment, domain, configuration):
    jobs = Jobs(experiment)
    best = BestTrial(number=0, configuration=configuration, psnr=30.0)
    result = SearchResult(trials=1, trial_seconds=1.0, best=best)
    finish_stage("search", jobs.place("search", domain), jobs.search_inputs(domain), 0.0, result.plain())


def told(starts):
    return [(start.origin, start.configuration.learning_rate, start.of) for start in starts]


def test_kinds_come_in_the_order_of_the_setting(experiment_of):
    experiment = experiment_of("one", search={"starts": ["default", "advice", "space", "siblings"]})
    jobs = Jobs(experiment)
    points = [{"learning_rate": 8e-4, "lambda_": 1e-4, "frozen_depth": 0}]
    advice = {"advice": {"regime": "new degradation", "points": points}}
    finish_stage("analysis", jobs.place("analysis", "medical"), jobs.analysis_inputs("medical"), 0.0, advice)
    finish_search(experiment, "satellite", FOUND)
    assert told(study_starts(jobs, "medical")) == [
        ("default", 4.75e-4, ""),
        ("advice", 8e-4, "new degradation"),
        ("start", 1e-3, ""),
        ("sibling", 2e-3, "satellite of one"),
    ]
    only = experiment_of("two", search={"starts": ["space", "default"]})
    assert told(study_starts(Jobs(only), "medical")) == [("start", 1e-3, ""), ("default", 4.75e-4, "")]
    assert told(study_starts(Jobs(experiment_of("three", search={"starts": []})), "medical")) == []
    assert told(study_starts(Jobs(experiment_of("four")), "medical")) == [
        ("default", 4.75e-4, ""),
        ("portfolio", 1.19e-3, ""),
    ]
    slower = experiment_of("five", finetuning={"default_learning_rate": 1e-4})
    rates = [rate for _, rate, _ in told(study_starts(Jobs(slower), "medical"))]
    assert rates == [1e-4, 4.75e-4, 1.19e-3], "the portfolio stays whole beside another default"


def test_a_sibling_s_search_must_have_finished_with_today_s_settings(experiment_of):
    experiment = experiment_of("one", search={"starts": ["siblings"]})
    finish_search(experiment, "satellite", FOUND)
    changed = experiment_of("one", search={"starts": ["siblings"], "sampler": "tpe"})
    assert told(study_starts(Jobs(changed), "medical")) == []
    assert told(study_starts(Jobs(experiment), "medical")) == [("sibling", 2e-3, "satellite of one")]
    # A sibling that finishes later does not change a study that has begun.
    finish_search(changed, "satellite", DEFAULT)
    assert told(study_starts(Jobs(changed), "medical")) == []


def test_other_experiments_are_siblings_too(experiment_of, tmp_path):
    finish_search(experiment_of("other"), "medical", FOUND)
    search = {"starts": ["siblings"], "starts_from": [str(tmp_path / "runs/other")]}
    assert told(study_starts(Jobs(experiment_of("one", search=search)), "medical")) == [
        ("sibling", 2e-3, "medical of other")
    ]


@pytest.mark.parametrize(
    ("folder", "words"), [("images", "holds no experiment"), ("runs/new", "no search has finished")]
)
def test_an_experiment_to_start_from_must_be_there_and_searched(experiment_of, tmp_path, folder, words):
    experiment_of("new")
    (tmp_path / "images").mkdir()
    with pytest.raises(UsageError, match=words):
        preflight(experiment_of("one", search={"starts_from": [str(tmp_path / folder)]}))


def test_an_extension_is_remembered_and_makes_later_stages_stale(experiment_of):
    experiment = experiment_of("one")
    jobs = Jobs(experiment)
    finish_search(experiment, "medical", FOUND)
    search, confirmation, study = (
        jobs.search_inputs("medical"),
        jobs.confirm_inputs("medical"),
        jobs.study_inputs("medical"),
    )
    jobs.extend("medical", 4)
    assert not jobs.search_finished("medical")
    again = Jobs(experiment_of("one"))
    assert again.trials("medical") == experiment.search.trials + 4
    assert again.search_inputs("medical") != search
    assert again.confirm_inputs("medical") != confirmation
    assert again.study_inputs("medical") == study
    assert again.trials("satellite") == experiment.search.trials
    assert Jobs(experiment_of("one", search={"trials": 99})).trials("medical") == 99


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("There is no target 'medcal' in this experiment; it has .*Did you mean 'medical'", ["--domain", "medcal"]),
        ("nothing to extend: the search of medical has not finished", ["--domain", "medical", "--extend", "4"]),
        ("Invalid value for '--extend'", ["--extend", "0"]),
        (
            r"search.grace \(2\) must be below finetuning.evaluations \(2\)",
            ["--set", "search={stopping: asha, grace: 2}"],
        ),
        ("'search.starts' must name each kind once", ["--set", "search.starts=[space, space]"]),
    ],
)
def test_wrong_input_is_one_sentence(rayscale, tmp_path, words, arguments):
    tiny_experiment.write_images(tmp_path)
    content = tiny_experiment.settings(str(tmp_path), str(tmp_path / "runs"))
    file = tiny_experiment.write_experiment(tmp_path / "tiny.yaml", content)
    code, _, err = rayscale("search", file, *arguments)
    assert code == 2, err
    assert re.search(words, err), err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()
