"""Public data sets with their official homes, terms and files.

Addresses are those that the sets' pages and the loaders of public repositories state. A home that publishes no checksum
has none here; the digest that is found is recorded beside the files.
"""

from dataclasses import dataclass

from trainables.errors import UsageError, suggestion


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a data set.

    Attributes:
        url: Its address.
        path: Its path below the folder of the set.
        digest: ``sha256:…`` or ``md5:…`` as its home publishes it; "" where it publishes none.
        unpacked: Whether it is an archive that is unpacked into the folder.
    """

    url: str
    path: str
    digest: str = ""
    unpacked: bool = False


@dataclass(frozen=True, slots=True)
class HRFolder:
    """A folder of HR images of a data set, which can be packed into shards.

    Attributes:
        path: Its path below the folder of the set.
        name: Folder of its shards below that of all; "" where the set has one such folder.
        volumes: Whether it holds volumes (NIfTI), whose slices are packed in their own depth.
    """

    path: str
    name: str = ""
    volumes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSet:
    """A public data set.

    Attributes:
        name: Name on the command line.
        content: Content in a few words.
        size: Size of the download in words, as its home or its users state it; "" where none is known.
        licence: Terms.
        home: Its page.
        benchmarks: Benchmarks that read it.
        files: Files to download; empty where its home has no direct address.
        manual: Way to get it by hand, in a sentence; "" where ``files`` are given.
        hr: Folders of HR images, each of which can be packed into shards of its own.
    """

    name: str
    content: str
    size: str
    licence: str
    home: str
    benchmarks: tuple[str, ...] = ()
    files: tuple[RemoteFile, ...] = ()
    manual: str = ""
    hr: tuple[HRFolder, ...] = ()


_DIV2K = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"
_DIV2K_TERMS = "academic research only; the images' copyright stays with their owners"
_IXI = "https://biomedic.doc.ic.ac.uk/brain-development/downloads/IXI/"
_OPENSR = "https://huggingface.co/datasets/isp-uv-es/opensr-test/resolve/d19819bab6869f78794c66ceff57c9639e844be6/"
_ZENODO = "https://zenodo.org/records/6514159/files/"
_LOCATIONS = """
ALSACE ecbf57fc83a8c8ca47ab421642bbef57
ANJI 2b6521e2fd43fc220557d1a171f94c06
ARM 9c264cd01640707f483f78a88c1a40c8
ATTO c6d7905816f8c807e5a87f4a2d09a4ae
BAMBENW2 f804161f30c295dab1172e904ecb38be
BENGA a3bdc8fd5ac049b2d07b308fc1f0706a
ES-IC3XG e7a19cd51f048a006688f6b2ea795d55
ES-LTERA 226cd7c10689f9aad92c760d9c1899fe
ESGISB-1 ab1c0e9a70c566d6fe8b94ba421a15d6
ESGISB-2 20196e6e963170e641fc805330077434
ESGISB-3 ac42ab2ddb89975b55395ace90ecc0a6
ESTUAMAR 2b540369499c7b9882f7e195699e9438
FGMANAUS 06d422d9f4ba0c2ed1087c2a7f0339c5
FR-BIL c4305e091b61de5583842f71b4122ed3
FR-LAM 1bceb23259d7f101ee0e1df141b5e550
FR-LQ1 535489d0d3bc23e8e7646a20b99575e6
JAM2018 2e2a6de2b5842ce86d074ebd8c68354b
K34-AMAZ 7abf9ef3f89bd30b905c0029169b88d1
KUDALIAR 1427c8a4bc1e238c5c63e434fd6d31c6
LERIDA-1 d507dcbc1b92676410df9e4f650ea23b
MAD-AMBO 49e43cd47ecdc5360c83e448eaf73fbb
NARYN 56474220d0014e53aa0c96ea93c03bc9
SO1 62b5ce44dc641639079c15227cdbd794
SO2 59afd969b950f90df0f8ce8b1dbccd62
SUDOUE-2 5aed36a3d5e9746e5f5c438d10fae413
SUDOUE-3 0eeb556caaae171b8fbd0696f4757308
SUDOUE-4 aac762b62ac240720d34d5bb3fc4a906
SUDOUE-5 69042546af7bd25a0398b04c2ce60057
SUDOUE-6 ca143d2a2a56db30ab82c33420433e01
"""
"""Locations of SEN2VENµS with the MD5 of their archives (Zenodo's, as in piclem/sen2venus-pytorch-dataset)."""


def _div2k_file(name: str) -> RemoteFile:
    return RemoteFile(_DIV2K + name, name, unpacked=True)


SETS: dict[str, PublicSet] = {
    public_set.name: public_set
    for public_set in (
        PublicSet(
            name="div2k-train",
            content="800 photographs of 2K pixels, HR",
            size="3.3 GB",
            licence=_DIV2K_TERMS,
            home=_DIV2K,
            files=(_div2k_file("DIV2K_train_HR.zip"),),
            hr=(HRFolder("DIV2K_train_HR"),),
        ),
        PublicSet(
            name="div2k",
            content="100 validation photographs, HR and bicubic LR at x2, x3 and x4",
            size="450 MB and LR",
            licence=_DIV2K_TERMS,
            home=_DIV2K,
            benchmarks=("div2k",),
            files=tuple(
                _div2k_file(f"DIV2K_valid_{kind}.zip")
                for kind in ("HR", "LR_bicubic_X2", "LR_bicubic_X3", "LR_bicubic_X4")
            ),
            hr=(HRFolder("DIV2K_valid_HR"),),
        ),
        PublicSet(
            name="classic",
            content="Set5, Set14, B100 and Urban100, HR and bicubic LR at x2, x3 and x4",
            size="250 MB",
            licence="not stated; customary research benchmarks",
            home="https://github.com/sanghyun-son/EDSR-PyTorch",
            benchmarks=("set5", "set14", "bsd100", "urban100"),
            files=(RemoteFile("https://cv.snu.ac.kr/research/EDSR/benchmark.tar", "benchmark.tar", unpacked=True),),
            hr=tuple(HRFolder(f"benchmark/{name}/HR", name) for name in ("Set5", "Set14", "B100", "Urban100")),
        ),
        PublicSet(
            name="bsds500",
            content="500 photographs; its folder val holds the images of BSD100",
            size="70 MB",
            licence="non-commercial research and education; cite Arbelaez et al., TPAMI 2011",
            home="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/resources.html",
            benchmarks=("bsd100",),
            files=(
                RemoteFile(
                    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz",
                    "BSR_bsds500.tgz",
                    unpacked=True,
                ),
            ),
            hr=(HRFolder("BSR/BSDS500/data/images/train"),),
        ),
        PublicSet(
            name="ixi",
            content="brain MRI of about 600 subjects, T1, T2 and PD, NIfTI",
            size="T1 4.8 GB, and T2 and PD",
            licence="CC BY-SA 3.0",
            home="https://brain-development.org/ixi-dataset/",
            benchmarks=("ixi",),
            files=tuple(
                RemoteFile(f"{_IXI}IXI-{kind}.tar", f"IXI-{kind}/IXI-{kind}.tar", unpacked=True)
                for kind in ("T1", "T2", "PD")
            ),
            hr=tuple(HRFolder(f"IXI-{kind}", f"IXI-{kind}", volumes=True) for kind in ("T1", "T2", "PD")),
        ),
        PublicSet(
            name="opensr-test",
            content="Sentinel-2 with NAIP, SPOT and VENµS, version 0.2, arrays",
            size="naip 60 MB, and spot and venus",
            licence="MIT",
            home="https://huggingface.co/datasets/isp-uv-es/opensr-test",
            benchmarks=("opensr-test",),
            files=tuple(
                RemoteFile(
                    f"{_OPENSR}{part}/{side}.npy",
                    f"020/{part}/{side}.npy",
                    "sha256:d6ebe08aaf048057440f3bb996733cb5b4cbc8daf83209980ff11e35755051b5"
                    if (part, side) == ("naip", "hr")
                    else "",
                )
                for part in ("naip", "spot", "venus")
                for side in ("hr", "lr")
            ),
        ),
        PublicSet(
            name="sen2venus",
            content="132,955 pairs of Sentinel-2 and VENµS patches at 29 locations; an archive .7z for each",
            size="",
            licence="open, see LICENCE on its page",
            home="https://zenodo.org/records/6514159",
            benchmarks=("sen2venus",),
            files=tuple(
                RemoteFile(f"{_ZENODO}{name}.7z?download=1", f"{name}.7z", f"md5:{digest}")
                for name, digest in (line.split() for line in _LOCATIONS.strip().splitlines())
            ),
        ),
        PublicSet(
            name="realsr",
            content="RealSR V3: 559 scenes by two cameras at several focal lengths",
            size="",
            licence="not stated; cite Cai et al., ICCV 2019",
            home="https://github.com/csjcai/RealSR",
            benchmarks=("realsr",),
            manual="open the link 'Version 3' on its page, a Google Drive that wants a browser, and unpack it",
        ),
        PublicSet(
            name="drealsr",
            content="DRealSR: 93 test scenes by five cameras, and patches for training",
            size="",
            licence="not stated; cite Wei et al., ECCV 2020",
            home="https://github.com/xiezw5/Component-Divide-and-Conquer-for-Real-World-Image-Super-Resolution",
            benchmarks=("drealsr",),
            manual="open the links 'Test X2' to 'Test X4' on its page, a Google Drive that wants a browser, and unpack "
            "them",
        ),
        PublicSet(
            name="super",
            content="SupER: 14 scenes by one camera at four binnings, uncoded and H.265",
            size="",
            licence="see its page; cite Köhler et al., TPAMI 2019",
            home="https://superresolution.tf.fau.de/",
            benchmarks=("super",),
            manual="choose scenes on its page and unpack them into one folder",
        ),
        PublicSet(
            name="fastmri",
            content="knee and brain MRI with k-space, HDF5",
            size="",
            licence="NYU's data sharing agreement, to be accepted by each user",
            home="https://fastmri.med.nyu.edu/",
            benchmarks=("fastmri",),
            manual="fill in the form at the end of its page, wait for the e-mail with links, valid for 90 days, and "
            "unpack knee_singlecoil_val",
        ),
    )
}
"""Data sets by name."""


def find_set(name: str) -> PublicSet:
    """The data set of a name.

    Raises:
        UsageError: If there is none.
    """
    if name not in SETS:
        raise UsageError(f"There is no data set '{name}'; known are {', '.join(SETS)}.{suggestion(name, SETS)}")
    return SETS[name]
