"""Export of a model to an ONNX file for other programs: any batch, height and width; its card inside.

Shapes: N images, C bands, H×W LR pixels, r the scale factor.

The graph has one input ``lr`` (N, C, H, W) and one output ``hr`` (N, C, r·H, r·W), both float32 on the network's scale,
on which the two values of the card's range are 0 and 1. It does not clamp, nor round, nor cut into tiles.

The file's metadata (``metadata_props``) states ``card``, the model's card as JSON, and by themselves what a program
needs to use it: ``scale``, ``bands``, ``halo`` (LR pixels around a tile that its output depends on) and
``normalisation``. The card's ``export`` states what was measured with ONNX Runtime when the file was written: the
largest difference from torch, and the latency of both.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypedDict, cast

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.foundation.model_store import FoundModel
from orchestrator.foundation.storage import Storage
from trainables.errors import RunError, UsageError
from trainables.inference.convolutional import ConvolutionalNet
from trainables.inference.prepare import prepared
from trainables.inference.speed import processor
from trainables.version import __version__

Format = Literal["onnx"]
LARGEST_DIFFERENCE = 1e-3
"""Largest difference from torch that a file may have, where black to white is 1."""

OPSET = 18
"""Version of ONNX's operators: that of torch's exporter, which all readers of the last years know."""

_SIDE, _ROUNDS = 128, 5
_SHAPES = ((1, 64, 64), (2, 33, 50), (1, 7, 90))
"""N, H and W of the images that are compared."""


class Latency(TypedDict):
    """Time for one image of C bands, the median of some runs on one thread.

    Attributes:
        height: LR rows.
        width: LR columns.
        onnxruntime_ms: Milliseconds with ONNX Runtime.
        torch_ms: Milliseconds with torch in float32, as ``rayscale upscale`` runs the network.
        processor: Name of the CPU.
        onnxruntime: Its version.
        torch: Its version.
    """

    height: int
    width: int
    onnxruntime_ms: float
    torch_ms: float
    processor: str
    onnxruntime: str
    torch: str


class ExportResult(TypedDict):
    """Facts about the file that was written.

    Attributes:
        model: The model, as it was named.
        output: The file.
        format: ``onnx``.
        opset: Version of its operators.
        scale: Scale factor.
        bands: Bands that it takes and gives.
        halo: LR pixels around a tile that its output depends on.
        bytes: Size of the file.
        largest_difference: From torch, over some images, where black to white is 1.
        latency: Times of both.
    """

    model: str
    output: str
    format: Format
    opset: int
    scale: int
    bands: int
    halo: int
    bytes: int
    largest_difference: float
    latency: Latency


Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def export_model(
    model: FoundModel, out: str | None = None, to: Format = "onnx", overwrite: bool = False
) -> ExportResult:
    """Writes a model as an ONNX file, once its output is found to be that of torch.

    Args:
        model: The model.
        out: A .onnx file, local or at ``s3://``; by default one of the model's name in the current folder.
        to: The format; there is one.
        overwrite: Whether to replace a file that exists.

    Raises:
        UsageError: If onnx, onnxscript or onnxruntime is not installed, or ``out`` is no .onnx path, exists, or cannot
            be written.
        RunError: If the output differs from torch's by more than :data:`LARGEST_DIFFERENCE`; nothing is written.
    """
    if to != "onnx":
        raise UsageError(f"--to must be onnx, found '{to}'.")
    target = _target(model, out, overwrite)
    onnx, runtime = _libraries()
    graph = graph_of(ConvolutionalNet(model.net), model.net.architecture.channels, onnx)
    session = _session(runtime, graph.SerializeToString())
    difference = _largest_difference(model, session)
    if not difference <= LARGEST_DIFFERENCE:
        raise RunError(
            f"The ONNX file of '{model.where}' gives values that differ from torch's by up to {difference:.2g}, where "
            f"at most {LARGEST_DIFFERENCE:g} was expected; nothing was written. Please report this."
        )
    latency = _latency(model, session, runtime.__version__)
    _describe(graph, model, {"opset": OPSET, "largest_difference": difference, "latency": latency}, onnx)
    data = graph.SerializeToString()
    target.write_bytes(data)
    return {
        "model": model.where,
        "output": target.uri,
        "format": to,
        "opset": OPSET,
        "scale": model.net.architecture.scale,
        "bands": model.net.architecture.channels,
        "halo": model.net.receptive_radius(),
        "bytes": len(data),
        "largest_difference": difference,
        "latency": latency,
    }


def _target(model: FoundModel, out: str | None, overwrite: bool) -> Storage:
    name = str(model.card.get("name") or "").replace(os.sep, "-") or Path(model.where).name
    target = Storage.at(out or f"{name}.onnx")
    if not target.uri.lower().endswith(".onnx"):
        raise UsageError(f"--out must be the path of a .onnx file, found '{out}'.")
    if not target.exists():
        target.check_writable()
    elif not overwrite:
        raise UsageError(f"'{target.uri}' exists; give another --out, or --overwrite to replace it.")
    return target


def _libraries() -> tuple[ModuleType, ModuleType]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise UsageError(
            f"ONNX files need onnx, onnxscript and onnxruntime, and {error.name} is not installed: "
            "pip install 'rayscale[onnx]'."
        ) from None
    return onnx, onnxruntime


def graph_of(net: ConvolutionalNet, bands: int, onnx: ModuleType) -> Any:
    """Exports a network of so many bands to ONNX, for any batch, height and width, and returns the ONNX model."""
    names = {0: "batch", 2: "height", 3: "width"}
    with tempfile.TemporaryDirectory(prefix="rayscale-") as folder:
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            net,
            (torch.zeros(2, bands, 17, 19),),
            file,
            input_names=["lr"],
            output_names=["hr"],
            dynamic_shapes={"lr": {axis: torch.export.Dim(name) for axis, name in names.items()}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        graph = onnx.load(file)
    # The exporter notes the lines of code that each operator comes from, with the paths of this machine.
    for node in graph.graph.node:
        node.ClearField("metadata_props")
    graph.graph.ClearField("metadata_props")
    return graph


def _session(runtime: ModuleType, graph: bytes) -> Run:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda lr: cast(NDArray[np.float32], session.run(None, {"lr": lr})[0])


def _largest_difference(model: FoundModel, run: Run) -> float:
    """Over noise and over black and white, which has the largest sums."""
    rng, bands, found = np.random.default_rng(0), model.net.architecture.channels, []
    for count, height, width in _SHAPES:
        noise = rng.random((count, bands, height, width), np.float32)
        for lr in (noise, noise.round()):
            with torch.inference_mode():
                expected = model.net(torch.from_numpy(lr)).numpy()
            found.append(float(np.abs(run(lr) - expected).max()))
    return max(found)


def _latency(model: FoundModel, run: Run, version: str) -> Latency:
    lr = np.random.default_rng(0).random((1, model.net.architecture.channels, _SIDE, _SIDE), np.float32)
    ready, threads = prepared(model.net, precision="float32"), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = {"onnxruntime": _median_ms(lambda: run(lr)), "torch": _median_ms(lambda: ready(torch.from_numpy(lr)))}
    finally:
        torch.set_num_threads(threads)
    return {
        "height": _SIDE,
        "width": _SIDE,
        "onnxruntime_ms": times["onnxruntime"],
        "torch_ms": times["torch"],
        "processor": processor(),
        "onnxruntime": version,
        "torch": torch.__version__,
    }


def _median_ms(run: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_ROUNDS + 1):  # the first one warms up
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return round(statistics.median(seconds[1:]) * 1000, 2)


def _describe(graph: Any, model: FoundModel, measured: dict[str, object], onnx: ModuleType) -> None:
    graph.producer_name, graph.producer_version = "rayscale", __version__
    graph.doc_string = "Super-resolution: lr (N, C, H, W) in [0, 1] to hr (N, C, r·H, r·W), float32; see metadata."
    facts = {
        "card": json.dumps({**model.card, "export": measured}, ensure_ascii=False),
        "scale": str(model.net.architecture.scale),
        "bands": str(model.net.architecture.channels),
        "halo": str(model.net.receptive_radius()),
        "normalisation": str(model.card.get("normalisation", "")),
    }
    onnx.helper.set_model_props(graph, facts)
    onnx.checker.check_model(graph)
