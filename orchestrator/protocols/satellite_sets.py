"""Benchmarks of satellite pairs in reflectance: SEN2VENµS and opensr-test."""

import re
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from orchestrator.archive.scene.open_raster import open_raster
from orchestrator.archive.scene.types import SceneError
from orchestrator.protocols.pair_files import first_folder, keyed, matched
from orchestrator.protocols.protocol import REFLECTANCE, BenchmarkPair, LoadedPair, Protocol, Published
from trainables.errors import UnreadableImageError, UsageError, reason_of

_BANDS = {
    2: ("10m", "b2b3b4b8", ("blue", "green", "red", "nir")),
    4: ("20m", "b4b5b6b8a", ("B5", "B6", "B7", "B8A")),
}
"""SEN2VENµS by scale factor: resolution of Sentinel-2, bands in the names of files, and their names."""

_RGBN = ("red", "green", "blue", "nir")

_RGBN_OF_L2A = [3, 2, 1, 7]
"""Places of B4, B3, B2 and B8 among the twelve bands of an L2A file of opensr-test."""

_PARTS = {"naip": 4, "spot": 4, "venus": 2, "spain_crops": 4, "spain_urban": 4}
"""Parts of opensr-test with their scale factors."""

_OPENSR_PAGE = "github.com/ESAOpenSR/opensr-test, README at b42b1cb"


def _sen2venus_pairs(root: Path, scale: int) -> list[BenchmarkPair]:
    """Patches of ``SITE/NAME_{10m_b2b3b4b8,20m_b4b5b6b8a}.pt`` and ``SITE/NAME_05m_….pt``: tensors (N, 4, H, W).

    Files and the divisor 10,000 as in github.com/piclem/sen2venus-pytorch-dataset; the paper is Michel et al., Data
    7(7):96, 2022. Tensors are read without executing what a pickle may hold.
    """
    resolution, bands, names = _BANDS[scale]
    pairs: list[BenchmarkPair] = []
    for folder in [root, *sorted(inner for inner in root.iterdir() if inner.is_dir())]:
        hr, lr = (keyed(folder, f"*_{size}_{bands}.pt", partial(_product, f"_{size}_")) for size in ("05m", resolution))
        for name, first, second in matched("SEN2VENµS", hr, lr):
            for number in range(len(_tensor(first))):
                load = partial(_load_patch, first, second, number, names)
                pairs.append(BenchmarkPair(f"{name} patch {number}", name, folder.name, load))
    return pairs


def _product(ending: str, file: Path) -> str:
    return file.name.partition(ending)[0]


@lru_cache(maxsize=4)
def _tensor(file: Path) -> torch.Tensor:
    try:
        tensor = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damaged part of a file leads to
        raise UsageError(f"'{file}' cannot be read as tensors of SEN2VENµS: {reason_of(error)}.") from None
    if not isinstance(tensor, torch.Tensor) or tensor.ndim != 4:
        raise UsageError(f"'{file}' is no tensor of patches (N, bands, H, W), which SEN2VENµS has.")
    return tensor


def _load_patch(hr: Path, lr: Path, number: int, bands: tuple[str, ...]) -> LoadedPair:
    first, second = _tensor(hr), _tensor(lr)
    if len(first) != len(second):
        raise UnreadableImageError(f"{len(first)} HR patches and {len(second)} LR patches in its files")
    return LoadedPair(_shares(first[number].numpy()), _shares(second[number].numpy()), bands)


def _opensr_pairs(root: Path, scale: int) -> list[BenchmarkPair]:
    """Scenes of opensr-test's parts at a scale factor.

    Version 1.0: ``PART/L2A/[LR__]ROI_N__….tif`` with 12 bands and ``PART/hr_harmonized/[HR__]ROI_N….tif`` with 4;
    version 0.2: ``PART/lr.npy`` and ``PART/hr.npy``, (N, bands, H, W) with red, green, blue and near infrared first.
    Folders as in huggingface.co/datasets/isp-uv-es/opensr-test; its .pkl files are not read, since opening one runs
    what it holds.
    """
    root = first_folder(root, "100", "020") or root
    pairs: list[BenchmarkPair] = []
    for part in (part for part, factor in _PARTS.items() if factor == scale):
        folder = root / part
        if (folder / "L2A").is_dir():
            hr, lr = (keyed(folder / side, "*.tif", _region) for side in ("hr_harmonized", "L2A"))
            pairs += [
                BenchmarkPair(f"{part} {name}", name, part, partial(_load_scene, first, second))
                for name, first, second in matched(f"opensr-test {part}", hr, lr)
            ]
        elif (folder / "hr.npy").is_file() and (folder / "lr.npy").is_file():
            pairs += _array_pairs(folder, part)
    return pairs


def _region(file: Path) -> str:
    found = re.search(r"ROI_\d+", file.name)
    return found.group() if found else file.stem


def _array_pairs(folder: Path, part: str) -> list[BenchmarkPair]:
    try:
        hr, lr = (np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in ("hr.npy", "lr.npy"))
    except (OSError, ValueError) as error:
        raise UsageError(f"'{folder}' has arrays that cannot be read: {reason_of(error)}.") from None
    if hr.ndim != 4 or lr.ndim != 4 or len(hr) != len(lr):
        raise UsageError(f"'{folder}' has {hr.shape} as HR and {lr.shape} as LR, expected (N, bands, H, W) of one N.")

    def load(number: int) -> LoadedPair:
        return LoadedPair(_shares(hr[number, :4]), _shares(lr[number, :4]), _RGBN)

    return [
        BenchmarkPair(f"{part} {number}", f"{part} {number}", part, partial(load, number)) for number in range(len(hr))
    ]


def _load_scene(hr: Path, lr: Path) -> LoadedPair:
    try:
        with open_raster(hr) as first, open_raster(lr) as second:
            high, low = first.read(), second.read()
    except (SceneError, RasterioError) as error:
        raise UnreadableImageError(reason_of(error)) from None
    if len(high) < 4 or len(low) not in (4, 12, 13):
        raise UnreadableImageError(f"{len(high)} HR bands and {len(low)} LR bands, expected 4 and 12")
    return LoadedPair(_shares(high[:4]), _shares(low[:4] if len(low) == 4 else low[_RGBN_OF_L2A]), _RGBN)


def _shares(values: NDArray[Any]) -> NDArray[np.float32]:
    """(C, H, W) stored values to (1, H, W, C) shares of a reflectance of 1."""
    shares: NDArray[np.float32] = values.astype(np.float32).transpose(1, 2, 0)[None] / np.float32(REFLECTANCE)
    return shares


_MEASURES = ("psnr", "ssim", "sam", "ergas")
_CONSISTENCY = ("reflectance", "spectral", "spatial")
_CORRECTNESS = ("synthesis", "hallucination", "omission", "improvement")
_DEFINITION = (
    "mean of the bands' PSNR and SSIM over reflectance 0 to 1, SAM in degrees and ERGAS in per cent, without a border "
)

SEN2VENUS = Protocol(
    name="sen2venus",
    title="SEN2VENµS",
    home="https://zenodo.org/records/6514159",
    scales=(2, 4),
    layout="a folder per site with NAME_05m_BANDS.pt and, at x2, NAME_10m_b2b3b4b8.pt or, at x4, NAME_20m_b4b5b6b8a.pt",
    lr="Sentinel-2 of the same day as VENµS, registered by the set's authors",
    comparison="bands",
    measures=_MEASURES,
    definition=_DEFINITION + "of r pixels",
    find=_sen2venus_pairs,
    images={},
    notes=(
        "The set states no test split and no protocol; every patch found is scored, and a scene is a date of a site.",
    ),
)

OPENSR_TEST = Protocol(
    name="opensr-test",
    title="opensr-test",
    home="https://huggingface.co/datasets/isp-uv-es/opensr-test",
    scales=(2, 4),
    layout="100/PART/L2A and 100/PART/hr_harmonized with GeoTIFFs, or 020/PART with hr.npy and lr.npy; PART is naip, "
    "spot, spain_crops or spain_urban at x4, venus at x2",
    lr="Sentinel-2 L2A, its bands B4, B3, B2 and B8",
    comparison="bands",
    measures=(*_MEASURES, *_CONSISTENCY, *_CORRECTNESS),
    definition=_DEFINITION + "of 16 pixels; consistency with LR by r×r means: reflectance is the mean absolute "
    "difference, spectral the angle in degrees, spatial the displacement in LR pixels; synthesis is the mean absolute "
    "difference from LR enlarged bilinearly, after the output's histograms and place are matched to HR's, and "
    "hallucination, omission and improvement are shares of detail that sum to 1, by normalised differences of pixels",
    find=_opensr_pairs,
    border=(0, 16),
    images={"naip": 62, "spot": 9, "venus": 59, "spain_crops": 28, "spain_urban": 20},
    published=(
        Published("opensr-model", 4, {"reflectance": 0.0076, "spectral": 1.97, "spatial": 0.0118}, _OPENSR_PAGE),
        Published("superimage", 4, {"reflectance": 0.0068, "spectral": 1.90, "spatial": 0.0004}, _OPENSR_PAGE),
    ),
    notes=(
        "Published rows are means over parts and come from the package's own resampling and registration: compare "
        "orders of magnitude alone. There is no published bicubic to check against.",
        "The published table states correctness by differences of a vision-language network (CLIP), not of pixels, so "
        "that its hallucination, omission and improvement are left out.",
    ),
)
"""Aybar et al., IEEE GRSL 21, 2024."""
