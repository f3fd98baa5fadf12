"""Example experiments, as a user gets them."""

from importlib import resources
from pathlib import Path

import pytest

from orchestrator.experiment.examples_writer import write_examples
from orchestrator.experiment.load import load_experiment
from trainables.errors import UsageError

ROOT = Path(__file__).parents[3]
NAMES = ["four-domains.yaml", "from-base-x4.yaml"]


def test_every_example_is_a_whole_experiment(tmp_path):
    examples = write_examples(tmp_path / "some" / "folder")
    assert (examples.written, examples.existing) == (NAMES, [])
    for name in NAMES:
        assert load_experiment(examples.folder / name, []).name == Path(name).stem


def test_a_file_that_is_there_stays_as_it_is(tmp_path):
    (tmp_path / NAMES[0]).write_text("mine")
    examples = write_examples(tmp_path)
    assert (examples.written, examples.existing) == (NAMES[1:], NAMES[:1])
    assert (tmp_path / NAMES[0]).read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"'.*file' cannot hold the example experiments: File exists"):
        write_examples(tmp_path / "file")


def test_the_command_writes_where_the_next_steps_of_the_demo_look(rayscale, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = rayscale("init")
    assert code == 0
    assert out.splitlines() == [f"experiments/{name}: written" for name in NAMES]
    code, out, _ = rayscale("init", "experiments")
    assert code == 0
    assert out.splitlines() == [f"experiments/{name}: there already, left as it is" for name in NAMES]


def test_the_checkout_shows_the_examples_that_the_package_ships():
    shipped = resources.files("orchestrator.experiment").joinpath("examples")
    for name in NAMES:
        assert (ROOT / "experiments" / name).read_bytes() == shipped.joinpath(name).read_bytes()
