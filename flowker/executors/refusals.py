"""Why a call is not made at all."""


class CallRefused(Exception):
    """The configuration or the input cannot become a call, now or later. The message has no secret and no value."""
