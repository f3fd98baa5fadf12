"""Differences by scene and by group, from scores that are easy to check by hand."""

import pytest

from orchestrator.confirm.record import ArmScores
from orchestrator.report.scene_section import group_differences, groups_of, scene_differences


def arm(**by_scene):
    return ArmScores(psnr=30.0, ssim=0.9, psnr_by_seed=[30.0], images=len(by_scene), by_scene=by_scene)


ARMS = {
    "bicubic": arm(ct_1=20.0, ct_2=20.0, mr_1=20.0),
    "zero_shot": arm(ct_1=30.0, ct_2=30.0, mr_1=30.0),
    "default": arm(ct_1=30.5, ct_2=30.0, mr_1=30.0),
    "best": arm(ct_1=30.25, ct_2=31.0, mr_1=29.0),
    "interpolated": arm(ct_1=30.0, ct_2=30.0, mr_1=30.0),
}


def test_the_largest_loss_against_zero_shot_or_the_default_comes_first():
    found = scene_differences(ARMS)
    assert [each.scene for each in found] == ["mr_1", "ct_1", "ct_2"]
    assert found[1].gains == {"bicubic": 10.25, "zero_shot": 0.25, "default": -0.25}
    assert [each.group for each in found] == ["mr", "ct", "ct"]


def test_groups_have_the_means_of_their_scenes():
    found = group_differences(scene_differences(ARMS))
    assert [(each.group, each.scenes) for each in found] == [("mr", 1), ("ct", 2)]
    assert found[1].gains == {"bicubic": 10.625, "zero_shot": 0.625, "default": 0.375}


@pytest.mark.parametrize(
    ("scenes", "groups"),
    [
        (["mri/a/1", "mri/a/2", "ct/b/1"], ["mri", "mri", "ct"]),
        (["cam01-a", "cam01-b", "cam02-a"], ["cam01", "cam01", "cam02"]),
        (["ct_1", "mr_1"], []),  # every scene its own group
        (["ct_1", "ct_2"], []),  # one group
        (["ct_1", "ct_2", "mr"], []),  # one without a part
        (["0001.png", "0002.png"], []),
        ([], []),
    ],
)
def test_a_group_is_the_folder_or_the_first_part_of_the_name(scenes, groups):
    assert list(groups_of(scenes).values()) == groups


def test_a_record_of_an_earlier_version_has_no_scenes():
    old = {name: scores.model_copy(update={"by_scene": {}}) for name, scores in ARMS.items()}
    assert scene_differences(old) == []
    assert group_differences([]) == []


def test_an_image_reproduced_exactly_has_no_difference():
    exact = {**ARMS, "best": arm(ct_1=float("inf"), ct_2=31.0, mr_1=29.0)}
    assert {each.scene: each.gains for each in scene_differences(exact)}["ct_1"] == {}
    assert "zero_shot" not in next(g for g in group_differences(scene_differences(exact)) if g.group == "ct").gains
