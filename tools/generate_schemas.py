"""Generate flowker/schemas.py and release.py from the document, or check that they are up to date (`--check`).

The second says which document was found to be valid, so that a start need not find it again.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from flowker.http.document import describe

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "openapi" / "flowker.yaml"
SCHEMAS = ROOT / "flowker" / "schemas.py"
RELEASE = ROOT / "flowker" / "release.py"

HEADER = '"""Types of the API, generated from openapi/flowker.yaml by `tox -e generate`; not to be edited."""'

RELEASE_TEXT = '''"""What was checked when this version was made; written by `tox -e generate`, not to be edited."""

VALID_SHA256 = "{sha256}"
"""The SHA-256 of the document that was found to be valid OpenAPI 3.1. Any other is checked when it is served."""
'''


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


def release_text() -> str:
    """Raises `DocumentError` for a document that is not valid OpenAPI 3.1."""
    data = DOCUMENT.read_bytes()
    describe(DOCUMENT)
    return RELEASE_TEXT.format(sha256=hashlib.sha256(data).hexdigest())


def main() -> int:
    release = release_text()
    if "--check" not in sys.argv[1:]:
        generate(SCHEMAS)
        RELEASE.write_text(release, encoding="utf-8")
        return 0
    # Inside of the project: the formatter goes by the settings that it finds above the file.
    with tempfile.TemporaryDirectory(dir=ROOT) as directory:
        fresh = Path(directory) / "schemas.py"
        generate(fresh)
        if _holds(SCHEMAS, fresh.read_text(encoding="utf-8")) and _holds(RELEASE, release):
            return 0
    print("flowker/schemas.py and release.py are not what the document says; run `tox -e generate`", file=sys.stderr)
    return 1


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
