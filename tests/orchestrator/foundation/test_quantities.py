"""Numbers, bytes and times in words, around the values at which their form changes."""

import pytest

from orchestrator.foundation.quantities import duration, number, plural, resources, size


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.0123"), (12.34, "12.3"), (999.4, "999"), (999.6, "1,000"), (122_345.6, "122,346")],
)
def test_a_number_is_never_written_with_an_exponent_because_it_is_large(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(7, "7 B"), (999_400, "999 kB"), (999_600, "1 MB"), (1.5e12, "1.5 TB"), (2e15, "2 PB"), (2.5e18, "2,500 PB")],
)
def test_bytes_have_the_unit_that_suits_them(count, text):
    assert size(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 CPUs"), (1, "1 CPU"), (1.0, "1 CPU"), (0.5, "0.5 CPUs"), (2.0, "2 CPUs"), (1_000_000, "1000000 CPUs")],
)
def test_one_thing_is_one_and_all_other_numbers_are_several(count, text):
    assert plural(count, "CPU") == text


def test_resources_without_gpus_are_cpus_alone():
    assert [resources(1.0, 0.0), resources(2.0, 1.0)] == ["1 CPU", "2 CPUs and 1 GPU"]


@pytest.mark.parametrize(
    ("seconds", "digits", "text"),
    [
        (0.04, 1, "0.0 s"),
        (59.94, 1, "59.9 s"),
        (59.96, 1, "1 min 00 s"),
        (59.4, 0, "59 s"),
        (59.6, 0, "1 min 00 s"),
        (3599.4, 0, "59 min 59 s"),
        (3599.6, 0, "1 h 00 min"),
        (100 * 3600, 1, "100 h 00 min"),
    ],
)
def test_a_time_never_says_sixty_of_a_unit(seconds, digits, text):
    assert duration(seconds, digits) == text
