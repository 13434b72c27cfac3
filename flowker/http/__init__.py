"""HTTP in front of the operations: the document decides, Connexion routes, openapi-core judges."""

import warnings

from flowker.imports import late, without

_NEVER_CALLED = ("httpx", "jinja2", "requests", "starlette.testclient", "werkzeug.serving", "werkzeug.test")
"""What fetches documents and tokens, tests, serves, and shows the document: Connexion does none of that here."""

with warnings.catch_warnings(), without("flask"), late(*_NEVER_CALLED):
    # Importing Connexion 3.3 touches names that jsonschema and Starlette deprecate. None of that is ours to mend,
    # and whoever runs with warnings as errors must still be able to start.
    warnings.simplefilter("ignore")
    import connexion.apps.asynchronous  # noqa: F401
    import jsonschema_path  # noqa: F401 - it would fetch documents, too
