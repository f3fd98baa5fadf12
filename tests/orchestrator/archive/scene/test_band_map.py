"""Which bands of a scene the network sees together."""

from dataclasses import replace

import pytest

from orchestrator.archive.scene.band_map import band_groups, name_groups, read_band_map
from orchestrator.archive.scene.types import ModelFacts, SceneError, SceneSettings

FACTS = ModelFacts(name="m", digest="d", scale=2, channels=3, radius=4, precision="float32")
NIR = ("red", "green", "blue", "nir")
NONE = "undefined"


def facts(channels, names=(), **further):
    return replace(FACTS, channels=channels, band_names=tuple(names), **further)


def groups(made, described=(), colours=None, **settings):
    colours = colours or [NONE] * len(described)
    return band_groups(colours, made, SceneSettings(**settings), described)


@pytest.mark.parametrize(
    ("colours", "groups"),
    [
        (["red", "green", "blue"], ((0, 1, 2),)),
        (["blue", "green", "red"], ((2, 1, 0),)),
        (["green", "red", "blue"], ((1, 0, 2),)),
        (["undefined"] * 3, ((0, 1, 2),)),
        (["red", "red", "blue"], ((0, 1, 2),)),
        (["undefined", "blue", "green", "red"], ((3, 2, 1), (0,))),
        (["red", "green", "blue", "red"], ((0,), (1,), (2,), (3,))),
        (["gray"], ((0,),)),
    ],
)
def test_bands_reach_the_network_in_its_order(colours, groups):
    assert band_groups(colours, FACTS, SceneSettings()) == groups


@pytest.mark.parametrize("text", ["auto", "singly"])
def test_words_for_a_band_map(text):
    assert read_band_map(text) == text


def test_a_band_map_is_refused_as_it_was_written():
    with pytest.raises(SceneError, match=r"each of the scene's 4 image bands once, found 1,2,3\."):
        band_groups(["undefined"] * 4, FACTS, SceneSettings(band_map=((1, 2, 3),)))
    with pytest.raises(SceneError, match=r"groups of 1 or 3 bands for this model, found 1,2;3;4\."):
        band_groups(["undefined"] * 4, FACTS, SceneSettings(band_map=((1, 2), (3,), (4,))))


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        (["red", "green", "blue", "nir"], ((0, 1, 2, 3),)),
        (["NIR", " Red", "Green", "Blue"], ((1, 2, 3, 0),)),
        (["", None, "", "Band 4"], ((0, 1, 2, 3),)),
        (["red", "", "", "nir"], ((0, 1, 2, 3),)),
    ],
)
def test_bands_are_found_by_the_names_of_the_card(described, expected):
    assert groups(facts(4, NIR), described) == expected
    assert groups(facts(4, NIR, band_map={4: ((1, 2, 3, 4),)}), described) == expected


def test_colours_of_the_file_are_names_too():
    assert groups(facts(4, NIR), colours=["blue", "green", "red", "nir"]) == ((2, 1, 0, 3),)
    assert groups(facts(4, NIR), ["B8", "B4", "B3", "B2"], ["nir", "red", "green", "blue"]) == ((1, 2, 3, 0),)
    assert groups(facts(4, NIR), colours=["red", "green", "blue", NONE]) == ((0, 1, 2, 3),)


def test_a_description_says_more_than_the_colour_that_a_band_is_shown_in():
    false_colour = ["red", "green", "blue"]
    assert groups(facts(3, ["red", "green", "nir"]), ["nir", "red", "green"], false_colour) == ((1, 2, 0),)
    with pytest.raises(SceneError, match=r"\(red, green, blue\), and the scene has 3: nir, red, green\."):
        groups(facts(3, ["red", "green", "blue"]), ["nir", "red", "green"], false_colour)


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        (["red", "green", "blue", "swir"], "the scene has 4: red, green, blue, swir"),
        (["nir", "red", "green", ""], r"the scene has 4: nir, red, green, one without a name \(4\)"),
        (["red", "red", "blue", "nir"], "the scene has 4: red, red, blue, nir"),
        (["B2", "B3", "B4", "B8"], "the scene has 4: b2, b3, b4, b8"),
        (["red", "green", "blue"], "the scene has 3: red, green, blue"),
        (["", "", "", "", ""], "the scene has 5: one without a name"),
        ([""], "the scene has 1: one without a name"),
    ],
)
def test_where_bands_of_the_model_are_missing_the_scene_is_refused(described, reason):
    wanted = rf"takes 4 bands together \(red, green, blue, nir\), and {reason}.*Name the bands so in the file, or state"
    with pytest.raises(SceneError, match=wanted) as error:
        groups(facts(4, NIR), described)
    assert error.value.kind == "model_mismatch"
    if len(described) == 4:
        assert groups(facts(4, NIR), described, band_map=((1, 2, 3, 4),)) == ((0, 1, 2, 3),)
    assert groups(facts(4, NIR), described, band_map="singly") == tuple((band,) for band in range(len(described)))


def test_further_bands_are_refused_with_the_groups_that_would_take_them():
    described = ["swir", *NIR]
    with pytest.raises(SceneError, match=r"has further bands: swir, red.*by --band-map '2,3,4,5;1'\.") as error:
        groups(facts(4, NIR), described)
    assert error.value.kind == "model_mismatch"
    assert groups(facts(4, NIR), described, band_map=((2, 3, 4, 5), (1,))) == ((1, 2, 3, 4), (0,))
    assert groups(facts(4, NIR, band_map={5: ((1, 2, 3, 4), (5,))}), [""] * 5) == ((0, 1, 2, 3), (4,))


def test_any_band_is_gray_to_a_model_of_one_band_or_of_colours():
    assert groups(facts(1, ["HU"]), ["nir", "", "red"]) == ((0,), (1,), (2,))
    rgb = facts(3, ["red", "green", "blue"])
    assert groups(rgb, ["nir", "swir"]) == ((0,), (1,))
    assert groups(rgb, ["nir", "red", "blue", "green"]) == ((1, 3, 2), (0,))
    assert groups(rgb, ["", "", ""]) == ((0, 1, 2),)
    assert groups(rgb, [""]) == ((0,),)
    with pytest.raises(SceneError, match="takes 3 bands together"):
        groups(facts(3, ["nir", "red", "green"]), [""])


def test_a_model_of_numbered_bands_takes_them_by_number():
    numbered = facts(4, ["band1", "band2", "band3", "band4"])
    for described in (["", "", "", ""], ["band1", "band2", "band3", "band4"], ["red", "green", "blue", "nir"]):
        assert groups(numbered, described) == ((0, 1, 2, 3),)
    half = facts(4, ["red", "green", "blue", "band4"])
    assert groups(half, colours=["red", "green", "blue", NONE]) == ((0, 1, 2, 3),)
    with pytest.raises(SceneError, match="takes 4 bands together"):
        groups(half, colours=["blue", "green", "red", NONE])


def test_a_model_without_names_takes_as_many_bands_as_it_has():
    assert groups(facts(4), ["a", "b", "c", "d"]) == ((0, 1, 2, 3),)
    with pytest.raises(SceneError, match=r"takes 4 bands together, and the scene has 3: a, b, c\."):
        groups(facts(4), ["a", "b", "c"])


@pytest.mark.parametrize(
    ("channels", "names", "bands", "groups"),
    [
        (3, (), ["blue", "green", "Red", "nir"], ((2, 1, 0), (3,))),
        (3, (), ["B5", "B6"], ((0,), (1,))),
        (1, (), ["red", "nir"], ((0,), (1,))),
        (4, ("red", "green", "blue", "NIR"), ["blue", "green", "red", "nir"], ((2, 1, 0, 3),)),
        (4, (), ["blue", "green", "red", "nir"], ((0, 1, 2, 3),)),
        (3, (), ["gray"], ((0,),)),
        (1, ("gray",), ["gray"], ((0,),)),
    ],
)
def test_images_whose_bands_have_names_alone(channels, names, bands, groups):
    assert name_groups(bands, replace(FACTS, channels=channels, band_names=names, band_map={})) == groups


def test_an_image_that_lacks_a_band_of_the_model():
    facts = replace(FACTS, channels=4, band_names=("red", "green", "blue", "swir"), band_map={})
    with pytest.raises(SceneError, match=r"takes 4 bands together \(red, green, blue, swir\), and the scene has 2"):
        name_groups(["red", "nir"], facts)
