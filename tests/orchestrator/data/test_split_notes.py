"""What is said of a split: what its scenes are, lopsided shares, images that look alike; and what a build survives."""

import errno
import hashlib
import os
from pathlib import Path

import noise_images
import numpy as np
import pytest
from PIL import Image

from orchestrator.data import file_rows
from orchestrator.data.shard_reader import read_manifest
from orchestrator.data.shard_verify import verify_shards
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import ImageSet
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files
from trainables.errors import ImageSetError


def listed(root, scenes="file"):
    return list_files(ImageSet(images="images", scenes=scenes), Storage.at(str(root)))


def build(root, scenes="file", shares=None, files=None):
    out, locked = Storage.at(str(root / "shards/a")), Storage.at(str(root / "test-locked/a"))
    shares = shares or {"validation": 0.2, "test": 0.2}
    return build_shards(files or listed(root, scenes), shares, 8, out, "none", locked)


def write(root, paths):
    noise_images.write(root / "images", paths, (12, 14))


def test_an_even_split_says_nothing(tmp_path):
    write(tmp_path, [f"scene{i}/{k}.png" for i in range(10) for k in range(2)])
    assert build(tmp_path, "folder")["notes"] == []


def test_a_lopsided_split_is_said_with_its_scene(tmp_path):
    write(tmp_path, [f"camera{i}/{k}.png" for i in range(5) for k in range(60 if i == LARGE_IN_TEST else 5)])
    manifest = build(tmp_path, "folder")
    (note,) = [note for note in manifest["notes"] if note.startswith("test ")]
    assert note == (
        f"test has 60 of 80 images (75%), 20% were asked for, all of scene 'camera{LARGE_IN_TEST}': shares count "
        "scenes. Divide large scenes where that is right, set other shares, or name `test_images`"
    )
    assert any(note.startswith("train has 15 of 80 images (19%), 60% were asked for") for note in manifest["notes"])


LARGE_IN_TEST = 0


def test_folders_of_folders_of_the_same_names_are_refused_and_a_pattern_says_which_is_meant(tmp_path):
    write(tmp_path, [f"patient{p}/series{s}/{k}.png" for p in range(4) for s in range(2) for k in range(2)])
    words = (
        r"'patient0/series0' and 'patient0/series1' would be two scenes, .* if 'patient0' is one patient, it would be"
    )
    with pytest.raises(ImageSetError, match=words):
        build(tmp_path, "folder")
    assert len(set().union(*build(tmp_path, {"pattern": "^([^/]+)/"})["scenes"].values())) == 3  # and one in test
    assert len(set().union(*build(tmp_path, {"pattern": "^(.+/)"})["scenes"].values())) == 6  # and two in test


def test_folders_of_folders_of_other_names_are_said(tmp_path):
    write(tmp_path, [f"city{c}/camera{c}{s}/{k}.png" for c in range(3) for s in range(2) for k in range(2)])
    (note,) = build(tmp_path, "folder")["notes"]
    assert note.startswith("'city0/camera00' and 'city0/camera01' are two scenes, as in 3 folders: if 'city0' is one")


def test_one_folder_around_all_scenes_is_no_patient(tmp_path):
    write(tmp_path, [f"data/scene{i}/{k}.png" for i in range(5) for k in range(2)])
    assert build(tmp_path, "folder")["notes"] == []


def test_images_beside_the_folders_of_scenes_are_said(tmp_path):
    write(tmp_path, ["a.png", *[f"scene{i}/{k}.png" for i in range(4) for k in range(2)]])
    assert build(tmp_path, "folder")["notes"] == ["the 1 images that lie in no folder are one scene, '.'"]


def test_files_of_folders_as_scenes_of_their_own_are_said(tmp_path):
    write(tmp_path, [f"patient{p}/{k}.png" for p in range(4) for k in range(3)])
    (note,) = build(tmp_path)["notes"]
    assert note.startswith("each file is its own scene, though 4 folders such as 'patient0' hold several")


def test_frames_of_one_video_in_several_splits_are_said(tmp_path):
    scene = np.kron(np.random.default_rng(0).integers(0, 200, (8, 9), dtype=np.uint8), np.ones((6, 6), np.uint8))
    (tmp_path / "images").mkdir()
    for frame in range(12):
        pixels = scene.copy()
        pixels[frame, :4] += 9
        Image.fromarray(pixels).save(tmp_path / "images" / f"frame{frame:02d}.png")
    (note,) = build(tmp_path)["notes"]
    assert "pairs of images that look alike are in different splits, such as images/frame" in note
    write(tmp_path / "other", [f"{i}.png" for i in range(12)])
    assert build(tmp_path / "other")["notes"] == []


def test_files_that_cannot_be_read_are_left_out_and_the_others_go_on(tmp_path, monkeypatch):
    write(tmp_path, [f"{i}.png" for i in range(6)])
    read = Storage.read_bytes
    faults = {"1.png": PermissionError(13, "Permission denied"), "2.png": OSError("InvalidObjectState: archived"),
              "3.png": RecursionError("too deep")}  # fmt: skip

    def failing(place):
        if (fault := faults.get(Path(place.path).name)) is not None:
            raise fault
        return read(place)

    monkeypatch.setattr(Storage, "read_bytes", failing)
    skipped = {entry["file"]: entry["reason"] for entry in build(tmp_path)["skipped"]}
    assert skipped == {
        "1.png": "it cannot be read: Permission denied",
        "2.png": "it cannot be read: OSError: InvalidObjectState: archived",
        "3.png": "it cannot be read: RecursionError: too deep",
    }


def test_an_image_whose_description_fails_is_left_out(tmp_path, monkeypatch):
    write(tmp_path, [f"{i}.png" for i in range(4)])
    digest, calls = file_rows.picture_digest, []

    def failing(pixels):
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError
        return digest(pixels)

    monkeypatch.setattr(file_rows, "picture_digest", failing)
    assert [entry["reason"] for entry in build(tmp_path)["skipped"]] == ["it cannot be used: MemoryError"]


@pytest.mark.parametrize("change", ["longer", "touched", "gone"])
def test_a_set_that_changes_while_it_is_read_is_refused(tmp_path, change):
    write(tmp_path, [f"{i}.png" for i in range(5)])
    files, path = listed(tmp_path), tmp_path / "images/3.png"
    if change == "longer":
        path.write_bytes(path.read_bytes() + b"\0")
    elif change == "touched":
        os.utime(path, (1, 1))
    else:
        path.unlink()
        (skipped,) = build(tmp_path, files=files)["skipped"]
        assert skipped["file"] == "3.png"
        assert skipped["reason"].startswith("it cannot be read: ")
        return
    with pytest.raises(
        ImageSetError, match=r"1 images of '.*' changed while they were being read, such as '3.png': wait"
    ):
        build(tmp_path, files=files)


def test_which_of_two_equal_images_stays_does_not_depend_on_the_order_of_files(tmp_path):
    write(tmp_path, ["a.png", "c.png", "d.png"])
    (tmp_path / "images/b.png").write_bytes((tmp_path / "images/a.png").read_bytes())
    for files in (listed(tmp_path), listed(tmp_path)[::-1]):
        assert build(tmp_path, files=files)["skipped"] == [
            {"file": "images/b.png", "reason": "the same image as images/a.png"}
        ]


STRANGERS = (
    "train/mine.parquet",
    "table.parquet",
    "train/part-00000-zzzzzzzz.parquet",
    "deep/train/part-00000-00000000.parquet",
    "train/part-00000-00000000.parquet",
)


def test_a_build_removes_files_that_builds_made_alone_and_only_where_it_built_before(tmp_path):
    write(tmp_path, [f"{i}.png" for i in range(5)])
    out = Storage.at(str(tmp_path / "shards/a"))
    data = b"of an earlier build"
    old = f"train/part-00007-{hashlib.sha256(data).hexdigest()[:8]}.parquet"
    for path in (*STRANGERS, old):
        out.child(path).write_bytes(data)
    build(tmp_path)
    assert {*STRANGERS, old} <= {facts.path for facts in out.files()}, "no manifest said that anything here was ours"
    assert verify_shards(out) == [f"{old} is not in the manifest; no reader uses it"]
    build(tmp_path)
    found = {facts.path for facts in out.files()}
    assert set(STRANGERS) <= found
    assert old not in found


def test_verification_counts_and_compares_the_digest(tmp_path):
    write(tmp_path, [f"{i}.png" for i in range(6)])
    build(tmp_path)
    out = Storage.at(str(tmp_path / "shards/a"))
    whole = read_manifest(out)
    out.child("manifest.json").write_json(whole | {"images": whole["images"] | {"train": 9}})
    assert verify_shards(out) == [f"train holds {whole['images']['train']} images, the manifest says 9"]
    out.child("manifest.json").write_json(whole | {"digest": "0" * 16})
    assert verify_shards(out) == [f"the digest in the manifest of '{out.uri}' is not that of its images and scenes"]
    for broken in ({"files": [{}]}, {"files": [1]}):
        out.child("manifest.json").write_json(whole | broken)
        assert "is damaged" in verify_shards(out)[0]


def test_a_storage_that_fails_ends_a_build_instead_of_making_the_set_smaller(tmp_path, monkeypatch):
    write(tmp_path, [f"{k}.png" for k in range(5)])
    files = listed(tmp_path)

    def read_bytes(place):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Storage, "read_bytes", read_bytes)
    with pytest.raises(OSError, match="Too many open files"):
        build(tmp_path, files=files)
