"""Engines for the network of an archive job: torch, ONNX Runtime and OpenVINO, in 32, 16 and 8 bits.

    python -m benchmarks.archive.engines --model base-x4 --side 512

Needs `pip install -e '.[onnx]'`, and openvino for its rows. Each row is a whole job on one thread: a scene read, the
network, back-projection, output in the scene's data type, a verified Cloud-Optimised GeoTIFF. CPU time is that of the
process; loading and compiling the network is left out. Rounds go through all rows in turns, and the fastest round of
each counts. MP are output pixels, all bands together. The 8-bit networks are quantised by ONNX Runtime: weights by
channel, activations with ranges measured on tiles of the scenes themselves; the interpolated image stays in 32 bits.
PSNR is over the data type's range, of the written pixels against those of torch in float32.
"""

import argparse
import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.archive.mosaic import KINDS, make_scene
from benchmarks.archive.timed_job import OUTPUT, timed_job
from benchmarks.common.arguments import add_out, command, make_parser
from benchmarks.common.environment import environment
from benchmarks.common.results import ONE_THREAD, today, write_results
from orchestrator.apply.export import export_model
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.archive.scene.upscale import load_model
from orchestrator.foundation.model_store import FoundModel, find_model

Json = dict[str, Any]
Run = Callable[[Tensor], Tensor]
REFERENCE = "torch float32"
_TILES, _CALIBRATION_SIDE = 8, 128


def onnxruntime_run(file: Path) -> Run:
    import onnxruntime  # of the extra `onnx`

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda lr: torch.from_numpy(session.run(None, {"lr": lr.contiguous().numpy()})[0])


def openvino_run(file: Path, precision: str) -> Run:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision}
    compiled = core.compile_model(core.read_model(file), "CPU", settings)
    return lambda lr: torch.from_numpy(compiled({"lr": lr.contiguous().numpy()})[0].copy())


def calibration(scenes: dict[str, Path]) -> list[NDArray[np.float32]]:
    """Tiles as the network sees them: three bands, or one that is repeated."""
    tiles, rng = [], np.random.default_rng(0)
    for kind, path in scenes.items():
        with rasterio.open(path) as source:
            pixels = (source.read() / KINDS[kind][2][1]).astype(np.float32).clip(0, 1)
        for _ in range(_TILES):
            row, column = (int(rng.integers(0, side - _CALIBRATION_SIDE + 1)) for side in pixels.shape[1:])
            tile = pixels[:, row : row + _CALIBRATION_SIDE, column : column + _CALIBRATION_SIDE]
            tiles.append(tile[None] if len(tile) == 3 else np.repeat(tile[None, -1:], 3, axis=1))
    return tiles


def quantised(file: Path, tiles: list[NDArray[np.float32]]) -> Path:
    """The same network in 8 bits."""
    import onnx
    from onnxruntime import quantization

    class Tiles(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(tiles)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            tile = next(self.rest, None)
            return None if tile is None else {"lr": tile}

    nodes = onnx.load(file).graph.node
    # The two convolutions of interpolation, whose groups are the bands, and all that is computed with their results.
    grouped = [node for node in nodes if any(a.name == "group" and a.i > 1 for a in node.attribute)]
    excluded, known = [node.name for node in grouped], {node.output[0] for node in grouped}
    for node in nodes:
        if known & set(node.input):
            excluded.append(node.name)
            known.add(node.output[0])
    target = file.with_name("int8.onnx")
    quantization.quantize_static(
        file,
        target,
        Tiles(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        op_types_to_quantize=["Conv", "Add", "Relu"],
        nodes_to_exclude=excluded,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return target


def engines(model: FoundModel, folder: Path, scenes: dict[str, Path]) -> dict[str, tuple[str, Run | None]]:
    """Precision of torch, and what runs in its place, by name."""
    file = folder / "float32.onnx"
    export_model(model, str(file))
    small = quantised(file, calibration(scenes))
    found: dict[str, tuple[str, Run | None]] = {
        REFERENCE: ("float32", None),
        "torch bfloat16": ("bfloat16", None),
        "onnxruntime float32": ("float32", onnxruntime_run(file)),
        "onnxruntime int8": ("float32", onnxruntime_run(small)),
    }
    if importlib.util.find_spec("openvino"):
        found |= {
            "openvino float32": ("float32", openvino_run(file, "f32")),
            "openvino bfloat16": ("float32", openvino_run(file, "bf16")),
            "openvino int8": ("float32", openvino_run(small, "f32")),
        }
    return found


def psnr(output: Path, reference: NDArray[Any], white: float) -> float:
    with rasterio.open(output) as written:
        errors = written.read().astype(np.float64) - reference
    mean = float((errors**2).mean())
    return 10 * np.log10(white**2 / mean) if mean else float("inf")


def measure(options: argparse.Namespace, folder: Path) -> list[Json]:
    model = find_model(options.model)
    scenes = {kind: make_scene(folder / f"{place}.tif", options.side, kind) for place, kind in enumerate(KINDS)}
    rows: dict[tuple[str, str], Json] = {}
    references: dict[str, NDArray[Any]] = {}
    arms = engines(model, folder, scenes)
    for _ in range(options.rounds):
        for name, (precision, run) in arms.items():
            for kind, scene in scenes.items():
                settings = SceneSettings(precision=precision, normalisation=KINDS[kind][2])  # type: ignore[arg-type]
                loaded = load_model(model, settings)
                if run is not None:
                    loaded = replace(loaded, net=replace(loaded.net, run=run))
                found, output = timed_job(scene, folder, loaded, settings), folder / OUTPUT
                if name == REFERENCE and kind not in references:
                    with rasterio.open(output) as written:
                        references[kind] = written.read()
                found["psnr"] = psnr(output, references[kind], KINDS[kind][2][1])
                row = {"scene": kind, "engine": name} | found
                best = rows.get((kind, name))
                rows[kind, name] = row if best is None or row["cpu_s"] < best["cpu_s"] else best
    return [rows[kind, name] for kind in scenes for name in arms]


def page(told: Json) -> str:
    lines = [f"# Engines in a whole archive job, {told['date']}", "", f"Command: `{told['command']}`", ""]
    lines += [*(f"- {name}: {value}" for name, value in told["environment"].items()), ""]
    lines += ["| scene | engine | MP/s, network alone | MP/s, whole job | × torch float32 | PSNR to float32, dB |"]
    lines += ["|---|---|---:|---:|---:|---:|"]
    first = {row["scene"]: row["cpu_s"] for row in told["rows"] if row["engine"] == REFERENCE}
    for row in told["rows"]:
        network, whole = (row["megapixels"] / row[name] for name in ("network_s", "cpu_s"))
        same = "the same" if row["psnr"] == float("inf") else f"{row['psnr']:.1f}"
        ratio = first[row["scene"]] / row["cpu_s"]
        lines.append(f"| {row['scene']} | {row['engine']} | {network:.2f} | {whole:.2f} | {ratio:.2f} | {same} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Runs the benchmark."""
    parser = make_parser(__doc__)
    parser.add_argument("--model", default="base-x4", help="model")
    parser.add_argument("--side", type=int, default=512, help="LR pixels on a side of a scene")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the fastest counts")
    add_out(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    packages = [name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name)]
    told: Json = {"date": today(), "command": command("archive.engines"), "environment": environment(*packages)}
    with tempfile.TemporaryDirectory() as folder:
        told["rows"] = measure(options, Path(folder))
    print(write_results(options.out, "archive-engines", ONE_THREAD, data=told, page=page(told)))
    print(page(told))


if __name__ == "__main__":
    main()
