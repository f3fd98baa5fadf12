"""A short pretraining run against the loss curve that an earlier one left in tests/golden.

After a change that means to change training: python tests/trainables/loops/test_golden.py --write
"""

import platform
import sys
from pathlib import Path

import pytest
import torch
import torchvision

from trainables.degradation import Degradation
from trainables.images.patch_pool import PatchPool
from trainables.loops.pretrain import PretrainSettings, pretrain
from trainables.network.network import SuperResolutionNet, preset
from trainables.samples import generate

GOLDEN = Path(__file__).parents[2] / "golden" / "pretrain_tiny.txt"
TOLERANCE = 2e-3
SETTINGS = PretrainSettings(
    steps=60,
    batch=4,
    learning_rate=1e-3,
    report_every=5,
    checkpoint_every=60,
    seed=1,
    precision="float32",  # the one that every processor computes alike
)
# Blurred, because undoing a blur is learnt within so few steps.
DEGRADATION = Degradation(blur=(0.5, 0.5))


def loss_curve():
    images = [generate("natural", seed, (128, 128)) for seed in range(6)]
    torch.manual_seed(SETTINGS.seed)
    net = SuperResolutionNet(preset("tiny", 4))
    pool = PatchPool(lambda: iter(images), scale=4, lr_patch=24, degradation=DEGRADATION, seed=SETTINGS.seed)
    return pretrain(net, SETTINGS, pool, lambda *_: None).losses


def stored_curve():
    lines = [line.split() for line in GOLDEN.read_text().splitlines() if not line.startswith("#")]
    return [(int(step), float(loss)) for step, loss in lines]


def written(curve):
    return f"""\
# Mean absolute error of pretraining the tiny x4 network on six blurred generated natural images.
# Written by: python tests/trainables/loops/test_golden.py --write
# torch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}, \
{platform.machine()}, 1 thread
# A run matches if every loss differs by at most {TOLERANCE:g} of its value.
""" + "".join(f"{step} {loss:.8f}\n" for step, loss in curve)


def test_pretraining_follows_the_golden_curve():
    curve, golden = loss_curve(), stored_curve()
    assert [step for step, _ in curve] == [step for step, _ in golden] == list(range(5, 61, 5))
    assert [loss for _, loss in curve] == pytest.approx([loss for _, loss in golden], rel=TOLERANCE)


def test_the_golden_curve_falls():
    losses = [loss for _, loss in stored_curve()]
    assert sum(losses[-4:]) < 0.93 * sum(losses[:4])


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: python {sys.argv[0]} --write")
    torch.set_num_threads(1)
    GOLDEN.write_text(written(loss_curve()))
