import numpy as np
import pytest

from trainables.domain_shift.shift import TileSet, frechet_values, measure_shift
from trainables.errors import UsageError


def tiles(scenes=24, shift=0.0, seed=0, blocks=1, scale=1.0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(scenes, 1, 6)) * 0.3 + rng.normal(shift, 1, (scenes, 6, 6))
    return TileSet((vectors.reshape(-1, 6) * scale,) * blocks, np.arange(scenes * 6) // 6)


def test_without_a_shift_the_distance_is_its_floor():
    pairs = [measure_shift(tiles(seed=2 * i), tiles(seed=2 * i + 1), resamples=2)[0].frechet for i in range(8)]
    values, floors = [pair.estimate.value for pair in pairs], [pair.floor for pair in pairs]
    assert np.mean(values) == pytest.approx(np.mean(floors), rel=0.4)


def test_a_shift_is_above_its_floor_by_every_measure():
    (far,) = measure_shift(tiles(), tiles(seed=1, shift=2), resamples=20)
    assert far.frechet.estimate.low > 10 * far.frechet.floor
    assert abs(far.mmd.floor) < 0.05 < far.mmd.estimate.low
    assert far.proxy_a.floor < 0.7
    assert far.proxy_a.estimate.low > 1.7
    for each in (far.frechet, far.mmd, far.proxy_a):
        assert each.estimate.low <= each.estimate.value <= each.estimate.high


def test_units_of_the_features_do_not_matter():
    plain = frechet_values(tiles(), tiles(seed=1, shift=1))
    assert frechet_values(tiles(scale=1e4), tiles(seed=1, shift=1, scale=1e4)) == pytest.approx(plain)


def test_values_are_the_same_every_time_and_for_every_block():
    first, second = measure_shift(tiles(blocks=2), tiles(seed=1, blocks=2), resamples=5)
    assert first == second
    assert first == measure_shift(tiles(), tiles(seed=1), resamples=5)[0]
    assert frechet_values(tiles(), tiles(seed=1)) == [first.frechet.estimate.value]


def test_a_dead_channel_does_not_decide():
    source, target = tiles(), tiles(seed=1)
    source.vectors[0][:, 0] = 0
    target.vectors[0][:, 0] = 1e-9
    assert frechet_values(source, target)[0] < 2


@pytest.mark.parametrize(("ours", "theirs"), [(3, 8), (8, 1)])
def test_too_few_scenes(ours, theirs):
    with pytest.raises(UsageError, match=f"4 source scenes and 2 target scenes, found {ours} and {theirs}"):
        measure_shift(tiles(ours), tiles(theirs))
