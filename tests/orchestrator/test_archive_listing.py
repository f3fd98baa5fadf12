"""Which files are scenes, where their outputs go, and what is refused before any work."""

import json
import os
import re
from pathlib import Path

import pytest

from orchestrator.archive.listing import list_archive, output_key
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
