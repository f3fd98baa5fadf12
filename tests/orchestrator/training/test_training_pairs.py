"""Fine-tuning on pairs: real LR in training and validation, or degraded HR in a share of the patches."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_models
import torch
from pair_files import write_pairs

from orchestrator.confirm.classical import fit_classical
from orchestrator.data.shard_reader import read_manifest
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import PairReading, Target
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files
from orchestrator.training.finetune import DomainJob, run_finetuning, validation_pairs
from trainables.degradation import Degradation
from trainables.loops.settings import Budget, TransferConfiguration
from trainables.metrics.evaluation import bicubic, mean_psnr

CONFIGURATION = TransferConfiguration(learning_rate=2e-3, lambda_=0.0, frozen_depth=0)


def inverted(hr):
    """An LR image that no degradation makes."""
    return 255 - hr.reshape(64, 2, 64, 2, 3).mean((1, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    home = tmp_path_factory.mktemp("job")
    write_pairs(home, 5, lr_of=inverted)
    files = list_files(Target(images={"hr": "hr", "lr": "lr"}), Storage.at(str(home)), scale=lambda: 2)
    shards = Storage.at(str(home / "shards"))
    build_shards(files, {"validation": 0.3}, 48, shards, "CC0", pairs=PairReading(2))
    return DomainJob(
        domain="satellite",
        shards=shards,
        shards_digest=str(read_manifest(shards)["digest"]),
        source=Storage.at(tiny_models.write(home / "model", tiny_models.net(2), degradation=None)),
        source_digest="tiny",
        degradation=Degradation(),
        scale=2,
        budget=Budget(steps=30, batch=4, evaluations=1),
        lr_patch=16,
        validation_images=2,
        validation_crop=64,
        threads=1,
        on_gpu=False,
    )


def final(job):
    return run_finetuning(job, CONFIGURATION, 0, lambda *_: None)[1][-1][1]


def test_validation_is_on_the_real_lr(job):
    for pair in validation_pairs(job):
        means = torch.nn.functional.avg_pool2d(pair.hr, 2)
        assert torch.allclose(pair.lr, 1 - means, atol=1 / 255)
    assert mean_psnr(bicubic(2), validation_pairs(job), 2) < 15


def test_only_the_real_lr_teaches_what_validation_asks(job):
    """A network that is shown negatives learns to undo them; one that is shown degraded HR cannot know."""
    real, mixed, degraded = (final(replace(job, pairs_share=share)) for share in (1.0, 0.5, 0.0))
    assert real > degraded + 2
    assert mixed != degraded


def test_classical_baselines_are_fitted_to_pairs(job, tmp_path):
    record = fit_classical(job, Storage.at(str(tmp_path)))
    assert record.example is not None
    assert record.example.validation_psnr > record.bicubic.validation_psnr + 0.3
