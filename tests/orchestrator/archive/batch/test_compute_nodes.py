"""Device and precision of a run, by what the nodes of a cluster say."""

import re

import pytest
import torch

from orchestrator.archive.batch import compute_nodes
from orchestrator.archive.batch.compute_nodes import choose_device, choose_precision
from orchestrator.archive.batch.options import Options
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.experiment.feasibility import Resources
from orchestrator.runtime.task_runner import InProcessRunner
from trainables.errors import RunError, UsageError
from trainables.inference.precision import resolve

NONE, TWO = Resources(4, 0, 0), Resources(4, 2, 1)


@pytest.mark.parametrize(
    ("options", "resources", "device"),
    [
        ({}, NONE, "cpu"),
        ({}, TWO, "cuda"),
        ({"device": "cpu"}, TWO, "cpu"),
        ({"device": "cuda"}, TWO, "cuda"),
        ({"device": "cuda", "gpus": 2, "address": "auto"}, TWO, "cuda"),
        ({"gpus": 2, "address": "auto"}, TWO, "cuda"),
    ],
)
def test_the_device(options, resources, device):
    assert choose_device(Options(**options), resources) == device


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "cuda"}, "no node of this Ray has a GPU; take --device cpu."),
        ({"device": "cuda", "address": "auto"}, "If GPU nodes can join it, state how many by --gpus."),
        ({"gpus": 2}, "give its --address too."),
        ({"gpus": 2, "address": "auto", "device": "cpu"}, "leave one of them out."),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(UsageError, match=re.escape(words) + "$"):
        choose_device(Options(**options), NONE)


class Cluster(InProcessRunner):
    """Nodes that are there, and those that are gone when they are asked."""

    def __init__(self, nodes):
        super().__init__(NONE)
        self.there = nodes

    def nodes(self):
        return self.there


@pytest.fixture
def precision(monkeypatch):
    """The precision that is chosen on nodes of these resources and answers."""

    def chosen(nodes, device="cuda", wanted="auto"):
        def answers(runner, survey, *arguments, seconds):
            yield from ((node, answer) for node, (_, answer) in nodes.items())

        monkeypatch.setattr(compute_nodes, "on_every_node", answers)
        runner = Cluster({node: resources for node, (resources, _) in nodes.items() if resources is not None})
        settings = SceneSettings(precision=wanted, device=device)
        return choose_precision(settings, runner)

    return chosen


HEAD, GPU = {"CPU": 4.0}, {"CPU": 8.0, "GPU": 1.0}


def test_a_head_without_gpu_has_no_say_in_the_precision(precision):
    both = {"head": (HEAD, None), "a": (GPU, "bfloat16"), "b": (GPU, "bfloat16")}
    assert precision(both) == "bfloat16"
    assert precision(both | {"c": (GPU, "float32")}) == "float32", "one for all"


def test_a_head_whose_cpus_are_kept_free_has_no_say_either(precision):
    nodes = {"head": ({"CPU": 0.0}, "float32"), "a": (HEAD, "bfloat16")}
    assert precision(nodes, device="cpu") == "bfloat16"
    assert precision(nodes | {"head": (HEAD, "float32")}, device="cpu") == "float32"


def test_a_gpu_that_torch_cannot_use_is_named(precision):
    with pytest.raises(RunError, match=r"^Node a has a GPU by Ray's count, but PyTorch cannot use it there: "):
        precision({"head": (HEAD, None), "a": (GPU, None)})


def test_nodes_that_cannot_work_are_named_and_lost_ones_are_not(precision):
    with pytest.raises(RunError, match=r"^Node a of the cluster cannot work: no disk$"):
        precision({"a": (GPU, RunError("no disk"))})
    assert precision({"lost": (None, RunError("node died")), "a": (GPU, "bfloat16")}) == "bfloat16"
    with pytest.raises(RunError, match=r"^No node of the cluster that computes has answered within 180 s"):
        precision({"head": (HEAD, None)})


def test_a_stated_precision_holds(precision):
    assert precision({"head": (HEAD, "float32")}, wanted="float32") == "float32"


def test_the_precision_of_a_real_process():
    assert compute_nodes._precision_of("cpu") == resolve("auto", torch.device("cpu"))
