"""Small trees in the layouts of the published benchmarks, with LR made from HR by the set's own kind of reduction."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from trainables.degradation.resampling import decimate


def smooth(seed: int, height: int, width: int, bands: int = 3) -> np.ndarray:
    """An image of soft blobs, (height, width, bands) on [0, 1]."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, bands, 6, 6), dtype=np.float32))
    fine = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    return fine[0].clamp(0, 1).permute(1, 2, 0).numpy()


def reduced(image: np.ndarray, scale: int) -> np.ndarray:
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    return decimate(planes, scale, "bicubic")[0].clamp(0, 1).permute(1, 2, 0).numpy()


def png(file: Path, image: np.ndarray) -> Path:
    """Writes an image on [0, 1] of one band or three."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.rint(image * 255).astype(np.uint8)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file)
    return file


def camera_pairs(root: Path, hr_name: str, lr_name: str, scale: int, count: int = 2, bands: int = 3) -> None:
    """Pairs of PNGs; ``{n}`` in a name is the number of the pair."""
    for number in range(1, count + 1):
        image = smooth(number, 24 * scale, 16 * scale, bands)
        png(root / hr_name.format(n=f"{number:03}"), image)
        png(root / lr_name.format(n=f"{number:03}"), reduced(image, scale))


def realsr(root: Path, scale: int = 4) -> Path:
    for camera in ("Canon", "Nikon"):
        folder = f"{camera}/Test/{scale}/{camera}_{{n}}"
        camera_pairs(root, f"{folder}_HR.png", f"{folder}_LR{scale}.png", scale)
    return root


def drealsr(root: Path, scale: int = 4) -> Path:
    folder = f"Test_x{scale}"
    camera_pairs(root, f"{folder}/test_HR/Sony_{{n}}_x{scale}.png", f"{folder}/test_LR/Sony_{{n}}_x1.png", scale)
    return root


def super_frames(root: Path, scale: int = 2, qualities: tuple[str, ...] = ("", "QP30"), count: int = 20) -> Path:
    for scene in ("bookshelf", "dolls"):
        for quality in qualities:
            folder = f"{scene}/global_translation"
            camera_pairs(
                root, f"{folder}/Bin1/f{{n}}.png", f"{folder}/Bin{scale}{quality}/f{{n}}.png", scale, count, bands=1
            )
    return root


def div2k(root: Path, scale: int = 4) -> Path:
    camera_pairs(root, "DIV2K_valid_HR/0{n}.png", f"DIV2K_valid_LR_bicubic/X{scale}/0{{n}}x{scale}.png", scale)
    return root


def sen2venus(root: Path, scale: int = 2, patches: int = 3) -> Path:
    resolution, bands = {2: ("10m", "b2b3b4b8"), 4: ("20m", "b4b5b6b8a")}[scale]
    for site in ("ALSACE", "ARM"):
        (root / site).mkdir(parents=True)
        hr = [smooth(number, 32 * scale, 32 * scale, 4) for number in range(patches)]
        for name, images in ((f"05m_{bands}", hr), (f"{resolution}_{bands}", [reduced(image, scale) for image in hr])):
            stack = np.stack([np.rint(image.transpose(2, 0, 1) * 10_000) for image in images]).astype(np.int16)
            torch.save(torch.from_numpy(stack), root / site / f"{site}_32ULU_2018-02-14_{name}.pt")
    return root


def opensr_arrays(root: Path, part: str = "naip", scale: int = 4, count: int = 2) -> Path:
    hr = [smooth(number, 24 * scale, 24 * scale, 4) for number in range(count)]
    (root / "020" / part).mkdir(parents=True)
    for name, images in (("hr", hr), ("lr", [reduced(image, scale) for image in hr])):
        stack = np.stack([np.rint(image.transpose(2, 0, 1) * 10_000) for image in images]).astype(np.uint16)
        np.save(root / "020" / part / f"{name}.npy", stack)
    return root


def opensr_scenes(root: Path, part: str = "spot", scale: int = 4, count: int = 2) -> Path:
    import rasterio

    def write(file: Path, stack: np.ndarray) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        profile = {"driver": "GTiff", "dtype": "uint16", "count": len(stack)}
        profile |= {"height": stack.shape[1], "width": stack.shape[2], "crs": "EPSG:32630"}
        profile["transform"] = rasterio.transform.from_origin(5e5, 4e6, 10, 10)
        with rasterio.open(file, "w", **profile) as target:
            target.write(stack)

    for number in range(count):
        image = smooth(number, 24 * scale, 24 * scale, 4)
        small = np.rint(reduced(image, scale).transpose(2, 0, 1) * 10_000).astype(np.uint16)
        twelve = np.zeros((12, *small.shape[1:]), np.uint16)
        twelve[[3, 2, 1, 7]] = small
        region = f"ROI_{number:05}"
        write(root / "100" / part / "L2A" / f"LR__{region}__20210917T182021_T11TQK.tif", twelve)
        high = np.rint(image.transpose(2, 0, 1) * 10_000).astype(np.uint16)
        write(root / "100" / part / "hr_harmonized" / f"HR__{region}__m_44_ne_12.tif", high)
    return root


def ixi(root: Path, contrast: str = "T2", count: int = 2) -> Path:
    import nibabel

    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        volume = smooth(number, 32, 40, 5) * 800
        volume[..., 4] = 0
        nibabel.save(
            nibabel.Nifti1Image(volume.astype(np.int16), np.eye(4)),
            root / f"IXI{number + 2:03}-Guys-0828-{contrast}.nii.gz",
        )
    return root
