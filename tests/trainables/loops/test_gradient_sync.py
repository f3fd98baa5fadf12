"""Real processes, which gloo connects as Ray Train would."""

import multiprocessing
import os
import random
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from trainables.errors import RunError
from trainables.loops import gradient_sync as module
from trainables.loops.gradient_sync import MEMORY, share_gradients, shared_mean
from trainables.network.network import SuperResolutionNet, preset

pytestmark = pytest.mark.skipif(not MEMORY.is_dir(), reason="no file system in memory")


def together(function, workers, folder):
    """What ``function(rank)`` gave in each of some processes; None for one that ended without an answer."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_run, args=(function, rank, workers, folder)) for rank in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode is not None, "a worker waits for ever"
    answers = [Path(folder) / f"answer-{rank}" for rank in range(workers)]
    return [torch.load(answer) if answer.exists() else None for answer in answers]


def _run(function, rank, workers, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=workers)
    answer = function(rank)
    torch.save(answer, f"{folder}/answer-{rank}")


def means(rank):
    """Several means in turns, by workers that come at different times; then where there is no memory for all."""
    made = {}
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        module.MEMORY = Path(folder)
        mean = shared_mean(1000)
        # Of worker 0; another's stays empty in any case.
        made["left behind"] = [path.name for path in Path(folder).iterdir()]
        for turn, size in enumerate((1, 1000, 2500, 7, 1000)):
            time.sleep(random.Random(rank * 10 + turn).random() / 20)
            values = torch.arange(size) * 0.1 + rank + turn
            mean(values)
            made[turn, size] = values
        module._open, real = (lambda *told: None) if rank == 1 else module._open, module._open
        made["elsewhere"] = shared_mean(1000)
        module._open = real
        module.MEMORY = Path(folder) / "missing"
        made["no room"] = shared_mean(1000)
        made["left behind at last"] = [path.name for path in Path(folder).iterdir()]
        distributed.barrier()
    return made


def test_workers_take_the_same_mean_and_leave_nothing_behind(tmp_path):
    told = together(means, 3, str(tmp_path))
    for turn, size in enumerate((1, 1000, 2500, 7, 1000)):
        expected = torch.stack([torch.arange(size) * 0.1 + rank + turn for rank in range(3)]).mean(0)
        for rank in range(3):
            assert torch.equal(told[rank][turn, size], expected)
    for each in told:
        assert each["elsewhere"] is None
        assert each["no room"] is None
        assert each["left behind"] == []
        assert each["left behind at last"] == []


def gradients(rank):
    """A network's gradients over two workers, as gloo and as shared memory average them; then one worker ends."""
    made = []
    for shared in (False, True):
        torch.manual_seed(0)
        net = SuperResolutionNet(preset("tiny", 2)).to(memory_format=torch.channels_last)
        for parameter in net.generator.parameters():
            nn.init.normal_(parameter, std=0.1)
        parallel = DistributedDataParallel(net, gradient_as_bucket_view=True)
        if shared:
            module._LARGEST = 5000  # less than the network has, so that gradients go in parts
            assert share_gradients(parallel)
        torch.manual_seed(rank)
        for _ in range(3):
            net.zero_grad()
            parallel(torch.rand(2, 3, 16, 16)).square().mean().backward()
        made.append([parameter.grad.clone() for parameter in net.parameters()])
    mean = shared_mean(10)
    if rank == 1:
        distributed.barrier()
        os._exit(0)
    distributed.barrier()
    try:
        mean(torch.zeros(10))
    except RunError as error:
        made.append(str(error))
    return made


def test_gradients_are_those_of_gloo_and_a_missing_worker_is_said(tmp_path):
    (usual, shared, said), missing = together(gradients, 2, str(tmp_path))
    assert missing is None
    assert sum(gradient.numel() for gradient in usual) > 5000
    for one, other in zip(usual, shared, strict=True):
        assert one.abs().max() > 0
        assert torch.equal(one, other)
    assert said == "Another worker of this training has ended, so that its gradients are missing."


def test_gradients_on_other_devices_go_the_usual_way():
    on_another = SimpleNamespace(parameters=lambda: [torch.zeros(1, device="meta")])
    assert share_gradients(on_another) is False
