"""Means of measures that some images lack."""

import pytest

from trainables.metrics.means import mean_of_known


@pytest.mark.parametrize(("values", "mean"), [([1.0, None, 3.0], 2.0), ([0.0], 0.0), ([None], None), ([], None)])
def test_images_without_a_value_count_nowhere(values, mean):
    assert mean_of_known(values) == mean
