"""Types of columns that mean the same in both databases; tables and migrations use the same ones."""

from typing import Final

from sqlalchemy import BigInteger, Integer, LargeBinary, String, Text

TEXT: Final = String().with_variant(String(collation="C"), "postgresql")
"""Ordered by code points, as SQLite does, whatever locale the server has: cursors and timestamps rely on it."""

COUNTER: Final = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits. To SQLite every integer is that, and only one that is called INTEGER can be the key of its rows."""

BYTES_OF_TEXT: Final = LargeBinary().with_variant(Text(), "postgresql")
"""What to cast a text to that may be no UTF-8 any more; PostgreSQL has no such texts."""
