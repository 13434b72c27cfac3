"""Pages of a list: keyset pagination, stable while rows are inserted, also with ties and nulls in the sort column.

A list is read as a merge of its statuses: per status one walk along an index that starts with `status`, merged by
the database in the order asked for and stopped at the end of the page. So the same index serves the list with and
without a status filter, and no page costs more than its rows.

A sort column that is null for some rows (`completedAt` of an execution that runs) splits a list into phases: first
the rows that have a value, then those that do not, ordered by another column; descending order turns all around.

A page ends early when its rows are large: a hundred definitions of a megabyte are no answer.

The cursor is opaque to callers: base64url of JSON that names the list, sort, filters and the last row's place. It
is refused when it is malformed, of another list, or comes with another sort or other filters.
"""

import base64
import binascii
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, Dialect, FromClause, Select, asc, desc, select, tuple_

from flowker import jsontext
from flowker.domain.errors import InvalidQuery, InvalidSortOrder
from flowker.storage.database import merge
from flowker.storage.statements import AnyRow

T = TypeVar("T")

PAGE_BYTES_MAX: Final = 8 * 2**20
"""Of the texts of a page's rows: eight of the largest definitions, and a hundred of any usual ones."""

LARGE_ROWS_AT_ONCE: Final = 8
"""How many rows of a list that has large ones a database server sends in advance."""

CURSOR_CHARACTERS_MAX: Final = 4096
"""Far over what a name of 100 characters and a few filters take."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    items: list[T]
    next_cursor: str
    has_more: bool


@dataclass(frozen=True, slots=True)
class Phase:
    """Rows of some statuses, ordered by a column that none of them has null, then by id.

    `statuses` says for each how its rows are told, in the words of the index that serves them.
    """

    column: Column[Any]
    statuses: Mapping[str, ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """What a list reads, from where, and for each name in `sortBy` its phases in ascending order.

    Where rows may have a megabyte each (`has_large_rows`), the database sends few of those behind the end of a page.
    """

    name: str
    source: FromClause
    columns: Sequence[Column[Any]]
    id: Column[Any]
    sorts: Mapping[str, Sequence[Phase]]
    make: Callable[[AnyRow], T]
    has_large_rows: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """What the caller asked for. `filters` by column name; a filter that is None does not count."""

    status: str | None
    filters: Mapping[str, str | None]
    limit: int
    cursor: str | None
    sort_by: str
    sort_order: str

    @property
    def descending(self) -> bool:
        return self.sort_order == "DESC"


def read_page(connection: Connection, listing: Listing[T], query: Query) -> Page[T]:
    phases = _phases(listing, query)
    place = place_of(query.cursor, _question(listing, query), len(phases)) if query.cursor else None
    rows: list[tuple[int, AnyRow]] = []
    room_bytes = PAGE_BYTES_MAX
    for number in range(place.phase if place else 0, len(phases)):
        missing = query.limit + 1 - len(rows)
        after = place if place and place.phase == number else None
        statement = _statement(connection.dialect, listing, query, phases[number], after, missing)
        with closing(_rows(connection, listing, statement)) as found:
            for row in found:
                room_bytes -= _size_bytes(row)
                # The first row of a page always belongs to it: a walk has to go on.
                if len(rows) == query.limit or (rows and room_bytes < 0):
                    return _page(listing, query, phases, rows, has_more=True)
                rows.append((number, row))
    return _page(listing, query, phases, rows, has_more=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the phase, and the last row's sort value and id."""

    phase: int
    value: str
    id: str


def cursor_to(place: Place, question: Sequence[str | None]) -> str:
    """A cursor that is good for the next page of exactly this question."""
    return _encode(_Cursor(list(question), place.phase, place.value, place.id))


def place_of(text: str, question: Sequence[str | None], phases: int = 1) -> Place:
    """Where the page ended that the cursor came with; raises InvalidQuery."""
    cursor = _decode(text)
    if cursor.question != list(question):
        raise InvalidQuery(fields={"cursor": "It belongs to another list, sort or filter."})
    if not 0 <= cursor.phase < phases:
        raise malformed()
    return Place(cursor.phase, cursor.value, cursor.id)


def malformed() -> InvalidQuery:
    return InvalidQuery(fields={"cursor": "It is not a cursor of this service."})


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    question: list[str | None]
    phase: int
    value: str
    id: str


_decoder: Final = msgspec.json.Decoder(_Cursor)


def _phases(listing: Listing[T], query: Query) -> Sequence[Phase]:
    if query.sort_order not in {"ASC", "DESC"}:
        raise InvalidSortOrder
    phases = listing.sorts.get(query.sort_by)
    if phases is None:
        raise InvalidQuery(fields={"sortBy": "The list cannot be sorted by this field."})
    return phases[::-1] if query.descending else phases


def _statement(
    dialect: Dialect, listing: Listing[T], query: Query, phase: Phase, after: Place | None, limit: int
) -> Any:
    """One walk per status, merged; None when the status filter leaves nothing of this phase."""
    rows = [rows for status, rows in phase.statuses.items() if query.status in {None, status}]
    if not rows:
        return None
    walks = [_walk(listing, query, phase, of_status, after) for of_status in rows]
    direction = desc if query.descending else asc
    return merge(dialect, walks, (direction(phase.column.name), direction(listing.id.name)), limit)


def _walk(
    listing: Listing[T], query: Query, phase: Phase, of_status: ColumnElement[bool], after: Place | None
) -> Select[Any]:
    """The rows of one status behind the place, without an order: the merge asks for that."""
    # Labelled, because the order of a merge is by name: a union has columns, but no tables.
    columns = [column.label(column.name) for column in listing.columns]
    walk = select(*columns).select_from(listing.source).where(of_status)
    for name, value in query.filters.items():
        if value is not None:
            walk = walk.where(listing.source.c[name] == value)
    if after is not None:
        key = tuple_(phase.column, listing.id)
        place = tuple_(after.value, after.id)
        walk = walk.where(key < place if query.descending else key > place)
    return walk


def _rows(connection: Connection, listing: Listing[T], statement: Any) -> Generator[AnyRow]:
    if statement is None:
        return
    few = {"stream_results": True, "max_row_buffer": LARGE_ROWS_AT_ONCE} if listing.has_large_rows else {}
    with connection.execute(statement, execution_options=few) as result:
        yield from result


def _size_bytes(row: AnyRow) -> int:
    return sum(len(text if text.isascii() else text.encode()) for text in row if isinstance(text, str))


def _page(
    listing: Listing[T], query: Query, phases: Sequence[Phase], rows: list[tuple[int, AnyRow]], *, has_more: bool
) -> Page[T]:
    cursor = ""
    if has_more:
        number, last = rows[-1]
        value = getattr(last, phases[number].column.name)
        cursor = cursor_to(Place(number, value, getattr(last, listing.id.name)), _question(listing, query))
    return Page([listing.make(row) for _, row in rows], cursor, has_more)


def _question(listing: Listing[T], query: Query) -> list[str | None]:
    """What a cursor belongs to: it is good for the next page of exactly this."""
    filters = [query.filters[name] for name in sorted(query.filters)]
    return [listing.name, query.sort_by, query.sort_order, query.status, *filters]


def _encode(cursor: _Cursor) -> str:
    return base64.urlsafe_b64encode(jsontext.encode(cursor)).rstrip(b"=").decode()


def _decode(text: str) -> _Cursor:
    if len(text) > CURSOR_CHARACTERS_MAX:
        raise malformed()
    try:
        cursor = _decoder.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        raise malformed() from None
    if _encode(cursor) != text:
        raise malformed()  # Not a text that this service made, whatever it decodes to.
    return cursor
