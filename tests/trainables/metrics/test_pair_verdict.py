"""Pairs made with the domains' own degradations pass; wrong ones are told apart, with what is wrong about them."""

import re

import made_pairs
import pytest
from made_pairs import DEGRADATIONS, IMAGES, image

from trainables.metrics.pair_checks import PairMeasures, measure_pair
from trainables.metrics.pair_verdict import judge

BANDS = ("red", "green", "blue")


def verdict(domain, scale, make, **settings):
    pairs = {f"{seed}.png": make(domain, image(domain, seed), scale, seed) for seed in range(IMAGES)}
    return judge({name: measure_pair(*pair, scale) for name, pair in pairs.items()}, scale, BANDS, **settings)


@pytest.mark.parametrize("make", [made_pairs.good, made_pairs.with_jitter])
@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("domain", DEGRADATIONS)
def test_pairs_of_the_domains_degradations_pass(domain, scale, make):
    assert verdict(domain, scale, make).faults == ()


WRONG = {
    made_pairs.displaced: r"displaced against HR by (2\.0|1\.9)\d down and (2\.0|1\.9)",
    made_pairs.half_the_scale: "show their scene at x2 and not at x4, though the sizes fit, such as '0.png'",
    made_pairs.enlarged: "the LR images were enlarged or blurred",
    made_pairs.magnified: "% larger than the scale factor says",
    made_pairs.brighter: r"HR \+ 0\.0[67]",
    made_pairs.of_more_contrast: r"LR = 1\.2",
}


@pytest.mark.parametrize("make", WRONG, ids=lambda make: make.__name__)
@pytest.mark.parametrize("domain", DEGRADATIONS)
def test_what_is_wrong_is_said_first(domain, make):
    faults = verdict(domain, 4, make).faults
    assert faults
    assert re.search(WRONG[make], faults[0])


@pytest.mark.parametrize("domain", ["satellite", "surveillance"])
def test_two_hr_pixels_are_found_at_x4(domain):
    faults = verdict(domain, 4, made_pairs.displaced_by_two_hr_pixels).faults
    assert len(faults) == 1
    assert "displaced against HR by 0.5" in faults[0]


def test_images_of_other_scenes_are_named():
    pairs = {f"{k}.png": (image("satellite", k), image("satellite", (k + 1) % IMAGES)) for k in range(IMAGES)}
    measured = {
        name: measure_pair(hr, made_pairs.degraded("satellite", other, 4, 0), 4) for name, (hr, other) in pairs.items()
    }
    faults = judge(measured, 4, BANDS).faults
    assert faults[0] == ("4 of 4 LR images do not show what their HR image shows, such as '0.png', '1.png', '2.png'")


def test_what_is_to_be_corrected_is_no_fault_but_told():
    found = verdict("satellite", 4, made_pairs.displaced, register=True)
    assert found.faults == ()
    assert "displacement of LR in LR pixels 2.0" in found.lines[0]
    assert verdict("satellite", 4, made_pairs.brighter, radiometry=True).faults == ()


def measures(**given):
    return PairMeasures(**{"overlap": 1.0, "correlation": 0.9} | given)


def test_displacements_at_random_count_one_by_one():
    """Their median is none, and no network can learn them."""
    few = {str(k): measures(shift=(0.0, 1.5 if k == 0 else 0.1 * (k % 3 - 1))) for k in range(20)}
    many = {str(k): measures(shift=(0.0, 1.5 * (k % 3 - 1))) for k in range(18)}
    assert judge(few, 4, ("gray",)).faults == ()
    assert judge(many, 4, ("gray",)).faults == ("12 of 18 pairs are displaced by more than 1 LR pixel",)


def test_a_median_within_its_standard_error_is_no_fault():
    scattered = {str(k): measures(shift=(0.0, shift)) for k, shift in enumerate((-0.6, 0.3, 0.7, -0.5, 0.9))}
    together = {str(k): measures(shift=(0.0, shift)) for k, shift in enumerate((0.29, 0.3, 0.31, 0.3, 0.28))}
    assert judge(scattered, 4, ("gray",)).faults == ()
    assert "0.30 right" in judge(together, 4, ("gray",)).faults[0]


def test_little_overlap_is_a_fault():
    found = judge({"a": measures(overlap=0.2), "b": measures(overlap=0.4)}, 4, ("gray",))
    assert found.faults == ("LR and HR share 30% of their valid pixels in the median",)
    assert found.lines[0].startswith("overlap 30% (21% to 39%) of 2 pairs; no pair has")


def test_lines_give_medians_and_ranges():
    found = {
        str(k): measures(
            shift=(0.01 * k, -0.02), magnification=1.0, fine_transfer=0.5, slopes=(1.0, None), offsets=(0.0, None)
        )
        for k in range(5)
    }
    assert judge(found, 4, ("red", "nir")).lines == (
        "overlap 100% (100% to 100%) of 5 pairs; displacement of LR in LR pixels 0.02 (0.00 to 0.04) down, -0.02 "
        "(-0.02 to -0.02) right",
        "magnification beyond the scale factor 1.0000 (1.0000 to 1.0000); LR holds 50% (50% to 50%) of the contrast of "
        "the finest detail",
        "LR = red 1.000 (1.000 to 1.000) · HR + 0.000 (0.000 to 0.000)",
    )


def test_gray_images_among_coloured_ones_count_in_every_band():
    """A set of plain images may hold both, and no band of a gray image is missing."""
    gray = {str(k): measures(slopes=(1.0,), offsets=(0.0,)) for k in range(3)}
    coloured = {f"rgb{k}": measures(slopes=(1.0, 1.3, 1.3), offsets=(0.0, 0.0, 0.0)) for k in range(2)}
    assert judge(gray | coloured, 4, ("red", "green", "blue")).faults == ()
    assert "LR = 1.300 · HR + 0.000 in green" in judge(coloured, 4, ("red", "green", "blue")).faults[0]
    darker = {str(k): measures(slopes=(0.7,), offsets=(0.0,)) for k in range(3)}
    assert "LR = 0.700 · HR + 0.000 in red" in judge(darker | coloured, 4, ("red", "green", "blue")).faults[0]


def test_without_contrast_nothing_is_claimed():
    found = judge({"a": measures(correlation=None)}, 4, ("gray",))
    assert found.faults == ()
    assert found.lines == (
        "overlap 100% (100% to 100%) of 1 pairs; no pair has enough common pixels with contrast to be registered",
    )
