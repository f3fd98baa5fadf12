"""Acquisition time of a scene, from its file."""

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import rasterio

_TAGS = (("", "ACQUISITIONDATETIME"), ("IMAGERY", "ACQUISITIONDATETIME"), ("", "TIFFTAG_DATETIME"))
_TIME = re.compile(
    r"(?P<year>\d{4})(?P<between>[-:/]?)(?P<month>\d\d)(?P=between)(?P<day>\d\d)"
    r"(?:[Tt ]\s*(?P<hour>\d\d):?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,]\d+)?)?"
    r"\s*(?P<zone>[Zz]|UTC|GMT|(?P<sign>[-+\u2212])(?P<hours>\d\d):?(?P<minutes>\d\d)?)?)?"
)


def time_of(text: str) -> datetime | None:
    """Reads a time as files write it, to the second, in UTC.

    Dates are taken with ``-``, ``:``, ``/`` or nothing between their parts, times after a ``T`` or a space, with or
    without seconds, fractions (left out) and a zone: ``Z``, ``UTC`` or an offset (RFC 3339, ISO 8601). A time without
    a zone is taken for UTC, and so is ``-00:00``. 24:00 is the next day's midnight, and a leap second the second after.

    Returns:
        None for a text that is no time.
    """
    found = _TIME.fullmatch(text.strip().rstrip("\0"))
    if found is None:
        return None
    year, month, day, hour, minute, second, hours, minutes = (
        int(found[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second", "hours", "minutes")
    )
    later = timedelta()
    if (hour, minute, second) == (24, 0, 0):
        hour, later = 0, timedelta(days=1)
    elif second == 60:
        second, later = 59, timedelta(seconds=1)
    if hours > 23 or minutes > 59:
        return None
    offset = timedelta(hours=hours, minutes=minutes) * (1 if found["sign"] == "+" else -1)
    try:
        return (datetime(year, month, day, hour, minute, second, tzinfo=timezone(offset)) + later).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def taken(dataset: "rasterio.io.DatasetReader", source: Path | str, by_caller: datetime | None) -> tuple[datetime, str]:
    """Finds when a scene was taken, and the source of that time.

    Args:
        dataset: Whose tags are asked.
        source: The scene's file, whose time of change is the last resort.
        by_caller: A time that is known otherwise, taken for UTC where it has no zone.
    """
    if by_caller is not None:
        return by_caller.replace(tzinfo=by_caller.tzinfo or UTC).astimezone(UTC), "caller"
    unread = ""
    for namespace, name in _TAGS:
        text = dataset.tags(ns=namespace or None).get(name, "")
        if time := time_of(text):
            return time, name
        if text.strip():
            unread = f", since {name} is no time: {text.strip()[:40]}"
    file = Path(str(source))
    if not file.exists():
        return datetime.fromtimestamp(0, UTC), f"nothing that is known{unread}"
    return datetime.fromtimestamp(int(file.stat().st_mtime), UTC), f"file modification time{unread}"
