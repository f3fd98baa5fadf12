from dataclasses import replace

import pytest

from orchestrator.analysis.advice import FEW_IMAGES, advise
from search_spaces import find_space
from search_spaces.space import check_domain

SPACE = find_space("satellite")
FITTING, DISTURBED = [0.99] * 9, [0.97, 0.8, *[0.3] * 7]


def advice(distance=0.4, cka=DISTURBED, images=100, space=SPACE, limit=9):
    return advise(distance, cka, images, space, limit)


@pytest.mark.parametrize(
    ("distance", "cka", "images", "regime", "depths"),
    [
        (0.05, FITTING, 100, "near", (4, 9)),
        (0.12, FITTING, 100, "between", (0, 9)),
        (0.3, FITTING, 100, "new content", (0, 4)),
        (0.3, DISTURBED, 100, "new degradation", (0, 1)),
        (0.3, DISTURBED, FEW_IMAGES, "few images", (4, 9)),
        (-0.01, DISTURBED, 100, "near", (4, 9)),
    ],
)
def test_rules(distance, cka, images, regime, depths):
    told = advice(distance, cka, images)
    assert (told.regime, told.frozen_depth) == (regime, depths)
    assert all(depths[0] <= point.frozen_depth <= depths[1] for point in told.points)


def test_fitting_depth_ends_at_the_first_disturbed_block():
    assert advice(cka=[0.99, 0.95, 0.5, 0.99]).fitting_depth == 2
    assert advice(cka=[0.2] * 4).fitting_depth == 0
    assert advice(cka=FITTING).fitting_depth == 9


def test_the_prior_favours_the_advised_depths_and_rules_none_out():
    told = advice()
    assert len(told.depth_prior) == 10
    assert sum(told.depth_prior) == pytest.approx(1)
    assert told.depth_prior[0] == told.depth_prior[1] == 2 * told.depth_prior[2] == 4 * told.depth_prior[3] > 0
    assert len(set(advice(0.12).depth_prior)) == 1


@pytest.mark.parametrize("distance", [0.0, 0.12, 0.5])
@pytest.mark.parametrize("cka", [FITTING, DISTURBED])
@pytest.mark.parametrize("images", [3, 100])
def test_points_lie_in_the_space(distance, cka, images):
    narrow = replace(SPACE, learning_rate=(2e-4, 3e-4), lambda_=(1e-5, 2e-5), deepest=2, starts=())
    for space in (SPACE, narrow):
        told = advice(distance, cka, images, space)
        assert check_domain(replace(space, starts=told.points)) == []
    assert len(told.depth_prior) == 3
    assert told.frozen_depth[1] <= 2
