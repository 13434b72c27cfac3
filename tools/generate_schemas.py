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
        *(sys.executable, "-m", "datamodel_code_generator"),
        *("--input", str(DOCUMENT), "--input-file-type", "openapi", "--openapi-scopes", "schemas"),
        *("--output", str(output), "--output-model-type", "typing.TypedDict", "--target-python-version", "3.11"),
        *("--custom-file-header", HEADER, "--disable-timestamp", "--formatters", "ruff-format"),
        *("--enum-field-as-literal", "all", "--use-union-operator", "--use-standard-collections"),
        # mypy does not know closed TypedDicts (PEP 728) yet.
        "--no-use-closed-typed-dict",
    ]
    subprocess.run(command, check=True, cwd=ROOT)


def main() -> int:
    if "--check" not in sys.argv[1:]:
        generate(SCHEMAS)
        return 0
    # Inside of the project: the formatter goes by the settings that it finds above the file.
    with tempfile.TemporaryDirectory(dir=ROOT) as directory:
        fresh = Path(directory) / "schemas.py"
        generate(fresh)
        if SCHEMAS.exists() and fresh.read_bytes() == SCHEMAS.read_bytes():
            return 0
    print("flowker/schemas.py is not what the document says; run `tox -e generate`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
