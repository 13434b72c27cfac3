"""What a failed exchange means."""

import aiohttp

from flowker.executors.calls import CallFailed
from flowker.executors.egress import AddressNotAllowed


def failure_of(error: Exception, whom: str = "the far side") -> CallFailed:
    """What an error makes of a call. The words are ours: those of the error may show addresses or secrets."""
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressNotAllowed):
        return CallFailed("address not allowed", retryable=False)
    for types, message, retryable in _FAILURES:
        if isinstance(error, types):
            return CallFailed(message.format(whom=whom), retryable)
    return CallFailed(f"the connection to {whom} was lost", retryable=True)


_FAILURES: tuple[tuple[tuple[type[Exception], ...], str, bool], ...] = (
    ((aiohttp.ClientConnectorCertificateError,), "the certificate of {whom} is not valid", False),
    ((aiohttp.InvalidURL,), "the URL is not valid", False),
    ((aiohttp.ClientConnectorDNSError,), "the host name of {whom} does not resolve", True),
    ((aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError), "no connection to {whom}", True),
    ((aiohttp.ClientResponseError, aiohttp.ClientPayloadError), "the response is broken or incomplete", True),
)
"""From the special to the general, since the errors of aiohttp inherit from each other."""
