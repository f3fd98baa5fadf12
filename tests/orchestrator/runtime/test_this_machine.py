"""What this machine has, and what need not be imported to know it."""

from pathlib import Path

import pytest
import torch

from orchestrator.experiment.settings import Cluster
from orchestrator.runtime import this_machine
from orchestrator.runtime.this_machine import local_resources


def test_without_a_gpus_driver_pytorch_is_not_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: pytest.fail("it was"))
    monkeypatch.setattr(this_machine, "NVIDIA", "libno-such-driver.so.1")
    monkeypatch.setattr(this_machine, "AMD", tmp_path / "kfd")
    found = local_resources(Cluster(cpus=3))
    assert (found.cpus, found.gpus, found.gpus_of_a_node) == (3, 0, 0)


@pytest.mark.parametrize(("nvidia", "amd"), [(None, "kfd"), ("libno-such-driver.so.1", ".")])
def test_with_a_driver_pytorch_counts(monkeypatch, tmp_path, nvidia, amd):
    """The name None stands for this program itself, which can always be opened."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(this_machine, "NVIDIA", nvidia)
    monkeypatch.setattr(this_machine, "AMD", Path(tmp_path, amd))
    found = local_resources(Cluster(cpus=3))
    assert (found.cpus, found.gpus, found.gpus_of_a_node) == (3, 2, 2)
