"""Values of upscaled scenes and DICOM files: what the radiometric contract of docs/archive.md changes.

    python -m benchmarks.archive.values DATA --model base-x4

DATA holds `geotiff/` and `dicom/`; generated images are added. Of each file, 256×256 pixels are upscaled four times:

- before: the network sees all values as they are, as in versions up to 0.3 (DICOM: clamped, as `off`),
- off: values beyond the range are clamped for the network and interpolated, `--back-project off`,
- on: the same with back-projection by block means, the default,
- model: the same with back-projection by bicubic decimation, as the model's training images were made.

Outputs are rounded to the file's data type. 8-bit files have the range 0 to 255, DICOM the limits of its stored bits,
and others the 0.1 and 99.9 percentiles of their values, so that some lie beyond. Pixels without a value are filled with
the nearest one and are in no figure. PSNR is of the file decimated by r, bicubically and by block means, and upscaled
again, over the range, without a border of 2r pixels. Generated are: a cloud of 13,006 and one bright pixel of 33,685
among values around 10,000 at the range 0 to 10,000, a band of zeros beside an edge, and constant fields.
"""

import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import scene_files
from benchmarks.common.arguments import add_out, command, make_parser
from benchmarks.common.environment import environment
from benchmarks.common.results import ONE_THREAD, today, write_results
from orchestrator.archive.scene.band_roles import class_bands
from orchestrator.archive.scene.reader import Scene, gdal
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.archive.scene.upscale import load_model, upscale_part
from orchestrator.archive.scene.values.measured import PERCENTILES
from orchestrator.dicom.slice import read_slice
from orchestrator.foundation.model_store import find_model
from trainables.degradation.resampling import decimate
from trainables.degradation.settings import Decimation
from trainables.errors import RayScaleError
from trainables.images.hidden_colour import nearest
from trainables.inference.downscaling import BackProject, downscaling_of
from trainables.inference.prepare import Prepared, prepared
from trainables.inference.upscale import for_bands, upscale_values
from trainables.metrics.consistency import ConsistencyMeter

Json = dict[str, Any]
Array = NDArray[Any]
ARMS = ("before", "off", "on", "model")
DECIMATIONS: tuple[Decimation, ...] = ("bicubic", "area")
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.2, 2.0)
_SIDE = 256
_TIMED_SIDE = 512


@dataclass(frozen=True)
class Image:
    """Values of a file or generated ones: (C, H, W), their footprint (H, W), range, limits of their type."""

    name: str
    values: Array
    valid: NDArray[np.bool_]
    low: float
    high: float
    limits: tuple[float, float]
    dicom: bool = False


def read_scene(path: Path) -> Image:
    """A part of a GeoTIFF.

    Raises:
        SceneError: If it cannot be upscaled.
    """
    with gdal(), Scene(path) as scene:
        if scene.palette:
            raise RayScaleError("a palette of classes, which is not filtered")
        sides = scene.facts.height, scene.facts.width
        places = itertools.product(*(range(0, max(1, side - _SIDE + 1), _SIDE // 2) for side in sides))
        strips = [scene.window(*place, *(min(_SIDE, side) for side in sides)) for place in places]
        # The first of those that have a value at the most pixels.
        strip = max(strips, key=lambda strip: 1.0 if strip.valid is None else float(strip.valid[0].mean()))
        dtype = strip.pixels.dtype
        classes = class_bands(scene)
        kept = [band for band in range(len(strip.pixels)) if band not in classes]
        if not kept:
            raise RayScaleError(f"classes, which are repeated: {', '.join(set(classes.values()))}")
    pixels = strip.pixels[kept]
    valid = np.ones(pixels.shape, bool) if strip.valid is None else strip.valid[kept]
    low, high = (0.0, 255.0) if dtype == np.uint8 else np.percentile(pixels[valid], PERCENTILES).tolist()
    filled = np.stack(
        [nearest(band, ~known) if known.any() else band for band, known in zip(pixels, valid, strict=True)]
    )
    return Image(path.name, filled, valid.all(0), low, high, (np.iinfo(dtype).min, np.iinfo(dtype).max))


def read_dicom(path: Path) -> Image:
    """The middle of a DICOM image.

    Raises:
        DicomError: If it cannot be upscaled.
    """
    image = read_slice(path.read_bytes())
    rows, columns = (slice(max(0, (side - _SIDE) // 2), (side + _SIDE) // 2) for side in image.values.shape)
    values, valid = image.values[rows, columns], image.valid[rows, columns]
    low, high = image.value_range("stored")
    return Image(path.name, nearest(values, ~valid)[None], valid, low, high, image.limits, dicom=True)


def generated() -> Iterator[Image]:
    """Scenes of one band, uint16 at 0 to 10,000: fields with clouds beyond the range, a bright pixel, zeros."""
    rng = np.random.default_rng(0)
    ground = 2000 + 400 * np.kron(rng.normal(size=(12, 12)), np.ones((12, 12))) + rng.normal(0, 30, (144, 144))
    rows, columns = np.mgrid[:144, :144]
    share = np.clip(1.5 - np.hypot(rows - 70, columns - 60) / 30, 0, 1)
    bright = 10000 + rng.normal(0, 50, (144, 144))
    bright[70, 70] = 33685
    zeros = np.where(columns < 72, 0, 3000) + 0 * rows
    for name, values in {
        "cloud of 13,006": ground * (1 - share) + 13006 * share,
        "one pixel of 33,685": bright,
        "zeros beside 3,000": zeros,
        "all zeros": 0 * rows,
    }.items():
        pixels = np.rint(values).clip(0, 65535).astype(np.uint16)[None]
        yield Image(f"generated: {name}", pixels, np.ones((144, 144), bool), 0.0, 10000.0, (0, 65535))


def groups_of(bands: int, net: Prepared) -> list[list[int]]:
    """Bands that the network sees together."""
    return [list(range(bands))] if bands == net.channels else [[band] for band in range(bands)]


@torch.inference_mode()
def upscaled(net: Prepared, image: Image, values: Array, arm: str) -> Array:
    """Output in the image's own units and data type: (C, H, W) to (C, r·H, r·W)."""
    span, parts = image.high - image.low, []
    limits = ((image.limits[0] - image.low) / span, (image.limits[1] - image.low) / span)
    for group in groups_of(len(values), net):
        shown = ((values[group].astype(np.float32) - image.low) / span).transpose(1, 2, 0)
        if arm == "before" and not image.dicom:
            pad = net.radius
            lr = np.pad(shown, ((pad, pad), (pad, pad), (0, 0)), mode="reflect").transpose(2, 0, 1)
            hr = for_bands(net, len(group))(torch.from_numpy(np.ascontiguousarray(lr))[None])[0].numpy()
            edge = pad * net.scale
            parts.append(hr[:, edge:-edge, edge:-edge])
        else:
            downscaling = downscaling_of(cast(BackProject, arm if arm in ("on", "model") else "off"), "bicubic")
            hr = upscale_values(net, np.ascontiguousarray(shown), 512, False, downscaling, limits)
            parts.append(hr.transpose(2, 0, 1))
    output = np.concatenate(parts) * span + image.low
    rounded: Array = np.rint(output).clip(*image.limits).astype(values.dtype)
    return rounded


def radiometry(image: Image, output: Array, scale: int) -> Json:
    """What a ledger states of the output."""
    meter = ConsistencyMeter(scale, len(output))
    meter.add(image.values, output, image.valid, image.low, image.high)
    result = meter.result()
    return {**result.radiometry.to_dict(), "flags": list(result.flags)}


def psnr_of(net: Prepared, image: Image, arm: str, kind: Decimation) -> float | None:
    """PSNR in dB against the image itself after decimation; None without enough valid pixels."""
    r = net.scale
    height, width = (side // r * r for side in image.valid.shape)
    hr, valid = image.values[:, :height, :width], image.valid[:height, :width]
    lr = decimate(torch.from_numpy(hr.astype(np.float32))[None], r, kind)[0].numpy()
    lr = np.rint(lr).clip(*image.limits).astype(image.values.dtype)
    output = upscaled(net, image, lr, arm)
    inner = slice(2 * r, -2 * r)
    errors = (output.astype(np.float64) - hr)[:, inner, inner][:, valid[inner, inner]]
    return float(10 * np.log10((image.high - image.low) ** 2 / (errors**2).mean())) if errors.any() else None


def constant_fields(net: Prepared) -> list[Json]:
    """Largest deviation of constant fields in per cent of the range, of single values and of their mean."""
    rows = []
    for level in LEVELS:
        values = np.full((1, 64, 64), round(10000 * level), np.uint16)
        image = Image("field", values, np.ones((64, 64), bool), 0.0, 10000.0, (0, 65535))
        found = {arm: upscaled(net, image, values, arm) / 100 - 100 * level for arm in ARMS}
        rows.append({"level": level} | {arm: {"largest": abs(v).max(), "mean": v.mean()} for arm, v in found.items()})
    return rows


def seconds(model: str, folder: Path) -> Json:
    """CPU seconds of one scene of four bands, uint16, through the network and written, off and on in turns."""
    scene = scene_files.write(folder / "scene.tif", (_TIMED_SIDE, _TIMED_SIDE), 4, "uint16")
    times: dict[str, list[float]] = {"off": [], "on": [], "model": []}
    for _ in range(5):
        for arm, taken in times.items():
            settings = SceneSettings(precision="float32", normalisation=(0, 255), back_project=cast(BackProject, arm))
            loaded, start = load_model(find_model(model), settings), time.process_time()
            upscale_part(scene, (0, _TIMED_SIDE), folder / "part.tif", loaded, settings)
            taken.append(time.process_time() - start)
    return {arm: min(taken) for arm, taken in times.items()}


def measure(model: str, data: Path) -> Json:
    """All figures but the time."""
    net = prepared(find_model(model).net, precision="float32")
    files = [(path, read_scene) for path in sorted((data / "geotiff").glob("*.tif"))]
    files += [(path, read_dicom) for path in sorted((data / "dicom").glob("*.dcm"))]
    rows: list[Json] = []
    images: list[Image] = []
    for path, read in files:
        try:
            images.append(read(path))
        except RayScaleError as error:
            rows.append({"name": path.name, "failed": str(error)})
    for image in [*images, *generated()]:
        row: Json = {"name": image.name, "range": [image.low, image.high]}
        for arm in ARMS:
            output = upscaled(net, image, image.values, arm)
            row[arm] = radiometry(image, output, net.scale) | {"maximum": int(output.max())}
            for kind in DECIMATIONS:
                real = not image.name.startswith("generated")
                row[arm][f"psnr_{kind}"] = psnr_of(net, image, arm, kind) if real else None
        rows.append(row)
    return {"files": rows, "fields": constant_fields(net)}


def page(result: Json) -> str:
    """The figures as tables."""
    lines = ["# Values of upscaled scenes and DICOM files", "", f"{result['date']}, `{result['command']}`", ""]
    lines += [f"- {key}: {value}" for key, value in result["environment"].items()]
    lines += [
        "",
        "Largest |bias| of a band, largest error of a block mean: stored units. Overshoot: share of the local",
    ]
    lines += ["3×3 range. Each cell: before / off / on / model.", ""]
    lines += ["| file | beyond range, % | bias | block error | overshoot | greatest value | flags, on |"]
    lines += ["|---|---:|---:|---:|---:|---:|---|"]
    for row in result["files"]:
        if "failed" in row:
            lines.append(f"| {row['name']} | left out: {row['failed']} | | | | | |")
            continue
        bias = " / ".join(f"{max(map(abs, row[arm]['bias'])):.3g}" for arm in ARMS)
        block, overshoot, greatest = (
            " / ".join(f"{row[arm][key]:.4g}" for arm in ARMS) for key in ("block_error", "overshoot", "maximum")
        )
        outside, flags = row["on"]["outside_percent"], ", ".join(row["on"]["flags"]) or "none"
        lines.append(f"| {row['name']} | {outside:.2f} | {bias} | {block} | {overshoot} | {greatest} | {flags} |")
    lines += [
        "",
        "PSNR in dB against HR, LR decimated bicubically and by block means: before, and what is gained to it by",
    ]
    lines += ["off / on / model.", "", "| file | bicubic: before | gain | area: before | gain |"]
    lines += ["|---|---:|---:|---:|---:|"]
    for row in result["files"]:
        if "failed" not in row and row["on"]["psnr_bicubic"] is not None:
            cells = []
            for kind in DECIMATIONS:
                scores = [row[arm][f"psnr_{kind}"] for arm in ARMS]
                gains = " / ".join(f"{score - scores[0]:+.3f}" for score in scores[1:])
                cells.append(f"{scores[0]:.2f} | {gains}")
            lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    lines += [
        "",
        "Constant fields, deviation in % of the range, largest of a pixel and mean: before / off / on / model.",
        "",
    ]
    lines += ["| level | largest | mean |", "|---:|---:|---:|"]
    for row in result["fields"]:
        cells = (" / ".join(f"{row[arm][key]:.3f}" for arm in ARMS) for key in ("largest", "mean"))
        lines.append(f"| {row['level']:g} | {' | '.join(cells)} |")
    if taken := result.get("seconds"):
        more = " and ".join(f"{100 * (taken[arm] / taken['off'] - 1):.1f} % ({arm})" for arm in ("on", "model"))
        lines += [
            "",
            f"CPU seconds of a scene of four bands, {_TIMED_SIDE}×{_TIMED_SIDE} LR pixels, least of five in turns: ",
        ]
        lines[-1] += f"{taken['off']:.2f} off; back-projection takes {more} more."
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the benchmark."""
    parser = make_parser(__doc__)
    parser.add_argument("data", type=Path, help="folder with geotiff/ and dicom/")
    parser.add_argument("--model", default="base-x4", help="model")
    parser.add_argument("--no-time", action="store_true", help="leave out the time")
    add_out(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = {"date": today(), "command": command("archive.values"), "environment": environment("rasterio", "pydicom")}
    result |= {"model": options.model, **measure(options.model, options.data)}
    if not options.no_time:
        with tempfile.TemporaryDirectory() as folder:
            result["seconds"] = seconds(options.model, Path(folder))
    name = f"archive-values-{Path(options.model).name}"
    print(write_results(options.out, name, ONE_THREAD, data=result, page=page(result)))


if __name__ == "__main__":
    main()
