"""Room for patches between invalid pixels."""

import numpy as np
import pytest

from trainables.images.valid_places import ValidPlaces


@pytest.mark.parametrize("share", [0.0, 0.005, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("side", [1, 4, 20])
def test_places_are_those_of_an_exhaustive_search(share, side):
    valid = np.random.default_rng(int(share * 1000)).random((26, 31)) >= share
    places = ValidPlaces(valid, side)
    expected = [
        (row, column)
        for row in range(26 - side + 1)
        for column in range(31 - side + 1)
        if valid[row : row + side, column : column + side].all()
    ]
    assert [places.place(number) for number in range(len(places))] == expected


def test_an_image_smaller_than_a_patch_has_no_place():
    assert len(ValidPlaces(np.ones((9, 30), bool), 10)) == 0
