"""The experiment file: every mistake is named in one plain message."""

import re
from pathlib import Path

import pytest
import yaml

import orchestrator
from orchestrator.experiment import image_settings as experiment_images
from orchestrator.experiment import settings as module
from orchestrator.experiment.load import load_experiment, make_experiment
from orchestrator.experiment.settings import Experiment
from trainables.errors import UsageError
from trainables.network.network import frozen_depth_limit

ROOT = Path(__file__).parents[3]
SHIPPED = [Path(orchestrator.__file__).parent / "pipeline/demo.yaml", *sorted((ROOT / "experiments").glob("*.yaml"))]
JARGON = re.compile(r"\n|pydantic|http|validation error|Input should|type=|NoneType|valid dictionary|\bctx\b")

LEAST = {
    "name": "least",
    "source": {"images": "natural"},
    "targets": {"satellite": {"images": "tiles"}, "my-scans": {"images": "scans", "space": "medical"}},
}

TABLE, PATTERN = {"table": "scenes.csv"}, {"pattern": "(.*)"}
PAIRS = "targets.satellite.images={hr: a, lr: b}"
SECTIONS = [
    ("", module.Experiment, []),
    ("source", experiment_images.ImageSet, []),
    ("source", experiment_images.SourceModel, ["source={model: base-x4}"]),
    ("source.scenes", experiment_images.SceneTable, [f"source.scenes={TABLE}"]),
    ("targets.satellite", experiment_images.Target, []),
    ("targets.my-scans", experiment_images.Target, []),
    ("targets.satellite.images", experiment_images.ImagePairs, [PAIRS]),
    (
        "targets.satellite.test_images",
        experiment_images.PairFolders,
        [PAIRS, "targets.satellite.test_images={hr: c, lr: d}"],
    ),
    ("targets.satellite.scenes", experiment_images.SceneTable, [f"targets.satellite.scenes={TABLE}"]),
    ("targets.my-scans.scenes", experiment_images.ScenePattern, [f"targets.my-scans.scenes={PATTERN}"]),
    ("pretraining", module.Pretraining, []),
    ("finetuning", module.Finetuning, []),
    ("search", module.Search, []),
    ("confirmation", module.Confirmation, []),
    ("finish", module.Finish, []),
    ("cluster", module.Cluster, []),
    ("tracking", module.Tracking, []),
]
KEYS = [(path, key, overrides) for path, section, overrides in SECTIONS for key in section.model_fields]


@pytest.fixture
def load(tmp_path):
    def load_with(*overrides, content=LEAST):
        file = tmp_path / "mine.yaml"
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        return load_experiment(file, list(overrides))

    return load_with


@pytest.fixture
def refused(load, tmp_path):
    """The message that refuses a file or settings; it must be one plain line, the folder's name aside."""

    def refuse(*overrides, **content):
        with pytest.raises(UsageError) as caught:
            load(*overrides, **content)
        message = str(caught.value)
        assert not JARGON.search(message), message
        assert message.endswith((".", "?"))
        assert len(message.replace(str(tmp_path), "")) < 300
        return message

    return refuse


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_shipped_experiments_load(file):
    experiment = load_experiment(file, [])
    assert set(experiment.targets) <= {"medical", "satellite", "surveillance", "art"}
    for domain in experiment.targets:
        assert experiment.space(domain).domain == domain


def test_a_least_file_is_complete(load, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    experiment = load()
    assert experiment.home.uri == str(tmp_path / "runs" / "least")
    assert experiment.space("my-scans").domain == "medical"
    assert experiment.frozen_depths("satellite") == (0, frozen_depth_limit(experiment.architecture))
    assert experiment.search.concurrent_trials == 1
    assert make_experiment(experiment.dump(), "again") == experiment


def test_target_ranges_replace_the_space_s(load):
    ranges = ["learning_rate=[1e-4, 2e-3]", "lambda_=[1e-3, 0.5]", "frozen_depth=[2, 2]"]
    experiment = load(*[f"targets.satellite.{setting}" for setting in ranges])
    space = experiment.space("satellite")
    assert space.learning_rate == (1e-4, 2e-3)
    assert space.lambda_ == (1e-3, 0.5)
    assert experiment.frozen_depths("satellite") == (2, 2)
    assert experiment.space("my-scans").lambda_ != (1e-3, 0.5)


def test_scale_and_network_have_defaults_where_the_source_is_pretrained_here(load):
    for experiment in (load(), load("scale=null", "network=null")):
        assert (experiment.scale, experiment.network, experiment.architecture.scale) == (4, "base", 4)
    assert load("scale=2").dump()["scale"] == 2


@pytest.mark.parametrize("overrides", [["source={model: mine}"], ["source.model=mine", "source.images=null"]])
def test_a_source_model_is_not_read_before_the_preflight(load, overrides):
    """A folder of a few hundred kilobytes that may lie in a bucket, and may be missing beside other things."""
    experiment = load(*overrides)
    assert experiment.source == experiment_images.SourceModel(model="mine")
    assert (experiment.scale, experiment.network) == (None, None)


def test_every_kind_of_scenes_loads_and_survives_a_dump(load):
    for scenes in ("folder", TABLE | {"pattern": "^(a)"}, PATTERN):
        experiment = load(f"source.scenes={scenes}")
        assert make_experiment(experiment.dump(), "again").source.scenes == experiment.source.scenes
    assert load(f"source.scenes={TABLE}").source.scenes == experiment_images.SceneTable(table="scenes.csv")


def test_pairs_load_and_survive_a_dump(load):
    experiment = load(PAIRS, "targets.satellite.images.share=0.5", "targets.satellite.test_images={hr: c, lr: d}")
    again = make_experiment(experiment.dump(), "again")
    assert again.targets == experiment.targets
    assert experiment.targets["satellite"].pairs_share == 0.5
    assert experiment.targets["my-scans"].pairs_share == 1
    assert experiment_images.folder_of(experiment.targets["satellite"].images) == "a"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["targets.satellite.images={hr: a}"], "'targets.satellite.images.lr' is missing."),
        (["targets.satellite.images=7"], "'targets.satellite.images' must be text, found 7."),
        (
            [PAIRS, "targets.satellite.images.share=1.5"],
            "'targets.satellite.images.share' must be at most 1, found 1.5.",
        ),
        (
            [PAIRS, "targets.satellite.test_images=c"],
            "must give pairs in both `images` and `test_images`, or in neither",
        ),
        (["targets.satellite.test_images={hr: c, lr: d}"], "must give pairs in both `images` and `test_images`"),
        (["source.images={hr: a, lr: b}"], "'source.images' must be a folder of HR images: pairs are for targets."),
    ],
)
def test_pairs_that_make_no_sense_are_refused(refused, overrides, told):
    assert told in refused(*overrides)


def test_no_section_is_left_out_of_this_file():
    assert {section for _, section, _ in SECTIONS} == {
        value
        for value in (vars(experiment_images) | vars(module)).values()
        if isinstance(value, type) and hasattr(value, "model_fields")
    } - {experiment_images.Section, experiment_images.BaseModel}


@pytest.mark.parametrize(("path", "key", "overrides"), KEYS, ids=lambda part: str(part) or "top")
def test_a_misspelt_key_is_named_with_the_right_one(refused, path, key, overrides):
    dotted = f"{path}.{key}z".removeprefix(".")
    told = refused(*overrides, f"{dotted}=1")
    assert told.endswith(f"mine.yaml: Unknown key '{dotted}'. Did you mean '{key}'?")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("source.scenes={tabel: x}", "Unknown key 'source.scenes.tabel'. Did you mean 'table'?"),
        ("source.scenes={patern: x}", "Unknown key 'source.scenes.patern'. Did you mean 'pattern'?"),
        (
            "confirmation.quux=1",
            "Unknown key 'confirmation.quux'. Known here: top, seeds, ablation, classical, smallest_effect.",
        ),
        ("source.test_share=0.2", "Unknown key 'source.test_share'. Known here: images, scenes, validation_share"),
        ("source.modle=x", "Unknown key 'source.modle'. Did you mean 'model'?"),
        ("source={modle: x}", "'source.model' is missing. Unknown key 'source.modle'. Did you mean 'model'?"),
        ("source={model: base-x4, scenes: folder}", "Unknown key 'source.scenes'. Known here: model."),
    ],
)
def test_other_unknown_keys(refused, override, told):
    assert told in refused(override)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("scale=5", "scale factor must be one of (2, 3, 4), found 5"),
        ("scale=four", "'scale' must be a whole number, found 'four'"),
        ("search.trials=0", "'search.trials' must be at least 1 or `auto`, found 0"),
        ("search.trials=1.5", "'search.trials' must be a whole number or `auto`, found 1.5"),
        ("search.trials=null", "'search.trials' must be a whole number or `auto`, found nothing"),
        ("search.sampler=gpp", "'search.sampler' must be 'gp', 'tpe' or 'random', found 'gpp'"),
        ("search.gpus_per_trial=-1", "'search.gpus_per_trial' must be at least 0, found -1"),
        ("seed=-1", "'seed' must be at least 0, found -1"),
        ("name=../elsewhere", "'name' must hold letters, digits"),
        ("targets.../elsewhere={images: x, space: art}", "--set takes KEY=VALUE"),
        ("targets.a/b={images: x, space: art}", "'targets.a/b' must hold letters, digits"),
        ("network=tinny", "No network is called 'tinny'; there are tiny, base"),
        ("targets={}", "'targets' must not be empty"),
        ("targets=null", "'targets' must have settings below it, found nothing"),
        ("cluster=null", "'cluster' must have settings below it, found nothing"),
        ("source.images=null", "'source' must name `images` to pretrain on or a `model` to start from, found neither"),
        ("source={}", "'source' must name `images` to pretrain on or a `model` to start from, found neither"),
        ("source.model=base-x4", "'source' must name images to pretrain on or a model to start from, found both"),
        ("source.images=3", "'source.images' must be text, found 3"),
        ("source=base-x4", "'source' must have settings below it, found 'base-x4'"),
        ("source={model: 4}", "'source.model' must be text, found 4"),
        ("source.scenes=flie", "'source.scenes' must be 'file' or 'folder', found 'flie'"),
        ("source.scenes={scene_column: place}", "'source.scenes.table' is missing"),
        ("source.validation_share=1", "'source.validation_share' must be below 1, found 1"),
        ("cluster.price_per_hour=.inf", "'cluster.price_per_hour' must be a finite number, found inf"),
        ("finetuning.default_learning_rate=.nan", "'finetuning.default_learning_rate' must be a finite number"),
        ("targets.satellite.test_share=0.8", "targets.satellite: validation_share and test_share together"),
        ("targets.satellite.space=satelite", "targets.satellite.space: No search space is called 'satelite'"),
        ("targets.satelite.images=x", "Did you mean 'satellite'?"),
        ("targets.satellite.lambda_=[-1.0, 0.1]", "'targets.satellite.lambda_' must be a range with 0 < low < high"),
        ("targets.satellite.lambda_=[0, 0.1]", "(λ = 0 is always tried"),
        ("targets.satellite.lambda_=[0.1, 0.1]", "found [0.1, 0.1]"),
        (
            "targets.satellite.lambda_=0.1",
            "'targets.satellite.lambda_' must be a range such as [0.001, 0.1], found 0.1",
        ),
        ("targets.satellite.learning_rate=[0.1, 0.01]", "must be a range with 0 < low < high, found [0.1, 0.01]"),
        ("targets.satellite.learning_rate=[0.1]", "'targets.satellite.learning_rate.1' is missing"),
        ("targets.satellite.learning_rate=[0.1, .inf]", "must be a finite number, found inf"),
        ("targets.satellite.frozen_depth=[3, 1]", "must be a range with 0 <= low <= high, found [3, 1]"),
        ("targets.satellite.frozen_depth=[-1, 1]", "must be a range with 0 <= low <= high, found [-1, 1]"),
        (
            "search.kept_blocks=[2, 9]",
            "search: kept_blocks must lie between 1 and 8, the residual blocks of this network",
        ),
        ("search.kept_blocks=[0, 4]", "'search.kept_blocks' must be a range with 1 <= low <= high, found [0, 4]"),
        ("search.kept_blocks=[4, 2]", "'search.kept_blocks' must be a range with 1 <= low <= high, found [4, 2]"),
        ("search.kept_blocks=4", "'search.kept_blocks' must be a range such as"),
        ("targets.satellite.frozen_depth=[0, 99]", "targets.satellite: frozen_depth must lie between 0 and"),
        (
            "pretraining.checkpoint_every=75",
            "checkpoint_every (75) must be a multiple of pretraining.report_every (50)",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(refused, override, told):
    assert told in refused(override)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("finetuning.transfer=modle", "'finetuning.transfer' must be "),
        ("finetuning.regularizer=l1", "'finetuning.regularizer' must be "),
        ("finetuning.frozen_from=middle", "'finetuning.frozen_from' must be "),
    ],
)
def test_a_wrong_method_is_named(refused, override, told):
    assert told in refused(override)


def test_a_torchvision_trunk_cannot_be_shortened(refused):
    told = refused("search.kept_blocks=[1, 2]", "network=resnet18")
    assert "search: kept_blocks can shorten a thin trunk alone" in told
    assert "found family resnet18" in told


def test_batch_normalisation_needs_the_batch_on_one_gpu(refused, load):
    assert "search.gpus_per_trial is 2, but the network resnet18 has batch normalisation" in refused(
        "search.gpus_per_trial=2", "network=resnet18"
    )
    for gpus, devices in ((0, 1), (0.5, 1), (1, 1)):
        assert load(f"search.gpus_per_trial={gpus}", "network=resnet18").search.devices_per_trial == devices
    assert load("search.gpus_per_trial=2", "network=large").search.devices_per_trial == 2


def test_trials_are_not_stopped_early_by_quality_where_speed_is_searched_too(refused, load):
    told = refused("search.kept_blocks=[2, 8]", "search.stopping=asha")
    assert "'search' cannot stop trials early by quality alone (`stopping: asha`) while `kept_blocks`" in told
    assert load("search.kept_blocks=[2, 8]").search.kept_blocks == (2, 8)


def test_a_fresh_generator_cannot_be_frozen(refused, load):
    told = refused("finetuning.transfer=feature", "finetuning.frozen_from=output")
    assert "cannot freeze from the output with `transfer: feature`" in told
    assert load("finetuning.transfer=model", "finetuning.frozen_from=output").finetuning.method().generator == "reused"


def test_several_mistakes_are_told_at_once(refused):
    told = refused("serach.trials=3", "search.trials=0", "source.image=x")
    assert [word in told for word in ("'serach'", "'search.trials'", "'source.image'")] == [True] * 3


def test_overrides_reach_any_depth_with_any_value(load):
    experiment = load(
        "search.trials=12",
        "targets.satellite.lambda_=[1e-4, 1e-1]",
        "targets.satellite.images=s3://bucket/a=b",
        " name = other",
        "targets.art.images=paintings",
        "cluster.cpus=null",
        "storage=/tmp/x",
    )
    assert experiment.search.trials == 12
    assert experiment.targets["satellite"].lambda_ == (1e-4, 0.1)
    assert experiment.targets["satellite"].images == "s3://bucket/a=b"
    assert experiment.name == "other"
    assert list(experiment.targets) == ["my-scans", "satellite", "art"]
    assert experiment.cluster.cpus is None


def test_the_last_override_wins_and_the_file_is_untouched(load, tmp_path):
    assert load("seed=1", "seed=2").seed == 2
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text()) == LEAST


@pytest.mark.parametrize("override", ["search.trials", "", "=3", ".trials=3", "search.=3", "search..trials=3"])
def test_malformed_overrides(refused, override):
    assert refused(override) == f"--set takes KEY=VALUE such as search.trials=12, found '{override}'."


def test_an_override_below_a_single_value(refused):
    assert "'name' is a single value" in refused("name.first=x")
    assert "cannot be read as YAML" in refused("search.trials=[")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "must hold settings such as `name: ...`, found nothing"),
        ("# only a comment\n", "found nothing"),
        ("- name\n", "found a list"),
        ("name", "found a single value"),
        ("name: [", "cannot be read as YAML: expected the node content"),
        ("name: x\n\tscale: 3", "line 2"),
        ("name: x", "'source' is missing. 'targets' is missing."),
        ("1: x", "'1' must be text"),
    ],
)
def test_files_that_are_no_experiment(refused, content, told):
    assert told in refused(content=content)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name, told in {
        "missing.yaml": "There is no experiment file",
        "binary.yaml": "cannot be read as YAML",
        ".": "cannot be read as YAML: it is a folder",
    }.items():
        with pytest.raises(UsageError, match=told):
            load_experiment(tmp_path / name, [])


def test_an_experiment_cannot_be_changed_after_it_was_checked(load):
    with pytest.raises(ValueError, match="frozen"):
        load().seed = 3
    assert Experiment.model_config["extra"] == "forbid"


def test_a_key_given_twice_is_refused(tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text(
        "name: a\nsource: {images: x}\ntargets:\n  art: {images: a}\n  art: {images: b}\n", encoding="utf-8"
    )
    with pytest.raises(UsageError, match="'art' is given twice, line 5"):
        load_experiment(file, [])


def loaded_or_refused(load, override):
    """The experiment, or None where it is refused in a plain sentence."""
    refusals = []
    try:
        return load(override)
    except UsageError as error:
        refusals.append(str(error))
    assert not JARGON.search(refusals[0]), refusals[0]
    return None


@pytest.mark.parametrize("section", ["pretraining", "finetuning", "search", "confirmation", "cluster", ""])
@pytest.mark.parametrize("value", ["-1", "-1e300", "0.5", ".inf", "-.inf", ".nan", "1e400", "9" * 30, "true", '"\\0"'])
def test_no_number_is_taken_that_fails_later(load, section, value):
    """Every setting that is a number, with extreme ones: a sentence, or a value within its range."""
    model = dict((path, section) for path, section, _ in SECTIONS)[section]
    for key, field in model.model_fields.items():
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            name = f"{section}.{key}".lstrip(".")
            loaded = loaded_or_refused(load, f"{name}={value}")
            if loaded is None:
                continue
            taken = getattr(getattr(loaded, section) if section else loaded, key)
            assert value in ("0.5", "true") or 0 <= taken < 1e19
            assert value != "true", f"{name} took a truth value"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=9223372036854775808", "'seed' must be below 9.22337e+18, found 9223372036854775808."),
        ("search.trials=100001", "'search.trials' must be at most 100000 or `auto`, found 100001."),
        ("search.trials=true", "'search.trials' must not be true."),
        ("targets.satellite.learning_rate=[true, 2]", "'targets.satellite.learning_rate' must not be true."),
        ("targets.satellite.learning_rate=[1e-3, 1e9]", "'targets.satellite.learning_rate.1' must be at most 10"),
        ("pretraining.learning_rate=1e-300", "'pretraining.learning_rate' must be at least 1e-12"),
        ("pretraining.batch=1000000", "'pretraining.batch' must be at most 65536"),
        ("confirmation.seeds=100000", "'confirmation.seeds' must be at most 1000"),
        (
            "search.gpus_per_trial=1.5",
            "'search.gpus_per_trial' must be a whole number, or a fraction of one GPU, found 1.5: take 1 or 2.",
        ),
        ("search.gpus_per_trial=2.5", "must be a whole number, or a fraction of one GPU, found 2.5: take 2 or 3."),
        (
            "search.gpus_per_trial=16",
            "search.gpus_per_trial (16) must be at most finetuning.batch (8), since these GPUs share each batch: lower "
            "gpus_per_trial, or raise the batch.",
        ),
        ("search.gpus_per_trial=1e-9", "'search.gpus_per_trial' must be 0, or at least 0.01, found 1e-09"),
        ("search.cpus_per_trial=1e-9", "'search.cpus_per_trial' must be at least 0.01"),
        ("pretraining.gpus_per_worker=2.5", "'pretraining.gpus_per_worker' must be a whole number"),
        ("search.starts=default", "'search.starts' must be a list such as [default, space], found 'default'."),
        ("search.starts_from=runs/x", "'search.starts_from' must be a list such as [runs/before, s3://"),
        ("search.kept_blocks=3", "'search.kept_blocks' must be a range such as [2, 8], found 3."),
        ("targets.satellite.frozen_depth=3", "'targets.satellite.frozen_depth' must be a range such as [0, 4]"),
        ("name=..", "'name' must hold letters, digits"),
        ("name=a/b", "'name' must hold letters, digits"),
        ("name=größe", "'name' must hold letters, digits"),
        ("name='a b'", "'name' must hold letters, digits"),
        (f"name={'a' * 200}", "'name' must have at most 128 characters"),
        ('storage="a\\0b"', "'storage' must not hold control characters or bytes that are not UTF-8, found 'a\\x00b'."),
        ('root="a\\x1bb"', "'root' must not hold control characters"),
        ("root=a\udcff", "the value cannot be read as YAML: it holds the character \\udcff"),
        ("targets.x.json.images=a", None),
        ("targets={a.json: {images: b, space: medical}}", "A target cannot be called 'a.json'"),
        ("targets={a/b: {images: b}}", "must hold letters, digits"),
        ("targets={..: {images: b}}", "must hold letters, digits"),
        ("targets={1: {images: b}}", "must be text"),
    ],
)
def test_what_would_fail_after_the_expensive_stage_is_refused_at_once(refused, override, said):
    message = refused(override)
    assert said is None or said in message


def test_a_section_that_is_empty_in_the_file_takes_overrides(load):
    assert load("cluster.cpus=2", content={**LEAST, "cluster": None}).cluster.cpus == 2


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ("lots", "must be [low, high], ranges by data type such as {uint16: [0, 10000]}, `window` or `percentile`"),
        (7, "must be [low, high]"),
        ({}, "must be [low, high]"),
        ({"uint16": 5}, "must be two numbers with low < high, found 5"),
        ({"uint16": [5, 1]}, "must be two numbers with low < high, found [5, 1]"),
        ([0, "x"], "must be two numbers with low < high, found [0, 'x']"),
        ({"complex": [0, 1]}, "must be by data type (uint8, uint16, int16, float32), found 'complex'"),
    ],
)
def test_a_wrong_value_range_is_one_sentence(stated, words):
    with pytest.raises(UsageError) as found:
        make_experiment(
            {"name": "x", "source": {"model": "base-x4"}, "targets": {"art": {"images": "a", "value_range": stated}}},
            "x",
        )
    assert words in str(found.value)
    assert str(found.value).count("value_range") == 1
