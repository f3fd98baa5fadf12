"""An experiment on pairs, in this process: checked, trained and judged on the real LR; wrong pairs cost nothing."""

import json

import numpy as np
import pytest
import tiny_models
import yaml
from pair_files import degraded, write_pairs
from PIL import Image
from rich.console import Console

from orchestrator.experiment.load import load_experiment
from orchestrator.pipeline.preflight import preflight
from orchestrator.pipeline.run import run_experiment
from orchestrator.report.build import read_report
from orchestrator.runtime.progress import Display
from orchestrator.runtime.task_runner import in_process
from trainables.degradation import Degradation
from trainables.errors import ImageSetError
from trainables.images.raster import PreparedImage
from trainables.metrics.evaluation import NamedImage, bicubic, make_pairs, mean_psnr


def darker(hr):
    """LR of the domain's degradation at less contrast, within what the checks allow."""
    return (degraded("satellite", 2)(hr) * 0.96 + 5).astype(np.uint8)


def experiment_of(folder, images):
    content = {
        "name": "pairs",
        "storage": str(folder / "runs"),
        "root": str(folder),
        "source": {"model": tiny_models.write(folder / "model", tiny_models.net(2), degradation=None)},
        "finetuning": {"steps": 6, "batch": 2, "lr_patch": 16, "evaluations": 2},
        "search": {"trials": 2, "startup_trials": 1, "validation_images": 2, "validation_crop": 64},
        "confirmation": {"top": 1, "seeds": 1, "ablation": False, "classical": False},
        "targets": {"satellite": {"images": images, "test_share": 0.4}},
    }
    file = folder / "pairs.yaml"
    file.write_text(yaml.safe_dump(content))
    return load_experiment(file, [])


def test_pairs_from_the_files_to_the_report(tmp_path):
    write_pairs(tmp_path, 8, lr_of=darker)
    experiment = experiment_of(tmp_path, {"hr": "hr", "lr": "lr", "share": 0.5})
    console = Console(record=True, width=200, force_terminal=False)
    inputs = preflight(experiment)
    assert any("displacement of LR in LR pixels " in line for line in inputs.not_used)
    run_experiment(experiment, inputs, Display(console), start=in_process)
    domain = read_report(experiment).domains["satellite"]
    assert domain.degradation.startswith("real LR images of pairs; 50% of the training patches: ")
    card = json.loads((tmp_path / "runs/pairs/models/satellite/card.json").read_text())
    assert card["pairs_share"] == 0.5
    test = json.loads((tmp_path / "runs/pairs/test-locked/satellite/manifest.json").read_text())
    images = []
    for scene in test["scenes"]["test"]:
        hr, lr = (np.array(Image.open(tmp_path / side / scene)) for side in ("hr", "lr"))
        images.append(NamedImage(scene, scene, hr, None, PreparedImage(lr)))
    expected = mean_psnr(bicubic(2), make_pairs(images, Degradation(), 2), 2)
    (found,) = (arm.psnr for arm in domain.arms if arm.name == "bicubic")
    assert found == pytest.approx(expected, abs=1e-6)


def test_misregistered_pairs_are_refused_before_anything_is_written(tmp_path):
    write_pairs(tmp_path, 8, lr_of=lambda hr: np.roll(degraded("satellite", 2)(hr), 2, 0))
    experiment = experiment_of(tmp_path, {"hr": "hr", "lr": "lr"})
    with pytest.raises(ImageSetError, match=r"The pairs of '.*hr' do not fit: LR is displaced against HR by 2\.0"):
        preflight(experiment)
    assert not (tmp_path / "runs/pairs").exists()
