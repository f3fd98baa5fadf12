"""What a node must have before it works, one sentence for each that lacks something."""

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import s3_stub
import torch

from orchestrator.foundation.storage import Storage
from orchestrator.runtime import node_check
from orchestrator.runtime.node_check import LOGICAL, check_nodes, look
from orchestrator.runtime.task_runner import InProcessRunner
from trainables.errors import UsageError

NODES = {"a" * 40: {"CPU": 4.0}, "b" * 40: {"CPU": 4.0, "GPU": 2.0}}


class Nodes(InProcessRunner):
    """Nodes in this process, each of which may see or answer something else."""

    def __init__(self, answers=None, nodes=NODES):
        super().__init__(SimpleNamespace(cpus=8.0, gpus=2.0))
        self.answers, self.found = answers or {}, nodes

    def nodes(self):
        return self.found

    def submit(self, function, *arguments, needs, **options):
        assert (needs.cpus, needs.gpus) == (0, 0), "a busy node answers too"
        change = self.answers.get(needs.node, lambda facts: facts)
        return super().submit(lambda *given: change(function(*given)), *arguments, needs=needs, **options)


@pytest.fixture(autouse=True)
def addresses(monkeypatch):
    monkeypatch.setattr(node_check, "node_names", lambda: {"a" * 40: "10.0.0.1", "b" * 40: "10.0.0.2"})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def home(tmp_path):
    return Storage.at(str(tmp_path / "runs" / "mine"))


def test_nodes_that_have_all_pass_and_leave_nothing(home, tmp_path):
    check_nodes(Nodes(), home, needs_gpus=True, reads=[str(tmp_path)])
    assert list((tmp_path / "runs" / "mine").iterdir()) == []


def failing(error):
    def fail(facts):
        raise error

    return fail


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda facts: replace(facts, version="0.0.1"), r"has rayscale 0\.0\.1, and this machine .*: install the same"),
        (
            lambda facts: replace(facts, code="other"),
            "has other code of rayscale .* than this machine: install the same",
        ),
        (lambda facts: replace(facts, python="3.9"), r"runs Python 3\.9, and this machine 3\.\d+: install the same on"),
        (lambda facts: replace(facts, ray="2.0.0"), r"runs Ray 2\.0\.0, and this machine .*: install the same on both"),
        (lambda facts: replace(facts, gpus=1), "claims 2 GPUs, but PyTorch sees 1 there: install the CUDA build of Py"),
        (
            failing(RuntimeError("failed to import\n\nModuleNotFoundError: No module named 'orchestrator'")),
            "has no rayscale: install rayscale .* there, as on this machine",
        ),
        (failing(RuntimeError("x\nModuleNotFoundError: No module named 'optuna'")), r"lacks a library \(.*'optuna'\)"),
        (failing(RuntimeError("first\nno memory")), r"cannot start a process \(no memory\)"),
    ],
)
def test_a_node_that_lacks_something_is_named_with_it(home, answer, words):
    with pytest.raises(UsageError, match=rf"^Node 10\.0\.0\.2 \(bbbbbbbb\) {words}"):
        check_nodes(Nodes({"b" * 40: answer}), home, needs_gpus=True)
    assert not list(home.files())


def test_each_failing_node_has_its_sentence(home):
    old = dict.fromkeys(NODES, lambda facts: replace(facts, version="0.0.1"))
    with pytest.raises(UsageError) as raised:
        check_nodes(Nodes(old), home)
    said = str(raised.value)
    assert said.startswith("2 of the cluster's 2 nodes cannot work: Node 10.0.0.1 (aaaaaaaa) has rayscale 0.0.1")
    assert "Node 10.0.0.2 (bbbbbbbb) has rayscale 0.0.1" in said


def test_of_many_failing_nodes_the_first_are_named(home):
    nodes = {f"{number:040d}": {"CPU": 1.0} for number in range(9)}
    old = dict.fromkeys(nodes, lambda facts: replace(facts, version="0.0.1"))
    with pytest.raises(UsageError, match=r"^9 of the cluster's 9 nodes .* And 4 more\.$"):
        check_nodes(Nodes(old, nodes), home)


def test_a_node_that_is_lost_meanwhile_is_no_failure(home):
    runner = Nodes()
    runner.answers["b" * 40] = failing(RuntimeError("its node died"))
    asked = iter([NODES, {"a" * 40: {"CPU": 4.0}}])
    runner.nodes = lambda: next(asked)
    check_nodes(runner, home)


def test_gpus_that_are_numbers_only_are_not_looked_for(home, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match="claims 2 GPUs, but PyTorch sees 0 there"):
        check_nodes(Nodes(), home, needs_gpus=True)
    check_nodes(Nodes(), home, needs_gpus=False)
    monkeypatch.setenv(LOGICAL, "1")
    check_nodes(Nodes(), home, needs_gpus=True)


def test_a_node_sees_the_same_folder_or_says_so(tmp_path):
    place = tmp_path / "runs" / "node-check-1"
    assert f"does not see this machine's folder '{tmp_path}/runs'" in look(str(place), "n", (), False).problem
    assert not place.exists(), "looking creates nothing"
    place.mkdir(parents=True)
    (place / "driver").write_bytes(b"1")
    assert look(str(place), "n", (), False).problem == ""
    assert (place / "n").read_bytes() == b"1"
    missing = str(tmp_path / "images")
    assert f"does not see '{missing}'" in look(str(place), "n", (missing,), False).problem


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_a_node_cannot_write_is_said(tmp_path):
    (tmp_path / "driver").write_bytes(b"1")
    tmp_path.chmod(0o500)
    try:
        assert "cannot write to" in look(str(tmp_path), "n", (), False).problem
    finally:
        tmp_path.chmod(0o700)


def test_keys_that_only_the_driver_has_are_said(monkeypatch):
    with s3_stub.serving(monkeypatch) as server:
        server.objects["runs/node-check-1/driver"] = b"1"
        assert look("s3://bucket/runs/node-check-1", "n", (), False).problem == ""
        server.denied.add("runs/node-check-1/m")
        said = look("s3://bucket/runs/node-check-1", "m", (), False).problem
        assert said.startswith("cannot write to 's3://bucket/runs' (")
        assert said.endswith("keys of this machine are not given to nodes, which need a role or a profile of their own")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/none")
        from orchestrator.foundation import storage
        from orchestrator.foundation.buckets import s3

        s3.forget_client()
        storage._check_bucket.cache_clear()
        said = look("s3://bucket/runs/node-check-1", "n", (), False).problem
        assert said.startswith("cannot read 's3://bucket/runs' (No S3 credentials were found for s3://bucket")
