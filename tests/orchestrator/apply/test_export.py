"""A model as an ONNX file: other programs read it, and get what torch gives."""

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from orchestrator.apply import export
from orchestrator.apply.export import export_model
from orchestrator.foundation.model_store import FoundModel, find_model
from tests.helpers import tiny_models
from trainables.errors import RunError, StorageError, UsageError

SHAPES = [(1, 40, 40), (2, 21, 33), (1, 5, 90), (1, 40, 40)]
BANDS = ("blue", "green", "red", "nir")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[FoundModel, Path, export.ExportResult]:
    """Exported once, since torch's exporter takes seconds."""
    folder = tmp_path_factory.mktemp("export")
    card = {"value_range": {"uint16": [0, 10_000]}, "band_names": list(BANDS)}
    model = find_model(tiny_models.write(folder / "mine", tiny_models.of_bands(*BANDS, scale=3), **card))
    return model, folder / "mine.onnx", export_model(model, str(folder / "mine.onnx"))


def torch_output(model: FoundModel, lr: Any) -> Any:
    with torch.inference_mode():
        return model.net(torch.from_numpy(lr)).numpy()


@pytest.mark.parametrize("reader", ["onnxruntime", "cv2"])
def test_a_reader_gives_what_torch_gives_for_any_batch_height_and_width(reader: str, exported: Any) -> None:
    model, file, _ = exported
    if reader == "cv2":
        net = cv2.dnn.readNetFromONNX(str(file))
    else:
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for count, height, width in SHAPES:
        lr = np.random.default_rng(height).random((count, 4, height, width), np.float32)
        if reader == "cv2":
            net.setInput(lr)
            hr = net.forward()
        else:
            hr = session.run(["hr"], {"lr": lr})[0]
        assert hr.shape == (count, 4, 3 * height, 3 * width)
        assert np.abs(hr - torch_output(model, lr)).max() < 1e-4


def test_the_file_holds_card_halo_and_what_was_measured(exported: Any) -> None:
    model, file, told = exported
    graph = onnx.load(file)
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    assert {name: facts[name] for name in ("scale", "bands", "halo")} == {
        "scale": "3",
        "bands": "4",
        "halo": str(model.net.receptive_radius()),
    }
    assert "value_range become 0 and 1" in facts["normalisation"]
    card = json.loads(facts["card"])
    measured = card.pop("export")
    assert card == model.card
    assert measured == {name: told[name] for name in ("opset", "largest_difference", "latency")}
    assert 0 < told["largest_difference"] < 1e-4
    assert told["latency"]["onnxruntime_ms"] > 0 < told["latency"]["torch_ms"]
    assert told["bytes"] == file.stat().st_size
    assert str(Path(__file__).parents[3]).encode() not in file.read_bytes()


def test_a_tile_with_the_stated_halo_equals_that_part_of_the_whole_image(exported: Any) -> None:
    _, file, told = exported
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    lr = np.random.default_rng(0).random((1, 4, 80, 90), np.float32)
    whole, halo, side = session.run(None, {"lr": lr})[0], told["halo"], 20
    row, column = 30, 35
    window = lr[:, :, row - halo : row + side + halo, column - halo : column + side + halo]
    part = session.run(None, {"lr": np.ascontiguousarray(window)})[0][..., 3 * halo : -3 * halo, 3 * halo : -3 * halo]
    expected = whole[..., 3 * row : 3 * (row + side), 3 * column : 3 * (column + side)]
    assert np.abs(part - expected).max() < 1e-5


def test_a_file_that_differs_from_torch_is_not_written(monkeypatch: Any, exported: Any, tmp_path: Path) -> None:
    model, _, _ = exported
    broken = tiny_models.of_bands(*BANDS, scale=3)
    torch.nn.init.constant_(broken.generator.conv.bias, 0.5)
    graph = onnx.load(exported[1])
    monkeypatch.setattr(export, "graph_of", lambda *_: graph)
    other = FoundModel(model.where, model.files, broken, model.card)
    with pytest.raises(RunError, match=r"differ from torch's by up to 0\.\d+, where at most 0\.001 was expected"):
        export_model(other, str(tmp_path / "x.onnx"))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_unless_told_otherwise(monkeypatch: Any, exported: Any, tmp_path: Path) -> None:
    model, file, _ = exported
    monkeypatch.setattr(export, "graph_of", lambda *_: onnx.load(file))
    monkeypatch.chdir(tmp_path)
    assert export_model(model)["output"] == str(tmp_path / "mine.onnx")
    with pytest.raises(UsageError, match="exists; give another --out, or --overwrite"):
        export_model(model)
    assert export_model(model, overwrite=True)["bytes"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["mine.onnx"]


@pytest.mark.parametrize(
    ("out", "told"), [("folder/model.bin", "path of a .onnx file, found"), ("/proc/x.onnx", "Nothing can be written")]
)
def test_a_place_that_does_not_do_is_refused(out: str, told: str, exported: Any) -> None:
    with pytest.raises((UsageError, StorageError), match=told):
        export_model(exported[0], out)


def test_without_the_extra_the_sentence_names_it(monkeypatch: Any, exported: Any, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"onnxruntime is not installed: pip install 'rayscale\[onnx\]'"):
        export_model(exported[0], str(tmp_path / "x.onnx"))
