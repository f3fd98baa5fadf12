"""Shards: split by scene, complete, verified, and the same whatever the order of files."""

import hashlib
import io
import tempfile
from pathlib import Path

import noise_images
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orchestrator.data import shards
from orchestrator.data.locked_test import Opening, digest_of_test, locked_beside, open_test, openings, record_choice
from orchestrator.data.shard_reader import read_manifest, read_split, split_files
from orchestrator.data.shard_verify import check_sound, verify_shards
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import ImageSet
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files, listing_fingerprint
from trainables.errors import ImageSetError, RunError, UsageError
from trainables.images.codec import decode

SHARES = {"validation": 0.2, "test": 0.2}
SIDE = 32


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def out(tmp_path):
    return Storage.at(str(tmp_path / "shards" / "medical"))


def locked(out):
    """Where the test split is set aside, beside the shards at ``out``."""
    return Storage("/test-locked/".join(out.uri.rsplit("/shards/", 1)))


def listed(root, test_images=None, **settings):
    return list_files(ImageSet(images="images", **settings), Storage.at(str(root)), test_images)


def build(files, out, shares=SHARES, least_side=SIDE):
    return build_shards(files, shares, least_side, out, "CC0", locked(out))


def every_manifest(out):
    """Both manifests, with images and scenes of all three splits, as a test of the whole set wants them."""
    kept, test = read_manifest(out), read_manifest(locked(out))
    return {key: kept[key] | test[key] for key in ("images", "scenes", "pixels")} | {
        "files": [(out, part) for part in kept["files"]] + [(locked(out), part) for part in test["files"]]
    }


def write(root, names, size=(SIDE, SIDE), channels=3):
    return noise_images.write(root / "images", names, size, channels)


def scenes_of_folders(root, sizes=(3, 1, 2, 4, 1, 2)):
    write(root, [f"scene{scene}/{image}.png" for scene, size in enumerate(sizes) for image in range(size)])
    return listed(root, scenes="folder")


def rows_of(out, split):
    files = [place.child(part["path"]).path for place, part in every_manifest(out)["files"] if part["split"] == split]
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def opened(out):
    """All images of the locked test split, after a choice."""
    record = Storage(out.uri).child("opening.json")
    record_choice(record, locked(out), "trial-1")
    return list(open_test(locked(out), record))


def test_manifest_counts_what_the_files_hold(root, out):
    kept = build(scenes_of_folders(root), out)
    assert kept == read_manifest(out)
    assert kept["licence"] == "CC0"
    assert kept["skipped"] == []
    manifest = every_manifest(out)
    assert sum(manifest["images"].values()) == 13
    for split in ("train", "validation", "test"):
        rows = rows_of(out, split)
        assert len(rows) == manifest["images"][split]
        assert sorted({row["scene_id"] for row in rows}) == manifest["scenes"][split]
        assert manifest["pixels"][split] == len(rows) * SIDE * SIDE
    assert sum(1 for _ in read_split(out, "validation")) == manifest["images"]["validation"]
    assert sum(part["rows"] for _, part in manifest["files"]) == 13
    assert verify_shards(out, locked(out)) == []


def test_columns_describe_the_image_as_it_came(root, out):
    write(root, ["a.png", "b.png"])
    write(root, ["gray.png"], (SIDE, SIDE + 5), channels=1)
    build(listed(root), out)
    rows = [row for split in ("train", "validation", "test") for row in rows_of(out, split)]
    (gray,) = [row for row in rows if row["origin"] == "images/gray.png"]
    data = (root / "images" / "gray.png").read_bytes()
    assert list(gray) == shards.SCHEMA.names
    assert gray == {
        "scene_id": "gray.png",
        "image": data,
        "format": "PNG",
        "height": SIDE,
        "width": SIDE + 5,
        "channels": 1,
        "bit_depth": 8,
        "sha256": hashlib.sha256(data).hexdigest(),
        "origin": "images/gray.png",
    }
    every = [*read_split(out, "train"), *read_split(out, "validation"), *opened(out)]
    (image,) = [image for image in every if "gray" in image.name]
    np.testing.assert_array_equal(image.pixels, decode(data).pixels)


def test_readers_stream_row_groups_of_several_files(root, out, monkeypatch):
    monkeypatch.setattr(shards, "GROUP_BYTES", 8_000)  # an image is about 3 kB
    monkeypatch.setattr(shards, "FILE_BYTES", 20_000)
    write(root, [f"{i}.png" for i in range(20)])
    manifest = build(listed(root), out)
    paths = split_files(out, "train")
    assert len(paths) == 2
    assert [pq.ParquetFile(paths[0]).metadata.row_group(i).num_rows for i in range(3)] == [2, 2, 2]
    digests = [row["sha256"] for row in rows_of(out, "train")]
    assert digests == sorted(digests)  # one order for all files: shuffled by content
    names = [row["origin"] for row in rows_of(out, "train")]
    assert names != sorted(names)
    assert len(names) == manifest["images"]["train"] == 12


def test_no_scene_is_in_two_splits(root, out):
    build(scenes_of_folders(root), out)
    scenes = every_manifest(out)["scenes"]
    assert len(set().union(*scenes.values())) == sum(map(len, scenes.values())) == 6
    assert all(scenes.values())


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=3, max_size=12),
    validation=st.floats(0.01, 0.99),
    test=st.floats(0.01, 0.99),
)
def test_splits_are_disjoint_and_complete_for_any_scenes_and_shares(sizes, validation, test):
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "data", Storage.at(f"{folder}/shards/out")
        names = [f"{scene}/{image}.png" for scene, size in enumerate(sizes) for image in range(size)]
        write(root, names, size=(8, 8))
        build(listed(root, scenes="folder"), out, {"validation": validation, "test": test}, least_side=8)
        found = {split: {row["origin"] for row in rows_of(out, split)} for split in every_manifest(out)["images"]}
        assert list(found) == ["train", "validation", "test"]
        assert sorted(origin for origins in found.values() for origin in origins) == sorted(
            f"images/{n}" for n in names
        )
        of_scene = [{Path(origin).parent.name for origin in origins} for origins in found.values()]
        assert all(of_scene)
        assert sum(map(len, of_scene)) == len(sizes)


def test_shares_are_kept_where_scenes_allow(root, out):
    write(root, [f"{i}.png" for i in range(20)], size=(8, 8))
    build(listed(root), out, {"validation": 0.1, "test": 0.3}, least_side=8)
    assert every_manifest(out)["images"] == {"train": 12, "validation": 2, "test": 6}


def test_result_does_not_depend_on_the_order_of_files(root, tmp_path):
    files = scenes_of_folders(root)
    one = build(files, Storage.at(str(tmp_path / "shards" / "one")))
    other = build(files[::-1], Storage.at(str(tmp_path / "shards" / "other")))
    assert one["digest"] == other["digest"]
    assert one["files"] == other["files"]


def test_digest_changes_with_content_and_with_scenes(root, tmp_path):
    def digests(files, name):
        place = Storage.at(str(tmp_path / "shards" / name))
        build(files, place)
        return read_manifest(place)["digest"], read_manifest(locked(place))["digest"]

    found = {digests(scenes_of_folders(root), "1"), digests(listed(root, scenes={"pattern": "(.*)"}), "2")}
    write(root, ["scene0/more.png"])
    found.add(digests(listed(root, scenes="folder"), "3"))
    assert len(found) == 3


def test_fingerprint_of_a_listing_sees_a_touched_file(root):
    before = listing_fingerprint(scenes_of_folders(root))
    assert listing_fingerprint(listed(root, scenes="folder")) == before
    assert listing_fingerprint(listed(root)) != before
    path = root / "images" / "scene0" / "0.png"
    path.write_bytes(path.read_bytes() + b" ")
    assert listing_fingerprint(listed(root, scenes="folder")) != before


def test_test_images_of_their_own_stay_apart(root, out):
    write(root, ["a1.png", "a2.png", "b1.png", "c1.png"])
    noise_images.write(root / "held-out", ["d1.png", "e1.png"], (SIDE, SIDE))
    files = listed(root, "held-out", scenes={"pattern": "^(.)"})
    build(files, out, {"validation": 0.2})
    manifest = every_manifest(out)
    assert manifest["scenes"]["test"] == ["d", "e"]
    assert manifest["images"]["train"] + manifest["images"]["validation"] == 4
    assert {row["origin"] for row in rows_of(out, "test")} == {"held-out/d1.png", "held-out/e1.png"}


def test_a_scene_in_both_folders_is_refused(root):
    write(root, ["a1.png", "b1.png"])
    noise_images.write(root / "held-out", ["b2.png"], (SIDE, SIDE))
    with pytest.raises(ImageSetError, match=r"in both 'images' and 'held-out', such as 'b'"):
        listed(root, "held-out", scenes={"pattern": "^(.)"})


def test_a_training_image_that_is_in_the_test_folder_too_is_not_tested(root, out):
    write(root, ["a.png", "b.png", "c.png"])
    noise_images.write(root / "held-out", ["d.png"], (SIDE, SIDE))
    (root / "held-out" / "copy.png").write_bytes((root / "images" / "a.png").read_bytes())
    manifest = build(listed(root, "held-out"), out, {"validation": 0.2})
    assert every_manifest(out)["scenes"]["test"] == ["test/d.png"]
    assert manifest["skipped"] == [{"file": "held-out/copy.png", "reason": "the same image as images/a.png"}]


def test_a_test_folder_without_usable_images_is_refused(root, out):
    write(root, ["a.png", "b.png"])
    noise_images.write(root / "held-out", ["d.png"], (4, 4))
    with pytest.raises(ImageSetError, match="held-out' has no usable images"):
        build(listed(root, "held-out"), out, {"validation": 0.2})


def test_unusable_files_are_counted_and_named(root, out):
    write(root, ["a.png", "b.png", "c.png"])
    write(root, ["tiny.png"], (SIDE, SIDE - 1))
    good = (root / "images" / "a.png").read_bytes()
    for name, data in {
        "again.png": good,
        "cut.png": good[: len(good) // 2],
        "deep.png": noise_images.sixteen_bit_png(),
        "empty.png": b"",
        "text.jpg": b"not an image",
        "notes.txt": b"not even called one",
    }.items():
        (root / "images" / name).write_bytes(data)
    manifest = build(listed(root), out)
    reasons = {entry["file"].removeprefix("images/"): entry["reason"] for entry in manifest["skipped"]}
    assert sum(every_manifest(out)["images"].values()) == 3
    assert sorted(reasons) == ["again.png", "cut.png", "deep.png", "empty.png", "text.jpg", "tiny.png"]
    assert reasons["again.png"] == "the same image as images/a.png"
    assert reasons["tiny.png"] == f"{SIDE - 1}×{SIDE} pixels, smaller than the {SIDE}×{SIDE} needed"
    assert "16" in reasons["deep.png"]
    assert reasons["text.jpg"] == "not an image that can be decoded"
    assert reasons["empty.png"] == "not an image that can be decoded: it is empty"


def test_too_few_scenes_say_how_many_are_needed_and_what_was_left_out(root, out):
    write(root, [f"one/{i}.png" for i in range(9)])
    with pytest.raises(ImageSetError, match="usable images of 1 scenes; at least 3 scenes are needed"):
        build(listed(root, scenes="folder"), out)
    write(root, ["two/a.png", "three/b.png"], (4, 5))
    with pytest.raises(ImageSetError, match=rf"\(left out: 2 × smaller than the {SIDE}×{SIDE} needed\)"):
        build(listed(root, scenes="folder"), out)
    assert not out.child("manifest.json").exists()


@pytest.mark.parametrize(
    ("files", "words"), [([], "is empty; expected images"), (["a.txt", "b.pdf"], "holds 2 files but no images")]
)
def test_folders_without_images(root, files, words):
    (root / "images").mkdir(parents=True)
    for name in files:
        (root / "images" / name).write_text("x")
    with pytest.raises(ImageSetError, match=words):
        listed(root)


class TestScenes:
    """The rules that name an image's scene."""

    NAMES = ("north/a-1.png", "north/a-2.png", "south/deep/b-1.png", "c.PNG")

    def scenes(self, root, rule):
        write(root, self.NAMES)
        return {file.facts.path: file.scene for file in listed(root, scenes=rule)}

    def table(self, root, text):
        root.mkdir(parents=True, exist_ok=True)
        (root / "scenes.csv").write_bytes(text.encode())
        return {"table": "scenes.csv"}

    def test_each_file_its_own(self, root):
        assert self.scenes(root, "file") == {name: name for name in self.NAMES}

    def test_folders(self, root):
        assert list(self.scenes(root, "folder").values()) == [".", "north", "north", "south/deep"]

    def test_pattern(self, root):
        found = self.scenes(root, {"pattern": r"(?:^|/)([a-z])"})
        assert list(found.values()) == ["c", "n", "n", "s"]

    @pytest.mark.parametrize("pattern", ["-(\\d)", "c|-1|-2", "^(north)|c|south"])
    def test_pattern_that_finds_nothing(self, root, pattern):
        with pytest.raises(ImageSetError, match=r"The scene pattern '.*' finds no scene in 'c.PNG'"):
            self.scenes(root, {"pattern": pattern})

    @pytest.mark.parametrize("rule", [{"pattern": "(a"}, {"table": "scenes.csv", "pattern": "(a"}])
    def test_bad_pattern(self, root, rule):
        self.table(root, "file,scene\n")
        with pytest.raises(UsageError, match=r"The scene pattern '\(a' is no regular expression: missing \)"):
            self.scenes(root, rule)

    def test_table_by_file_name(self, root):
        rule = self.table(root, "\ufefffile,scene,more\nx/a-1.png,Ann,1\na-2.png,Ann,2\nb-1.png,Bob,3\nc.PNG,Cid,4\n")
        assert list(self.scenes(root, rule).values()) == ["Cid", "Ann", "Ann", "Bob"]

    def test_table_with_other_columns_and_a_pattern(self, root):
        rows = "name;x,who\na-1.png,Ann (1999)\na-2.png,Ann (2001)\nb-1.png,Bob\nc.PNG,Cid\n"
        rule = self.table(root, rows) | {"file_column": "name;x", "scene_column": "who", "pattern": r"^(\w+)"}
        assert list(self.scenes(root, rule).values()) == ["Cid", "Ann", "Ann", "Bob"]

    def test_missing_row_suggests_the_closest(self, root):
        rule = self.table(root, "file,scene\na-1.png,x\na-2.png,x\nb_1.png,y\nc.PNG,z\n")
        with pytest.raises(ImageSetError, match=r"no row for 'b-1.png'. Did you mean 'b_1.png'\?"):
            self.scenes(root, rule)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("file,place\nc.PNG,x\n", "has no column 'scene'; it has file, place"),
            ("file,scene\n", "no row for 'c.PNG'"),
            ("", "has no column 'file'; it has none"),
        ],
    )
    def test_unusable_table(self, root, text, words):
        with pytest.raises(ImageSetError, match=words):
            self.scenes(root, self.table(root, text))

    def test_rows_that_are_too_long_or_too_short(self, root):
        rule = self.table(root, "file,scene\na-1.png,x,y,z\na-2.png,x\nb-1.png,y\nc.PNG\n")
        with pytest.raises(ImageSetError, match=r"row for 'c\.PNG' names no scene"):
            self.scenes(root, rule)

    def test_tables_that_cannot_be_read(self, root):
        with pytest.raises(ImageSetError, match=r"There is no scene table '.*scenes.csv'"):
            self.scenes(root, {"table": "scenes.csv"})
        (root / "scenes.csv").write_bytes(b"file,scene\nc.PNG,\xe9\xff\n")
        with pytest.raises(ImageSetError, match="is no CSV file in UTF-8"):
            self.scenes(root, {"table": "scenes.csv"})


class TestDamage:
    """What verification finds."""

    @pytest.fixture(autouse=True)
    def built(self, root, out):
        self.manifest = build(scenes_of_folders(root), out)
        self.part = self.manifest["files"][0]["path"]

    def test_flipped_byte(self, out):
        data = bytearray(out.child(self.part).read_bytes())
        data[len(data) // 2] ^= 1
        out.child(self.part).write_bytes(bytes(data))
        assert verify_shards(out) == [f"{self.part} has changed since it was written"]
        with pytest.raises(RunError, match=r"are damaged: .* has changed since it was written\. Build them again"):
            check_sound(out)

    def test_missing_file(self, out):
        out.child(self.part).delete()
        assert verify_shards(out) == [f"{self.part} is missing"]

    def test_image_that_does_not_match_its_own_digest(self, out):
        rows = pq.read_table(out.child(self.part).path).to_pylist()
        rows[0]["image"] = noise_images.png("another")
        self.replace_part(out, rows)
        assert verify_shards(out) == [f"{rows[0]['origin']} in {self.part} has changed"]

    def test_scene_in_two_splits(self, out):
        rows = pq.read_table(out.child(self.part).path).to_pylist()
        shared = every_manifest(out)["scenes"]["test"][0]
        rows[0]["scene_id"] = shared
        self.replace_part(out, rows)
        assert verify_shards(out, locked(out)) == [f"scene '{shared}' is in both train and test"]

    def replace_part(self, out, rows):
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, shards.SCHEMA), sink, compression="none")
        data = sink.getvalue()
        out.child(self.part).write_bytes(data)
        self.manifest["files"][0]["sha256"] = hashlib.sha256(data).hexdigest()
        out.child("manifest.json").write_json(self.manifest)

    @pytest.mark.parametrize("content", [b'{"format": 1, "files"', b'{"format": 2}', b"[]"])
    def test_no_manifest(self, out, content):
        out.child("manifest.json").write_bytes(content)
        with pytest.raises(UsageError, match="There are no shards at"):
            verify_shards(out)

    def test_building_again_sweeps_old_parts_alone(self, root, out):
        (split,) = {part["path"].split("/")[0] for part in self.manifest["files"][:1]}
        mine = ["notes.md", "mine.parquet", f"{split}/mine.parquet", f"{split}/part-00000-0a1b2c3d.parquet"]
        mine += ["deep/er/part-00000-0a1b2c3d.parquet", f"{split}/part-00000.parquet"]
        for name in mine:  # one of them is called as ours are, but is none by its bytes
            out.child(name).write_bytes(b"mine")
        write(root, ["scene0/more.png", "scene9/new.png"])
        manifest = build(listed(root, scenes="folder"), out)
        parts = {part["path"] for part in manifest["files"]}
        assert {facts.path for facts in out.files()} == {"manifest.json", *mine, *parts}
        assert verify_shards(out) == []


def test_wide_formats_are_read(root, out):
    write(root, ["a.png"])
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    for number, (name, kind) in enumerate(
        [("b.JPG", "JPEG"), ("c.bmp", "BMP"), ("d.tiff", "TIFF"), ("e.webp", "WEBP")]
    ):
        buffer = io.BytesIO()
        Image.fromarray(np.roll(pixels, number)).save(buffer, kind)
        (root / "images" / name).write_bytes(buffer.getvalue())
    build(listed(root), out)
    assert sum(every_manifest(out)["images"].values()) == 5


def test_files_of_one_name_in_both_folders_are_two_scenes_where_each_file_is_one(root, out):
    write(root, ["a.png", "b.png", "c.png"])
    (root / "held-out").mkdir()
    noise_images.write(root / "held-out", ["a.png"], (SIDE + 4, SIDE))
    build(listed(root, "held-out"), out, {"validation": 0.2})
    assert every_manifest(out)["images"]["test"] == 1


class TestLockedTest:
    """The test split lies apart and opens after a choice."""

    @pytest.fixture(autouse=True)
    def built(self, root, out):
        build(scenes_of_folders(root), out)

    def test_it_lies_beside_the_shards_which_do_not_name_it(self, out):
        assert locked_beside(out) == locked(out)
        assert locked_beside(Storage(out.uri + "/absent")) is None
        assert list(read_manifest(out)["images"]) == ["train", "validation"]
        assert list(read_manifest(locked(out))["images"]) == ["test"]
        assert b"locked" not in out.child("manifest.json").read_bytes()

    def test_it_lies_beside_shards_of_an_experiment_below_a_folder_of_shards(self, root, tmp_path):
        inner = Storage(f"{tmp_path}/shards/runs/e/shards/art")
        build(listed(root, scenes="folder"), inner)
        assert locked_beside(inner) == locked(inner)

    def test_a_reader_of_splits_is_refused(self, out):
        with pytest.raises(UsageError, match=r"holds train and validation images, no 'test'\. A test split is locked"):
            split_files(out, "test")
        for split in ("test", "train"):
            with pytest.raises(UsageError, match="is a locked test split: only a confirmation that has chosen opens"):
                read_split(locked(out), split)

    def test_it_opens_after_a_choice_alone(self, out):
        record = out.child("opening.json")
        with pytest.raises(RunError, match=r"is locked: no choice is recorded at '.*opening\.json'"):
            open_test(locked(out), record)
        record_choice(record, locked(out), "trial-3")
        first = record.read_bytes()
        record_choice(record, locked(out), "trial-4")
        assert record.read_bytes() == first, "the choice that opened it stands"
        names = {image.name for image in open_test(locked(out), record)}
        assert len(names) == read_manifest(locked(out))["images"]["test"]

    def test_every_opening_of_these_images_is_told(self, out, root):
        records = Storage(out.uri).child("opened")
        record_choice(records.child("b.json"), locked(out), "trial-3")
        record_choice(records.child("a.json"), locked(out), "default")
        told = openings(records, locked(out))
        assert sorted(opening.after_choosing for opening in told) == ["default", "trial-3"]
        assert all(opening.by.startswith("rayscale ") and opening.at for opening in told)
        write(root, [f"scene{i}/more.png" for i in range(6)])
        build(listed(root, scenes="folder"), out)
        assert openings(records, locked(out)) == []
        with pytest.raises(RunError, match="opened other test images than those at"):
            record_choice(records.child("a.json"), locked(out), "default")

    def test_openings_come_in_the_order_of_time_and_records_that_are_none_are_passed_over(self, out):
        records, digest = Storage(out.uri).child("opened"), read_manifest(locked(out))["digest"]
        for name, at in (("a", "2026-03-01"), ("b", "2026-01-01"), ("c", "2026-02-01")):
            told = {"at": at, "by": "rayscale 1", "after_choosing": name, "test": digest, "more": 1}
            records.child(f"{name}.json").write_json(told)
        for name, content in {"d": b"{}", "e": b"[]", "f": b"null", "g": b'{"test": "x"', "h": b'{"test": 3}'}.items():
            records.child(f"{name}.json").write_bytes(content)
        assert [opening.after_choosing for opening in openings(records, locked(out))] == ["b", "c", "a"]
        assert openings(records, locked(out))[0] == Opening(
            at="2026-01-01", by="rayscale 1", after_choosing="b", test=digest
        )

    @pytest.mark.parametrize("content", [b"{}", b"[]", b"null", b'{"after_choosing": ""}', b'{"after'])
    def test_a_record_that_names_no_choice_opens_nothing_and_is_written_anew(self, out, content):
        record = out.child("opening.json")
        record.write_bytes(content)
        with pytest.raises(RunError, match="is locked: no choice is recorded"):
            open_test(locked(out), record)
        record_choice(record, locked(out), "trial-5")
        assert record.read_json()["after_choosing"] == "trial-5"
        assert list(open_test(locked(out), record))

    def test_an_emptied_test_split_and_another_manifest_in_its_place_are_refused(self, out):
        record = out.child("opening.json")
        record_choice(record, locked(out), "trial-5")
        place = locked(out).child("manifest.json")
        whole = place.read_json()
        place.write_json(whole | {"images": {"test": 0}, "files": []})
        with pytest.raises(RunError, match=r"The test split at '.*' holds no images; put it back, or delete"):
            open_test(locked(out), record)
        with pytest.raises(RunError, match="holds no images"):
            digest_of_test(locked(out), out)
        place.write_json(whole | {"files": []})
        with pytest.raises(RunError, match=r"its test files hold 0 images, its count is \d"):
            open_test(locked(out), record)
        place.write_json(read_manifest(out))
        with pytest.raises(RunError, match="is not that of a test split; put it back"):
            digest_of_test(locked(out), out)

    def test_a_test_split_that_shares_a_scene_with_its_shards_is_refused(self, out):
        place = locked(out).child("manifest.json")
        whole, shared = place.read_json(), read_manifest(out)["scenes"]["validation"][0]
        place.write_json(whole | {"scenes": {"test": [*whole["scenes"]["test"], shared]}})
        with pytest.raises(
            RunError, match=rf"Scene '{shared}' is in the test split at '.*' and in the validation images"
        ):
            digest_of_test(locked(out), out)

    def test_a_test_split_of_other_shards_is_refused(self, out, root):
        assert digest_of_test(locked(out), out) == read_manifest(locked(out))["digest"]
        before = locked(out).child("manifest.json").read_bytes()
        write(root, [f"scene{i}/more.png" for i in range(6)])
        build(listed(root, scenes="folder"), out)
        locked(out).child("manifest.json").write_bytes(before)
        with pytest.raises(RunError, match=r"is not that of '.*medical': delete the domain's folder below shards/"):
            digest_of_test(locked(out), out)
        locked(out).child("manifest.json").delete()
        with pytest.raises(RunError, match=r"The test split at '.*' is missing; put it back, or delete"):
            digest_of_test(locked(out), out)

    def test_shards_with_a_test_split_need_a_place_for_it(self, root, out):
        with pytest.raises(ValueError, match="needs a place of its own"):
            build_shards(listed(root, scenes="folder"), SHARES, SIDE, out, "CC0")
