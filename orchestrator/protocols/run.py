"""Runs a published benchmark on a user's copy of its images: bicubic and models, beside the published rows."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.apply.device import chosen_device
from orchestrator.foundation.model_store import find_model
from orchestrator.foundation.statistics import paired_interval
from orchestrator.foundation.summaries import LeftOutFile
from orchestrator.foundation.task_progress import CountCallback
from orchestrator.protocols.arms import Arm, bicubic_arm, enlarged, model_arm
from orchestrator.protocols.measures import measure
from orchestrator.protocols.protocol import BICUBIC, BenchmarkPair, LoadedPair, Protocol
from orchestrator.protocols.result import BenchmarkResult, PartResult
from trainables.degradation.resampling import decimate
from trainables.errors import UnreadableImageError, UsageError
from trainables.inference.precision import Precision
from trainables.inference.prepare import Prepared, prepared
from trainables.metrics.means import mean_of_known

TOLERANCE = 0.05
"""Largest difference in dB between our bicubic and the published one at which rows are compared."""


@dataclass(slots=True)
class _Scores:
    """Measures of a part's images by arm, in one order."""

    scenes: list[str] = field(default_factory=list)
    by_arm: dict[str, list[dict[str, float | None]]] = field(default_factory=lambda: defaultdict(list))


def run_benchmark(
    protocol: Protocol,
    data: str,
    models: Sequence[str] = (),
    scale: int | None = None,
    parts: Sequence[str] = (),
    ensemble: bool = False,
    precision: Precision = "auto",
    report_progress: CountCallback = lambda _, __: None,
) -> BenchmarkResult:
    """Enlarges and compares every test pair.

    Args:
        protocol: The benchmark.
        data: Folder of its data set.
        models: Packaged names, folders or prefixes of models of one scale factor.
        scale: Scale factor; by default the models', or the largest of the benchmark.
        parts: Parts to score; all that are found by default.
        ensemble: Whether models average eight flips and rotations.
        precision: Precision of the convolutions.
        report_progress: Called with the pairs done and all pairs.

    Raises:
        UsageError: If the folder, a model or the scale factor does not fit, or pairs lack one side.
    """
    found = {name: find_model(name) for name in dict.fromkeys(models)}
    nets = {name: prepared(model.net, chosen_device("auto"), precision) for name, model in found.items()}
    _check_bands(protocol, nets)
    factor = _scale(protocol, nets, scale)
    pairs = find_pairs(protocol, data, factor, parts)
    arms = [bicubic_arm(BICUBIC, factor), *(model_arm(name, found[name], net, ensemble) for name, net in nets.items())]
    scores: dict[str, _Scores] = defaultdict(_Scores)
    left_out: list[LeftOutFile] = []
    for number, pair in enumerate(pairs, 1):
        try:
            measured = _measured(protocol, pair, arms, factor)
        except (UnreadableImageError, OSError) as error:  # one damaged file must not end the benchmark
            left_out.append({"file": pair.name, "reason": str(error)})
        else:
            scores[pair.part].scenes.append(pair.scene)
            for name, values in measured.items():
                scores[pair.part].by_arm[name].append(values)
        report_progress(number, len(pairs))
    if not scores:
        raise UsageError(
            f"None of {len(pairs)} test pairs of {protocol.title} can be scored, such as '{left_out[0]['file']}': "
            f"{left_out[0]['reason']}."
        )
    results = [_part(name, part, protocol.measures) for name, part in scores.items()]
    refusal = refusal_of(protocol, results, left_out, factor)
    return {
        "benchmark": protocol.name,
        "title": protocol.title,
        "home": protocol.home,
        "scale": factor,
        "lr": protocol.lr,
        "definition": protocol.definition,
        "measures": list(protocol.measures),
        "parts": results,
        "published": []
        if refusal
        else [
            {"method": row.method, "measures": dict(row.measures), "source": row.source}
            for row in protocol.published_at(factor)
        ],
        "notes": list(protocol.notes),
        "left_out": left_out,
        "refusal": refusal,
    }


def find_pairs(protocol: Protocol, data: str, scale: int, parts: Sequence[str] = ()) -> list[BenchmarkPair]:
    """Test pairs below a folder, of some parts or of all.

    Raises:
        UsageError: If the folder is missing, holds no test pairs or not that part, or pairs lack one side.
    """
    root = Path(data)
    if data.startswith("s3://"):
        raise UsageError(f"--data must be a folder, found '{data}': copy the data set to this machine first.")
    if not root.is_dir():
        raise UsageError(f"There is no folder '{data}'; name the one of {protocol.title} ({protocol.home}).")
    found = protocol.find(root, scale)
    if not found:
        raise UsageError(f"'{data}' holds no test pairs of {protocol.title} at x{scale}; expected {protocol.layout}.")
    known = list(dict.fromkeys(pair.part for pair in found))
    unknown = next((part for part in parts if part not in known), None)
    if unknown is not None:
        raise UsageError(
            f"'{data}' has no part '{unknown}' of {protocol.title} at x{scale}, it has {', '.join(known)}."
        )
    return [pair for pair in found if not parts or pair.part in parts]


def refusal_of(
    protocol: Protocol, parts: Sequence[PartResult], left_out: Sequence[LeftOutFile], scale: int
) -> str | None:
    """Reason in a sentence why published rows cannot be compared with ours; None if they can."""
    rows = protocol.published_at(scale)
    if not rows:
        return None
    if left_out:
        return f"Not compared with published results: {len(left_out)} test pairs of {protocol.title} were left out."
    for part in parts:
        expected = protocol.images.get(part["name"])
        if expected is not None and part["images"] != expected:
            return (
                f"Not compared with published results: they are of {expected} images of {protocol.title}"
                f"{_part_name(part, protocol)}, and {part['images']} were found."
            )
    published = next((row.measures["psnr"] for row in rows if row.method == BICUBIC), None)
    ours = parts[0]["arms"][BICUBIC]["psnr"]
    if published is not None and ours is not None and abs(ours - published) > TOLERANCE:
        return (
            f"Not compared with published results: bicubic has {ours:.2f} dB here and {published:.2f} dB in "
            f"{protocol.title}'s at x{scale}, more than {TOLERANCE} dB apart, so images, LR or borders differ."
        )
    return None


def _part_name(part: PartResult, protocol: Protocol) -> str:
    return f" {part['name']}" if len(protocol.images) > 1 else ""


def _scale(protocol: Protocol, nets: dict[str, Prepared], wanted: int | None) -> int:
    scales = {net.scale for net in nets.values()}
    scale = wanted or (min(scales) if scales else max(protocol.scales))
    wrong = next((name for name, net in nets.items() if net.scale != scale), None)
    if wrong is not None:
        raise UsageError(
            f"Model '{wrong}' enlarges x{nets[wrong].scale} and the benchmark is at x{scale}: give models of one scale "
            "factor, or another --scale."
        )
    if scale not in protocol.scales:
        known = ", ".join(f"x{known}" for known in protocol.scales)
        raise UsageError(f"{protocol.title} is defined at {known}, found x{scale}.")
    return scale


def _check_bands(protocol: Protocol, nets: dict[str, Prepared]) -> None:
    wrong = next((name for name, net in nets.items() if net.channels not in (1, 3)), None)
    if wrong is not None and protocol.comparison != "bands":
        raise UsageError(
            f"Model '{wrong}' takes {nets[wrong].channels} bands, and {protocol.title} is gray or in colour: give a "
            "model of 1 or 3 bands."
        )


def _measured(
    protocol: Protocol, pair: BenchmarkPair, arms: Sequence[Arm], scale: int
) -> dict[str, dict[str, float | None]]:
    loaded = pair.load()
    hr, lr = _fitting(pair.name, loaded, protocol, scale)
    return {arm.name: measure(protocol, enlarged(arm, loaded, lr), hr, lr, scale) for arm in arms}


def _fitting(name: str, pair: LoadedPair, protocol: Protocol, scale: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """HR, cut to what LR covers, and LR.

    Raises:
        UsageError: If they are of another scale factor.
    """
    if pair.lr is None:
        height, width = (side // scale * scale for side in pair.hr.shape[1:3])
        hr = pair.hr[:, :height, :width]
        return hr, _reduced(hr, scale, "fourier" if protocol.comparison == "volume" else "bicubic")
    height, width = (side * scale for side in pair.lr.shape[1:3])
    beyond = (pair.hr.shape[1] - height, pair.hr.shape[2] - width)
    if not all(0 <= pixels < scale for pixels in beyond):
        found = "×".join(str(side) for side in reversed(pair.hr.shape[1:3]))
        small = "×".join(str(side) for side in reversed(pair.lr.shape[1:3]))
        raise UsageError(
            f"'{name}' of {protocol.title} has {found} HR and {small} LR pixels, which is not x{scale}: correct "
            "--scale or the files."
        )
    if pair.hr.shape[3] != pair.lr.shape[3]:
        raise UnreadableImageError(f"{pair.hr.shape[3]} HR bands and {pair.lr.shape[3]} LR bands")
    return pair.hr[:, :height, :width], pair.lr


def _reduced(hr: NDArray[Any], scale: int, kind: Any) -> NDArray[Any]:
    plain = hr.dtype == np.uint8
    planes = torch.from_numpy(np.ascontiguousarray(hr.transpose(0, 3, 1, 2))).float()
    lr = decimate(planes, scale, kind).permute(0, 2, 3, 1)
    return lr.clamp(0, 255).round().byte().numpy() if plain else lr.abs().contiguous().numpy()


def _part(name: str, scores: _Scores, measures: Sequence[str]) -> PartResult:
    arms = {
        arm: {key: mean_of_known(values[key] for values in images) for key in measures}
        for arm, images in scores.by_arm.items()
    }
    psnr = {arm: np.array([values["psnr"] for values in images]) for arm, images in scores.by_arm.items()}
    gains = {
        arm: asdict(paired_interval((psnr[arm] - psnr[BICUBIC]).tolist(), scores.scenes))
        for arm in arms
        if arm != BICUBIC
    }
    return {"name": name, "images": len(scores.scenes), "arms": arms, "gains": gains}  # type: ignore[typeddict-item]
