"""Trainings arrive in TensorBoard, MLflow and Weights & Biases, read back by their own readers."""

import struct
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tensorboardX.proto.event_pb2 import Event
from wandb.proto.wandb_internal_pb2 import Record, RunRecord

from orchestrator.experiment.settings import Experiment, Tracking
from orchestrator.runtime.measurements import Measurement
from orchestrator.runtime.progress_updates import LocalUpdates
from orchestrator.tracking import follow
from orchestrator.tracking.follow import check_trackers, following, open_trackers
from trainables.errors import UsageError

RUN = "search/medical/trial-0003"
MEASURED = [
    Measurement(RUN, 0, settings={"learning_rate": 5e-4, "frozen_depth": 2, "origin": "sampler"}),
    Measurement("pretraining", 50, {"loss": 0.04}),
    Measurement(RUN, 100, {"validation_psnr": 30.5}),
    Measurement(RUN, 200, {"validation_psnr": 31.25}),
    Measurement(RUN, 200, settings={"status": "finished"}, ended=True),
    Measurement("pretraining", 100, {"loss": 0.03}),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.05)


def followed(tracking: dict[str, str]) -> list[str]:
    """Sends the measurements in two parts through trackers, and gives the lines that were logged."""
    content = {"name": "mine", "source": {"images": "a"}, "targets": {"medical": {"images": "b"}}, "tracking": tracking}
    channel, lines = LocalUpdates(), list[str]()
    with following(channel, open_trackers(Experiment.model_validate(content)), lines.append):
        for number, measurement in enumerate(MEASURED):
            channel.measure(measurement)
            if number == 2:
                time.sleep(0.2)
    return lines


def events(folder: Path) -> list[Event]:
    """Events of TensorBoard's files: length, checksum, event, checksum."""
    found = []
    for file in sorted(folder.glob("events.*")):
        data = file.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return found


def test_tensorboard_has_the_curves_and_the_settings(tmp_path: Path) -> None:
    assert followed({"tensorboard": str(tmp_path)}) == []
    values = [(e.step, v.tag, v.simple_value) for e in events(tmp_path / "mine" / RUN) for v in e.summary.value]
    assert [value for value in values if value[1] == "validation_psnr"][:2] == [
        (100, "validation_psnr", 30.5),
        (200, "validation_psnr", 31.25),
    ]
    losses = [(e.step, v.tag) for e in events(tmp_path / "mine" / "pretraining") for v in e.summary.value]
    assert losses == [(50, "loss"), (100, "loss")]
    tags = {v.tag for e in events(tmp_path / "mine" / RUN / "settings") for v in e.summary.value}
    assert "_hparams_/session_start_info" in tags


def test_mlflow_has_a_run_per_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "store").as_uri()
    assert followed({"mlflow": uri}) == []
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {RUN, "pretraining"}
    trial = runs[RUN]
    assert trial.info.status == "FINISHED"
    assert trial.data.params == {
        "learning_rate": "0.0005",
        "frozen_depth": "2",
        "origin": "sampler",
        "status": "finished",
    }
    curve = client.get_metric_history(trial.info.run_id, "validation_psnr")
    assert [(point.step, point.value) for point in curve] == [(100, 30.5), (200, 31.25)]


def logged(data: bytes) -> list[bytes]:
    """Records of a log in LevelDB's format: blocks of 32 KiB, in which each part of a record has a head of 7 bytes."""
    place, records, parts = 7, [], b""
    while place < len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        size, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            records.append(parts)
            parts = b""
    return records


def stored(folder: Path) -> dict[str, tuple[RunRecord, list[str], list[Record]]]:
    """Complete runs in the folder of Weights & Biases by name: the run, its scores and all records."""
    named = {}
    for file in folder.glob("wandb/offline-run-*/run-*.wandb"):
        records = [Record.FromString(data) for data in logged(file.read_bytes())]
        points = [{".".join(i.nested_key) or i.key: i.value_json for i in r.history.item} for r in records]
        scores = [point["validation_psnr"] for point in points if "validation_psnr" in point]
        runs = [record.run for record in records if record.HasField("run")]
        if runs and any(record.HasField("exit") for record in records):
            named[runs[0].display_name] = runs[0], scores, records
    return named


def test_weights_and_biases_has_a_run_per_training_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    assert followed({"wandb": "sr"}) == []
    end = time.monotonic() + 120
    while len(named := stored(tmp_path)) < 2 and time.monotonic() < end:  # its service writes in a process of its own
        time.sleep(0.5)
    run, scores, records = named[RUN]
    assert (run.project, run.run_group) == ("sr", "mine")
    assert scores == ["30.5", "31.25"]
    settings = {u.key: u.value_json for r in records for u in (*r.config.update, *r.run.config.update)}
    assert settings["learning_rate"] == "0.0005"
    assert set(named) == {RUN, "pretraining"}


class Failing:
    def __init__(self) -> None:
        self.taken = 0

    def take(self, measurement: Measurement) -> None:
        self.taken += 1
        raise ConnectionError("the service is away")

    def close(self) -> None:
        raise AssertionError("it was dropped")


class Counting:
    def __init__(self) -> None:
        self.taken, self.closed = 0, False

    def take(self, measurement: Measurement) -> None:
        self.taken += 1

    def close(self) -> None:
        self.closed = True


def test_a_tracker_that_fails_is_left_out_with_one_line_and_the_others_go_on() -> None:
    channel, lines, failing, counting = LocalUpdates(), list[str](), Failing(), Counting()
    with following(channel, {"mlflow": failing, "tensorboard": counting}, lines.append):
        for measurement in MEASURED:
            channel.measure(measurement)
            time.sleep(0.1)
    assert lines == [
        "tracking.mlflow has failed and is left out of the rest of this run: ConnectionError: the service is away"
    ]
    assert (failing.taken, counting.taken, counting.closed) == (1, len(MEASURED), True)


def test_a_channel_that_began_anew_is_read_from_its_start() -> None:
    channel = LocalUpdates()
    for measurement in MEASURED[:3]:
        channel.measure(measurement)
    assert channel.measured(2) == (3, MEASURED[2:3])
    assert channel.measured(5) == (3, MEASURED[:3])


def test_a_missing_package_and_a_store_that_cannot_be_used_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tracking.tracker.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"`tracking.wandb` needs the package wandb: pip install 'rayscale\[wandb\]'"):
        check_trackers(Tracking(wandb="sr"))
    monkeypatch.undo()
    with pytest.raises(UsageError, match=r"tracking.mlflow: 'nonsense://here' cannot be used \("):
        followed({"mlflow": "nonsense://here"})
