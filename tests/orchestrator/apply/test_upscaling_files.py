"""`rayscale upscale`: which files come out, which are skipped, which fail, and what is refused at once."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import noise_images
import numpy as np
import pytest
import tiny_models
import torch
from PIL import Image

from orchestrator.apply import picture
from orchestrator.cli import app as cli
from orchestrator.cli import upscale_command as cli_upscale
from trainables.images.codec import decode, encode_png
from trainables.inference.prepare import prepared
from trainables.inference.upscale import upscale


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder, with tiny networks in place of the packaged ones."""
    tiny_models.packaged(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def rayscale(monkeypatch, capsys):
    def run(*arguments, model="base-x4"):
        monkeypatch.setattr(sys, "argv", ["rayscale", "upscale", *map(str, arguments), "--model", model])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def photos(tmp_path):
    noise_images.write(tmp_path / "photos", ["a.png", "deep/b.png"], (20, 24))
    return noise_images.write(tmp_path / "photos", ["c.png"], (20, 24), channels=1)


def made(folder="out"):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def test_a_folder_comes_out_under_its_own_names(rayscale, photos):
    code, out, err = rayscale(photos, "out")
    assert (code, err) == (0, "")
    assert out == f"3 images upscaled x4 with base-x4, in {Path('out').absolute()}\n"
    assert made() == ["a.png", "c.png", "deep/b.png"]
    expected = upscale(prepared(tiny_models.net(4)), decode((photos / "a.png").read_bytes()).pixels)
    np.testing.assert_allclose(np.asarray(Image.open("out/a.png")), expected, atol=1)
    assert Image.open("out/c.png").mode == "L"


def test_what_is_there_already_is_skipped_unless_asked_for(rayscale, photos):
    rayscale(photos, "out")
    Path("out/c.png").unlink()
    mine = noise_images.png("mine", (5, 5))
    Path("out/a.png").write_bytes(mine)
    code, out, _ = rayscale(photos, "out")
    assert code == 0
    assert out.startswith("1 image upscaled x4")
    assert "2 images skipped: already there (--overwrite makes them again)" in out
    assert Path("out/a.png").read_bytes() == mine
    code, out, _ = rayscale(photos, "out", "--overwrite")
    assert out.startswith("3 images upscaled")
    assert Image.open("out/a.png").size == (96, 80)


@pytest.mark.parametrize(("target", "kind"), [("big.png", "PNG"), ("big.jpg", "JPEG"), ("new/big.JPEG", "JPEG")])
def test_one_file_to_a_path(rayscale, photos, target, kind):
    assert rayscale(photos / "a.png", target, model="base-x2")[0] == 0
    assert (Image.open(target).format, Image.open(target).size) == (kind, (48, 40))
    assert rayscale(photos / "a.png", target, model="base-x2")[1].startswith("0 images upscaled")


def test_one_file_to_a_folder(rayscale, photos):
    assert rayscale(photos / "deep/b.png", "out")[0] == 0
    assert made() == ["b.png"]


def test_a_bad_file_stops_nothing_and_makes_the_exit_code_2(rayscale, photos):
    (photos / "bad.png").write_bytes(b"no image")
    (photos / "notes.txt").write_text("no image")
    code, out, err = rayscale(photos, "out")
    assert (code, err) == (2, "")
    assert out.splitlines()[1:] == [
        "failed: bad.png: not an image that can be decoded",
        "1 image failed",
        "passed over: 1 .txt",
    ]
    assert made() == ["a.png", "c.png", "deep/b.png"]
    code, out, _ = rayscale(photos, "out", "--json")
    told = json.loads(out)
    assert (code, told["written"], told["skipped"]) == (2, 0, 3)
    assert told["failed"] == [{"file": "bad.png", "reason": "not an image that can be decoded"}]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("out of memory\nlong story"), "RuntimeError: out of memory"),
        (KeyError("a key"), "KeyError: 'a key'"),
        (RecursionError(), "RecursionError"),
        (MemoryError(), "too little memory is free for it; cut it into pieces, or save it as GeoTIFF"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates"), "UnicodeEncodeError: "),
    ],
)
def test_any_failure_of_the_network_or_the_disk_is_counted_and_the_others_go_on(
    rayscale, photos, monkeypatch, error, reason
):
    def fail(net, pixels, tile, ensemble):
        if pixels.shape[2] == 1:
            raise error
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(picture, "upscale", fail)
    Path("out/deep").mkdir(parents=True)
    Path("out/deep/b.png").mkdir()
    code, out, _ = rayscale(photos, "out", "--overwrite")
    assert code == 2
    assert f"failed: c.png: {reason}" in out
    assert "failed: deep/b.png: Is a directory\n" in out
    assert "out/a.png" in [str(path) for path in Path("out").rglob("*") if path.is_file()]


def test_names_that_would_meet_keep_their_endings(rayscale, photos):
    Image.open(photos / "a.png").save(photos / "a.jpg")
    Image.open(photos / "a.png").save(photos / "d.jpg")
    assert rayscale(photos, "out")[0] == 0
    assert made() == ["a.jpg.png", "a.png.png", "c.png", "d.png", "deep/b.png"]


def test_transparency_and_profile_are_kept_in_png_and_said_to_be_lost_in_jpeg(rayscale, tmp_path):
    profile = b"a colour profile"
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    alpha = np.full((12, 10), 200, np.uint8)
    Path("logo.png").write_bytes(encode_png(pixels, alpha, profile))
    assert rayscale("logo.png", "big.png")[0] == 0
    big = Image.open("big.png")
    assert (big.mode, big.info["icc_profile"]) == ("RGBA", profile)
    assert set(np.asarray(big)[..., 3].ravel()) == {200}
    code, out, _ = rayscale("logo.png", "big.jpg")
    assert code == 0
    assert "logo.png: its transparency was dropped, since JPEG has none" in out
    assert Image.open("big.jpg").info["icc_profile"] == profile


@pytest.mark.parametrize("option", [["--tile", "16"], ["--threads", "1"], ["--device", "cpu"], ["--self-ensemble"]])
def test_options_change_how_not_what(rayscale, photos, option):
    assert rayscale(photos / "a.png", "big.png", *option)[0] == 0
    assert Image.open("big.png").size == (96, 80)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "out"], "There is no file or folder '.*nowhere'; correct the path"),
        (["photos", "photos"], "must lie outside INPUT"),
        (["photos", "photos/big"], "must lie outside INPUT"),
        (["photos/a.png", "photos/a.png"], "must lie outside INPUT"),
        (["photos", "big.png"], "must be a folder, because INPUT"),
        (["photos/a.png", "big.tif"], "must end in .png or .jpg, or be a folder"),
        (["weights", "out"], "files but no images"),
        (["weights/base-x4/card.json", "out"], "card.json' is no STAC item or item collection"),
        (["photos", "photos/a.png/out"], "must lie outside INPUT"),
        (["photos", "/proc/out"], "Nothing can be written to '/proc/out"),
        (["photos", "out", "--device", "gpu"], "--device must be one of auto, cpu, cuda, found 'gpu'"),
        (["photos", "out", "--tile", "3"], "Invalid value for '--tile'"),
        (["photos", "ftp://bucket"], "must be a folder or s3://bucket/prefix, found 'ftp://bucket'"),
        (["photos"], "Missing argument 'OUTPUT'"),
    ],
)
def test_wrong_usage(rayscale, photos, arguments, words):
    code, out, err = rayscale(*arguments)
    # What the command line itself cannot be read for is 2 as everywhere; here, 2 else says that some failed.
    assert (code, out) == (2 if re.search("Invalid value|Missing argument", words) else 1, "")
    assert err.startswith("rayscale: ")
    assert err.count("\n") == 1
    assert re.search(words, err), err
    assert not Path("out").exists()


def test_a_model_that_is_not_there(rayscale, photos):
    code, _, err = rayscale(photos, "out", model="bse-x4")
    assert (code, err) == (
        1,
        "rayscale: There is no model 'bse-x4': no folder is called so, and the packaged models are base-x2, base-x4. "
        "Did you mean 'base-x4'?\n",
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there(rayscale, photos):
    assert "torch finds no usable GPU here; take --device cpu" in rayscale(photos, "out", "--device", "cuda")[2]


def test_ctrl_c_stops_between_tiles_and_writes_nothing_more(rayscale, monkeypatch):
    def press(done, of):
        if done:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli_upscale, "counter", lambda word: nullcontext(press))
    noise_images.write(Path("two"), ["a.png"], (4, 4))
    noise_images.write(Path("two"), ["b.png"], (1600, 1600))  # 10,000 tiles
    code, _, err = rayscale("two", "out", "--tile", "16")
    assert (code, made()) == (130, ["a.png"])
    assert "Interrupted. What had finished is kept" in err


@pytest.mark.kill
def test_a_kill_leaves_no_half_file(tmp_path):
    """A real process, killed while it writes; what is there is whole, and the same command makes the rest."""
    noise_images.write(tmp_path / "many", [f"{i:02}.png" for i in range(40)], (150, 150))
    command = [sys.executable, "-m", "orchestrator.cli.app", "upscale", "many", "out"]
    command += ["--model", str(tmp_path / "weights/base-x4"), "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and len(list(Path("out").glob("*.png"))) < 2:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = list(Path("out").glob("[!.]*.png"))
    assert 2 <= len(finished) < 40
    for path in finished:
        assert decode(path.read_bytes()).pixels.shape == (600, 600, 3)


def test_links_names_and_other_files_in_a_folder(rayscale, photos, tmp_path):
    """One output for each real image, and everything else by name or number."""
    (photos / "loop").symlink_to(photos)
    (photos / "again.png").symlink_to("a.png")
    (photos / "broken.png").symlink_to("gone.png")
    (photos / "linked").symlink_to(noise_images.write(tmp_path / "store", ["new\nline.png"], (20, 24)))
    Path(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.png")).write_bytes((photos / "a.png").read_bytes())
    (photos / "x.txt").touch()
    code, out, _ = rayscale(photos, "out", "--json")
    told = json.loads(out)
    assert code == 2
    assert made() == ["a.png", "c.png", "deep/b.png", "linked/new\nline.png"]
    assert told["failed"] == [
        {"file": "broken.png", "reason": "broken link: there is no gone.png"},
        {"file": "caf\\xe9.png", "reason": "name that is not UTF-8: rename the file"},
    ]
    assert told["passed_over"] == {
        "summary": "1 .txt, 1 × link to a file that is listed already, 1 × link to a folder that holds it",
        "counts": {".txt": 1},
        "files": [
            {"file": "again.png", "reason": "link to a file that is listed already: a.png"},
            {"file": "loop", "reason": "link to a folder that holds it"},
        ],
    }


def test_a_folder_of_broken_links_alone_names_the_first(rayscale, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").symlink_to("gone")
    code, _, err = rayscale("in", "out")
    assert code == 1
    assert "holds no images or scenes that can be used" in err
    assert "1 cannot, such as 'a.png': broken link: there is no gone." in err


def test_outputs_of_names_that_nest_never_meet(rayscale, tmp_path):
    noise_images.write(tmp_path / "in", ["p.jpg.png", "p.png", "p.jpg"], (20, 24))
    code, _, _ = rayscale("in", "out")
    assert (code, made()) == (0, ["p.jpg.png", "p.jpg.png.png", "p.png.png"])


@pytest.mark.parametrize("target", ["out", "out.png"])
def test_a_device_is_no_input(rayscale, tmp_path, target):
    code, out, err = rayscale("/dev/zero", tmp_path / target)
    assert out == ""
    assert code
    assert "'/dev/zero' is a device, pipe or socket; name a file or folder." in err
