"""What the store refuses to start with, and what it cannot read."""


class DatabaseUnusable(Exception):
    """The database cannot be opened or brought to this version's schema; the message says why, without a password."""


class StoredUnreadable(Exception):
    """Something that is stored is no text, or its page is broken: asking again does not help."""


class UnknownRevision(Exception):
    """The database is at a revision that this version does not have."""
