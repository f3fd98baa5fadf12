"""Readers of shards compare what they read: no flipped bit, no emptied and no swapped file is used in silence."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchestrator.data import shards
from orchestrator.data.locked_test import open_test, record_choice
from orchestrator.data.shard_reader import packed_files, read_manifest, read_split
from orchestrator.data.shards import build_shards
from orchestrator.data.source_images import held_out_images, replayed_images
from orchestrator.data.train_stream import Ingest, direct, images_of
from orchestrator.experiment.image_settings import ImageSet
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files
from trainables.errors import RunError

REMEDY = r"Restore the shards from a copy, or delete their domain's folder below shards/"


def write_images(folder, kind="BMP", count=9, side=32):
    """Images of one size, so that files of equally many rows can be equally large."""
    folder.mkdir(parents=True)
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, kind)
        (folder / f"scene{number}.{kind.lower()}").write_bytes(buffer.getvalue())


@pytest.fixture(params=["BMP", "JPEG", "PNG"])
def kind(request):
    return request.param


def build(tmp_path, kind="BMP", count=9):
    write_images(tmp_path / "images", kind, count)
    out, locked = Storage.at(str(tmp_path / "shards/art")), Storage.at(str(tmp_path / "test-locked/art"))
    files = list_files(ImageSet(images="images"), Storage.at(str(tmp_path)))
    build_shards(files, {"validation": 0.3, "test": 0.3}, 32, out, "none", locked)
    record_choice(Storage.at(str(tmp_path / "opening.json")), locked, "best")
    return out, locked


def read_all(tmp_path, out, locked):
    """What each reader of the product gives: pixels of training, its streams, validation, replay and the test."""
    yield lambda: [image.pixels for image in read_split(out, "train")]
    yield lambda: list(direct(out, 0, 1)())
    yield lambda: [image.pixels for image in read_split(out, "validation")]
    yield lambda: [image.pixels for image in open_test(locked, Storage.at(str(tmp_path / "opening.json")))]


def part_of(place, split):
    (path,) = [part["path"] for part in read_manifest(place)["files"] if part["split"] == split]
    return place.child(path)


def change(place, edit):
    """Rewrites a Parquet file by a function of its table, and has the manifest vouch for it, as a bug of ours would."""
    split = place.path.split("/")[-2]
    table = edit(pq.read_table(place.path))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none")
    data = bytes(sink.getvalue())
    place.write_bytes(data)
    home = Storage(place.uri.rsplit("/", 2)[0])
    manifest = read_manifest(home)
    for part in manifest["files"]:
        if part["split"] == split:
            part |= {
                "bytes": len(data),
                "sha256": shards.hashlib.sha256(data).hexdigest(),
                "index_sha256": shards.index_digest(data),
            }
    home.child("manifest.json").write_json(manifest)


def test_no_flipped_bit_is_used_in_silence(tmp_path, kind):
    out, locked = build(tmp_path, kind)
    places = [part_of(out, "train"), part_of(out, "train"), part_of(out, "validation"), part_of(locked, "test")]
    rng = np.random.default_rng(0)
    for place, read in zip(places, read_all(tmp_path, out, locked), strict=True):
        clean, whole, path, refusals = read(), place.read_bytes(), Path(place.path), set()
        spots = [0, 5, len(whole) - 2, len(whole) - 7, len(whole) - 200, *rng.integers(len(whole), size=20)]
        for spot in map(int, spots):
            data = bytearray(whole)
            data[spot] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(data))
            try:
                found = read()
            except RunError as error:
                refusals.add(str(error).partition(" is damaged: ")[0])
            else:
                assert all(np.array_equal(a, b) for a, b in zip(found, clean, strict=True))
        path.write_bytes(whole)
        assert refusals == {f"Shard '{path}'"}


def test_a_whole_file_is_compared_with_its_manifest_to_the_last_bit(tmp_path):
    out, _ = build(tmp_path)
    place = part_of(out, "train")
    whole = place.read_bytes()
    for spot in range(0, len(whole), 997):
        data = bytearray(whole)
        data[spot] ^= 1
        Path(place.path).write_bytes(bytes(data))
        with pytest.raises(RunError, match=rf"has changed since it was written, its SHA-256 is another\. {REMEDY}"):
            next(read_split(out, "train"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda place: place.delete(), "the file is missing"),
        (lambda place: place.write_bytes(b""), r"it has 0 bytes, \d+ were written"),
        (lambda place: place.write_bytes(place.read_bytes()[:-9]), r"it has \d+ bytes, \d+ were written"),
        (lambda place: place.write_bytes(place.read_bytes() + b"\0"), r"it has \d+ bytes, \d+ were written"),
    ],
    ids=["missing", "emptied", "cut", "longer"],
)
def test_a_missing_emptied_or_cut_file_is_named_by_every_reader(tmp_path, spoil, words):
    out, locked = build(tmp_path)
    readers = list(read_all(tmp_path, out, locked))
    places = [part_of(out, "train"), part_of(out, "train"), part_of(out, "validation"), part_of(locked, "test")]
    for read, place in zip(readers, places, strict=True):
        whole = place.read_bytes()
        spoil(place)
        with pytest.raises(RunError, match=rf"Shard '{place.path}' is damaged: {words}\. {REMEDY}"):
            read()
        place.write_bytes(whole)
    part_of(out, "validation").delete()
    with pytest.raises(RunError, match="the file is missing"):
        held_out_images(out, 2)
    part_of(out, "train").delete()
    with pytest.raises(RunError, match="the file is missing"):
        replayed_images(out, str(tmp_path), 32)


def test_a_file_of_another_split_under_this_ones_name_is_refused(tmp_path):
    out, locked = build(tmp_path)
    train, test = part_of(out, "train"), part_of(locked, "test")
    assert len(train.read_bytes()) != 0
    held_out = pq.read_table(test.path)
    change(train, lambda table: held_out.take([i % len(held_out) for i in range(len(table))]))
    for read in (lambda: list(read_split(out, "train")), lambda: list(direct(out, 0, 1)())):
        with pytest.raises(RunError, match=r"shows scene 'scene\d.bmp', which its split does not hold"):
            read()


def test_a_file_in_the_place_of_its_like_is_refused_by_its_index(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "FILE_BYTES", 4_000)
    out, _ = build(tmp_path, count=12)
    parts = [out.child(part["path"]) for part in read_manifest(out)["files"] if part["split"] == "train"]
    assert len({len(part.read_bytes()) for part in parts}) == 1
    parts[0].write_bytes(parts[1].read_bytes())
    with pytest.raises(RunError, match=r"its index has changed since it was written"):
        list(direct(out, 0, 1)())
    with pytest.raises(RunError, match=r"has changed since it was written, its SHA-256"):
        list(read_split(out, "train"))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t.drop_columns(["sha256"]), "it has no column 'sha256'"),
        (lambda t: t.drop_columns(["image"]), "it has no column 'image'"),
        (lambda t: t.slice(1), r"it holds 2 images, 3 were written"),
        (lambda t: t.set_column(1, "image", [t["image"].to_pylist()[::-1]]), "is not the one that was packed"),
        (lambda t: t.set_column(1, "image", [[None] * len(t)]), "the row of image '.*' is incomplete"),
        (lambda t: t.set_column(1, "image", [list(range(len(t)))]), "the row of image '.*' is incomplete"),
    ],
    ids=["no digest", "no image", "a row less", "images in other rows", "no values", "numbers"],
)
def test_rows_that_do_not_fit_are_refused_whatever_the_manifest_says_of_the_file(tmp_path, edit, words):
    out, _ = build(tmp_path)
    change(part_of(out, "train"), edit)
    for read in (lambda: list(read_split(out, "train")), lambda: list(direct(out, 0, 1)())):
        with pytest.raises(RunError, match=words):
            read()


def test_an_image_that_fits_its_digest_and_cannot_be_decoded_is_named(tmp_path):
    out, _ = build(tmp_path)
    junk = b"not an image"
    digest = shards.hashlib.sha256(junk).hexdigest()

    def spoil(table):
        images, digests = table["image"].to_pylist(), table["sha256"].to_pylist()
        table = table.set_column(1, "image", [[junk, *images[1:]]])
        return table.set_column(7, "sha256", [[digest, *digests[1:]]])

    change(part_of(out, "train"), spoil)
    for read in (lambda: list(read_split(out, "train")), lambda: list(direct(out, 0, 1)())):
        with pytest.raises(RunError, match=r"image 'images/scene\d.bmp' cannot be decoded \(not an image that"):
            read()


def test_shards_of_version_0_2_are_read_as_before(tmp_path):
    out, _ = build(tmp_path)
    clean = [image.pixels for image in read_split(out, "train")]
    manifest = read_manifest(out)
    manifest["files"] = [{k: v for k, v in part.items() if k != "index_sha256"} for part in manifest["files"]]
    out.child("manifest.json").write_json(manifest)
    for found in ([image.pixels for image in read_split(out, "train")], list(direct(out, 0, 1)())):
        assert all(np.array_equal(a, b) for a, b in zip(found, clean, strict=True))


def entry(**changes):
    return lambda manifest: manifest["files"][0].update(changes)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda manifest: manifest.update(files="all"),
        lambda manifest: manifest.update(images=[4, 2]),
        lambda manifest: manifest.update(digest=7),
        lambda manifest: manifest.update(files=[1, 2]),
        lambda manifest: manifest.pop("files"),
        lambda manifest: manifest.pop("scenes"),
        lambda manifest: manifest["scenes"].pop("train"),
        lambda manifest: manifest["files"].pop(0),
        lambda manifest: manifest["files"][0].pop("sha256"),
        lambda manifest: manifest["images"].update(train=5),
        entry(bytes="many"),
        entry(rows=None),
        entry(path=3),
    ],
)
def test_a_damaged_manifest_is_one_sentence(tmp_path, spoil):
    out, _ = build(tmp_path)
    manifest = read_manifest(out)
    spoil(manifest)
    out.child("manifest.json").write_json(manifest)
    for read in (lambda: list(read_split(out, "train")), lambda: list(direct(out, 0, 1)())):
        with pytest.raises(RunError, match=rf"'.*/manifest.json' is damaged: .*\. {REMEDY}"):
            read()


def test_a_scene_that_the_manifest_does_not_name_is_refused(tmp_path):
    out, _ = build(tmp_path)
    text = out.child("manifest.json").read_bytes().decode()
    scene = json.loads(text)["scenes"]["train"][0]
    out.child("manifest.json").write_bytes(text.replace(f'"{scene}"', '"another"').encode())
    with pytest.raises(RunError, match=rf"shows scene '{scene}', which its split does not hold"):
        list(read_split(out, "train"))


def test_ray_data_reads_no_damaged_image(ray_session, tmp_path):
    out, _ = build(tmp_path)
    place = part_of(out, "train")
    data = bytearray(place.read_bytes())
    data[2000] ^= 1  # within the pixels
    place.write_bytes(bytes(data))
    parts = Ingest(out, "ray_data").datasets()["train"].streaming_split(1, equal=True)
    with pytest.raises(Exception, match=r"Shard '.*train' is damaged: image 'images/scene\d.bmp' is not the one"):
        list(images_of(parts[0]))
    place.write_bytes(b"")
    with pytest.raises(RunError, match="it has 0 bytes"):
        Ingest(out, "ray_data").datasets()


def test_files_of_a_split_share_its_scenes(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "FILE_BYTES", 1)
    out, _ = build(tmp_path)
    files = packed_files(out, "train")
    assert len(files) > 1
    assert all(file.scenes is files[0].scenes for file in files)  # else their number times that of the scenes
