"""Benchmarks of magnetic resonance images whose k-space is cut off: fastMRI and IXI."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.protocols.protocol import BenchmarkPair, LoadedPair, Protocol
from orchestrator.rasters.open_raster_file import open_raster_file
from trainables.errors import UnreadableImageError, UsageError, reason_of

_CONTRASTS = ("T1", "T2", "PD")


def _fastmri_pairs(root: Path, scale: int) -> list[BenchmarkPair]:
    """Volumes ``singlecoil_val/*.h5`` with ``reconstruction_esc``, (slices, H, W), as the set's paper states."""
    del scale
    folder = next((found for found in (root / "singlecoil_val", root) if found.is_dir()), root)
    files = sorted(folder.glob("*.h5"))
    if files:
        _check_h5py()
    return [BenchmarkPair(file.name, file.stem, "singlecoil_val", partial(_load_hdf5, file)) for file in files]


def _check_h5py() -> None:
    try:
        import h5py  # noqa: F401
    except ImportError:
        raise UsageError("fastMRI is HDF5: install h5py to read it (pip install 'rayscale[fastmri]').") from None


def _load_hdf5(file: Path) -> LoadedPair:
    import h5py

    try:
        with h5py.File(file, "r") as content:
            volume = np.asarray(content["reconstruction_esc"])
    except (OSError, KeyError) as error:
        raise UnreadableImageError(f"no HDF5 file with reconstruction_esc: {reason_of(error)}") from None
    return _volume(volume)


def _ixi_pairs(root: Path, scale: int) -> list[BenchmarkPair]:
    """Volumes ``[IXI-T2/]IXI002-Guys-0828-T2.nii.gz``, whose slices lie along the third axis."""
    del scale
    pairs = []
    for contrast in _CONTRASTS:
        folders = [root, root / f"IXI-{contrast}"]
        files = [file for folder in folders for file in sorted(folder.glob(f"IXI*-{contrast}.nii*"))]
        pairs += [
            BenchmarkPair(file.name, file.name.partition("-")[0], contrast, partial(_load_nifti, file))
            for file in files
        ]
    return pairs


def _load_nifti(file: Path) -> LoadedPair:
    with open_raster_file(file) as volume:
        slices = [volume.read(layer, 0, 0, volume.height, volume.width).values for layer in range(volume.layers)]
    return _volume(np.stack(slices)[..., 0])


def _volume(volume: NDArray[Any]) -> LoadedPair:
    """(slices, H, W) magnitudes as shares of the volume's largest, without slices that are 0 everywhere."""
    if volume.ndim != 3:
        raise UnreadableImageError(f"an array {volume.shape} instead of a volume of slices")
    values = volume.astype(np.float32)
    if not np.isfinite(values).all() or values.max(initial=0) <= 0:
        raise UnreadableImageError("values that are not finite, or none above 0")
    shares = values.clip(0) / values.max()
    return LoadedPair(shares[shares.any((1, 2))][..., None], None)


_LR = "made from HR: the lowest 1/r of the frequencies along both axes, aligned to pixel centres"
_DEFINITION = (
    "PSNR over the volume with its largest value as the peak, and mean SSIM of its slices with a 7×7 uniform window "
    "(fastMRI's evaluate.py, Zbontar et al., arXiv 1811.08839)"
)
_NO_ROWS = "No published super-resolution result with a bicubic row is known for this reduction."

FASTMRI = Protocol(
    name="fastmri",
    title="fastMRI single-coil knee, validation",
    home="https://fastmri.med.nyu.edu/",
    scales=(2, 4),
    layout="singlecoil_val with .h5 volumes that hold reconstruction_esc",
    lr=_LR,
    comparison="volume",
    definition=_DEFINITION,
    find=_fastmri_pairs,
    border=(0, 0),
    images={},
    notes=(_NO_ROWS,),
)

IXI = Protocol(
    name="ixi",
    title="IXI",
    home="https://brain-development.org/ixi-dataset/",
    scales=(2, 4),
    layout="NIfTI volumes such as IXI002-Guys-0828-T2.nii.gz, also in folders IXI-T1, IXI-T2 and IXI-PD",
    lr=_LR,
    comparison="volume",
    definition=_DEFINITION,
    find=_ixi_pairs,
    border=(0, 0),
    images={},
    notes=(_NO_ROWS,),
)
"""The set's own page; slices along the third axis as in github.com/chunmeifeng/T2Net."""
