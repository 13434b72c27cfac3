"""Entity tags and the header that names them."""

import pytest

from flowker.domain.preconditions import entity_tag, matches


def test_a_tag_is_quoted_and_has_every_part() -> None:
    """As RFC 9110 writes strong tags."""
    assert entity_tag(3, "draft") == '"3-draft"'


@pytest.mark.parametrize("header", ['"3"', ' "3" ', '"1", "3"', '"1" ,\t"3",', ',"3"', "*", " * "])
def test_a_header_that_names_the_tag_matches(header: str) -> None:
    """Alone, in a list, or by naming any."""
    assert matches(header, '"3"')


@pytest.mark.parametrize("header", ["", '"4"', '"33"', "3", 'W/"3"', '"4", W/"3"', '"3" "4"', "*, *", '"3', '"4","3'])
def test_another_header_does_not(header: str) -> None:
    """Weak tags never match here, and neither does what is malformed."""
    assert not matches(header, '"3"')


def test_a_long_header_takes_no_long_time() -> None:
    """Each character is looked at a bounded number of times."""
    assert not matches(" " * 30_000 + '"4"' + "," * 30_000, '"3"')
