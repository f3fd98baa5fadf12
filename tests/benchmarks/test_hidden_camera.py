"""The benchmark's camera: nothing displaced, the same every time, and unlike the domains' degradations."""

import numpy as np
import pytest
import torch

from benchmarks.common.hidden_camera import photograph
from trainables.metrics.pair_checks import measure_pair
from trainables.metrics.pair_verdict import judge
from trainables.samples import generate


@pytest.mark.parametrize("domain", ["satellite", "surveillance", "medical"])
def test_its_pairs_pass_the_checks(domain):
    measured = {}
    for seed in range(4):
        hr = generate(domain, seed, (320, 320))
        lr = photograph(hr, 4)
        assert lr.shape == (80, 80, 3)
        pair = [torch.from_numpy(image).permute(2, 0, 1) / 255 for image in (hr, lr)]
        measured[str(seed)] = measure_pair(*pair, 4)
    assert judge(measured, 4, ("red", "green", "blue")).faults == ()


def test_it_depends_on_the_scene_alone():
    hr = generate("art", 0, (64, 64))
    assert np.array_equal(photograph(hr, 2), photograph(hr, 2))
    assert photograph(hr[..., :1], 2).shape == (32, 32, 1)


def test_it_overshoots_at_edges_and_keeps_flat_places():
    hr = np.full((128, 128, 1), 60, np.uint8)
    hr[:, 64:] = 190
    row = photograph(hr, 4)[4:-4].mean((0, 2))
    assert row[2:8] == pytest.approx(60, abs=5)
    assert row[17] == row.max() > 191
    assert row[20:28] == pytest.approx(190, abs=2)
