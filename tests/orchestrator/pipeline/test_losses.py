"""Nodes and processes of a cluster that are killed: each is one line, and no loss changes trials or winner."""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulated_cluster import EmulatedCluster, emulated_cluster, kill_process, processes
from run_in_one_process import IN_ONE_PROCESS
from run_results import confirmed, trials
from tiny_experiment import settings, write_experiment, write_images
from waiting import wait_for

from orchestrator.foundation.storage import Storage

pytestmark = [pytest.mark.kill, pytest.mark.timeout(1800)]

DOMAIN = "medical"
LIMIT_SECONDS = 600.0


class Run:
    """`rayscale run` on a cluster, as a process of its own whose lines are read while it runs."""

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        self.home, self.lines = Path(content["storage"]) / "tiny", list[str]()
        command = [sys.executable, "-m", "orchestrator.cli.app", "run"]
        command.append(str(write_experiment(folder / "tiny.yaml", content)))
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.lines.extend(line.rstrip() for line in self._process.stdout)

    def has(self, pattern: str, count: int = 1) -> None:
        """Waits for so many files below the experiment."""
        self._wait(lambda: len(list(self.home.glob(pattern))) >= count, pattern)

    def says(self, text: str) -> None:
        """Waits for a line with a text."""
        self._wait(lambda: any(text in line for line in self.lines), text)

    def _wait(self, reached: Callable[[], bool], what: str) -> None:
        def checked() -> bool:
            assert self._process.poll() is None, "\n".join(self.lines)
            return reached()

        try:
            wait_for(checked, LIMIT_SECONDS, what, pause=0.05)
        except AssertionError as error:
            raise AssertionError("\n".join([*self.lines, str(error)])) from None

    def ends(self) -> list[str]:
        code = self._process.wait(timeout=LIMIT_SECONDS)
        self._reader.join(timeout=10)
        assert code == 0, "\n".join(self.lines)
        return self.lines


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmulatedCluster]:
    with emulated_cluster(nodes=2) as made:
        yield made


def kill_node_of(cluster: EmulatedCluster, title: str) -> None:
    """Kills the node on which a process runs, and adds another one."""
    [process] = wait_for(lambda: processes(title)[:1], LIMIT_SECONDS, title, pause=0.05)
    [node] = [node for node in cluster.nodes if process in processes(title, below=cluster.process_of(node))]
    cluster.kill_node(node)
    cluster.nodes.remove(node)
    cluster.nodes.append(cluster.add_node())


def test_every_loss_is_one_line_and_changes_no_result(cluster: EmulatedCluster, tmp_path: Path) -> None:
    content = settings(
        str(write_images(tmp_path / "images")),
        str(tmp_path / "runs"),
        cluster={"address": cluster.address},
        pretraining={"workers": 2, "steps": 400, "checkpoint_every": 40, "report_every": 40, "pool_images": 1},
        finetuning={"steps": 40},
        search={"trials": 6},
    )
    content["targets"].pop("satellite")
    run = Run(tmp_path, content)

    run.has("source/ray/run-*/checkpoint_*/state.safetensors")
    kill_process("ray::TrainController")
    run.says("Ray Train's controller was lost")
    run.has("source/ray/run-*/checkpoint_*/state.safetensors", 2)
    kill_node_of(cluster, "ray::RayTrainWorker")

    run.has("search/*/study-*/0000.json")
    kill_process(f"ray::driver of search {DOMAIN}")
    run.says(f"driver of search {DOMAIN} was lost")
    kill_process("ray::LocalUpdates")
    run.has("search/*/study-*/0001.json")
    kill_process("ray::ImplicitFunc")
    run.has("search/*/study-*/0002.json")
    kill_node_of(cluster, "ray::ImplicitFunc")

    run.has("confirm/*/runs-*/*/run.json")
    kill_process(f"ray::driver of confirm {DOMAIN}")
    run.says(f"driver of confirm {DOMAIN} was lost")
    kill_process(f"ray::confirm {DOMAIN}: ")
    run.says(f"confirm {DOMAIN}: ")
    lines = run.ends()

    calm = {**content, "storage": str(tmp_path / "calm")}
    for part in ("shards", "test-locked", "source"):
        shutil.copytree(run.home / part, tmp_path / "calm" / "tiny" / part)
    calm.pop("cluster")
    command = [sys.executable, *IN_ONE_PROCESS, str(write_experiment(tmp_path / "calm.yaml", calm))]
    subprocess.run(command, check=True, timeout=LIMIT_SECONDS)
    lost, undisturbed = (Storage.at(str(home)) for home in (run.home, tmp_path / "calm" / "tiny"))
    assert trials(lost, DOMAIN) == trials(undisturbed, DOMAIN)
    assert confirmed(lost, DOMAIN) == confirmed(undisturbed, DOMAIN)
    assert not [line for line in lines if re.search(r"\bray\b|Traceback|raylet", line)]
