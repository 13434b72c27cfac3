"""Durable execution: the imperative shell round flowker.domain.advance."""
