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
with without("colorsys"):
    try:
        import colorsys
    except ImportError:
        print("missing")
import colorsys
print(colorsys.rgb_to_hsv(0, 0, 0))
""")
        == "missing\n(0.0, 0.0, 0)"
    )


def test_a_module_is_imported_when_something_of_it_is_called() -> None:
    """By whichever name it was imported, and whatever is called of it."""
    assert (
        run("""
import sys
from flowker.imports import late
with late("colorsys", "wave"):
    import colorsys
    from wave import Error
print({"colorsys", "wave"} & sys.modules.keys())
print(colorsys.rgb_to_hsv(0, 0, b=0), "colorsys" in sys.modules, type(Error("e")).__module__)
""")
        == "set()\n(0.0, 0.0, 0) True wave"
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
