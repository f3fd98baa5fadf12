"""Benchmarks of photographs that are reduced bicubically: DIV2K, Set5, Set14, BSD100 and Urban100."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from orchestrator.foundation.file_types import PICTURES, suffix_of
from orchestrator.protocols.pair_files import first_folder, keyed, matched, plain_pair
from orchestrator.protocols.protocol import BICUBIC, BenchmarkPair, Protocol, Published

_SOURCES = {
    BICUBIC: "Lim et al., CVPRW 2017 (EDSR), arXiv 1707.02921",
    "SRCNN": "Dong et al., TPAMI 2016, as in EDSR's table",
    "VDSR": "Kim et al., CVPR 2016, as in EDSR's table",
    "CARN": "Ahn et al., ECCV 2018, as in SwinIR's table",
    "IMDN": "Hui et al., ACM MM 2019, as in SwinIR's table",
    "RLFN": "Kong et al., CVPRW 2022",
    "SwinIR-light": "Liang et al., ICCVW 2021",
    "EDSR": "Lim et al., CVPRW 2017",
    "SwinIR": "Liang et al., ICCVW 2021",
}
_METHODS_X4 = (BICUBIC, "SRCNN", "VDSR", "CARN", "IMDN", "RLFN", "SwinIR-light", "EDSR", "SwinIR")
_METHODS_X2 = (BICUBIC, "SRCNN", "VDSR", "IMDN", "RLFN", "SwinIR-light", "EDSR", "SwinIR")
_SELFEX = "Huang et al., CVPR 2015 (github.com/jbhuang0604/SelfExSR, README)"

_X4 = {
    "Set5": "28.42/.8104 30.48/.8628 31.35/.8838 32.13/.8937 32.21/.8948 32.24/.8952 32.44/.8976 32.46/.8968 "
    "32.92/.9044",
    "Set14": "26.00/.7027 27.49/.7503 28.01/.7674 28.60/.7806 28.58/.7811 28.62/.7813 28.77/.7858 28.80/.7876 "
    "29.09/.7950",
    "BSD100": "25.96/.6675 26.90/.7101 27.29/.7251 27.58/.7349 27.56/.7353 27.60/.7364 27.69/.7406 27.71/.7420 "
    "27.92/.7489",
    "Urban100": "23.14/.6577 24.52/.7221 25.18/.7524 26.07/.7837 26.04/.7838 26.17/.7877 26.47/.7980 26.64/.8033 "
    "27.45/.8254",
}
_X3 = {"Set5": "30.39/.8678", "Set14": "27.53/.7737", "BSD100": "27.20/.7382"}
_X2 = {
    "Set5": "33.66/.9299 36.66/.9542 37.53/.9587 38.00/.9605 38.07/.9607 38.14/.9611 38.11/.9601 38.42/.9623",
    "Set14": "30.24/.8688 32.42/.9063 33.03/.9124 33.63/.9177 33.72/.9187 33.86/.9206 33.92/.9195 34.46/.9250",
    "BSD100": "29.56/.8431 31.36/.8879 31.90/.8960 32.19/.8996 32.22/.9000 32.31/.9012 32.32/.9013 32.53/.9041",
    "Urban100": "26.88/.8403 29.50/.8946 30.76/.9140 32.17/.9283 32.33/.9299 32.76/.9340 32.93/.9351 33.81/.9427",
}


def _classic_pairs(title: str, other_name: str, root: Path, scale: int) -> list[BenchmarkPair]:
    """Pairs of a set in one of the three layouts in which it is distributed.

    ``image_SRF_R/img_001_SRF_R_HR.png`` and ``…_LR.png`` (github.com/jbhuang0604/SelfExSR, data), ``HR/NAME.png`` and
    ``LR_bicubic/XR/NAMExR.png`` (the archive benchmark.tar of github.com/sanghyun-son/EDSR-PyTorch), or a folder of HR
    images alone.
    """
    names = [f"{above}{name}" for above in ("", "benchmark/") for name in (title, other_name)]
    folder = first_folder(root, *names) or root
    if (paired := folder / f"image_SRF_{scale}").is_dir():
        ending = f"_SRF_{scale}_"
        hr = keyed(paired, f"*{ending}HR.png", lambda file: file.name.partition(ending)[0])
        lr = keyed(paired, f"*{ending}LR.png", lambda file: file.name.partition(ending)[0])
        return [plain_pair(*pair, title) for pair in matched(title, hr, lr)]
    pictures = _pictures(folder / "HR" if (folder / "HR").is_dir() else folder)
    if (reduced := folder / "LR_bicubic" / f"X{scale}").is_dir():
        small = keyed(reduced, "*.png", lambda file: file.stem.removesuffix(f"x{scale}"))
        return [plain_pair(*pair, title) for pair in matched(title, pictures, small)]
    return [plain_pair(name, file, None, title) for name, file in pictures.items()]


def _pictures(folder: Path) -> dict[str, Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {file.stem: file for file in files if file.is_file() and suffix_of(file.name) in PICTURES}


def _div2k_pairs(root: Path, scale: int) -> list[BenchmarkPair]:
    """Pairs ``DIV2K_valid_HR/0801.png`` and ``DIV2K_valid_LR_bicubic/XR/0801xR.png``, as the set's archives unpack."""
    root = first_folder(root, "DIV2K") or root
    hr = keyed(root / "DIV2K_valid_HR", "*.png", lambda file: file.stem)
    lr = keyed(root / "DIV2K_valid_LR_bicubic" / f"X{scale}", "*.png", lambda file: file.stem.removesuffix(f"x{scale}"))
    return [plain_pair(*pair, "validation") for pair in matched("DIV2K", hr, lr)]


def _rows(title: str) -> tuple[Published, ...]:
    rows = []
    for scale, methods, table in ((2, _METHODS_X2, _X2), (4, _METHODS_X4, _X4)):
        for method, values in zip(methods, table[title].split(), strict=True):
            rows.append(Published(method, scale, _measures(values), _SOURCES[method]))
    return (*rows, *(Published(BICUBIC, 3, _measures(_X3[title]), _SELFEX) for _ in (0,) if title in _X3))


def _measures(values: str) -> dict[str, float]:
    psnr, ssim = values.split("/")
    return {"psnr": float(psnr), "ssim": float(ssim)}


def _classic(title: str, images: int, home: str, other_name: str = "", notes: tuple[str, ...] = ()) -> Protocol:
    find: Callable[[Path, int], list[BenchmarkPair]] = partial(_classic_pairs, title, other_name or title)
    return Protocol(
        name=title.lower(),
        title=title,
        home=home,
        scales=(2, 3, 4),
        layout="HR images, alone or with LR_bicubic/XR beside their folder HR, or image_SRF_R with NAME_SRF_R_HR.png "
        "and NAME_SRF_R_LR.png, R being the scale factor",
        lr="given, or made by MATLAB's bicubic from HR cut to a multiple of r",
        comparison="luma",
        definition="PSNR and SSIM of 8-bit outputs on BT.601 luma, gray files on their channel, without a border of "
        "r pixels",
        find=find,
        images={title: images},
        published=_rows(title),
        notes=notes,
    )


_HUANG = "https://github.com/jbhuang0604/SelfExSR"

SET5 = _classic("Set5", 5, _HUANG)
"""Bevilacqua et al., BMVC 2012."""

SET14 = _classic("Set14", 14, _HUANG)
"""Zeyde et al., LNCS 2010; one of the images is a gray file, and compared on its channel as in the papers."""

BSD100 = _classic("BSD100", 100, "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/", "B100")
"""Martin et al., ICCV 2001: the 100 test images of BSDS300."""

URBAN100 = _classic("Urban100", 100, _HUANG)
"""Huang et al., CVPR 2015."""

_EDSR_PAGE = "github.com/sanghyun-son/EDSR-PyTorch, README"
DIV2K = Protocol(
    name="div2k",
    title="DIV2K validation",
    home="https://data.vision.ee.ethz.ch/cvl/DIV2K/",
    scales=(2, 3, 4),
    layout="DIV2K_valid_HR with 0801.png to 0900.png and DIV2K_valid_LR_bicubic/XR with 0801xR.png, R being the scale "
    "factor",
    lr="given, MATLAB's bicubic",
    comparison="rgb",
    definition="PSNR of 8-bit outputs over red, green and blue, without a border of r + 2 pixels (EDSR-PyTorch); SSIM "
    "is the mean of the three",
    find=_div2k_pairs,
    border=(1, 2),
    images={"validation": 100},
    published=(
        Published("EDSR-baseline", 2, {"psnr": 34.61}, _EDSR_PAGE),
        Published("EDSR", 2, {"psnr": 35.03}, _EDSR_PAGE),
        Published(BICUBIC, 4, {"psnr": 26.66}, _SOURCES[BICUBIC]),
        Published("SRCNN", 4, {"psnr": 27.78}, _SOURCES["SRCNN"]),
        Published("VDSR", 4, {"psnr": 28.17}, _SOURCES["VDSR"]),
        Published("EDSR-baseline", 4, {"psnr": 28.95}, _EDSR_PAGE),
        Published("EDSR", 4, {"psnr": 29.25}, _EDSR_PAGE),
    ),
)
"""Agustsson and Timofte, CVPRW 2017. Folders: the set's own archives."""
