"""Every domain that RayScale ships keeps the contract that it asks of others."""

import pytest

from search_spaces import art, ct, known_spaces, medical, satellite, surveillance
from search_spaces.testing import DomainContract

SHIPPED = (medical, ct, satellite, surveillance, art)


class TestMedical(DomainContract):
    space = medical.SPACE


class TestCt(DomainContract):
    space = ct.SPACE


class TestSatellite(DomainContract):
    space = satellite.SPACE


class TestSurveillance(DomainContract):
    space = surveillance.SPACE


class TestArt(DomainContract):
    space = art.SPACE


def test_no_shipped_domain_is_forgotten_here():
    assert {module.SPACE.id for module in SHIPPED} == set(known_spaces())


@pytest.mark.parametrize("module", SHIPPED)
def test_a_domain_is_named_as_its_file(module):
    assert module.__name__ == f"search_spaces.{module.SPACE.domain}"


def test_the_degradations_differ():
    assert len({module.SPACE.degradation for module in SHIPPED}) == len(SHIPPED)
