"""The rules of a search space, and that the contract for domains notices broken ones."""

import math

import pytest
import torch

from search_spaces import art, satellite
from search_spaces.space import TransferSpace, check_domain, checked
from search_spaces.testing import DomainContract
from trainables.degradation import Degradation
from trainables.errors import UsageError
from trainables.loops.settings import TransferConfiguration


def space(**changes):
    return TransferSpace(**{"id": "thermal-v1", "title": "Thermal", "degradation": Degradation(), **changes})


def start(**changes):
    usual = {"learning_rate": 1e-3, "lambda_": 1e-3, "frozen_depth": 1}
    return (TransferConfiguration(**{**usual, **changes}),)


@pytest.mark.parametrize(
    "fine",
    [
        {},
        {"id": "a_2-v10"},
        {"deepest": 0},
        {"deepest": 1, "starts": start()},
        {"starts": start(lambda_=0.0)},
        {"starts": start(learning_rate=3e-5, lambda_=1e-5, frozen_depth=0)},
        {"starts": start(learning_rate=3e-3, lambda_=1e-1, frozen_depth=99)},
    ],
)
def test_a_good_space_breaks_no_rule(fine):
    assert check_domain(space(**fine)) == []
    assert checked(space(**fine), "here") == space(**fine)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        *(
            ({"id": name}, "id must look like")
            for name in ("thermal", "Thermal-v1", "thermal-v0", "2d-v1", "a-v1 ", "")
        ),
        ({"title": " "}, "title must not be empty"),
        *(
            ({"learning_rate": r}, "learning_rate must")
            for r in [(0.0, 1.0), (1e-3, 1e-3), (1.0, 0.1), (math.nan, 1.0)]
        ),
        *(({"lambda_": r}, "lambda_ must") for r in [(0.0, 1.0), (-1.0, 1.0), (1e-1, 1e-5)]),
        *(({"zero_share": share}, "zero_share must") for share in (0.0, 1.0, -0.5, math.nan)),
        ({"deepest": -1}, "deepest must be 0 or more"),
        ({"starts": start(learning_rate=1e-6)}, "lies outside the space"),
        ({"starts": start(learning_rate=1.0)}, "lies outside the space"),
        ({"starts": start(lambda_=1e-7)}, "lies outside the space"),
        ({"starts": start(lambda_=1.0)}, "lies outside the space"),
        ({"starts": start(), "deepest": 0}, "lies outside the space"),
        ({"starts": start(frozen_depth=-1)}, "lies outside the space"),
    ],
)
def test_each_broken_rule_is_named_alone(wrong, words):
    (broken,) = check_domain(space(**wrong))
    assert words in broken
    with pytest.raises(UsageError, match=r"^Entry point x is not a usable search space: .*" + words):
        checked(space(**wrong), "Entry point x")


def test_all_broken_rules_are_named_together():
    assert len(check_domain(space(id="x", title="", zero_share=2.0, deepest=-3))) == 4


@pytest.mark.parametrize("wrong", [None, {"id": "x-v1"}, TransferSpace])
def test_what_is_no_space_is_refused_by_type(wrong):
    with pytest.raises(UsageError, match=rf"must be a TransferSpace, found {type(wrong).__name__}"):
        checked(wrong, "SPACE of search_spaces.x")


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_the_stretch_below_the_floor_has_its_share(share):
    made = space(zero_share=share, lambda_=(1e-4, 1e-1))
    low, high = made.lambda_range
    assert high == 1e-1
    assert math.log(1e-4 / low) / math.log(high / low) == pytest.approx(share)


def test_domain_and_version_come_from_the_id():
    made = space(id="near_infrared-v12")
    assert (made.domain, made.version) == ("near_infrared", 12)


class Shifting(Degradation):
    __slots__ = ()

    def __call__(self, hr, scale, gray, generator):
        return super().__call__(hr.roll(2, -1), scale, gray, generator)


class Unseeded(Degradation):
    __slots__ = ()

    def __call__(self, hr, scale, gray, generator):
        generator.seed()
        return super().__call__(hr, scale, gray, generator)


class Colouring(Degradation):
    __slots__ = ()

    def __call__(self, hr, scale, gray, generator):
        return super().__call__(hr, scale, torch.zeros_like(gray), generator)


class TooLarge(Degradation):
    __slots__ = ()

    def __call__(self, hr, scale, gray, generator):
        return super().__call__(hr, 1, gray, generator)


class Deep(Degradation):
    __slots__ = ()

    def __call__(self, hr, scale, gray, generator):
        return super().__call__(hr, scale, gray, generator) * 0.997


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (Shifting, "test_keeps_the_picture_in_place"),
        (Unseeded, "test_degradation_is_seeded"),
        (Colouring, "test_gray_stays_gray"),
        (TooLarge, "test_degrades_to_the_right_size"),
        (Deep, "test_degrades_to_the_right_size"),
    ],
)
def test_the_contract_catches_a_bad_degradation(kind, test):
    for good in (art.SPACE, satellite.SPACE):
        contract = DomainContract()
        contract.space = space(degradation=good.degradation)
        getattr(contract, test)()
    noise = {"noise": (0.02, 0.05)}
    contract.space = space(degradation=kind(**noise))
    with pytest.raises(AssertionError):
        getattr(contract, test)()


def test_the_contract_catches_a_broken_rule():
    contract = DomainContract()
    contract.space = space(id="x")
    with pytest.raises(AssertionError):
        contract.test_breaks_no_rule()
