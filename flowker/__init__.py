"""Flowker: a webhook becomes a durable, audited execution of a workflow."""

__version__ = "1.1.0"
