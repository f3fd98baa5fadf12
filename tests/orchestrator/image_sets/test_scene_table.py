"""A scene table is matched with files by their paths: one patient is never two, two are never one."""

import unicodedata

import noise_images
import pytest

from orchestrator.data.locked_test import locked_manifest
from orchestrator.data.shard_reader import read_manifest
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import ImageSet, SceneTable
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files
from trainables.errors import ImageSetError

PATIENTS = [f"patient{patient}/slice{number}.png" for patient in range(3) for number in range(2)]


def scenes(root, paths, rows, test_images=None, folder="images", notes=None):
    """The scene of each file, by path; in a test folder, by the folder's name in front."""
    noise_images.write(root / folder, paths, (8, 8))
    lines = "".join(f'"{file}",{scene}\n' for file, scene in rows)
    (root / "scenes.csv").write_text("file,scene\n" + lines, encoding="utf-8")
    rule = SceneTable(table="scenes.csv")
    note = (lambda line: None) if notes is None else notes.append
    files = list_files(ImageSet(images="images", scenes=rule), Storage.at(str(root)), test_images, note=note)
    return {file.facts.path if not file.test else f"test:{file.facts.path}": file.scene for file in files}


def rows_of(paths, write=lambda path: path):
    return [(write(path), path.partition("/")[0]) for path in paths]


WRITTEN = {
    "below the folder": lambda path: path,
    "below root": lambda path: f"images/{path}",
    "with a dot": lambda path: f"./{path}",
    "with dots": lambda path: f"other/../{path}",
    "doubled slashes": lambda path: path.replace("/", "//"),
    "backslashes": lambda path: path.replace("/", "\\"),
    "of Windows": lambda path: "D:\\study\\" + path.replace("/", "\\"),
    "of another machine": lambda path: f"/mnt/nas/study/{path}",
    "a bucket's": lambda path: f"s3://bucket/study/{path}",
    "spaces around": lambda path: f"  {path} ",
    "another case": lambda path: path.upper(),
}


@pytest.mark.parametrize("written", WRITTEN)
def test_files_of_one_name_in_several_folders_are_told_apart(tmp_path, written):
    found = scenes(tmp_path, PATIENTS, rows_of(PATIENTS, WRITTEN[written]))
    assert found == {path: path.partition("/")[0] for path in PATIENTS}


def test_an_absolute_path_of_this_machine(tmp_path):
    found = scenes(tmp_path, PATIENTS, rows_of(PATIENTS, lambda path: str(tmp_path / "images" / path)))
    assert found == {path: path.partition("/")[0] for path in PATIENTS}


@pytest.mark.parametrize(("of_file", "of_row"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_unicode_forms_are_one_name(tmp_path, of_file, of_row):
    paths = [unicodedata.normalize(of_file, f"Müller/{number}.png") for number in range(2)]
    rows = [(unicodedata.normalize(of_row, path), "m") for path in paths]
    assert set(scenes(tmp_path, paths, rows).values()) == {"m"}


def test_no_patient_is_on_two_sides(tmp_path):
    """The case that was seen: a table by base name took 4 of 6 patients into training and test."""
    paths = [f"patient{patient}/slice{number}.png" for patient in range(6) for number in range(4)]
    scenes(tmp_path, paths, rows_of(paths))
    files = list_files(ImageSet(images="images", scenes=SceneTable(table="scenes.csv")), Storage.at(str(tmp_path)))
    out, locked = Storage.at(str(tmp_path / "shards/a")), Storage.at(str(tmp_path / "test-locked/a"))
    build_shards(files, {"validation": 0.2, "test": 0.3}, 8, out, "none", locked)
    sides = [*read_manifest(out)["scenes"].values(), locked_manifest(locked)["scenes"]["test"]]
    assert sorted(scene for side in sides for scene in side) == [f"patient{patient}" for patient in range(6)]


@pytest.mark.parametrize(
    "rows", [[("slice0.png", "A"), ("slice1.png", "B")], [("SLICE0.PNG", "A"), ("Slice1.png", "B")]]
)
def test_a_bare_name_that_fits_several_files_is_refused(tmp_path, rows):
    words = r"row '.*0\.(png|PNG)' fits 3 files, such as 'patient0/slice0.png' and 'patient1/slice0.png'; write each"
    with pytest.raises(ImageSetError, match=words):
        scenes(tmp_path, PATIENTS, rows)


def test_a_row_of_one_file_is_not_another_files_by_its_name(tmp_path):
    with pytest.raises(ImageSetError, match=r"row 'a.png' fits 2 files, such as 'sub/a.png' and 'a.png'"):
        scenes(tmp_path, ["a.png", "sub/a.png"], [("a.png", "A")])
    found = scenes(tmp_path, ["a.png", "sub/a.png"], [("a.png", "A"), ("sub/a.png", "B")])
    assert found == {"a.png": "A", "sub/a.png": "B"}


def test_part_of_a_path_that_fits_several_files_is_refused(tmp_path):
    paths = ["one/p0/a.png", "two/p0/a.png", "two/p1/b.png"]
    with pytest.raises(ImageSetError, match=r"row 'p0/a.png' fits 2 files, such as 'one/p0/a.png' and 'two/p0/a.png'"):
        scenes(tmp_path, paths, [("p0/a.png", "A"), ("p1/b.png", "B")])


@pytest.mark.parametrize("second", ["patient0/slice0.png", "./patient0//slice0.png", "patient0\\slice0.png "])
def test_two_scenes_for_one_path_are_refused(tmp_path, second):
    with pytest.raises(ImageSetError, match=r"names '.*' twice, with scene 'A' and with scene 'B'; give it one"):
        scenes(tmp_path, PATIENTS, [("patient0/slice0.png", "A"), (second, "B")])


@pytest.mark.parametrize(
    "second",
    ["images/patient0/slice0.png", "slice0.png"],
    ids=["with more folders", "without folders"],
)
def test_two_rows_that_fit_one_file_must_agree(tmp_path, second):
    paths = ["study/patient0/slice0.png"] if second == "slice0.png" else ["patient0/slice0.png"]
    rows = [("patient0/slice0.png", "A"), (second, "B")]
    with pytest.raises(ImageSetError, match=r"rows '.*' and '.*' both fit '.*patient0/slice0.png', with scene '[AB]'"):
        scenes(tmp_path, paths, rows)
    assert set(scenes(tmp_path, paths, [(path, "A") for path, _ in rows]).values()) == {"A"}


def test_a_base_name_serves_where_it_is_the_only_one_of_table_and_files(tmp_path):
    assert scenes(tmp_path, ["x/a.png"], [("y/a.png", "A")]) == {"x/a.png": "A"}
    with pytest.raises(ImageSetError, match=r"rows 'y/a.png' and 'z/a.png' both fit 'x/a.png', with scene 'A'"):
        scenes(tmp_path, ["x/a.png"], [("y/a.png", "A"), ("z/a.png", "B")])
    with pytest.raises(ImageSetError, match=r"no row for 'w/a.png'"):
        scenes(tmp_path, ["x/a.png", "w/a.png"], [("y/a.png", "A")])


def test_rows_that_fit_nothing_are_counted(tmp_path):
    notes = []
    scenes(tmp_path, PATIENTS, [*rows_of(PATIENTS), ("gone/a.png", "g"), ("gone/b.png", "g"), ("", "h")], notes=notes)
    assert notes == ["images: the scene table has 2 rows that fit no image, such as 'gone/a.png'"]


@pytest.mark.parametrize("empty", ["", "   ", "\t"])
def test_an_empty_scene_is_refused(tmp_path, empty):
    with pytest.raises(ImageSetError, match=r"row for 'slice1.png' names no scene"):
        scenes(tmp_path, PATIENTS[:2], [("patient0/slice0.png", "A"), ("patient0/slice1.png", empty)])


def test_one_table_serves_a_test_folder_too(tmp_path):
    noise_images.write(tmp_path / "held-out", ["a.png", "p/b.png"], (8, 8))
    rows = [("images/a.png", "A"), ("images/c.png", "C"), ("held-out/a.png", "T"), ("p/b.png", "B")]
    found = scenes(tmp_path, ["a.png", "c.png"], rows, "held-out")
    assert found == {"a.png": "A", "c.png": "C", "test:a.png": "T", "test:p/b.png": "B"}
    with pytest.raises(ImageSetError, match="1 scenes are in both 'images' and 'held-out', such as 'A'"):
        scenes(tmp_path, ["a.png", "c.png"], [*rows[:2], ("held-out/a.png", "A"), rows[3]], "held-out")


@pytest.mark.parametrize(
    "spellings", [("Ann", "ann"), ("Ann", "Ann "), ("Ann B", "Ann  B"), ("Mu\u0308ller", "M\xfcller")]
)
def test_scenes_that_are_spelt_differently_are_one(tmp_path, spellings):
    notes = []
    found = scenes(tmp_path, ["a.png", "b.png"], list(zip(["a.png", "b.png"], spellings, strict=True)), notes=notes)
    assert set(found.values()) == {min(spellings)}
    assert "are taken for one scene: they differ in case, spaces or Unicode form alone" in notes[0]


@pytest.mark.parametrize("rule", ["folder", {"pattern": r"^(\w+)/"}])
def test_folders_that_differ_in_case_are_one_scene(tmp_path, rule):
    noise_images.write(tmp_path / "images", ["Patient1/a.png", "patient1/b.png", "patient2/c.png"], (8, 8))
    files = list_files(ImageSet(images="images", scenes=rule), Storage.at(str(tmp_path)))
    assert [file.scene for file in files] == ["Patient1", "Patient1", "patient2"]


def test_files_that_differ_in_case_stay_scenes_of_their_own(tmp_path):
    noise_images.write(tmp_path / "images", ["A.png", "a.png"], (8, 8))
    notes = []
    files = list_files(ImageSet(images="images"), Storage.at(str(tmp_path)), note=notes.append)
    assert ([file.scene for file in files], notes) == (["A.png", "a.png"], [])


def test_a_pattern_that_stops_within_a_number_is_said(tmp_path):
    noise_images.write(tmp_path / "images", ["p1.png", "p10.png", "p2.png"], (8, 8))
    root = Storage.at(str(tmp_path))
    for pattern, said in ((r"(p\d)", True), (r"(p\d+)", False)):
        notes = []
        files = list_files(ImageSet(images="images", scenes={"pattern": pattern}), root, note=notes.append)
        assert bool(notes) is said
        assert not said or notes == [
            "images: the scene pattern takes 'p1' from the midst of a number in 'p10.png': images whose numbers go on "
            "differently are one scene"
        ]
        assert len({file.scene for file in files}) == (2 if said else 3)
