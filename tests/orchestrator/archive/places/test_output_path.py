"""Where an output may lie: below OUTPUT, not among RayScale's own files, not behind a link that leads elsewhere."""

import pytest

from orchestrator.archive.batch.plan import Recipe, make_plan
from orchestrator.archive.places.listing import Scene
from orchestrator.archive.places.output_path import misplaced


@pytest.fixture
def out(tmp_path):
    place = tmp_path / "out"
    (place / "inner").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    return place


@pytest.mark.parametrize(
    "key", ["a.tif", "deep/er/a.tif", "inner/_parts/a.tif", "_partsx/a.tif", ".hidden/a.tif", "..a.tif"]
)
def test_what_lies_below_the_outputs_may_be_written(out, key):
    assert misplaced(f"{out}/{key}", str(out)) is None
    assert misplaced(f"s3://bucket/out/{key}", "s3://bucket/out") is None


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("../a.tif", "outside OUTPUT"),
        ("inner/../../a.tif", "outside OUTPUT"),
        ("", "outside OUTPUT"),
        ("inner/", "outside OUTPUT"),
        ("_parts/a.tif", "'_parts', where RayScale keeps its own files"),
        ("_ledger/a.tif", "'_ledger', where RayScale keeps its own files"),
        ("_PARTS/a.tif", "'_PARTS'"),  # the same folder where case does not count
        ("_ledger", "'_ledger'"),
    ],
)
def test_what_would_lie_elsewhere_or_among_our_own_files_is_refused(out, key, why):
    assert why in misplaced(f"{out}/{key}", str(out))
    assert why in misplaced(f"s3://bucket/out/{key}", "s3://bucket/out")


def test_another_folder_that_only_starts_alike_is_refused(out):
    assert "outside OUTPUT" in misplaced(f"{out}-two/a.tif", str(out))
    assert "outside OUTPUT" in misplaced("s3://bucket/out-two/a.tif", "s3://bucket/out")


@pytest.mark.parametrize(("target", "why"), [("elsewhere", "leads out of OUTPUT"), ("out/_parts", "own files")])
@pytest.mark.parametrize("key", ["link/a.tif", "inner/link/new/a.tif"])
def test_links_are_followed_in_thought_first(out, tmp_path, target, why, key):
    (tmp_path / target).mkdir(exist_ok=True)
    place = out / key.partition("/link")[0] if "/link" in key else out
    (place / "link").symlink_to(tmp_path / target)
    assert why in misplaced(f"{out}/{key}", str(out))


def test_a_link_within_the_outputs_and_a_linked_output_folder_are_fine(out, tmp_path):
    (out / "link").symlink_to(out / "inner")
    assert misplaced(f"{out}/link/a.tif", str(out)) is None
    (tmp_path / "other").symlink_to(out)
    assert misplaced(f"{tmp_path}/other/a.tif", f"{tmp_path}/other") is None


def test_a_loop_of_links_is_refused(out):
    (out / "loop").symlink_to(out / "loop")
    assert "remove the link" in misplaced(f"{out}/loop/a.tif", str(out))


def test_such_a_scene_fails_before_any_work_and_is_checked_anew(out, tmp_path):
    (out / "away").symlink_to(tmp_path / "elsewhere")
    scene = Scene("a.tif", "/in/a.tif", "1-2", 10, 0.0, f"{out}/away/a.tif")
    plan = make_plan([scene], {}, {}, Recipe("model", "settings"), out=str(out))
    assert (plan.work, plan.failed[0]["status"], plan.failed[0]["error"]) == ([], "failed", "outside")
    (out / "away").unlink()
    assert [one.scene for one in make_plan([scene], {}, {}, Recipe("model", "settings"), out=str(out)).work] == [scene]
