"""What the store refuses to start with."""


class DatabaseUnusable(Exception):
    """The database cannot be opened or brought to this version's schema; the message says why, without a password."""
