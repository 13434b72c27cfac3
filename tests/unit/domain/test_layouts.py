"""Layouts of times: what Go's examples of one moment mean, in both directions."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowker.domain.layouts import (
    InvalidLayout,
    Moment,
    NoSuchTime,
    compile_layout,
    compile_layout_to_read,
)

ISO = "2006-01-02T15:04:05.999999999Z07:00"


def rewritten(text: str, read: str, written: str) -> str:
    return compile_layout(written).format(compile_layout_to_read(read).parse(text))


@pytest.mark.parametrize(
    ("text", "read", "iso"),
    [
        ("Sat Jul 22 08:15:27 +0000 2017", "Mon Jan _2 15:04:05 -0700 2006", "2017-07-22T08:15:27Z"),
        ("Sat Jul  2 08:15:27 -0330 2017", "Mon Jan _2 15:04:05 -0700 2006", "2017-07-02T08:15:27-03:30"),
        ("2017-07-22T08:15:27+0200", "2006-01-02T15:04:05-0700", "2017-07-22T08:15:27+02:00"),
        ("2017-07-22T08:15:27Z", "2006-01-02T15:04:05Z07:00", "2017-07-22T08:15:27Z"),
        ("2017-07-22T08:15:27.123456789Z", "2006-01-02T15:04:05Z07:00", "2017-07-22T08:15:27.123456789Z"),
        ("2017-07-22 08:15:27,5", "2006-01-02 15:04:05", "2017-07-22T08:15:27.5Z"),
        ("2017-07-22 08:15:27.1234567891", "2006-01-02 15:04:05", "2017-07-22T08:15:27.123456789Z"),
        ("2017-07-22 08:15:27.120", "2006-01-02 15:04:05.000", "2017-07-22T08:15:27.12Z"),
        ("2017-07-22 08:15:27", "2006-01-02 15:04:05.999", "2017-07-22T08:15:27Z"),
        ("2017-07-22 08:15:27.12", "2006-01-02 15:04:05.999", "2017-07-22T08:15:27.12Z"),
        ("22/7/17", "2/1/06", "2017-07-22T00:00:00Z"),
        ("31.12.69", "02.01.06", "1969-12-31T00:00:00Z"),
        ("31.12.68", "02.01.06", "2068-12-31T00:00:00Z"),
        ("july 2, 2017 3:04PM", "January 2, 2006 3:04PM", "2017-07-02T15:04:00Z"),
        ("July 2, 2017 12:04 am", "January 2, 2006 03:04 pm", "2017-07-02T00:04:00Z"),
        ("July 2, 2017 12:04 PM", "January 2, 2006 03:04 PM", "2017-07-02T12:04:00Z"),
        ("Saturday, 22-Jul-17 08:15:27 UTC", "Monday, 02-Jan-06 15:04:05 MST", "2017-07-22T08:15:27Z"),
        ("2017203 8:5:7", "2006002 15:4:5", "2017-07-22T08:05:07Z"),
        ("2016 60", "2006 __2", "2016-02-29T00:00:00Z"),
        ("2017-07-22 +02", "2006-01-02 -07", "2017-07-22T00:00:00+02:00"),
        ("2017-07-22 +02:00:30", "2006-01-02 -07:00:00", "2017-07-22T00:00:00+02:00"),
        ("2017-07-22 -020030", "2006-01-02 Z070000", "2017-07-22T00:00:00-02:00"),
        ("2017   07", "2006 01", "2017-07-01T00:00:00Z"),
        ("1500711327", "$unix", "2017-07-22T08:15:27Z"),
        ("-1", "$unix", "1969-12-31T23:59:59Z"),
    ],
)
def test_times_are_read(text: str, read: str, iso: str) -> None:
    """A time without a zone is in UTC; a fraction is read after seconds also where the layout has none."""
    assert rewritten(text, read, ISO) == iso


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("Mon Jan _2 15:04:05 -0700 2006", "Sat Jul  2 18:05:07 -0330 2016"),
        ("Monday, January 2, 06", "Saturday, July 2, 16"),
        ("2006-01-02T15:04:05Z07:00", "2016-07-02T18:05:07-03:30"),
        ("3:4:5 PM", "6:5:7 PM"),
        ("03:04 pm", "06:05 pm"),
        (".000 .000000000 .999 .9999 ,9", ".120 .120003000 .12 .12 ,1"),
        ("002 __2 1", "184 184 7"),
        ("_2006 MST", "_2016 -0330"),
        ("-07 -07:00 -0700 -07:00:00 -070000", "-03 -03:30 -0330 -03:30:00 -033000"),
        ("Janet Monty 2006", "Janet Monty 2016"),
        ("$unix", "1467495307"),
    ],
)
def test_times_are_written(written: str, text: str) -> None:
    """In their own zone; what is no element of a layout stands for itself."""
    moment = Moment(datetime(2016, 7, 2, 18, 5, 7), 120_003_000, -(3 * 3600 + 30 * 60))  # noqa: DTZ001

    assert compile_layout(written).format(moment) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0001-01-01T00:00:00+24:00", "-62135683200"),
        ("0001-01-01T00:00:00Z", "-62135596800"),
        ("9999-12-31T23:59:59Z", "253402300799"),
        ("9999-12-31T23:59:59-24:00", "253402387199"),
    ],
)
def test_seconds_are_counted_beyond_the_first_and_the_last_year(text: str, seconds: str) -> None:
    """Which a zone may lead to, in a text that anybody may send."""
    assert rewritten(text, ISO, "$unix") == seconds


def test_utc_has_a_letter_and_a_name() -> None:
    """Where the layout has a Z; nothing is left of a fraction that is nothing."""
    moment = Moment(datetime(2016, 7, 2))  # noqa: DTZ001

    assert compile_layout("15:04:05.999 Z0700 Z07 MST -0700 3PM").format(moment) == "00:00:00 Z Z UTC +0000 12AM"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", "2006"),
        ("17", "2006"),
        ("2017-02-30", "2006-01-02"),
        ("2017-13-01", "2006-01-02"),
        ("0000-01-01", "2006-01-02"),
        ("2017-07-22T25:00", "2006-01-02T15:04"),
        ("2017 13 PM", "2006 3 PM"),
        ("2017 366", "2006 __2"),
        ("2017-07-22 +2500", "2006-01-02 -0700"),
        ("2017-07-22 +0060", "2006-01-02 -0700"),
        ("2017-07-22 PST", "2006-01-02 MST"),
        ("2017-07-22 ", "2006-01-02"),
        ("\uff12\uff10\uff11\uff17", "2006"),
        ("2017-07-22 08:15:27.12", "2006-01-02 15:04:05.000"),
        ("1e9", "$unix"),
        ("999999999999999999", "$unix"),
        ("-99999999999999", "$unix"),
        ("2017" + " " * 200, "2006"),
    ],
)
def test_what_is_no_such_time_is_refused(text: str, read: str) -> None:
    """Whether it has another form or does not exist."""
    with pytest.raises(NoSuchTime):
        compile_layout_to_read(read).parse(text)


@pytest.mark.parametrize("text", ["", "YYYY-MM-DD", "%Y-%m-%d", "$now", "rfc", "Janet"])
def test_what_has_nothing_of_a_layout_is_none(text: str) -> None:
    """Above all the spellings of other languages."""
    with pytest.raises(InvalidLayout, match=r"^is no layout: 2006-01-02T15:04:05Z07:00 is one$"):
        compile_layout(text)


def test_a_layout_to_read_by_has_a_year() -> None:
    """A moment without one would be in the year 0."""
    with pytest.raises(InvalidLayout, match=r"^has no year, which is written 2006$"):
        compile_layout_to_read("15:04")

    assert compile_layout("15:04").text == "15:04"


def test_a_layout_ends() -> None:
    """A hundred characters are more than any form of a time has."""
    assert compile_layout("2006" * 25).elements == ("2006",) * 25
    with pytest.raises(InvalidLayout, match=r"^has more than 100 characters$"):
        compile_layout("2006" * 25 + "!")


MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0)
)
OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: minutes * 60)


@given(local=MOMENTS, nanoseconds=st.integers(0, 999_999_999), offset_s=OFFSETS)
def test_what_was_written_is_read_back(local: datetime, nanoseconds: int, offset_s: int) -> None:
    """By layouts that leave nothing out; and the standard library sees the same moment."""
    moment = Moment(local, nanoseconds, offset_s)
    written = compile_layout(ISO).format(moment)

    for text in (ISO, "Mon January _2 03:04:05.000000000 PM -0700 2006", "002 2006 15:04:05.999999999 Z070000"):
        layout = compile_layout_to_read(text)
        assert layout.parse(layout.format(moment)) == moment
    aware = local.replace(tzinfo=timezone(timedelta(seconds=offset_s)))
    assert rewritten(written, ISO, "$unix") == str(_seconds(aware))


def _seconds(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400 + since.seconds


@given(
    layout=st.text(max_size=30) | st.text(alphabet="0123456789JanMonPMZ_-.:, ", max_size=30),
    text=st.text(max_size=20),
)
def test_any_text_is_a_layout_or_refused(layout: str, text: str) -> None:
    """And reads any text, or finds no time in it."""
    try:
        compiled = compile_layout(layout)
    except InvalidLayout:
        return
    moment = Moment(datetime(2016, 7, 2, 18, 5, 7), 5, 3600)  # noqa: DTZ001

    assert isinstance(compiled.format(moment), str)
    for each in (text, compiled.format(moment)):
        try:
            assert isinstance(compiled.parse(each), Moment)
        except NoSuchTime:
            continue
