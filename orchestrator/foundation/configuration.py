"""Transfer configurations as fields of records."""

from typing import Annotated

from pydantic import BeforeValidator

from trainables.errors import UsageError
from trainables.loops.settings import TransferConfiguration

_MOST, _FURTHEST = 10**6, 1e300


def _configuration(value: object) -> object:
    """A configuration of parsed JSON, or anything else as it is, for pydantic to refuse."""
    if not isinstance(value, dict):
        return value
    try:
        configuration = TransferConfiguration(**value)
    except (TypeError, OverflowError, UsageError) as error:
        raise ValueError(str(error)) from None
    numbers = (configuration.learning_rate, configuration.lambda_)
    whole = (configuration.frozen_depth, 1 if configuration.kept_blocks is None else configuration.kept_blocks)
    if not all(type(number) in (int, float) and -_FURTHEST < number < _FURTHEST for number in numbers):
        raise ValueError("a setting is no number")
    if not all(type(number) is int and 0 <= number < _MOST for number in whole):
        raise ValueError("a setting is no whole number")
    return configuration


Configuration = Annotated[TransferConfiguration, BeforeValidator(_configuration)]
"""A transfer configuration whose settings are finite numbers and nothing else; written without what has its default."""
