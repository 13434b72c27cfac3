"""Imports without what comes with them: in processes of their own, for what is imported stays."""

import subprocess
import sys


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_module_is_not_there_for_who_can_do_without_it() -> None:
    """It is afterwards, for everybody else."""
    assert (
        run("""
from flowker.imports import without
with without("json"):
    try:
        import json
    except ImportError:
        print("missing")
import json
print(json.dumps([]))
""")
        == "missing\n[]"
    )


def test_a_module_is_imported_when_something_of_it_is_called() -> None:
    """By whichever name it was imported, and whatever is called of it."""
    assert (
        run("""
import sys
from flowker.imports import late
with late("json", "wave"):
    import json
    from wave import Error
print({"json", "wave"} & sys.modules.keys())
print(json.dumps({"a": 1}, indent=None), "json" in sys.modules, type(Error("e")).__module__)
""")
        == 'set()\n{"a": 1} True wave'
    )


def test_a_module_that_was_imported_before_stays_what_it_is() -> None:
    """Whoever has it may subclass what is in it."""
    assert (
        run("""
import json
from flowker.imports import late, without
with without("json"), late("json.decoder"):
    from json.decoder import JSONDecoder
    import json as again
print(again is json, type(JSONDecoder).__name__)
""")
        == "True type"
    )


def test_what_connexion_does_not_do_here_would_still_work() -> None:
    """Its client for tests is imported when it is made."""
    assert (
        run("""
import sys
from flowker.http import document
from connexion import AsyncApp
print("httpx" in sys.modules)
print(type(AsyncApp("a").test_client()).__module__, "httpx" in sys.modules)
""")
        == "False\nstarlette.testclient True"
    )
