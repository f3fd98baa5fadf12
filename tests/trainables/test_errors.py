import errno

import pytest

from trainables.errors import UsageError, reason_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UsageError("expected a folder\nand more"), "expected a folder"),
        (OSError(errno.EACCES, "Permission denied", "/secret/place"), "Permission denied"),
        (OSError("a plain one"), "OSError: a plain one"),
        (KeyError("name"), "KeyError: 'name'"),
        (ValueError("\n first line \nsecond"), "ValueError: first line"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_reason_is_one_line(error, reason):
    assert reason_of(error) == reason
