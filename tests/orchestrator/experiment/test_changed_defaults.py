"""An experiment keeps the defaults that it began with."""

import json

import pytest
import tiny_experiment

from orchestrator.experiment.load import make_experiment
from orchestrator.experiment.settings import Finetuning, Search

OLD = {"finetuning": {"default_learning_rate": 1e-4}, "search": {"starts": ["default", "siblings", "space"]}}


def load(folder, recorded, **given):
    content = tiny_experiment.settings("images", str(folder), **given)
    if recorded is not None:
        (folder / "tiny").mkdir(exist_ok=True)
        (folder / "tiny" / "experiment.json").write_text(recorded)
    experiment = make_experiment(content, "here")
    return experiment.finetuning.default_learning_rate, experiment.search.starts


NEW = (Finetuning().default_learning_rate, Search().starts)
BEFORE = (1e-4, ("default", "siblings", "space"))


def test_an_experiment_of_an_earlier_version_keeps_its_defaults(tmp_path):
    recorded = json.dumps({"settings": OLD})
    assert load(tmp_path, recorded) == BEFORE
    given = {"finetuning": {"default_learning_rate": 2e-4}}
    assert load(tmp_path, recorded, **given) == (2e-4, BEFORE[1]), "what the file states stays"


@pytest.mark.parametrize(
    "recorded", [None, "", "[1]", '{"settings": 3}', '{"settings": {"search": 1}}', '{"settings": {}}']
)
def test_a_new_experiment_or_a_damaged_folder_has_the_defaults_of_now(tmp_path, recorded):
    assert load(tmp_path, recorded) == NEW


def test_a_setting_of_one_s_own_is_no_earlier_default(tmp_path):
    assert load(tmp_path, '{"settings": {"finetuning": {"default_learning_rate": 3e-4}}}') == NEW


def test_an_experiment_of_an_earlier_version_gets_finished_models_where_they_are_asked_for(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "experiment.json").write_text(json.dumps({"settings": OLD}))
    content = {
        "name": "tiny",
        "storage": str(tmp_path),
        "source": {"images": "a"},
        "targets": {"satellite": {"images": "b"}},
    }
    assert not make_experiment(content, "here").finish.enabled
    assert make_experiment(content | {"finish": {"enabled": True}}, "here").finish.enabled
    assert make_experiment(content | {"name": "new"}, "here").finish.enabled
