"""Entries of a card from which an archive knows range and bands."""

from orchestrator.image_sets.values_and_bands import values_and_bands
from trainables.images.raster import PLAIN, PixelFormat


def test_a_card_says_that_bands_go_one_by_one_through_a_network_of_others() -> None:
    scene = PixelFormat("uint16", ("blue", "green", "red", "nir"), 0, 10000)
    own, foreign = values_and_bands(scene, 4), values_and_bands(scene, 3)
    assert own["band_map"] == {"4": [[1, 2, 3, 4]]}
    assert own["band_names"] == ["blue", "green", "red", "nir"]
    assert foreign == {"value_range": {"uint16": [0, 10000]}, "band_map": {"4": [[1], [2], [3], [4]]}}


def test_a_card_of_dicom_images_states_their_range_and_unit_and_one_of_plain_images_nothing() -> None:
    ct = PixelFormat("int16", ("gray",), -1000, 2000, "HU", dicom=True)
    assert values_and_bands(ct, 3) == {
        "value_range": {"dicom": [-1000, 2000], "int16": [-1000, 2000]},
        "band_map": {"1": [[1]]},
        "units": "HU",
    }
    assert values_and_bands(PLAIN, 3) == {}
