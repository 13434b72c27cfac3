"""HTTP in front of the operations: the document decides, Connexion routes, openapi-core judges."""

import warnings

with warnings.catch_warnings():
    # Importing Connexion 3.3 touches names that jsonschema and Starlette deprecate. None of that is ours to mend,
    # and whoever runs with warnings as errors must still be able to start.
    warnings.simplefilter("ignore")
    import connexion.apps.asynchronous  # noqa: F401
