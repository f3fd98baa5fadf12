"""SIGKILLs at random moments, then one run to the end: the outputs of an undisturbed run, byte by byte."""

from pathlib import Path

import pytest
import tiny_models

from benchmarks.archive import kills
from benchmarks.common import scene_files

pytestmark = pytest.mark.kill
KILLS, SCENES = 3, 60


def test_a_killed_archive_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    model = tiny_models.write(tmp_path / "model", tiny_models.net(2))
    scene_files.write_many(tmp_path / "archive", SCENES, (64, 64))
    places = (str(tmp_path / "calm"), str(tmp_path / "killed"))
    told = kills.compare(tmp_path / "archive", *places, model, KILLS)
    assert (told["kills"], told["last_exit_code"], told["outputs"]) == (KILLS, 0, 2 * SCENES), told
    assert [told[key] for key in ("different", "missing", "left_over", "not_one_row")] == [[], [], [], []], told
    assert any(told["finished_at_kills"]), "a kill should fall into the work"
