"""The benchmark of large archives, on one tiny scene."""

import pytest
import tiny_models

from benchmarks.archive.gigapixels import measure


def test_every_output_is_counted_as_a_cog_and_a_pixel_once(tmp_path):
    model = tiny_models.write(tmp_path / "source", tiny_models.net(2))
    result = measure(tmp_path / "run", model, side=64, gigapixels=1e-9)
    assert (result["scenes"], result["written"], result["cogs"]) == (1, 1, 1)
    assert result["megapixels"] == pytest.approx(0.016, abs=5e-4)
    hours = result["core_hours_for_1.58_terapixels"] * result["megapixels_per_second_and_core"]
    assert hours == pytest.approx(1.58e6 / 3600)
    with pytest.raises(ValueError, match="expected a folder without an archive"):
        measure(tmp_path / "run", model, side=64, gigapixels=1e-9)
