"""Calling out: one module per provider, one outgoing client."""
