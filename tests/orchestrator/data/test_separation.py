"""No picture is on two sides: within a set, between targets, and between targets and source."""

import io
from contextlib import nullcontext

import noise_images
import numpy as np
import pytest
import tiny_experiment
from PIL import Image

from orchestrator.data.separation import pictures_of, verify_apart
from orchestrator.data.shard_reader import read_manifest
from orchestrator.data.shard_verify import verify_shards
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import ImageSet
from orchestrator.experiment.load import make_experiment
from orchestrator.foundation.stage_record import run_stage
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files
from orchestrator.jobs.stage_jobs import Jobs
from orchestrator.pipeline.pack_shards import Packing
from orchestrator.pipeline.preflight import preflight
from trainables.errors import ImageSetError

SIDE = 100


def png_of(data, kind="PNG", change=lambda pixels: pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(change(np.asarray(Image.open(io.BytesIO(data)))))).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


AGAIN = {
    "the bytes": lambda data: data,
    "another compression": lambda data: png_of(data, compress_level=0),
    "BMP": lambda data: png_of(data, "BMP"),
    "TIFF": lambda data: png_of(data, "TIFF"),
    "metadata": lambda data: png_of(data, dpi=(72, 72)),
    "a quarter turn": lambda data: png_of(data, change=np.rot90),
    "mirrored": lambda data: png_of(data, change=lambda pixels: pixels[:, ::-1]),
}


class Study:
    """An experiment of noise: a source and two targets, one scene a file."""

    def __init__(self, root):
        self.root = root
        for name, count in (("natural", 6), ("medical", 8), ("satellite", 8)):
            noise_images.write(root / name, [f"{i}.png" for i in range(count)], (SIDE, SIDE + 4))

    def pack(self, names=("source", "medical", "satellite")):
        settings = tiny_experiment.settings(str(self.root), str(self.root / "runs"))
        settings["source"]["scenes"] = "file"
        for target in settings["targets"].values():
            target |= {"scenes": "file", "test_share": 0.25}
        experiment, lines = make_experiment(settings, "tiny"), []
        self.jobs = Jobs(experiment)
        files = preflight(experiment).files

        def run(name, work):
            inputs = self.jobs.shard_inputs(name, files[name])
            return run_stage(f"shards {name}", self.shards(name), inputs, work, lines.append)

        Packing(self.jobs, files, lines.append, run).pack(list(names), lambda _: nullcontext())
        return "\n".join(lines)

    def shards(self, name):
        return self.jobs.place("shards", name)

    def of_test(self, name):
        return sorted(pictures_of(self.jobs.locked_test(name))["test"].values())

    def left_out(self, name):
        return {entry["file"]: entry["reason"] for entry in read_manifest(self.shards(name))["skipped"]}

    def copy(self, origin, to, how=AGAIN["the bytes"]):
        (self.root / to).write_bytes(how((self.root / origin).read_bytes()))

    def problems(self):
        tests = {name: self.jobs.locked_test(name) for name in ("medical", "satellite")}
        return verify_apart({name: self.shards(name) for name in ("source", *tests)}, tests)


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def test_sets_that_share_nothing_are_packed_once_and_compared_once(study):
    said = study.pack()
    assert "again" not in said
    assert said.index("shards medical: running") < said.index("shards source: running")
    assert study.problems() == []
    before = {name: study.shards(name).child("stage.json").read_bytes() for name in ("source", "medical")}
    for place in (study.jobs.place("test-locked"), study.jobs.place("shards", "source", "train")):
        place.delete_folder()  # a second run reads no test split, and no images
    assert study.pack().count("skipped") == 3
    assert before == {name: study.shards(name).child("stage.json").read_bytes() for name in before}


@pytest.mark.parametrize("how", AGAIN)
def test_source_images_that_are_test_images_are_left_out_and_named(study, how):
    study.pack()
    test = study.of_test("medical")[0]
    tests = study.of_test("medical")
    study.copy(test, "natural/copy.png", AGAIN[how])
    said = study.pack()
    reason = "the same picture as a test image of 'medical'"
    assert study.left_out("source") == {"natural/copy.png": reason}
    assert f"natural/copy.png: {reason}" in said
    assert "packing it again" not in said  # the source is packed last, when the tests are known
    assert study.problems() == []
    assert study.of_test("medical") == tests


def test_training_images_of_a_target_that_are_test_images_of_another_are_left_out(study):
    study.pack()
    for number, test in enumerate(study.of_test("satellite")):
        study.copy(test, f"medical/copy{number}.png")
    said = study.pack()
    skipped = study.left_out("medical")
    assert set(skipped.values()) == {"the same picture as a test image of 'satellite'"}
    assert "shards medical: " in said
    assert "are test images of another target; packing it again without them" in said
    assert study.problems() == []
    assert verify_shards(study.shards("medical"), study.jobs.locked_test("medical")) == []
    kept = [origin for pictures in pictures_of(study.shards("medical")).values() for origin in pictures.values()]
    assert not set(skipped) & set(kept)
    again = study.pack()
    assert again.count("skipped") == 3
    assert "packing it again" not in again


def test_a_test_image_in_both_tests_is_no_conflict(study):
    study.pack()
    study.copy(study.of_test("satellite")[0], "medical/copy.png")
    study.pack()
    assert study.problems() == []


def test_shards_built_without_a_note_of_pictures_are_compared_when_another_set_is_built(study):
    """Shards of version 0.2.0 stay as they are until a set of their experiment is built anew."""
    study.pack()
    test = study.of_test("medical")[0]
    for name in ("source", "medical", "satellite"):
        for place in (study.shards(name), study.jobs.locked_test(name)):
            if place.child(".pictures.json").exists():
                place.child(".pictures.json").delete()
    study.jobs.place("shards", "separation.json").delete()
    before = study.shards("source").child("manifest.json").read_bytes()
    assert study.pack().count("skipped") == 3
    assert study.shards("source").child("manifest.json").read_bytes() == before
    assert not study.jobs.place("shards", "separation.json").exists()
    study.copy(test, "satellite/copy.png")
    said = study.pack()
    if "satellite/copy.png" not in study.of_test("satellite"):
        assert study.left_out("satellite") == {"satellite/copy.png": "the same picture as a test image of 'medical'"}
    assert "shards source: finished" in said
    assert study.problems() == []


def test_a_run_that_ended_before_the_comparison_does_it_in_the_next(study):
    study.pack()
    test = study.of_test("medical")[0]
    study.copy(test, "satellite/copy.png")
    study.pack(["satellite"])
    clean = study.left_out("satellite")
    record = study.jobs.place("shards", "separation.json")
    record.delete()
    study.pack()
    assert record.read_json().keys() == {"source", "medical", "satellite"}
    assert study.left_out("satellite") == clean


def test_a_set_whose_training_images_are_all_tested_elsewhere_is_refused(tmp_path):
    noise_images.write(tmp_path / "images", ["a.png", "b.png", "c.png"], (40, 48))
    files, out = (
        list_files(ImageSet(images="images"), Storage.at(str(tmp_path))),
        Storage.at(str(tmp_path / "shards/a")),
    )
    build_shards(files, {"validation": 0.3}, 32, out, "none")
    tested = dict.fromkeys(pictures_of(out)["train"], "the same picture as a test image of 'art'")
    words = r"Of the 2 train images of '.*' none is left: 'images/\w.png' is the same picture as a test image of 'art'"
    with pytest.raises(ImageSetError, match=words):
        build_shards(files, {"validation": 0.3}, 32, out, "none", tested_elsewhere=tested)


class TestWithinOneSet:
    """A picture that comes twice in a set is one row."""

    def build(self, root, test_images=None, scenes="file", shares=None):
        files = list_files(ImageSet(images="images", scenes=scenes), Storage.at(str(root)), test_images)
        out, locked = Storage.at(str(root / "shards/a")), Storage.at(str(root / "test-locked/a"))
        shares = shares or ({"validation": 0.3} if test_images else {"validation": 0.3, "test": 0.3})
        return build_shards(files, shares, 32, out, "none", locked), out, locked

    @pytest.mark.parametrize("how", AGAIN)
    def test_it_is_left_out_with_its_reason(self, tmp_path, how):
        noise_images.write(tmp_path / "images", [f"{i}.png" for i in range(6)], (40, 48))
        (tmp_path / "images/z.png").write_bytes(AGAIN[how]((tmp_path / "images/3.png").read_bytes()))
        manifest, out, locked = self.build(tmp_path)
        word = "image" if how == "the bytes" else "picture"
        assert manifest["skipped"] == [{"file": "images/z.png", "reason": f"the same {word} as images/3.png"}]
        assert verify_shards(out, locked) == []

    def test_gray_stored_as_colour_is_the_same(self, tmp_path):
        noise_images.write(tmp_path / "images", [f"{i}.png" for i in range(4)], (40, 48), channels=1)
        (tmp_path / "images/z.png").write_bytes(
            png_of((tmp_path / "images/0.png").read_bytes(), change=lambda gray: np.dstack([gray] * 3))
        )
        assert self.build(tmp_path)[0]["skipped"][0]["reason"] == "the same picture as images/0.png"

    def test_a_test_folders_copy_of_a_training_image_is_not_tested(self, tmp_path):
        noise_images.write(tmp_path / "images", ["a.png", "b.png", "c.png"], (40, 48))
        noise_images.write(tmp_path / "held-out", ["d.png"], (40, 48))
        (tmp_path / "held-out/e.bmp").write_bytes(AGAIN["BMP"]((tmp_path / "images/a.png").read_bytes()))
        manifest, _, locked = self.build(tmp_path, "held-out")
        assert manifest["skipped"] == [{"file": "held-out/e.bmp", "reason": "the same picture as images/a.png"}]
        assert list(pictures_of(locked)["test"].values()) == ["held-out/d.png"]

    def test_verification_sees_pictures_on_both_sides(self, tmp_path):
        """As shards of version 0.2.0 may have them, whose build compared bytes alone."""
        noise_images.write(tmp_path / "images", [f"{i}.png" for i in range(8)], (40, 48))
        _, out, _ = self.build(tmp_path)
        other = tmp_path / "other"
        origin = next(iter(pictures_of(out)["train"].values()))
        noise_images.write(other / "images", ["x.png", "y.png"], (40, 48))
        (other / "held-out").mkdir()
        (other / "held-out/twin.bmp").write_bytes(AGAIN["BMP"]((tmp_path / origin).read_bytes()))
        files = list_files(ImageSet(images="images"), Storage.at(str(other)), "held-out")
        late = Storage.at(str(other / "test-locked/a"))
        build_shards(files, {"validation": 0.5}, 32, Storage.at(str(other / "shards/a")), "none", late)
        assert verify_shards(out, late) == [f"{origin} in train is the same picture as held-out/twin.bmp in test"]

    @pytest.mark.parametrize("where", ["same", "inside", "around", "link"])
    def test_folders_of_images_and_test_images_that_overlap_are_refused(self, tmp_path, where):
        noise_images.write(tmp_path / "images", ["a.png", "b.png", "c.png", "held/d.png"], (40, 48))
        (tmp_path / "link").symlink_to(tmp_path / "images" / "held")
        test = {"same": "images", "inside": "images/held", "around": ".", "link": "link"}[where]
        with pytest.raises(ImageSetError, match=r"`images` and `test_images` (are one folder|lie one in the other)"):
            self.build(tmp_path, test)
