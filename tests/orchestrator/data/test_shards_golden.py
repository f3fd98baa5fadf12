"""Shards of image sets without any conflict stay what version 0.2.0 made of them: finished experiments rely on it."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from orchestrator.data.shard_reader import read_manifest, read_split
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import ImageSet
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files, listing_fingerprint

# Made by version 0.2.0, before shards were checked for the same picture on two sides.
GOLDEN = {
    "file": (
        "727208e43ef106c9",
        "9f493bb1337ea878",
        "7ac421d80d0d1ebd",
        {"train": 6, "validation": 2, "test": 4},
        ["07", "09", "02", "00", "01", "05"],
    ),
    "folder": (
        "03c6bc8d712cc5d2",
        "41b633cf335ecf15",
        "3451c6098f4437d7",
        {"train": 6, "validation": 3, "test": 3},
        ["11", "07", "09", "03", "01", "05"],
    ),
    "pattern": ("849eb9a8f99e8560", "787f97ee788fce34", None, {"train": 2, "validation": 10}, ["11", "10"]),
    "table": (
        "250ffe594617dca8",
        "ff1edb5c592a7953",
        "5a48fad9a2c7e523",
        {"train": 4, "validation": 3, "test": 5},
        ["07", "09", "02", "04"],
    ),
    "table and pattern": (
        "4213aacce0a99949",
        "7ccf74d637d919e5",
        "249dd8db4624adf1",
        {"train": 5, "validation": 3, "test": 4},
        ["11", "06", "07", "02", "01"],
    ),
}


def write(root):
    """Twelve BMP files, whose bytes depend on no library's version, of four folders, gray ones among them."""
    for number in range(12):
        shape = (40, 36 + number) if number % 4 == 3 else (40, 36 + number, 3)
        pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "BMP")
        path = root / "images" / f"patient{number % 4}" / f"slice{number:02d}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
    rows = "".join(f"slice{number:02d}.bmp,case {number % 5}\n" for number in range(12))
    (root / "scenes.csv").write_text("file,scene\n" + rows)


RULES = {
    "file": "file",
    "folder": "folder",
    "pattern": {"pattern": r"slice(\d)"},
    "table": {"table": "scenes.csv"},
    "table and pattern": {"table": "scenes.csv", "pattern": r"(\d)"},
}


@pytest.mark.parametrize("rule", RULES)
def test_digests_are_those_of_version_0_2(tmp_path, rule):
    write(tmp_path)
    files = list_files(ImageSet(images="images", scenes=RULES[rule]), Storage.at(str(tmp_path)))
    shares = {"validation": 0.2} if rule == "pattern" else {"validation": 0.2, "test": 0.3}
    out, locked = Storage.at(str(tmp_path / "shards/a")), Storage.at(str(tmp_path / "test-locked/a"))
    manifest = build_shards(files, shares, 32, out, "CC0", locked)
    test = read_manifest(locked) if "test" in shares else {"digest": None, "images": {}}
    order = [image.name.rpartition("slice")[2][:2] for image in read_split(out, "train")]
    found = (listing_fingerprint(files), manifest["digest"], test["digest"], manifest["images"] | test["images"], order)
    assert found == GOLDEN[rule]
