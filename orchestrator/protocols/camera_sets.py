"""Benchmarks of pairs that cameras took: RealSR V3, DRealSR and SupER."""

from pathlib import Path

from orchestrator.protocols.pair_files import first_folder, keyed, matched, plain_pair
from orchestrator.protocols.protocol import BICUBIC, BenchmarkPair, Protocol, Published
from trainables.errors import UsageError

_REALSR_PAGE = "github.com/csjcai/RealSR, README"
_CDC = "Wei et al., ECCV 2020 (github.com/xiezw5/Component-Divide-and-Conquer-for-Real-World-Image-Super-Resolution)"
_FRAMES = slice(8, 18)
"""Reference frames of SupER's ten sliding windows: the 9th to the 18th of a sequence."""
_QUALITIES = ("", "QP10", "QP20", "QP30", "QP40")
"""Endings of SupER's folders by their H.265 compression; none for uncoded frames."""


def _realsr_pairs(root: Path, scale: int) -> list[BenchmarkPair]:
    """Pairs ``{Canon,Nikon}/Test/R/NAME_HR.png`` and ``NAME_LRR.png``, as the set's own Test.m reads them."""
    root = first_folder(root, "RealSR(V3)", "RealSR_V3") or root
    pairs = []
    for camera in ("Canon", "Nikon"):
        folder = root / camera / "Test" / str(scale)
        hr = keyed(folder, "*_HR.png", lambda file: file.name.removesuffix("_HR.png"))
        lr = keyed(folder, f"*_LR{scale}.png", lambda file: file.name.removesuffix(f"_LR{scale}.png"))
        pairs += [plain_pair(*pair, "Canon and Nikon") for pair in matched("RealSR V3", hr, lr)]
    return pairs


def _drealsr_pairs(root: Path, scale: int) -> list[BenchmarkPair]:
    """Pairs ``Test_xR/test_HR/NAME_xR.png`` and ``Test_xR/test_LR/NAME_x1.png``."""
    folder = first_folder(root, f"Test_x{scale}", f"test_x{scale}") or root
    hr = keyed(folder / "test_HR", f"*_x{scale}.png", lambda file: file.stem.removesuffix(f"_x{scale}"))
    lr = keyed(folder / "test_LR", "*_x1.png", lambda file: file.stem.removesuffix("_x1"))
    return [plain_pair(*pair, "test") for pair in matched("DRealSR", hr, lr)]


def _super_pairs(root: Path, scale: int) -> list[BenchmarkPair]:
    """Frames ``SCENE/MOTION/Bin1/*.png`` and ``SCENE/MOTION/BinR[QPn]/*.png``, matched by their order.

    The set's readDatasetWithMultipleBinningFactors.m reads the same folders in the same order.
    """
    root = first_folder(root, "data") or root
    pairs: list[BenchmarkPair] = []
    for quality in _QUALITIES:
        for lr_folder in sorted(root.glob(f"*/*/Bin{scale}{quality}")):
            pairs += _super_sequence(lr_folder, quality or "uncoded")
    return pairs


def _super_sequence(lr_folder: Path, part: str) -> list[BenchmarkPair]:
    sequence = lr_folder.parent
    hr, lr = (sorted(folder.glob("*.png")) for folder in (sequence / "Bin1", lr_folder))
    if len(hr) != len(lr):
        raise UsageError(
            f"SupER's '{sequence}' has {len(hr)} HR frames in Bin1 and {len(lr)} LR frames in {lr_folder.name}: "
            "complete the download."
        )
    name = f"{sequence.parent.name}/{sequence.name}"
    frames = list(zip(hr, lr, strict=True))[_FRAMES]
    return [plain_pair(f"{name}/{first.name}", first, second, part, sequence.parent.name) for first, second in frames]


REALSR = Protocol(
    name="realsr",
    title="RealSR V3",
    home="https://github.com/csjcai/RealSR",
    scales=(2, 3, 4),
    layout="Canon/Test/R and Nikon/Test/R with NAME_HR.png and NAME_LRR.png, R being the scale factor",
    lr="taken by the camera at a shorter focal length",
    comparison="luma",
    definition="PSNR and SSIM of 8-bit outputs on BT.601 luma, whole images (the set's Test.m and Cal_PSNRSSIM.m)",
    find=_realsr_pairs,
    border=(0, 0),
    images={"Canon and Nikon": 100},
    published=(
        Published(BICUBIC, 3, {"psnr": 28.6284, "ssim": 0.8088}, _REALSR_PAGE),
        Published("baseline", 3, {"psnr": 30.6003, "ssim": 0.8630}, _REALSR_PAGE),
        Published(BICUBIC, 4, {"psnr": 27.2378, "ssim": 0.7643}, _REALSR_PAGE),
        Published("baseline", 4, {"psnr": 28.6508, "ssim": 0.8206}, _REALSR_PAGE),
    ),
    notes=("Test.m rounds luma to 8 bits and scores images above 1200 pixels a side in windows; here they are whole.",),
)
"""Cai et al., ICCV 2019. Names of files: the set's Test.m, and loaders of public repositories."""

DREALSR = Protocol(
    name="drealsr",
    title="DRealSR",
    home="https://github.com/xiezw5/Component-Divide-and-Conquer-for-Real-World-Image-Super-Resolution",
    scales=(2, 3, 4),
    layout="Test_xR/test_HR with NAME_xR.png and Test_xR/test_LR with NAME_x1.png, R being the scale factor",
    lr="taken by the camera at a shorter focal length",
    comparison="luma",
    definition="PSNR and SSIM of 8-bit outputs on BT.601 luma, without a border of r pixels (CDC_test.py)",
    find=_drealsr_pairs,
    images={},
    published=tuple(
        Published(method, scale, {"psnr": psnr, "ssim": ssim}, _CDC)
        for scale, method, psnr, ssim in (
            (2, BICUBIC, 32.67, 0.887),
            (2, "EDSR", 34.24, 0.908),
            (2, "RCAN", 34.34, 0.908),
            (2, "CDC", 34.45, 0.910),
            (3, BICUBIC, 31.50, 0.835),
            (3, "EDSR", 32.93, 0.876),
            (3, "RCAN", 33.03, 0.876),
            (3, "CDC", 33.06, 0.876),
            (4, BICUBIC, 30.56, 0.820),
            (4, "EDSR", 32.03, 0.855),
            (4, "RCAN", 31.85, 0.857),
            (4, "CDC", 32.42, 0.861),
        )
    ),
    notes=("The published SSIM is of RGB images with borders; compare PSNR.",),
)
"""Wei et al., ECCV 2020. Folders and names of files: loaders of public repositories."""

SUPER = Protocol(
    name="super",
    title="SupER",
    home="https://superresolution.tf.fau.de/",
    scales=(2, 3, 4),
    layout="SCENE/MOTION/Bin1 and SCENE/MOTION/BinR with frames as PNG, R being the scale factor; BinRQP10 to BinRQP40 "
    "hold H.265-coded frames",
    lr="taken by the camera with R×R pixels binned in hardware; uncoded, or coded by H.265 at QP 10, 20, 30 and 40",
    comparison="luma",
    definition="PSNR and SSIM of gray frames 9 to 18 of each sequence, without a border of 3 pixels "
    "(calculateQualityMeasures.m)",
    find=_super_pairs,
    border=(0, 3),
    images={},
    notes=(
        "The paper has its results as figures, and scores patches that its .mat files name; frames are whole here.",
    ),
)
"""Köhler et al., TPAMI 2019, arXiv 1809.06420. Folders: github.com/thomas-koehler/SupER."""
