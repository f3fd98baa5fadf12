"""The worth of a search is read off small trees, with the evidence beside it."""

import pytest

from orchestrator.analysis.search_worth import SearchFacts, facts_of, leaf_of, predict, read_evidence, verdict_of
from trainables.degradation import Degradation
from trainables.network.architecture import preset


def leaf(median, cells=10):
    return {"median": median, "low": median - 0.01, "high": median + 0.01, "cells": cells}


EVIDENCE = {
    "threshold": 0.02,
    "noise": 0.03,
    "more_steps": 5,
    "trainings": 100,
    "cells": 20,
    "most_pixels": 1000,
    "most_parameters": 1000,
    "default_rate": 4.75e-4,
    "fits": {
        "stated": {
            "trees": {
                "rate": {"fact": "noise", "at_most": 0.02, "yes": leaf(0.0), "no": leaf(0.3)},
                "rest": {"fact": "training_scenes", "at_most": 1.5, "yes": leaf(0.05), "no": leaf(0.01)},
                "beyond": {"fact": "noise", "at_most": 0.02, "yes": leaf(0.01), "no": leaf(0.1, cells=8)},
                "steps": leaf(0.2, cells=3),
            },
            "held_out": {
                "verdict": {"right": 18, "constant": "search all settings", "constant_right": 12, "cells": 20}
            },
        },
        "measured": {
            "trees": {"rate": leaf(0.5), "rest": leaf(0.0), "beyond": leaf(0.3), "steps": leaf(0.0)},
            "held_out": {
                "verdict": {"right": 19, "constant": "search all settings", "constant_right": 12, "cells": 20}
            },
        },
    },
}


def facts(**changed):
    values = {"training_scenes": 4, "training_images": 9, "pixels": 1000, "parameters": 1000, "noise": 0.0}
    return SearchFacts(**values | {"blur": 0.0, "codec": 0, "pairs": 0} | changed)


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "the portfolio is enough"),
        ({"noise": 0.05}, "search the rate alone"),
        ({"training_scenes": 1, "noise": 0.05}, "search all settings"),
    ],
)
def test_each_fact_leads_to_its_leaf(changed, verdict):
    assert predict(facts(**changed), EVIDENCE)["verdict"] == verdict


def test_the_sentences_state_worth_and_evidence():
    first, second = predict(facts(noise=0.05), EVIDENCE)["sentences"]
    assert first == (
        "search the rate alone: in 8 similar cells of the phase map a search was worth +0.10 dB (+0.09 to +0.11) over "
        "the portfolio; the best learning rate +0.30 dB (+0.29 to +0.31) over 0.000475, λ and depth +0.01 dB (+0.00 to "
        "+0.02) beyond it, 5 times the steps an amount that is not known yet (3 cells)."
    )
    assert second == (
        "Evidence: 100 trainings. In 18 of 20 cells of shifts that were left out of the fit nothing else would have "
        "gained 0.02 dB over such advice; always 'search all settings' reaches 12. Two seeds differ by 0.03 dB."
    )


def test_a_measured_gain_of_the_source_model_has_trees_of_its_own():
    told = predict(facts(zero_shot_gain=-1.0), EVIDENCE)
    assert told["rate"]["median"] == 0.5
    assert "In 19 of 20 cells" in told["sentences"][1]


def test_a_study_beyond_the_map_is_told_so():
    said = predict(facts(pixels=2000, parameters=5000), EVIDENCE)["sentences"][0]
    assert "(all of them with smaller networks and fewer steps or smaller patches)" in said


def test_facts_come_from_the_settings():
    degradation = Degradation(noise=(0.02, 0.04), blur=(0.2, 0.4), jpeg=(50, 90))
    given = {"scenes": 3, "images": 7, "pixels": 10, "architecture": preset("tiny", 4), "degradation": degradation}
    found = facts_of(**given, real_pairs=False)
    assert (found.noise, found.blur, found.codec, found.pairs) == pytest.approx((0.03, 0.3, 1, 0))
    assert (found.training_scenes, found.training_images, found.parameters) == (3, 7, 39888)
    real = facts_of(**given, real_pairs=True)
    assert (real.noise, real.codec, real.pairs) == (0.0, 0, 1), "a degradation says nothing of real LR images"


def test_small_differences_do_not_matter():
    assert verdict_of({"beyond": 0.019, "rate": 0.1, "rest": 0.1}, 0.02) == "the portfolio is enough"
    assert verdict_of({"beyond": 0.02, "rate": 0.1, "rest": 0.0}, 0.02) == "search the rate alone"
    assert verdict_of({"beyond": 0.02, "rate": 0.0, "rest": 0.02}, 0.02) == "search all settings"


def test_the_shipped_trees_ask_for_facts_that_there_are():
    shipped = read_evidence()

    def asked(tree):
        return {tree["fact"]} | asked(tree["yes"]) | asked(tree["no"]) if "fact" in tree else set()

    assert set(shipped["fits"]) == {"stated", "measured"}
    assert "zero_shot_gain" not in set().union(*map(asked, shipped["fits"]["stated"]["trees"].values()))
    for tree in [tree for fit in shipped["fits"].values() for tree in fit["trees"].values()]:
        assert asked(tree) <= set(SearchFacts.__dataclass_fields__)
        values = dict.fromkeys(SearchFacts.__dataclass_fields__, 1.0)
        assert leaf_of(tree, values)["low"] <= leaf_of(tree, values)["high"]
