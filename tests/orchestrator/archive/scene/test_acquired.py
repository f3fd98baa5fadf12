"""When scenes were taken, from what files say in any of the usual ways."""

import os
from datetime import UTC, datetime, timedelta, timezone

import archive_scenes as scenes
import pytest
import rasterio

from orchestrator.archive.scene.acquired import taken, time_of

EIGHT = datetime(2021, 6, 1, 8, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2021-06-01T08:00:00Z",
        "2021-06-01T10:00:00+02:00",
        "2021-06-01T10:00:00+0200",
        "2021-06-01T10:00:00+02",
        "2021-06-01T02:30:00-05:30",
        "2021-06-01T02:30:00\u221205:30",
        "2021-05-31T20:00:00-12:00",
        "2021-06-01T08:00:00.123456Z",
        "2021-06-01T10:00:00.5+02:00",
        "2021-06-01T08:00:00,9Z",
        "2021-06-01t08:00:00z",
        "2021-06-01 08:00:00 UTC",
        "2021-06-01 08:00:00 GMT",
        "2021-06-01 10:00:00 +02:00",
        "2021-06-01T08:00:00-00:00",
        "2021-06-01T08:00:00+00:00",
        "2021-06-01T08:00:00",
        "2021-06-01 08:00:00",
        "2021:06:01 08:00:00",
        "2021:06:01 10:00:00+02:00",
        "2021/06/01 08:00:00",
        "20210601T080000Z",
        "20210601T100000+0200",
        "2021-06-01T08:00Z",
        "  2021-06-01T08:00:00Z\0",
    ],
)
def test_the_same_moment(text):
    assert time_of(text) == EIGHT
    assert time_of(text).utcoffset() == timedelta()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2021-06-01T24:00:00Z", datetime(2021, 6, 2, tzinfo=UTC)),
        ("2021-12-31T24:00:00+01:00", datetime(2021, 12, 31, 23, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2021-06-01", datetime(2021, 6, 1, tzinfo=UTC)),
        ("2020-02-29T23:30:00-01:00", datetime(2020, 3, 1, 0, 30, tzinfo=UTC)),
    ],
)
def test_ends_of_days_and_leap_seconds(text, expected):
    assert time_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "yesterday", "2021-13-01T00:00:00Z", "2021-02-29T00:00:00Z", "2021-06-01T25:00:00Z"),
        *("2021-06-01T24:00:01Z", "2021-06-01T08:61:00Z", "2021-06-01T08:00:61Z", "2021-06-01T08:00:00+25:00"),
        *("2021-06-01T08:00:00+02:60", "0001-01-01T00:00:00+02:00", "9999-12-31T24:00:00Z", "0000:00:00 00:00:00"),
        *("2021-06:01T08:00:00Z", "2021-06-01T08:00:00 CEST", "1622534400", "2021-06-01T08:00:00Z junk"),
    ],
)
def test_what_is_no_time(text):
    assert time_of(text) is None


def tagged(path, namespace=None, **tags):
    scenes.write(path, scenes.pixels(1, 8, 8))
    with rasterio.open(path, "r+") as target:
        target.update_tags(ns=namespace, **tags)
    os.utime(path, (1e9, 1e9))
    return path


def what_says(path, by_caller=None):
    with rasterio.open(path) as dataset:
        return taken(dataset, path, by_caller)


def test_which_tag_is_asked(tmp_path):
    path = tagged(tmp_path / "a.tif", TIFFTAG_DATETIME="2021:06:01 10:00:00+02:00")
    # GDAL cuts a TIFF's own tag to its 19 characters, which are its standard's: a time without a zone.
    assert what_says(path)[1] == "TIFFTAG_DATETIME"
    path = tagged(path, "IMAGERY", ACQUISITIONDATETIME="2021-06-01T10:00:00+02:00")
    assert what_says(path) == (EIGHT, "ACQUISITIONDATETIME")
    path = tagged(path, ACQUISITIONDATETIME="2021-06-01T06:00:00-02:00")
    assert what_says(path) == (EIGHT, "ACQUISITIONDATETIME")
    path = tagged(path, ACQUISITIONDATETIME="soon", TIFFTAG_DATETIME="2021:06:01 08:00:00")
    assert what_says(path) == (EIGHT, "TIFFTAG_DATETIME")


def test_last_resorts(tmp_path):
    changed = datetime.fromtimestamp(1e9, UTC)
    assert what_says(tagged(tmp_path / "a.tif")) == (changed, "file modification time")
    path = tagged(tmp_path / "b.tif", ACQUISITIONDATETIME="soon")
    assert what_says(path) == (changed, "file modification time, since ACQUISITIONDATETIME is no time: soon")
    with rasterio.open(path) as dataset:
        time, says = taken(dataset, "s3://bucket/gone.tif", None)
    assert (time.year, says) == (1970, "nothing that is known, since ACQUISITIONDATETIME is no time: soon")


@pytest.mark.parametrize("time", [EIGHT, EIGHT.replace(tzinfo=None), EIGHT.astimezone(timezone(timedelta(hours=2)))])
def test_a_caller_s_time_is_given_in_utc(tmp_path, time):
    found, says = what_says(tagged(tmp_path / "a.tif"), time)
    assert (found, found.utcoffset(), says) == (EIGHT, timedelta(), "caller")


def test_the_item_has_it_in_utc(tmp_path):
    path = tagged(tmp_path / "in.tif", "IMAGERY", ACQUISITIONDATETIME="2021-06-01T10:00:00.25+02:00")
    item = scenes.run(path, tmp_path, scale=2).item
    assert item["properties"]["datetime"] == "2021-06-01T08:00:00Z"
    assert item["properties"]["rayscale:datetime_from"] == "ACQUISITIONDATETIME"
