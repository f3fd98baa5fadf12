"""Which files are scenes, where their outputs go, and what is refused before any work."""

import json
import os
import re
from pathlib import Path

import pytest

from orchestrator.archive.places.listing import list_archive, output_key
from trainables.errors import UsageError


@pytest.fixture
def archive(tmp_path):
    for name in ("a.tif", "deep/b.TIFF", "deep/c.jp2", "photo.png", "notes.txt", ".hidden.tif", "a.tif.aux.xml"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "in"


def listed(source, target="out", as_="auto"):
    listing = list_archive(str(source), str(Path(source).parent / target), as_)
    return [scene.name for scene in listing.scenes], listing.images


def test_a_folder_holds_scenes_and_plain_images(archive):
    assert listed(archive) == (["a.tif", "deep/b.TIFF", "deep/c.jp2"], ["photo.png"])
    assert listed(archive, as_="cog")[0] == ["a.tif", "deep/b.TIFF", "deep/c.jp2", "photo.png"]
    assert listed(archive / "deep" / "c.jp2") == (["c.jp2"], [])


@pytest.mark.parametrize(("name", "key"), [("d/a.tif", "d/a.tif"), ("a.TIFF", "a.TIFF"), ("a.jp2", "a.jp2.tif")])
def test_an_output_lies_below_the_target_as_its_scene_below_the_archive(name, key):
    assert output_key(name) == key


def test_a_version_changes_with_the_content(archive):
    before = list_archive(str(archive), "out").scenes
    (archive / "a.tif").write_bytes(b"longer")
    after = list_archive(str(archive), "out").scenes
    assert [old.version == new.version for old, new in zip(before, after, strict=True)] == [False, True, True]


def test_a_list_names_scenes_anywhere(archive, tmp_path):
    elsewhere = tmp_path / "elsewhere.tif"
    elsewhere.write_bytes(b"x")
    (archive / "list.txt").write_text(f"# two places\na.tif\n\n{elsewhere}\na.tif\nnowhere.tif\nphoto.png\nnotes.txt\n")
    scenes = list_archive(str(archive / "list.txt"), str(tmp_path / "out")).scenes
    good = {scene.name: Path(scene.output).relative_to(tmp_path / "out") for scene in scenes if not scene.problem}
    assert good == {"a.tif": Path("a.tif"), str(elsewhere): Path(str(elsewhere).lstrip("/"))}
    assert {scene.name: scene.problem[0] for scene in scenes if scene.problem} == {
        "nowhere.tif": "unreadable",
        "photo.png": "unsupported",
        "notes.txt": "unsupported",
    }


def test_scenes_that_would_overwrite_each_other_are_found_before_any_work(archive):
    (archive / "list.csv").write_text("scene,output\na.tif,same\ndeep/b.TIFF,SAME.tif\ndeep/c.jp2,other\n")
    scenes = list_archive(str(archive / "list.csv"), str(archive.parent / "out")).scenes
    problems = {scene.name: scene.problem for scene in scenes}
    assert problems == {
        "a.tif": ("collision", "its output would overwrite that of deep/b.TIFF"),
        "deep/b.TIFF": ("collision", "its output would overwrite that of a.tif"),
        "deep/c.jp2": None,
    }


def test_a_list_cannot_write_outside_the_target(archive):
    (archive / "list.csv").write_text("scene,output\na.tif,../../a\n")
    (scene,) = list_archive(str(archive / "list.csv"), str(archive.parent / "out")).scenes
    assert scene.problem is not None
    assert scene.problem[0] == "unreadable"
    assert Path(scene.output).is_relative_to(archive.parent / "out")


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("nowhere", "out", "There is no file or folder '.*nowhere'; correct the path"),
        ("in", "in/out", "must lie outside INPUT"),
        ("in/a.tif.aux.xml", "out", "is no image or scene"),
        ("in/none.csv", "out", "There is no file or folder"),
        ("in/wrong.csv", "out", "needs a column 'scene', found path, size"),
        ("in/empty.txt", "out", "holds no images or scenes"),
        ("in/bytes.txt", "out", "is not UTF-8 text"),
    ],
)
def test_wrong_usage(archive, source, target, words):
    (archive / "wrong.csv").write_text("path,size\na.tif,1\n")
    (archive / "empty.txt").write_text("# nothing\n")
    (archive / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError) as raised:
        list_archive(str(archive.parent / source), str(archive.parent / target))
    assert re.search(words, str(raised.value))


def test_links_and_odd_files_in_an_archive(archive, tmp_path):
    """A linked folder is worked on, a loop is not, and what cannot be used is a failed scene or image."""
    store = tmp_path / "store"
    store.mkdir()
    (store / "s.tif").write_bytes(b"x")
    (archive / "linked").symlink_to(store)
    (archive / "loop").symlink_to(archive)
    (archive / "broken.tif").symlink_to("gone.tif")
    (archive / "broken.png").symlink_to("gone.png")
    (archive / "_parts").mkdir()
    (archive / "_parts" / "left.tif").write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(archive) + b"/\xff.tif")).write_bytes(b"x")
    listing = list_archive(str(archive), str(tmp_path / "out"))
    problems = {scene.name: scene.problem for scene in listing.scenes}
    assert problems == {
        "\\xff.tif": ("unreadable", "name that is not UTF-8: rename the file"),
        "a.tif": None,
        "broken.tif": ("unreadable", "broken link: there is no gone.tif"),
        "deep/b.TIFF": None,
        "deep/c.jp2": None,
        "linked/s.tif": None,
    }
    assert listing.images == ["photo.png"]
    assert [(one.path, one.reason) for one in listing.plain.refused] == [
        ("broken.png", "broken link: there is no gone.png")
    ]
    assert listing.plain.summary() == (
        "1 .txt, 1 .xml, 1 hidden, 1 × folder of RayScale's own, 1 × link to a folder that holds it"
    )
    json.dumps([scene.output for scene in listing.scenes], ensure_ascii=False).encode()


def test_patterns_choose_scenes_by_their_path(archive):
    found = list_archive(str(archive), "out", include=["deep/*", "*.png"], exclude=["*.jp2"])
    assert ([scene.name for scene in found.scenes], found.images) == (["deep/b.TIFF"], ["photo.png"])
    assert found.plain.counts["left out by patterns"] == 2
    (archive / "list.txt").write_text("a.tif\ndeep/b.TIFF\n")
    found = list_archive(str(archive / "list.txt"), "out", exclude=["deep/*"])
    assert [scene.name for scene in found.scenes] == ["a.tif"]


def of_list(archive, text, name="list.csv"):
    """Scenes of a list by name: their outputs below the target, or why they are refused."""
    (archive / name).write_bytes(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)
    out = archive.parent / "out"
    scenes = list_archive(str(archive / name), str(out)).scenes
    assert all(Path(scene.output).is_relative_to(out) for scene in scenes)
    return {s.name: str(Path(s.output).relative_to(out)) if s.problem is None else s.problem[1] for s in scenes}


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("_parts/x", "its output '_parts/x.tif' would lie in '_parts', a folder of RayScale's own"),
        ("d/_ledger/x.tif", "its output 'd/_ledger/x.tif' would lie in '_ledger', a folder of RayScale's own"),
        ("_LEDGER/x.tif", "would lie in '_ledger', a folder of RayScale's own"),
        (".hidden/x", "its output '.hidden/x.tif' would be hidden"),
        ("d/.x.tif", "its output 'd/.x.tif' would be hidden"),
        ("d/", "its output 'd/.tif' would be hidden"),
        ("../x", "its output '../x.tif' would lie outside OUTPUT"),
        ("d/../../x", "would lie outside OUTPUT"),
        ("/etc/x", "its output '/etc/x.tif' would lie outside OUTPUT"),
        ("d//x", "its output 'd//x.tif' has an empty part"),
        ("d/./x", "its output 'd/./x.tif' would be hidden"),
        ("x" * 250, "has a part of over 240 bytes"),
        ("ü" * 125, "has a part of over 240 bytes"),
        ("a\x1b[2Jb", "the row has characters that cannot be printed"),
        ('"a\nb"', "the row has characters that cannot be printed"),
        ("caf\udce9", "the row is not UTF-8 text; save the list as that"),
    ],
)
def test_outputs_of_a_list_stay_out_of_what_is_not_theirs(archive, key, words):
    found = of_list(archive, f"scene,output\na.tif,{key}\ndeep/b.TIFF,good\n")
    assert found["deep/b.TIFF"] == "good.tif"
    assert words in found["a.tif"]


def test_one_bad_row_never_stops_the_others(archive):
    os.mkfifo(archive / "pipe.tif")
    (archive / "folder.tif").mkdir()
    rows = [
        *("scene,output", "a.tif,", "", ",x", "   ,y", "deep/b.TIFF,too,many", "s3:///key.tif,", "ftp://b/k.tif,"),
        *("~nobody-at-all/x.tif,", "caf\udce9.tif,", "list.csv,", "pipe.tif,", "folder.tif,", f"{'x' * 300}.tif,"),
        *("../out.tif,", ".hidden.tif,", "deep/c.jp2,c"),
    ]
    found = of_list(archive, "\r\n".join(rows))
    assert {name: found.pop(name) for name in ("a.tif", "deep/c.jp2")} == {"a.tif": "a.tif", "deep/c.jp2": "c.tif"}
    expected = {
        "line 4": "the row names no scene",
        "line 5": "the row names no scene",
        "deep/b.TIFF": "line 6 has 3 fields for 2 columns; put quotes around what holds a comma",
        "s3:///key.tif": "An S3 location looks like s3://bucket/prefix, found 's3:///key.tif'",
        "ftp://b/k.tif": "A location must be a folder or s3://bucket/prefix, found 'ftp://b/k.tif'",
        "~nobody-at-all/x.tif": "RuntimeError: Could not determine home directory.",
        "caf\\xe9.tif": "the row is not UTF-8 text; save the list as that",
        "pipe.tif": "no regular file but a special file, which is never opened",
        "folder.tif": "no regular file but a folder",
        "../out.tif": "its output '../out.tif' would lie outside OUTPUT; give it another in a column 'output'",
    }
    assert {name: found[name].rstrip(".") for name in expected} == {n: r.rstrip(".") for n, r in expected.items()}
    assert found["list.csv"].startswith("no scene by its name")
    assert found[".hidden.tif"].startswith("no scene by its name")
    assert len(found) == len(expected) + 3


def test_a_refused_row_meets_no_output(archive):
    """Else a bad row would pass for another attempt at a good one, or for its collision."""
    found = of_list(archive, "scene,output\na.tif,\ndeep/b.TIFF,../a.tif\ndeep/c.jp2,.a.tif\n")
    assert found["a.tif"] == "a.tif"
    (archive / "list.csv").write_text("scene,output\na.tif,../x\na.tif,../y\n")
    outputs = {scene.output for scene in list_archive(str(archive / "list.csv"), str(archive.parent / "out")).scenes}
    assert len(outputs) == 2


def test_rows_that_are_there_twice_are_one_and_dots_are_resolved(archive):
    found = of_list(archive, "./a.tif\na.tif\na.tif\r\ndeep/../deep/c.jp2\n# a.tif\n", "list.txt")
    assert found == {
        "./a.tif": "a.tif",
        "deep/../deep/c.jp2": "deep/c.jp2.tif",
    }
    found = of_list(archive, "scene,output\na.tif,x\n./a.tif,y\n./deep/b.TIFF,z\ndeep/c.jp2,z\n")
    assert (found["a.tif"], found["./a.tif"]) == ("x.tif", "y.tif")
    assert found["deep/c.jp2"] == "its output would overwrite that of ./deep/b.TIFF"


def test_a_csv_that_is_broken_in_a_row_goes_on(archive):
    long = "x" * 200_000
    found = of_list(archive, f'scene\na.tif\n"{long}"\ndeep/c.jp2\n')
    assert found["a.tif"] == "a.tif"
    assert found["deep/c.jp2"] == "deep/c.jp2.tif"
    (reason,) = [reason for name, reason in found.items() if name.startswith("line")]
    assert reason == "the row is no CSV: field larger than field limit (131072)"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("list.txt", b"II*\0\x08\0\0\0" * 100, "is not UTF-8 text; save it as that"),
        ("list.csv", b"", "needs a column 'scene', found none"),
        ("list.csv", b"scene;output\na.tif;x\n", "needs a column 'scene', found scene;output"),
        ("list.csv", b"scene,scene\na.tif,a.tif\n", "needs a column 'scene', found scene, scene"),
        ("list.csv", b"scene\n", "holds no images or scenes"),
    ],
)
def test_what_is_no_list_is_refused_at_once(archive, name, content, words):
    (archive / name).write_bytes(content)
    with pytest.raises(UsageError, match=words):
        list_archive(str(archive / name), "out")


def test_a_list_of_any_size_is_no_list(archive):
    with (archive / "list.txt").open("wb") as stream:
        stream.truncate(100 * 2**20)
    with pytest.raises(UsageError, match="has 100 MB, more than 64; split it"):
        list_archive(str(archive / "list.txt"), "out")
