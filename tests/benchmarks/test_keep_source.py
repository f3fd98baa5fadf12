"""The benchmark of forgetting on a few generated images: every study and run once, then nothing twice."""

import json
import sys

import pytest
import torch

from benchmarks.transfer import keep_arms, keep_source, runs
from benchmarks.transfer.keep_arms import FREE
from benchmarks.transfer.keep_judging import WISE_FT
from orchestrator.data import source_images
from trainables.network.model_files import pack_model
from trainables.network.network import SuperResolutionNet, preset
from trainables.network.weight_average import FINE_SHARES
from trainables.samples import write_samples

TINY = (
    "--domains satellite --scenes file --trials 2 --seeds 1 --steps 1 --batch 1 --lr-patch 8 --validation-images 1 "
    "--validation-crop 32 --test-crop 32 --adapter-rank 1"
)


@pytest.fixture
def compare(tmp_path, monkeypatch):
    for split, scenes in (("train", 3), ("val", 2)):
        write_samples(tmp_path / "satellite" / split, "satellite", scenes, 1, seed=len(split), size=(96, 96))
    torch.manual_seed(0)
    net = SuperResolutionNet(preset("tiny", 2))
    with torch.no_grad():
        net.generator.conv.weight.normal_(std=0.01)
    (tmp_path / "model").mkdir()
    for name, data in pack_model(net, {"data_licence": "CC0"}).items():
        (tmp_path / "model" / name).write_bytes(data)
    monkeypatch.setattr(source_images, "GENERATED", 1)
    trained = []
    whole, whole_trial = runs.train, keep_arms.run_in_turn

    def train(run):
        trained.append(run.candidate.arm)
        return whole(run)

    def study(job, records, missing):
        trained.append(f"study of {len(missing)}")
        return whole_trial(job, records, missing)

    monkeypatch.setattr(runs, "train", train)
    monkeypatch.setattr(keep_arms, "run_in_turn", study)

    def run(*further):
        trained.clear()
        places = ["--root", str(tmp_path), "--model", str(tmp_path / "model"), "--out", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", ["keep", *TINY.split(), *places, "--results", str(tmp_path / "r"), *further])
        keep_source.main()
        (file,) = (tmp_path / "r").glob("*.json")
        (entry,) = json.loads(file.read_text())["results"]
        return list(trained), entry, file.with_suffix(".md").read_text()

    return run


def test_every_study_and_run_happens_once(compare, tmp_path):
    arms = ("limit, L2-SP", "limit, adapters and replay")
    done, entry, page = compare("--arms", *arms, "--keep-source", "50")
    assert done == ["study of 2", FREE, *(each for arm in arms for each in ("study of 2", arm))]
    assert set(entry["arms"]) == {FREE, WISE_FT, *(name for arm in arms for name in (arm, f"{arm}, averaged"))}
    assert all(trial["source_loss"] is not None for arm in arms for trial in entry["studies"][arm])
    assert [trial["source_loss"] for trial in entry["studies"][FREE]] == [None, None]
    assert [share for share, *_ in entry["arms"][FREE]["by_share"]] == list(FINE_SHARES)
    assert entry["arms"][WISE_FT]["over_wise_ft"]["mean"] == 0
    assert f"| {WISE_FT} |" in page
    assert str(tmp_path) not in page
    assert compare("--arms", *arms, "--keep-source", "50")[0] == []


def test_a_search_without_a_feasible_trial_keeps_the_source_model(compare):
    _, entry, page = compare("--arms", "limit, L2-SP", "--keep-source", "0", "--seed", "3")
    arms = entry["arms"]
    for name, arm in arms.items():
        if name != FREE and arm["configuration"] is None:
            assert arm["gain"]["mean"] == arm["source_loss"] == 0
            assert "no feasible trial" in page
    assert arms[WISE_FT]["share"] in (0.0, *FINE_SHARES)
    assert {len(arm["by_share"]) for arm in arms.values()} <= {0, len(FINE_SHARES)}
