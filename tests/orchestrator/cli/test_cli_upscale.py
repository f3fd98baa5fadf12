"""Options of the command that concern scenes and plain images alike."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models
from PIL import Image

HOLD = """
import sys, time
from orchestrator.runtime.run_lock import locked
from orchestrator.foundation.storage import Storage
with locked(Storage(sys.argv[1]), "OUTPUT"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def command(rayscale, tmp_path):
    """Upscales three pictures and a text; gives the exit code, the report and what was written."""
    for name in ("a.png", "b_SCL.png", "deep/c.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (9, 99, 199)).save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("x")
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))

    def run(*options):
        arguments = [
            "upscale",
            tmp_path / "in",
            tmp_path / "out",
            "--model",
            model,
            "--threads",
            "1",
            "--json",
            *options,
        ]
        code, out, err = rayscale(*arguments)
        made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
        return code, json.loads(out) if out else err, made

    return run


@pytest.mark.parametrize(
    ("options", "made", "left_out"),
    [
        ([], ["a.png", "b_SCL.png", "deep/c.png"], 0),
        (["--exclude", "*SCL*"], ["a.png", "deep/c.png"], 1),
        (["--include", "deep/*"], ["deep/c.png"], 2),
        (["--include", "*c.png", "--include", "a.*"], ["a.png", "deep/c.png"], 1),
        (["--include", "*.png", "--exclude", "a*", "--exclude", "deep/*"], ["b_SCL.png"], 2),
    ],
)
def test_patterns_choose_and_what_they_leave_out_is_counted(command, options, made, left_out):
    code, report, written = command(*options)
    assert (code, written) == (0, made)
    assert report["passed_over"]["counts"].get("left out by patterns", 0) == left_out
    assert report["passed_over"]["counts"][".txt"] == 1


def test_patterns_that_leave_nothing_are_a_sentence_and_leave_no_folder(command, tmp_path):
    code, err, _ = command("--include", "*.jp2")
    assert code == 1
    assert "3 left out by patterns" in err
    assert not (tmp_path / "out").exists()


def test_plain_images_wait_for_another_run_too(command, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        code, err, made = command()
        assert (code, [name for name in made if not name.startswith(".")]) == (1, [])
        assert f"process {process.pid} on" in err
        assert "Traceback" not in err
        code, err, _ = command("--side-by-side")
        assert (code, "started without --side-by-side" in err) == (1, True)
    finally:
        process.kill()
        process.communicate()
    assert command("--overwrite")[0] == 0
    assert sorted(path.name for path in Path(tmp_path / "out").iterdir()) == ["a.png", "b_SCL.png", "deep"]
