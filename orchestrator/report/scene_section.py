"""The report's differences by scene and by group of scenes, the worst first."""

import re
from collections.abc import Mapping
from math import isfinite
from statistics import fmean

from orchestrator.confirm.record import ArmScores
from orchestrator.foundation.vocabulary import ArmName
from orchestrator.report.schema import GroupDifference, SceneDifference
from trainables.errors import printable

_NOT_COMPARED = ("best", "interpolated")
_FIRST_PART = re.compile(r"[^/_-]+(?=[/_-])")


def scene_differences(arms: Mapping[ArmName, ArmScores]) -> list[SceneDifference]:
    """PSNR of the best arm minus every other arm's in every test scene, that with the largest loss first.

    The loss is against zero-shot or the default fine-tune, whichever does better in the scene.

    Args:
        arms: Scores of all arms; none in a record of an earlier version has scenes, and there are no differences then.
    """
    best = arms["best"].by_scene
    compared = {name: arm.by_scene for name, arm in arms.items() if name not in _NOT_COMPARED and arm.by_scene}
    groups = groups_of(list(best))
    found = [
        SceneDifference(
            scene=printable(scene),
            group=groups.get(scene),
            gains={
                name: psnr - scores[scene]
                for name, scores in compared.items()
                if scene in scores and isfinite(psnr - scores[scene])
            },
        )
        for scene, psnr in best.items()
    ]
    return sorted(found, key=lambda row: _least(row.gains))


def group_differences(scenes: list[SceneDifference]) -> list[GroupDifference]:
    """Means of the scenes' differences by group, that with the largest loss first; empty without groups."""
    members: dict[str, list[SceneDifference]] = {}
    for row in scenes:
        if row.group is not None:
            members.setdefault(row.group, []).append(row)
    found = [
        GroupDifference(
            group=group,
            scenes=len(those),
            gains={
                name: fmean(row.gains[name] for row in those)
                for name in those[0].gains
                if all(name in row.gains for row in those)
            },
        )
        for group, those in members.items()
    ]
    return sorted(found, key=lambda row: _least(row.gains))


def groups_of(scenes: list[str]) -> dict[str, str]:
    """Group of each scene: its folder, or else the part of its name before the first ``_`` or ``-``, as in ``ct_0040``.

    Empty unless every scene has such a part, there are at least two groups, and one of them has several scenes.
    """
    parts = {scene: _part(scene) for scene in scenes}
    groups = {scene: printable(part) for scene, part in parts.items() if part}
    several = 1 < len(set(groups.values())) < len(scenes)
    return groups if several and len(groups) == len(scenes) else {}


def _part(scene: str) -> str:
    found = _FIRST_PART.match(scene)
    return found.group() if found else ""


def _least(gains: Mapping[ArmName, float]) -> float:
    return min((gains[name] for name in ("zero_shot", "default") if name in gains), default=0.0)
