"""The command line: wrong input ends at once, with exit code 2 and one sentence."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import noise_images
import pytest
import ray
import typer.main
from planning import steady_rates
from tiny_experiment import settings, write_experiment

from orchestrator.cli import app as cli
from orchestrator.cli import experiment_commands
from orchestrator.estimate import plan
from orchestrator.foundation.storage import Storage
from orchestrator.pipeline import run as pipeline
from orchestrator.pipeline import run_context
from trainables.version import __version__

SETS = {"natural": 5, "medical": 9, "satellite": 9}


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    """No command here may reach a Ray."""

    def started(*_, **__):
        pytest.fail("the command started Ray")

    monkeypatch.setattr(ray, "init", started)
    monkeypatch.setattr(run_context, "connect", started)


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """A user without AWS settings, in a folder of their own."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for domain, count in SETS.items():
        noise_images.write(folder / domain, [f"{i}.png" for i in range(count)])
    return folder


@pytest.fixture
def file(images, tmp_path):
    return str(write_experiment(tmp_path / "mine.yaml", settings(str(images), str(tmp_path / "runs"))))


def check_refusal(code, out, err, words):
    assert code == 2, err
    assert err.startswith("rayscale: ")
    assert err.count("\n") == 1
    assert len(err) < 400
    assert "Traceback" not in out + err
    assert re.search(words, err), err


@pytest.fixture
def refused(rayscale, tmp_path):
    """Checks that a command is refused before anything was built."""

    def refuse(words, *arguments):
        check_refusal(*rayscale(*arguments), words)
        assert not list((tmp_path / "runs").rglob("shards"))
        assert not list((tmp_path / "runs").rglob("stage.json"))

    return refuse


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (r"Unknown key 'search.trails'. Did you mean 'trials'\?", ["run", "FILE", "--set", "search.trails=3"]),
        (r"Did you mean 'satellite'\?", ["plan", "FILE", "--set", "targets.sattelite={images: x}"]),
        (r"No such command 'serch'. Did you mean 'search'\? See `rayscale --help`", ["serch"]),
    ],
)
def test_wrong_input_in_a_process_of_its_own(file, tmp_path, words, arguments):
    command = [sys.executable, "-m", "orchestrator.cli.app", *(file if word == "FILE" else word for word in arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    check_refusal(ended.returncode, ended.stdout, ended.stderr, words)
    assert ended.stdout == ""
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["run", "plan", "pretrain", "search", "confirm", "shards build"])
def test_every_command_checks_the_images_first(refused, file, command):
    words = "There is no folder '.*nowhere'; create it or correct the path"
    refused(words, *command.split(), file, "--set", "targets.medical.images=nowhere")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("scale=5", r"scale factor must be one of \(2, 3, 4\), found 5"),
        ("targets.medical.frozen_depth=[0, 99]", r"frozen_depth must lie between 0 and \d+"),
        ("targets.medical.lambda_=[-1, 1]", "'targets.medical.lambda_' must be a range"),
        ("search.trials=0", "'search.trials' must be at least 1 or `auto`, found 0"),
        ("search.trials", "--set takes KEY=VALUE such as search.trials=12, found 'search.trials'"),
        ("search.gpus_per_trial=99", r"search.gpus_per_trial \(99\) must be at most finetuning.batch \("),
        ("search.cpus_per_trial=9999", "search.cpus_per_trial is 9999, but this cluster has"),
        ("pretraining.gpus_per_worker=99", "Pretraining asks for 2 workers × 99 GPUs"),
        ("targets.source={images: natural, space: art}", "A target cannot be called 'source'"),
        ("storage=ftp://bucket", "must be a folder or s3://bucket/prefix, found 'ftp://bucket'"),
        ("source.scenes={table: none.csv}", "There is no scene table"),
        ("source.scenes={pattern: '('}", "is no regular expression"),
        ("source.images=natural/0.png", "There is no folder '.*0.png'"),
    ],
)
def test_wrong_settings(refused, file, setting, words):
    refused(words, "run", file, "--set", setting)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "Missing argument 'EXPERIMENT.yaml'. See `rayscale --help`"),
        (["pretrain", "none.yaml"], "There is no experiment file 'none.yaml'"),
        (["run", "x.yaml", "--set"], "Option '--set' requires an argument. See"),
        (["run", "x.yaml", "--fast"], r"No such option: --fast.*\. See"),
        (
            ["upscale", "a", "b", "--model", "base-x4", "--as", "tiff"],
            r"Invalid value for '--as': 'tiff' is not one of 'auto'",
        ),
        (["evaluate", "--model", "m"], "Missing option '--images'"),
        (["evaluate", "--model", "m", "--images", "i"], "There is no model 'm': no folder is called so"),
        (["shards", "verify", "nowhere"], "There is no folder"),
        (["shards", "info", "home"], "There are no shards at"),
        (["demo", "--size", "smalest"], r"--size must be one of standard, smallest, found 'smalest'. Did you mean"),
        (["demo", "--storage", "s3://bucket"], "samples are written to a folder"),
    ],
)
def test_wrong_arguments(refused, arguments, words):
    refused(words, *arguments)


def test_folders_without_images(refused, file, tmp_path):
    (tmp_path / "empty").mkdir()
    refused("empty' is empty; expected images", "run", file, "--set", f"source.images={tmp_path}/empty")
    (tmp_path / "empty" / "readme.txt").write_text("x")
    refused("holds 1 files but no images", "run", file, "--set", f"source.images={tmp_path}/empty")


def test_images_smaller_than_a_patch(rayscale, file, tmp_path):
    small = noise_images.write(tmp_path / "small", [f"{i}.png" for i in range(9)], (79, 200))
    code, out, err = rayscale("shards", "build", file, "--set", f"targets.medical.images={small}")
    check_refusal(code, out, err, r"none of its images can be used \(left out: 9 × smaller than the 80×80 needed\)")
    assert not (tmp_path / "runs/tiny/shards/medical").exists()


def test_unreadable_images_among_good_ones_are_counted_and_listed(rayscale, file, images, tmp_path):
    mixed = noise_images.write(tmp_path / "mixed", [f"{i}.png" for i in range(4)])
    for i in range(6):
        (mixed / f"bad{i}.png").write_bytes(b"no image")
    (mixed / "deep.png").write_bytes(noise_images.sixteen_bit_png())
    code, out, err = rayscale("shards", "build", file, "--set", f"targets.medical.images={mixed}")
    assert (code, err) == (0, "")
    text = " ".join(out.split())
    assert re.search(r"7 files left out: (mixed/)?bad0\.png: not an image that can be decoded", text)
    assert "and 2 more: rayscale shards info" in text

    place = tmp_path / "runs/tiny/shards/medical"
    code, out, _ = rayscale("shards", "info", place)
    assert (code, out.count("left out: ")) == (0, 7)
    told = json.loads(rayscale("shards", "info", place, "--json")[1])
    assert sum(told["images"].values()) + sum(told["locked_test"]["images"].values()) == 4
    assert rayscale("shards", "verify", place)[:2] == (0, "4 images in good order\n")

    again = rayscale("shards", "build", file, "--set", f"targets.medical.images={mixed}")
    assert again[1].count("skipped") == 3

    (place / told["files"][0]["path"]).write_bytes(b"damaged")
    code, out, err = rayscale("shards", "verify", place)
    assert (code, err) == (1, "")
    assert out == f"{told['files'][0]['path']} has changed since it was written\n"


@pytest.mark.parametrize("below", ["a file/runs", "/proc/runs"])
def test_storage_that_cannot_be_written(refused, file, tmp_path, below):
    (tmp_path / "a file").write_text("x")
    refused(
        r"Nothing can be written to '.*runs/tiny' \(.*\); choose another storage",
        "run",
        file,
        "--set",
        f"storage={below}",
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b'{"format": 0, "rayscale": "0.0.1"}',
            r"another version \(rayscale 0.0.1, format 0; this is .*or set another `name`",
        ),
        (b'{"format": 1, "raysc', "experiment.json' is damaged or cut short: restore it, or set another `name`"),
    ],
)
def test_an_experiment_that_this_version_cannot_go_on_with(refused, file, tmp_path, content, words):
    (tmp_path / "runs/tiny").mkdir(parents=True)
    (tmp_path / "runs/tiny/experiment.json").write_bytes(content)
    for command in ("run", "plan"):
        refused(words, command, file)
    assert (tmp_path / "runs/tiny/experiment.json").read_bytes() == content


def test_report_before_a_run(refused, file):
    refused("has no report yet; `rayscale run` makes one", "report", file)


class TestS3Settings:
    """S3 that is not there or not allowed, without any server."""

    @pytest.fixture(autouse=True)
    def keys(self, monkeypatch):
        for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)

    PLACES = ("storage=s3://a-bucket", "root=s3://a-bucket", "targets.medical.images=s3://a-bucket/scans")

    @pytest.mark.parametrize("setting", PLACES)
    def test_no_credentials(self, refused, file, monkeypatch, setting):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        refused("No S3 credentials were found for s3://a-bucket: set AWS_ACCESS_KEY_ID", "run", file, "--set", setting)

    @pytest.mark.parametrize("metadata", ["true", None])
    @pytest.mark.parametrize("command", ["run", "report"])
    def test_an_endpoint_where_nobody_listens(self, refused, file, monkeypatch, metadata, command):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        if metadata is None:
            monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        start = time.monotonic()
        refused(f"No S3 server answers at {endpoint}; check AWS_ENDPOINT_URL", command, file, "--set", self.PLACES[0])
        assert time.monotonic() - start < 15

    @pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "http:/127.0.0.1", "ftp://host", "localhost"])
    def test_malformed_endpoint(self, refused, file, monkeypatch, endpoint):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        refused(
            f"AWS_ENDPOINT_URL must look like http://host:port, found '{endpoint}'",
            "run",
            file,
            "--set",
            self.PLACES[0],
        )


def commands(group, path=()):
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", list(commands(typer.main.get_command(cli.app))), ids=" ".join)
def test_every_help_shows_an_example(rayscale, path):
    code, out, err = rayscale(*path, "--help")
    assert (code, err) == (0, "")
    assert "Usage: rayscale" in out
    example = re.search(r"Example: (rayscale .*)", out)
    assert example, out
    assert example[1].startswith(" ".join(("rayscale", *path)))
    assert rayscale(*path, "-h")[1] == out


def test_no_command_shows_the_help(rayscale):
    for path in ((), ("shards",)):
        code, out, err = rayscale(*path)
        assert (code, err) == (2, "")
        assert "Usage: rayscale" in out


@pytest.mark.parametrize("asked", ["version", "--version"])
def test_version(rayscale, asked):
    assert rayscale(asked) == (0, f"{__version__}\n", "")


def test_help_needs_neither_torch_nor_ray():
    heavy = ["torch", "ray", "pyarrow", "boto3", "matplotlib", "orchestrator.pipeline.run"]
    code = f"import sys, orchestrator.cli.app; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "Interrupted. What had finished is kept"),
        (OSError(28, "No space left on device"), 1, "There is no space left. What had finished is kept"),
    ],
)
def test_what_ends_a_run_from_outside(rayscale, file, monkeypatch, error, code, words):
    def end(*_, **__):
        raise error

    monkeypatch.setattr(pipeline, "run_experiment", end)
    ended, _, err = rayscale("run", file)
    assert ended == code
    assert err.startswith("rayscale: ")
    assert err.count("\n") == 1
    assert words in err


@pytest.fixture
def steady(monkeypatch):
    """What a plan measures, without the time that takes."""
    monkeypatch.setattr(plan, "measure", lambda *_: steady_rates())


@pytest.mark.usefixtures("steady")
def test_plan_prints_a_document_or_a_table(rayscale, file, tmp_path):
    code, out, err = rayscale("plan", file, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["images"] == {"source": 5, "medical": 9, "satellite": 9}
    assert told["settings"]["search"]["trials"] == 3
    code, out, _ = rayscale("plan", file, "--set", "cluster.price_per_hour=3.5")
    assert code == 0
    assert "on a steady machine: ms a step: medical 100, satellite 100." in out
    assert re.search(r"Time: .* to .*\.\nCost: \d+\.\d\d to \d+\.\d\d at 3.5 an hour\.\n", out)
    assert out.endswith("Nothing is missing.\n")
    assert list(Storage.at(str(tmp_path / "runs")).files()) == []


@pytest.mark.usefixtures("steady")
def test_a_plan_refuses_folders_of_which_no_image_can_be_used(rayscale, file, images, tmp_path):
    odd = shutil.copytree(images, tmp_path / "odd")
    for picture in [*odd.glob("medical/*"), *odd.glob("satellite/*")]:
        picture.write_bytes(noise_images.sixteen_bit_png())
    for command in ("plan", "run"):
        code, out, err = rayscale(command, file, "--set", f"root={odd}")
        check_refusal(code, out, err, r"2 problems: \(1\) '.*medical': none of its images can be used \(left out: 9 × ")
    assert list(Storage.at(str(tmp_path / "runs")).files()) == []


@pytest.mark.usefixtures("steady")
def test_a_budget_is_kept_before_anything_runs(rayscale, file, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(pipeline, "run_experiment", lambda experiment, *_, **__: ran.append(experiment.search.trials))
    monkeypatch.setattr("orchestrator.report.build.read_report", lambda experiment: None)
    monkeypatch.setattr(experiment_commands, "print_report", lambda *_: None)
    budget = ("--set", "search.trials=600", "--set", "cluster.budget_hours=0.1")
    for command in ("run", "plan"):
        code, out, err = rayscale(command, file, *budget)
        assert code == 2
        assert re.fullmatch(
            r"rayscale: What is left of this run would take up to \d\.\d\d hours, more than cluster.budget_hours = 0.1:"
            r" set search.trials=\d+ \(--trim does that\) or cluster.budget_hours=\d\.\d\d\.\n",
            err,
        )
        assert ("search" in out) == (command == "plan")
    assert ran == []
    assert list(Storage.at(str(tmp_path / "runs")).files()) == []
    code, out, _ = rayscale("plan", file, *budget, "--trim", "--json")
    assert code == 0
    trials = json.loads(out)["settings"]["search"]["trials"]
    assert 8 <= trials < 600
    assert rayscale("run", file, *budget, "--trim")[0] == 0
    assert rayscale("run", file, *budget, "--set", "cluster.budget_action=trim")[0] == 0
    assert rayscale("run", file)[0] == 0
    assert ran == [trials, trials, 3]
    code, _, err = rayscale("run", file, "--trim")
    assert (code, err.count("\n")) == (2, 1)
    assert "--trim needs a budget" in err


def test_examples_name_files_that_exist():
    root = Path(__file__).parents[3]
    epilogs = [command.epilog or "" for command in cli.app.registered_commands]
    named = {name for epilog in epilogs for name in re.findall(r"experiments/\S+\.yaml", epilog)}
    assert named
    assert all((root / name).exists() for name in named)
