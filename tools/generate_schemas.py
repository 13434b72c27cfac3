"""Generate flowker/schemas.py from the document, or check that it is up to date (`--check`)."""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "openapi" / "flowker.yaml"
SCHEMAS = ROOT / "flowker" / "schemas.py"

HEADER = '"""Types of the API, generated from openapi/flowker.yaml by `tox -e generate`; not to be edited."""'


def generate(output: Path) -> None:
    command = [
        *("datamodel-codegen", "--input", str(DOCUMENT), "--input-file-type", "openapi", "--output", str(output)),
        *("--output-model-type", "typing.TypedDict", "--target-python-version", "3.11", "--custom-file-header", HEADER),
        *("--enum-field-as-literal", "all", "--use-union-operator", "--use-standard-collections"),
        *("--disable-timestamp", "--no-use-closed-typed-dict", "--formatters", "ruff-format", "--openapi-scopes", "schemas"),
    ]
    subprocess.run(command, check=True, cwd=ROOT)


def main() -> int:
    if "--check" not in sys.argv[1:]:
        generate(SCHEMAS)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        fresh = Path(directory) / "schemas.py"
        generate(fresh)
        if fresh.read_text() == SCHEMAS.read_text():
            return 0
    print("flowker/schemas.py is not what the document says; run `tox -e generate`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
