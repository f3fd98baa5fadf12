"""What a limit on the source's loss changes in an experiment's jobs, and what it asks of a target."""

import pytest
import tiny_experiment

from orchestrator.experiment.load import make_experiment
from orchestrator.experiment.settings import Experiment
from orchestrator.jobs import stage_jobs as module
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.jobs.study_starts import study_starts
from orchestrator.training.finetune import check_source_images
from trainables.errors import UsageError
from trainables.images.raster import PLAIN, PixelFormat


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "read_manifest", lambda place: {"digest": place.uri})

    def make(**changes):
        return Jobs(Experiment.model_validate(tiny_experiment.settings("images", str(tmp_path), **changes)))

    return make


def test_a_limit_and_a_rank_make_other_studies(jobs):
    search = [{}, {"keep_source": 1.0}, {"keep_source": 0.5}]
    inputs = [jobs(search=settings).study_inputs("satellite") for settings in search]
    inputs += [jobs(finetuning={"adapter_rank": rank}).study_inputs("satellite") for rank in (1, 2)]
    assert len(set(inputs)) == 5
    assert jobs(search={"keep_source": None}).study_inputs("satellite") == inputs[0]
    assert jobs(finetuning={"adapter_rank": None}).study_inputs("satellite") == inputs[0]
    assert jobs(finetuning={"adapter_rank": 1})._domain_job("satellite").method.adapter_rank == 1


@pytest.mark.parametrize(("regularizer", "lambdas"), [("l2-sp", [0.1, 0.01]), ("replay", [0.01, 0.001])])
def test_a_limited_study_starts_where_the_source_is_held(jobs, regularizer, lambdas):
    limited = jobs(search={"keep_source": 1.0}, finetuning={"regularizer": regularizer})
    starts = study_starts(limited, "satellite")
    assert [start.configuration.lambda_ for start in starts[:2]] == lambdas
    assert starts[2].origin == "default"
    assert limited.study("satellite", starts).settings.keep_source == 1.0


def test_without_a_searched_lambda_one_start_is_left_of_them(jobs):
    limited = jobs(search={"keep_source": 1.0}, finetuning={"transfer": "model"})
    starts = study_starts(limited, "satellite")
    assert [start.of for start in starts].count("keep_source") == 1
    assert all(start.configuration.lambda_ == 0 for start in starts)


@pytest.mark.parametrize(
    "pixel_format",
    [
        PixelFormat("uint16", ("blue", "green", "red", "nir"), 0, 10000),
        PixelFormat("uint16", ("blue", "green", "red"), 0, 10000),
        PixelFormat("float32", ("T1",), 0, 1),
    ],
)
def test_networks_of_other_bands_cannot_be_scored_on_the_source(pixel_format, jobs, monkeypatch):
    with pytest.raises(UsageError, match=r"keep_source needs source images that the networks of 'mr' can upscale"):
        check_source_images("mr", pixel_format)
    monkeypatch.setattr(module, "pixel_format_of", lambda manifest: pixel_format)
    with pytest.raises(UsageError, match="source images have red, green, blue"):
        jobs(search={"keep_source": 1.0}).study("satellite", ())
    assert jobs().study("satellite", ()).settings.keep_source is None


@pytest.mark.parametrize(
    "pixel_format",
    [PLAIN, PixelFormat("uint8", ("gray",), 0, 255), PixelFormat("uint16", ("red", "green", "blue"), 0, 10000)],
)
def test_networks_of_gray_and_of_deep_colour_can(pixel_format):
    check_source_images("mr", pixel_format)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"search": {"keep_source": -1}}, "'search.keep_source' must be at least 0, found -1"),
        ({"search": {"keep_source": "much"}}, "'search.keep_source' must be a number, found 'much'"),
        ({"finetuning": {"adapter_rank": 0}}, "'finetuning.adapter_rank' must be at least 1, found 0"),
        ({"finetuning": {"adapter_rank": 1.5}}, "'finetuning.adapter_rank' must be a whole number, found 1.5"),
        ({"finetuning": {"adapter_rank": 2}}, "finetuning: An adapter_rank of 2 gives 4,950 parameters, 12.4 %"),
        (
            {"finetuning": {"adapter_rank": 1, "transfer": "feature"}},
            "cannot have an `adapter_rank` with `transfer: feature`",
        ),
    ],
)
def test_wrong_settings_get_one_sentence(tmp_path, changes, sentence):
    with pytest.raises(UsageError) as refused:
        make_experiment(tiny_experiment.settings("images", str(tmp_path), **changes), "x.yaml")
    assert sentence in str(refused.value)


def test_stated_bands_are_refused_before_anything_is_read(tmp_path):
    content = tiny_experiment.settings("images", str(tmp_path), search={"keep_source": 1.0})
    content["targets"]["satellite"] |= {"value_range": [0, 10000], "bands": ["blue", "green", "red", "nir"]}
    with pytest.raises(UsageError, match=r"`bands` are blue, green, red, nir, and `search.keep_source` measures"):
        make_experiment(content, "x.yaml")
