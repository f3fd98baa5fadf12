"""One lister: every file is used, refused or passed over with a reason, whatever lies in a folder."""

import json
import os
import socket
import time
from pathlib import Path

import pytest
from pyarrow import fs

from orchestrator.experiment.image_settings import ImageSet
from orchestrator.foundation.file_listing import FileListing, lines_about, list_tree, matches
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files
from trainables.errors import StorageError, printable

PNG = frozenset({".png"})


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))


def listed(root, endings=PNG, **how):
    return list_tree(Storage.at(str(root)), endings, **how)


def paths(listing):
    return [facts.path for facts in listing.files]


def refused(listing):
    return {one.path: one.reason for one in listing.refused}


def passed(listing):
    return {one.path: one.reason for one in listing.passed_over}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def test_files_come_by_path_with_size_time_and_version(root):
    touch(root, "b/2.png", "b/10.PNG", "a.png")
    os.utime(root / "a.png", ns=(1, 1_700_000_000_123_456_789))
    listing = listed(root)
    assert paths(listing) == ["a.png", "b/10.PNG", "b/2.png"]
    first = listing.files[0]
    assert (first.size, first.modified) == (5, 1_700_000_000_123_456_789 / 1e9)
    assert first.version == "5-1700000000123456789"
    assert listing.summary() == ""
    assert listing.report() == {"summary": "", "counts": {}, "files": []}


def test_files_with_other_endings_and_hidden_ones_are_counted(root):
    touch(
        root, "a.png", "x.txt", "y.TXT", "d/z.txt", "w.nc", "README", "dot.", ".hidden.png", ".git/config", ".git/x.png"
    )
    listing = listed(root)
    assert paths(listing) == ["a.png"]
    assert listing.counts == {".txt": 3, ".nc": 1, "without an ending": 2, "hidden": 2}
    assert listing.summary() == "3 .txt, 2 hidden, 2 without an ending, 1 .nc"
    assert listing.passed == 8


def test_a_compressed_volume_has_an_ending_of_two_parts(root):
    touch(root, "a.nii.gz", "B.NII.GZ", "c.gz", "d.nii")
    listing = listed(root, frozenset({".nii.gz"}))
    assert paths(listing) == ["B.NII.GZ", "a.nii.gz"]


def test_many_endings_are_counted_together(root):
    touch(root, *(f"frame.{number:04d}" for number in range(60)))
    listing = listed(root)
    assert listing.counts.total() == 60
    assert len(listing.counts) == 51
    assert listing.summary(most=2).endswith(", 49 with other endings")


def test_a_folder_with_a_link_to_itself_is_listed_once(root):
    touch(root, "a.png", "d/b.png")
    (root / "loop").symlink_to(root)
    (root / "d" / "up").symlink_to("..")
    (root / "d" / "out").symlink_to("/")
    listing = listed(root)
    assert paths(listing) == ["a.png", "d/b.png"]
    assert set(passed(listing)) == {"loop", "d/up", "d/out"}
    assert listing.summary() == "3 × link to a folder that holds it"


def test_linked_files_and_folders_are_used_under_the_link_s_name(root, tmp_path):
    touch(root, "real.png")
    touch(tmp_path / "store", "one.png", "sub/two.png", "sub/deeper/three.png")
    (root / "link.png").symlink_to(tmp_path / "store" / "one.png")
    (root / "linked").symlink_to(tmp_path / "store" / "sub")
    listing = listed(root)
    assert paths(listing) == ["link.png", "linked/deeper/three.png", "linked/two.png", "real.png"]
    assert (listing.refused, listing.passed_over) == ([], [])


def test_each_real_folder_is_entered_once_and_real_paths_go_before_links(root, tmp_path):
    touch(root, "z/a.png")
    touch(tmp_path / "store", "sub/b.png")
    (root / "a link").symlink_to(root / "z")
    (root / "one").symlink_to(tmp_path / "store" / "sub")
    (root / "two").symlink_to(tmp_path / "store")
    listing = listed(root)
    assert paths(listing) == ["one/b.png", "z/a.png"]
    assert passed(listing) == {
        "a link": "folder that is listed already: z",
        "two/sub": "folder that is listed already: one",
    }


def test_links_that_lead_to_each_other_s_folders_end(root, tmp_path):
    for one, other in (("x", "y"), ("y", "x")):
        touch(tmp_path / one, f"{one}.png")
        (tmp_path / one / "over").symlink_to(tmp_path / other)
    (root / "start").symlink_to(tmp_path / "x")
    listing = listed(root)
    assert paths(listing) == ["start/over/y.png", "start/x.png"]
    assert passed(listing) == {"start/over/over": "folder that is listed already: start"}


def test_each_real_file_is_used_once(root, tmp_path):
    touch(root, "a.png")
    touch(tmp_path, "blob")
    (root / "latest.png").symlink_to("a.png")
    (root / "p.png").symlink_to(tmp_path / "blob")
    (root / "q.png").symlink_to(tmp_path / "blob")
    listing = listed(root)
    assert paths(listing) == ["a.png", "p.png"]
    assert passed(listing) == {
        "latest.png": "link to a file that is listed already: a.png",
        "q.png": "link to a file that is listed already: p.png",
    }
    assert listing.summary() == "2 × link to a file that is listed already"


def test_a_link_to_what_is_hidden_is_used(root):
    touch(root, ".store/blob.png", ".store/sub/b.png", "data.bin")
    (root / "a.png").symlink_to(".store/blob.png")
    (root / "sub").symlink_to(".store/sub")
    (root / "c.png").symlink_to("data.bin")
    assert paths(listed(root)) == ["a.png", "c.png", "sub/b.png"]


def test_broken_links_are_named_and_refused_where_an_image_is_meant(root):
    touch(root, "a.png")
    (root / "broken.png").symlink_to("gone.png")
    (root / "broken folder").symlink_to("/nowhere/at all")
    (root / "self.png").symlink_to("self.png")
    listing = listed(root)
    assert paths(listing) == ["a.png"]
    assert refused(listing) == {
        "broken.png": "broken link: there is no gone.png",
        "self.png": "link that cannot be followed: Too many levels of symbolic links",
    }
    assert passed(listing) == {"broken folder": "broken link: there is no /nowhere/at all"}


def test_special_files_are_named_and_never_opened(root, monkeypatch):
    touch(root, "a.png")
    os.mkfifo(root / "pipe.png")
    os.mkfifo(root / "pipe")
    (root / "device.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(root)  # the path of a socket must be short
        server.bind("s.png")
        listing = listed(root)
    assert paths(listing) == ["a.png"]
    assert refused(listing) == {
        "device.png": "no regular file: a device, which is never opened",
        "pipe.png": "no regular file: a pipe, which is never opened",
        "s.png": "no regular file: a socket, which is never opened",
    }
    assert set(passed(listing)) == {"pipe"}


@pytest.fixture
def unreadable(monkeypatch):
    """Makes folders unreadable, for tests that root runs too."""
    real, closed = os.scandir, set()

    def scandir(path):
        if Path(path).name in closed:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return closed


def test_a_folder_that_cannot_be_read_is_named_and_the_rest_goes_on(root, unreadable):
    touch(root, "a.png", "closed/b.png", "open/c.png", "z/closed/d.png")
    unreadable.add("closed")
    listing = listed(root)
    assert paths(listing) == ["a.png", "open/c.png"]
    assert refused(listing) == {
        "closed": "folder that cannot be read: Permission denied",
        "z/closed": "folder that cannot be read: Permission denied",
    }
    with pytest.raises(PermissionError):  # but the place itself must be readable
        listed(root / "closed")


def test_a_place_that_is_not_there_is_empty_and_a_file_is_none(root):
    assert listed(root / "nowhere") == FileListing()
    touch(root, "a.png")
    with pytest.raises(NotADirectoryError):
        listed(root / "a.png")


def test_names_that_are_no_utf8_are_named(root):
    Path(os.fsdecode(os.fsencode(root) + b"/d\xff")).mkdir()
    for name in (b"/caf\xe9.png", b"/caf\xe9.txt", b"/d\xff/x.png"):
        Path(os.fsdecode(os.fsencode(root) + name)).write_bytes(b"x")
    touch(root, "ok.png")
    listing = listed(root)
    assert paths(listing) == ["ok.png"]
    assert refused(listing) == {
        "caf\\xe9.png": "name that is not UTF-8: rename the file",
        "d\\xff": "name that is not UTF-8: rename the folder",
    }
    json.dumps([listing.report(), refused(listing)], ensure_ascii=False).encode()
    assert paths(list_tree(Storage.at(str(root)))) == ["ok.png"]
    with pytest.raises(StorageError, match=r"must be UTF-8 text, found '.*/d\\xff'"):
        Storage.at(os.fsdecode(os.fsencode(root) + b"/d\xff"))


ODD_NAMES = ("ü", "u\u0308", "new\nline", "100%25 #1?a=b", "-dash", "quote'\"x", "x" * 200, "a\\b", " ", "日本/語")


@pytest.mark.parametrize("name", [f"{name}.png" for name in ODD_NAMES])
def test_odd_names_are_used_as_they_are(root, name):
    touch(root, name)
    (facts,) = listed(root).files
    assert facts.path == name
    assert Storage.at(str(root)).child(facts.path).read_bytes() == name.encode()


def test_folders_of_our_own_are_passed_over_among_images_alone(root):
    touch(root, "a.png", "_parts/run/x.png", "d/_ledger/y.png", "parts/z.png")
    assert paths(listed(root)) == ["a.png", "parts/z.png"]
    assert passed(listed(root)) == {"_parts": "folder of RayScale's own", "d/_ledger": "folder of RayScale's own"}
    assert paths(list_tree(Storage.at(str(root)))) == ["_parts/run/x.png", "a.png", "d/_ledger/y.png", "parts/z.png"]


def test_a_link_into_the_outputs_is_no_input(root, tmp_path):
    touch(root, "a.png")
    touch(tmp_path / "all" / "out", "done.png")
    (root / "all").symlink_to(tmp_path / "all")
    (root / "done.png").symlink_to(tmp_path / "all" / "out" / "done.png")
    listing = listed(root, outputs=Storage.at(str(tmp_path / "all" / "out")))
    assert paths(listing) == ["a.png"]
    assert passed(listing) == {"all/out": "folder of the outputs"}
    assert refused(listing) == {"done.png": "link into the outputs"}
    # Outputs that lie around the inputs keep nothing out.
    assert paths(listed(root, outputs=Storage.at(str(tmp_path)))) == ["a.png", "all/out/done.png"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), ["a.png", "b_SCL.png", "d/b_SCL.png", "d/c.png"]),
        (("d/*",), (), ["d/b_SCL.png", "d/c.png"]),
        ((), ("*_SCL.*",), ["a.png", "d/c.png"]),
        (("*c.png", "a.png"), ("d/*",), ["a.png"]),
        (("A.png",), (), []),
    ],
)
def test_patterns_match_the_path_below_the_place(root, include, exclude, expected):
    touch(root, "a.png", "b_SCL.png", "d/b_SCL.png", "d/c.png")
    listing = listed(root, include=include, exclude=exclude)
    assert paths(listing) == expected
    assert listing.counts["left out by patterns"] == 4 - len(expected)
    assert all(matches(path, include, exclude) for path in expected)


def test_what_is_not_used_becomes_a_few_lines(root):
    touch(root, "a.png", "b.txt")
    for number in range(4):
        (root / f"{number}.png").symlink_to("gone")
    assert lines_about("images", listed(root), most=2) == [
        "images: not used: 0.png: broken link: there is no gone",
        "images: not used: 1.png: broken link: there is no gone",
        "images: and 2 more that cannot be used",
        "images: passed over: 1 .txt",
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a b.png", "a b.png"),
        ("new\nline", "new\\nline"),
        ("caf\udce9", "caf\\xe9"),
        ("\x1b[31m", "\\x1b[31m"),
        ("ü", "ü"),
    ],
)
def test_printable_names(name, shown):
    assert printable(name) == shown


def test_a_hundred_thousand_files_are_a_matter_of_seconds(root):
    for number in range(20_000):
        (root / f"{number}.png").touch()
    start = time.process_time()
    assert len(listed(root).files) == 20_000
    assert time.process_time() - start < 4  # 0.3 s where nothing else runs


def test_links_that_are_passed_over_are_named_in_lines(root):
    touch(root, "a.png")
    (root / "loop").symlink_to(root)
    assert lines_about("images", listed(root)) == [
        "images: passed over: 1 × link to a folder that holds it",
        "images: passed over: loop: link to a folder that holds it",
    ]


def test_ordinary_sets_are_listed_as_they_always_were(root):
    """Fingerprints of finished experiments hold path, size and time to the last bit, in this order."""
    touch(root, "b.png", "B.png", "a/ü.png", "a/z.png", "a-b.png", "a b.png", "x/y/z.png", ".hidden/c.png", "d/.e.png")
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        os.utime(path, ns=(1, 1_700_000_000_000_000_000 + number * 123_456_789_123))
    found = fs.LocalFileSystem().get_file_info(fs.FileSelector(str(root), recursive=True))
    expected = [
        (name, info.size, info.mtime_ns / 1e9)
        for info in sorted(found, key=lambda info: info.path)
        if info.type == fs.FileType.File and "/." not in (name := info.path.removeprefix(f"{root}/"))
        if not name.startswith(".")
    ]
    assert len(expected) == 7
    assert [(facts.path, facts.size, facts.modified) for facts in listed(root).files] == expected


def test_an_image_set_reports_what_lies_in_each_of_its_folders(root, tmp_path):
    touch(root, "a.png", "x.txt")
    touch(tmp_path / "held out", "b.png", "y.csv")
    lines = []
    files = list_files(
        ImageSet(images="in"),
        Storage.at(str(tmp_path)),
        "held out",
        lambda folder, listing: lines.extend(lines_about(folder, listing)),
    )
    assert [(file.facts.path, file.test) for file in files] == [("a.png", False), ("b.png", True)]
    assert lines == ["in: passed over: 1 .txt", "held out: passed over: 1 .csv"]
