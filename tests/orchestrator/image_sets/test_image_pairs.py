"""HR and LR files find each other by name or by table; what has no partner is named."""

import pytest

from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.image_pairs import pair_by_name, read_pair_table
from trainables.errors import ImageSetError

NAMES = {
    "equal": ("a/001.png", "a/001.png"),
    "of other endings": ("001.tif", "001.png"),
    "RealSR": ("Canon_001_HR.png", "Canon_001_LR4.png"),
    "DRealSR": ("sony_12_x4.png", "sony_12_x1.png"),
    "DIV2K": ("0801.png", "0801x4.png"),
    "of self-similar sets": ("img_001_SRF_4_HR.png", "img_001_SRF_4_LR.png"),
    "of lower case": ("scene-7-hr.tif", "scene-7-lr.tif"),
    "with the scale on one side": ("001_HR.png", "001_LRx4.png"),
    "ground truth": ("001_gt.png", "001.png"),
    "marks alone": ("scene1/hr.tif", "scene1/lr.tif"),
    "that end like marks": ("phoenix4.png", "phoenix4.png"),
    "with dots": ("s.2.1.png", "s.2.1.png"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_names(kind):
    hr, lr = NAMES[kind]
    assert pair_by_name([hr], [lr], 4) == [(hr, lr)]


def test_equal_names_come_before_marks():
    hr, lr = ["a.png", "ax4.png"], ["ax4.png", "a.png"]
    assert pair_by_name(hr, lr, 4) == [("a.png", "a.png"), ("ax4.png", "ax4.png")]


def test_marks_of_another_scale_are_no_partners():
    with pytest.raises(ImageSetError, match=r"1 of 1 HR image has no LR image, such as '001.png'; 1 of 1 LR image"):
        pair_by_name(["001.png"], ["001x2.png"], 4)


def test_both_sides_in_one_folder():
    files = ["Canon_001_HR.png", "Canon_001_LR4.png", "Canon_002_HR.png", "Canon_002_LR4.png"]
    assert pair_by_name(files, files, 4, one_folder=True) == [(files[0], files[1]), (files[2], files[3])]
    with pytest.raises(ImageSetError, match="no pair: names of one folder must end in marks such as _HR and _LR4"):
        pair_by_name(["a.png"], ["a.png"], 4, one_folder=True)


def test_files_without_a_partner_are_counted_and_named():
    hr = [f"{number}.png" for number in range(6)]
    with pytest.raises(ImageSetError) as caught:
        pair_by_name(hr, ["0.png", "9.png"], 4)
    assert str(caught.value) == (
        "Pairs with one side missing: 5 of 6 HR images have no LR image, such as '1.png', '2.png', '3.png'; 1 of 2 LR "
        "images has no HR image, such as '9.png'. Names must be equal but for endings such as _HR and _LR4; otherwise "
        "give a table of pairs."
    )


@pytest.mark.parametrize("lr", [["a.png", "a.tif"], ["a_LR.png", "a_LR4.png"]])
def test_two_candidates_are_refused(lr):
    with pytest.raises(
        ImageSetError, match=rf"2 images of one side could be in one pair, such as '{lr[0]}', '{lr[1]}'"
    ):
        pair_by_name(["a.png"], lr, 4)


HR = [("/data/set/hr", "p1/a.png"), ("/data/set/hr", "p2/a.png"), ("/data/set/hr", "b.png")]
LR = [("/data/set/lr", "x.png"), ("/data/set/lr", "y.png"), ("/data/set/lr", "b.png")]


def table(tmp_path, text):
    (tmp_path / "pairs.csv").write_text(text, encoding="utf-8")
    return read_pair_table("pairs.csv", Storage.at(str(tmp_path)))


@pytest.mark.parametrize(
    "written",
    [
        "p1/a.png",
        "./p1/a.png",
        "hr/p1/a.png",
        "set/hr/p1/a.png",
        "/data/set/hr/p1/a.png",
        "p1\\a.png",
        "D:\\other\\hr\\p1\\a.png",
    ],
)
def test_paths_of_a_table(tmp_path, written):
    rows = table(tmp_path, f"hr,lr,note\n{written},y.png,\nb.png,lr/b.png,\n")
    assert rows.pairs(HR, LR) == [("p1/a.png", "y.png"), ("b.png", "b.png")]


WRONG = {
    "a.png,x.png": "'a.png' in its column 'hr', which fits 2 files, such as 'p1/a.png', 'p2/a.png'",
    "gone.png,x.png": "'gone.png' in its column 'hr', which fits no file",
    "b.png,gone.png": "'gone.png' in its column 'lr', which fits no file",
    "p1/a.png,x.png\np2/a.png,x.png": "names 'x.png' twice in its column 'lr'",
    "b.png,x.png\nb.png,y.png": "names 'b.png' twice in its column 'hr'",
}


@pytest.mark.parametrize("rows", WRONG)
def test_rows_that_are_not_clear_are_refused(tmp_path, rows):
    with pytest.raises(ImageSetError, match=WRONG[rows]):
        table(tmp_path, f"hr,lr\n{rows}\n").pairs(HR, LR)


TABLES = {
    "hr,low\na,b\n": "needs the columns 'hr' and 'lr'; it has hr, low",
    "hr,lr\na.png,\n,b.png\n": "2 rows of the table of pairs .* name one image alone, such as 'a.png', 'b.png'",
    "": "it has none",
}


@pytest.mark.parametrize("text", TABLES)
def test_tables_that_cannot_be_used(tmp_path, text):
    with pytest.raises(ImageSetError, match=TABLES[text]):
        table(tmp_path, text)


def test_a_missing_table(tmp_path):
    with pytest.raises(ImageSetError, match=r"There is no table of pairs '.*none.csv'"):
        read_pair_table("none.csv", Storage.at(str(tmp_path)))
