"""Every block of docs/python.md runs, one after the other in one namespace as in a notebook; then those of README."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import tiny_experiment, tiny_models
from trainables.samples import write_samples

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "python.md"


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


BLOCKS = blocks_of(PAGE)
NEEDS_A_RUN = re.compile(r"\brun\(|read_report\(|finetune\(")


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_models.packaged(tmp_path, monkeypatch)
    photos = tmp_path / "photos"
    for number, name in enumerate(("harbour", "market")):
        write_samples(tmp_path / "made", "natural", 1, 1, seed=number, size=(96, 96))
        photos.mkdir(exist_ok=True)
        next((tmp_path / "made").rglob("*.png")).rename(photos / f"{name}.png")
    root = tiny_experiment.write_images(tmp_path / "images")
    (tmp_path / "experiments").mkdir()
    settings = tiny_experiment.settings(str(root), str(tmp_path / "runs"))
    tiny_experiment.write_experiment(tmp_path / "experiments" / "four-domains.yaml", settings)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def execute(blocks: list[str], **given: Any) -> dict[str, Any]:
    namespace = dict(given)
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), namespace)
    return namespace


def test_blocks_without_a_run(notebook: Path) -> None:
    blocks = [block for block in BLOCKS if not NEEDS_A_RUN.search(block)]
    assert len(blocks) == len(BLOCKS) - 3
    names = execute(blocks)
    assert names["large"].shape == (160, 240, 4)
    assert [frame.shape for frame in names["large_frames"]] == [(384, 384, 3)] * 2
    assert {"low", "high"} <= set(names["gain"])
    assert names["camera"].card["adaptation"]["steps"] == 5
    assert names["estimate"].seconds > 0


def test_blocks_of_the_readme(notebook: Path) -> None:
    names = execute(blocks_of(ROOT / "README.md"), image=np.zeros((20, 30, 3), np.uint8))
    assert names["large"].shape == (80, 120, 3)


@pytest.mark.cluster
def test_the_blocks_of_a_run(notebook: Path) -> None:
    first = next(number for number, block in enumerate(BLOCKS) if "load_experiment" in block)
    names = execute([block for block in BLOCKS[first:] if "load_experiment" in block or NEEDS_A_RUN.search(block)])
    assert names["verdict"] == names["gains"]["satellite"]
    assert Path("models/more/card.json").exists() is (names["best"] is not None)
    assert [each.name for each in Path("runs").iterdir()] == ["tiny"]
