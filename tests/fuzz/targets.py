"""Every parser of ours with valid inputs, how they are damaged, and what must hold whatever comes in.

A target refuses a case by an error of our own (or by a named failure that it returns), or accepts it, and then what it
gives must be sound. Any other exception is a finding.
"""

import csv
import hashlib
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import yaml
from mutators import mutated_bytes, mutated_document, odd_value

from trainables.errors import RayScaleError

ROOT = Path(__file__).parents[2]


class Unsound(AssertionError):
    """An input was accepted whose result is wrong."""


@dataclass
class Target:
    """A parser under test.

    Attributes:
        folder: Where it may write.
    """

    folder: Path

    def prepare(self) -> None:
        """Makes the valid inputs."""

    def case(self, rng: random.Random) -> bytes:
        """One damaged input."""
        raise NotImplementedError

    def run(self, case: bytes) -> None:
        """Parses it.

        Raises:
            RayScaleError: If the input is refused.
            Unsound: If it is accepted and the result is wrong.
        """
        raise NotImplementedError


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise Unsound(what)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode(errors="surrogatepass")


class ExperimentFile(Target):
    """The YAML file of an experiment, with settings changed on the command line."""

    def prepare(self) -> None:
        files = [*(ROOT / "experiments").glob("*.yaml"), ROOT / "orchestrator" / "pipeline" / "demo.yaml"]
        self._texts = [file.read_bytes() for file in files]
        self._documents = [yaml.safe_load(text) for text in self._texts]

    def case(self, rng: random.Random) -> bytes:
        if rng.random() < 0.4:
            return mutated_bytes(rng.choice(self._texts), rng)
        document = mutated_document(rng.choice(self._documents), rng)
        try:
            return yaml.safe_dump(document, allow_unicode=rng.random() < 0.5).encode(errors="surrogatepass")
        except (yaml.YAMLError, RecursionError):
            return _json(document)

    def run(self, case: bytes) -> None:
        from orchestrator.experiment.load import load_experiment

        file = self.folder / "experiment.yaml"
        file.write_bytes(case)
        override = case[-40:].decode("latin-1")
        load_experiment(file, [f"name={override}"] if len(case) % 3 == 0 else [])


class ModelFiles(Target):
    """A model's card and weights."""

    def prepare(self) -> None:
        import torch

        from trainables.network.model_files import CARD, WEIGHTS, pack_model
        from trainables.network.network import SuperResolutionNet, preset

        torch.manual_seed(0)
        files = pack_model(SuperResolutionNet(preset("tiny", 2)).eval(), {"value_range": {"uint16": [0, 10000]}})
        self._card, self._weights, self._names = json.loads(files[CARD]), files[WEIGHTS], (CARD, WEIGHTS)

    def case(self, rng: random.Random) -> bytes:
        card, weights = self._card, self._weights
        kind = rng.randrange(4)
        if kind == 0:
            weights = mutated_bytes(weights, rng)
            card = card | ({"sha256": hashlib.sha256(weights).hexdigest()} if rng.random() < 0.9 else {})
        text = (
            mutated_bytes(_json(card), rng) if kind == 1 else _json(mutated_document(card, rng) if kind > 1 else card)
        )
        return len(text).to_bytes(4, "little") + text + weights

    def run(self, case: bytes) -> None:
        import torch

        from trainables.network.model_files import unpack_model

        size = int.from_bytes(case[:4], "little")
        net, card = unpack_model({self._names[0]: case[4 : 4 + size], self._names[1]: case[4 + size :]})
        _require(isinstance(card, dict), "the card is no object")
        _require(all(bool(torch.isfinite(p).all()) for p in net.parameters()), "weights are not finite")


class Shards(Target):
    """The manifest and the Parquet files of shards."""

    def prepare(self) -> None:
        from PIL import Image

        from orchestrator.data.shard_reader import read_split
        from orchestrator.data.shards import build_shards
        from orchestrator.experiment.image_settings import Target as Images
        from orchestrator.foundation.storage import Storage
        from orchestrator.image_sets.set_files import list_files

        images, rng = self.folder / "images", np.random.default_rng(0)
        images.mkdir()
        for number, ending in enumerate(("bmp", "png", "jpg", "bmp", "png", "jpg")):
            Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(images / f"{number}.{ending}")
        self._place = Storage.at(str(self.folder / "shards"))
        files = list_files(Images(images=str(images)), Storage.at("/"))
        build_shards(files, {"validation": 0.3}, 8, self._place, "none")
        self._whole = {file.path: self._place.child(file.path).read_bytes() for file in self._place.files()}
        self._pixels = {
            image.pixels.tobytes() for split in ("train", "validation") for image in read_split(self._place, split)
        }

    def case(self, rng: random.Random) -> bytes:
        name = rng.choice([*self._whole, "manifest.json"])
        data = self._whole[name]
        if name.endswith(".json") and rng.random() < 0.7:
            changed = _json(mutated_document(json.loads(data), rng))
        else:
            changed = mutated_bytes(data, rng)
        return name.encode() + b"\0" + changed

    def run(self, case: bytes) -> None:
        from orchestrator.data.shard_reader import read_manifest, read_split
        from orchestrator.data.shard_verify import verify_shards

        name, _, data = case.partition(b"\0")
        place = self._place.child(name.decode())
        place.write_bytes(data)
        try:
            read_manifest(self._place)
            for split in ("train", "validation"):
                for image in read_split(self._place, split):
                    _require(image.pixels.tobytes() in self._pixels, "pixels that nobody wrote are read")
            if data != self._whole[name.decode()] and not name.endswith(b".json"):
                _require(bool(verify_shards(self._place)), "verify finds nothing wrong with a changed file")
        finally:
            place.write_bytes(self._whole[name.decode()])


class TrialRecords(Target):
    """The record of a trial."""

    _RECORD: ClassVar[dict[str, Any]] = {
        "number": 1,
        "origin": "start",
        "configuration": {"learning_rate": 1e-3, "lambda_": 0.0, "frozen_depth": 0},
        "sampled": {"learning_rate": 1e-3, "lambda_": 1e-5, "frozen_depth": 0},
        "status": "finished",
        "psnr": 25.5,
        "objective": 25.5,
        "curve": [[2, 25.0], [4, 25.5]],
        "seconds": 1.5,
        "cpu_seconds": 1.4,
        "finished_at": "2026-11-25T10:00:00+00:00",
    }

    def case(self, rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return mutated_bytes(_json(self._RECORD), rng)
        return _json(mutated_document(self._RECORD, rng))

    def run(self, case: bytes) -> None:
        from orchestrator.foundation.storage import Storage
        from orchestrator.search.trial_record import best_record, read_records

        (self.folder / "0001.json").write_bytes(case)
        records = read_records(Storage.at(str(self.folder)))
        best = best_record(records)
        _require(best is None or np.isfinite(best.psnr), "the best trial has no score")


class LedgerLines(Target):
    """The ledger of an archive."""

    _ROWS = (
        {"event": "attempt", "name": "a.tif", "output": "/o/a.tif", "key": "k", "number": 1, "run": "r"},
        {"event": "death", "name": "a.tif", "output": "/o/a.tif", "key": "k", "number": 2, "run": "r"},
        {
            **{"event": "scene", "name": "a.tif", "output": "/o/a.tif", "key": "k", "number": 3, "run": "r"},
            **{"status": "ok", "output_bytes": 10, "sha256": "0", "error": None, "message": ""},
        },
    )

    def case(self, rng: random.Random) -> bytes:
        rows = [mutated_document(row, rng) if rng.random() < 0.5 else row for row in self._ROWS]
        if rng.random() < 0.2:
            rows.insert(rng.randrange(3), odd_value(rng))
        text = b"".join(_json(row) + b"\n" for row in rows)
        return mutated_bytes(text, rng) if rng.random() < 0.3 else text

    def run(self, case: bytes) -> None:
        from orchestrator.archive.ledger.ledger import read_histories
        from orchestrator.foundation.storage import Storage

        ledger = self.folder / "_ledger"
        ledger.mkdir(exist_ok=True)
        (ledger / "r.jsonl").write_bytes(case)
        past = read_histories(Storage.at(str(self.folder)))
        _require(all(isinstance(output, str) for output in past), "an output that is no text")


class SceneList(Target):
    """A list of scenes, .txt or .csv."""

    def prepare(self) -> None:
        self._out = self.folder / "out"
        for name in ("a.tif", "b c.tif", "d,e.tif"):
            (self.folder / name).write_bytes(b"II*\0")

    def case(self, rng: random.Random) -> bytes:
        names = ["a.tif", "b c.tif", "d,e.tif", "missing.tif", *(str(odd_value(rng)) for _ in range(3))]
        names = [name for name in names if "s3:" not in name]  # a bucket is another test's
        rng.shuffle(names)
        if rng.random() < 0.5:
            text = "\n".join(names)
        else:
            stream = io.StringIO()
            rows = csv.writer(stream)
            rows.writerow(rng.choice((["scene", "output"], ["scene"], ["output", "scene", "x"], ["name"])))
            rows.writerows([name, str(odd_value(rng))][: rng.choice((1, 2, 2, 3))] for name in names)
            text = stream.getvalue()
        data = text.encode(errors="surrogatepass")
        return mutated_bytes(data, rng) if rng.random() < 0.4 else data

    def run(self, case: bytes) -> None:
        from orchestrator.archive.places.listing import list_archive

        if b"s3:" in case:
            return
        file = self.folder / ("list.csv" if b"," in case[:12] or case.startswith(b"scene") else "list.txt")
        file.write_bytes(case)
        for scene in list_archive(str(file), str(self._out)).scenes:
            below = scene.output.removeprefix(str(self._out) + "/")
            first = below.partition("/")[0]
            _require(
                below != scene.output and ".." not in below.split("/"), f"an output outside OUTPUT: {scene.output}"
            )
            _require(bool(scene.problem) or first not in ("_parts", "_ledger"), f"an output of ours: {scene.output}")


class Images(Target):
    """The bytes of a plain image."""

    def prepare(self) -> None:
        from PIL import Image

        rng = np.random.default_rng(0)
        picture = Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8))
        exif = Image.Exif()
        exif[0x0112], exif[0x0132] = 6, "2021:01:01 00:00:00"

        def encoded(kind: str, image: Image.Image = picture, **options: Any) -> bytes:
            buffer = io.BytesIO()
            image.save(buffer, kind, **options)
            return buffer.getvalue()

        self._files = [
            encoded("JPEG", exif=exif),
            encoded("JPEG", progressive=True, quality=70),
            encoded("JPEG", picture.convert("CMYK")),
            encoded("PNG", exif=exif),
            encoded("PNG", picture.convert("P")),
            encoded("PNG", picture.convert("RGBA")),
            encoded("PNG", picture.convert("1")),
            encoded("TIFF"),
            encoded("TIFF", compression="tiff_lzw"),
            encoded("TIFF", picture.convert("1"), compression="group4"),
            encoded("TIFF", big_tiff=True),
            encoded("WEBP", lossless=True),
            encoded("WEBP", picture.convert("RGBA")),
            encoded("BMP"),
            encoded("BMP", picture.convert("P")),
        ]

    def case(self, rng: random.Random) -> bytes:
        return mutated_bytes(rng.choice(self._files), rng)

    def run(self, case: bytes) -> None:
        from trainables.images.codec import decode

        image = decode(case, keep_alpha=len(case) % 2 == 0)
        _require(image.pixels.dtype == np.uint8 and image.pixels.ndim == 3, "pixels are no uint8 (H, W, C)")
        _require(image.channels in (1, 3) and image.pixels.size > 0, "neither gray nor colour")


class Scenes(Target):
    """A scene from its file to its verified output."""

    def prepare(self) -> None:
        import rasterio
        import torch
        from affine import Affine

        from orchestrator.archive.scene.types import SceneSettings
        from orchestrator.archive.scene.upscale import load_model
        from orchestrator.foundation.model_store import FoundModel
        from trainables.network.network import SuperResolutionNet, preset

        torch.manual_seed(0)
        net = SuperResolutionNet(preset("tiny", 2)).eval()
        self._settings = SceneSettings(normalisation=(0, 10000), precision="float32", blocksize=128, memory_mb=64)
        self._model = load_model(FoundModel("tiny", {}, net, {"sha256": "tiny"}), self._settings)
        rng, place = np.random.default_rng(0), {"crs": "EPSG:32633", "transform": Affine(30, 0, 5e5, 0, -30, 5e6)}
        kinds: dict[str, dict[str, Any]] = {
            "rgb.tif": {"count": 3, "dtype": "uint8"},
            "deflate.tif": {"count": 4, "dtype": "uint16", "compress": "deflate", "nodata": 0},
            "tiled.tif": {"count": 1, "dtype": "float32", "tiled": True, "blockxsize": 16, "blockysize": 16},
            "lzw.tif": {"count": 2, "dtype": "int16", "compress": "lzw", "predictor": 2, "nodata": -999},
            "jpeg.tif": {"count": 3, "dtype": "uint8", "compress": "jpeg", "photometric": "ycbcr"},
        }
        self._files = []
        for name, kind in kinds.items():
            path = self.folder / name
            with rasterio.open(path, "w", driver="GTiff", width=24, height=20, **place, **kind) as scene:
                scene.write(rng.integers(1, 200, (kind["count"], 20, 24)).astype(kind["dtype"]))
            self._files.append((".tif", path.read_bytes()))
            path.unlink()

    def case(self, rng: random.Random) -> bytes:
        ending, data = rng.choice(self._files)
        return ending.encode() + b"\0" + mutated_bytes(data, rng)

    def run(self, case: bytes) -> None:
        import rasterio

        from orchestrator.archive.scene.types import Provenance, SceneError
        from orchestrator.archive.scene.upscale import upscale_scene

        ending, _, data = case.partition(b"\0")
        source, output = self.folder / f"scene{ending.decode()}", self.folder / "out.tif"
        source.write_bytes(data)
        provenance = Provenance(item_id="scene", source=str(source))
        try:
            made = upscale_scene(source, output, self.folder, self._model, self._settings, provenance)
            with rasterio.open(made.path) as result:
                _require(result.count >= 1, "an output without bands")
            _require(json.loads(json.dumps(made.item)) is not None, "an item that is no JSON")
        except SceneError as error:
            raise RayScaleError(error.reason) from None
        finally:
            output.unlink(missing_ok=True)
        left = {path.name for path in self.folder.iterdir()} - {source.name}
        _require(not left, f"left in the scratch folder: {left}")


class Dicom(Target):
    """A DICOM slice from its bytes to the upscaled file."""

    def prepare(self) -> None:
        import sys

        sys.path.append(str(ROOT / "tests" / "helpers"))
        import torch
        from dicom_files import ct

        from trainables.inference.prepare import prepared
        from trainables.network.network import SuperResolutionNet, preset

        torch.manual_seed(0)
        self._net = prepared(SuperResolutionNet(preset("tiny", 2)).eval(), precision="float32")
        self._slices = [ct(16, 16), ct(18, 14)]

    def case(self, rng: random.Random) -> bytes:
        return mutated_bytes(rng.choice(self._slices), rng)

    def run(self, case: bytes) -> None:
        from pydicom import dcmread

        from orchestrator.dicom.upscale import DicomSettings, upscale_dicom

        source, output = self.folder / "slice.dcm", self.folder / "out.dcm"
        source.write_bytes(case)
        output.unlink(missing_ok=True)
        upscale_dicom(str(source), str(output), self._net, DicomSettings(model="tiny", digest="0" * 64))
        if output.exists():
            before, after = dcmread(source, force=True), dcmread(output)
            _require(after.Rows == 2 * before.Rows and after.Columns == 2 * before.Columns, "a size that is not twice")


class Rasters(Target):
    """An image of any depth, number of bands or slices, opened and read."""

    def prepare(self) -> None:
        import gzip
        import sys

        sys.path.append(str(ROOT / "tests" / "helpers"))
        import nibabel
        import rasterio
        from affine import Affine
        from dicom_files import ct, dataset, encoded

        rng = np.random.default_rng(0)
        volume = rng.integers(-1000, 1000, (9, 8, 7)).astype(np.int16)
        nifti = nibabel.Nifti1Image(volume, np.eye(4)).to_bytes()
        frames = rng.integers(0, 4095, (3, 12, 10)).astype(np.uint16)
        self._files = {
            "a.nii": [nifti, nibabel.Nifti2Image(volume.astype(np.float32), np.eye(4)).to_bytes()],
            "a.nii.gz": [gzip.compress(nifti)],
            "a.npy": [],
            "a.dcm": [ct(12, 10), encoded(dataset(frames, 12, Rows=12, Columns=10, NumberOfFrames=3))],
            "a.tif": [],
            "a.png": [],
        }
        for array in (volume, rng.random((20, 10)), frames[0]):
            stream = io.BytesIO()
            np.save(stream, array)
            self._files["a.npy"].append(stream.getvalue())
        place = {"crs": "EPSG:32633", "transform": Affine(30, 0, 5e5, 0, -30, 5e6)}
        kinds: list[dict[str, Any]] = [
            {"driver": "GTiff", "count": 4, "dtype": "uint16", "compress": "deflate", "nodata": 0, **place},
            {"driver": "GTiff", "count": 1, "dtype": "float32", "tiled": True, "blockxsize": 16, "blockysize": 16},
            {"driver": "GTiff", "count": 3, "dtype": "uint8", "photometric": "rgb"},
            {"driver": "PNG", "count": 3, "dtype": "uint16"},
        ]
        for kind in kinds:
            path = self.folder / f"made.{kind['driver']}"
            with rasterio.open(path, "w", width=24, height=20, **kind) as target:
                target.write(rng.integers(1, 200, (kind["count"], 20, 24)).astype(kind["dtype"]))
            self._files["a.png" if kind["driver"] == "PNG" else "a.tif"].append(path.read_bytes())
        for path in self.folder.iterdir():
            path.unlink()

    def case(self, rng: random.Random) -> bytes:
        name = rng.choice(list(self._files))
        return name.encode() + b"\0" + mutated_bytes(rng.choice(self._files[name]), rng)

    def run(self, case: bytes) -> None:
        from orchestrator.rasters.open_raster_file import open_raster_file
        from trainables.images.raster import DATA_TYPES

        name, _, data = case.partition(b"\0")
        path = self.folder / name.decode()
        path.write_bytes(data)
        with patch("tempfile.tempdir", str(self.folder)), open_raster_file(path, axis=len(data) % 3) as file:
            _require(file.dtype in DATA_TYPES and file.layers > 0, "no data type or layers")
            height, width = min(file.height, 64), min(file.width, 64)
            for layer in {0, file.layers - 1}:
                raster = file.read(layer, file.height - height, file.width - width, height, width)
                _require(raster.values.shape == (height, width, len(file.bands)), "another shape than was asked for")
                _require(raster.values.dtype == file.dtype, "another data type than was said")
                _require(raster.valid is None or raster.valid.shape == (height, width), "a mask of another shape")


TARGETS: dict[str, tuple[Callable[[Path], Target], int]] = {
    "experiment file": (ExperimentFile, 8000),
    "model card and weights": (ModelFiles, 6000),
    "shards and manifest": (Shards, 6000),
    "trial record": (TrialRecords, 8000),
    "ledger": (LedgerLines, 8000),
    "list of scenes": (SceneList, 6000),
    "plain image": (Images, 8000),
    "scene": (Scenes, 3000),
    "DICOM slice": (Dicom, 3000),
    "image of any depth": (Rasters, 8000),
}
"""Each target with its cases in a long run."""
