"""Contenders from the npm registry, each installed once into a folder of the user's cache."""

import json
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contender import Place, Unavailable
from benchmarks.serving import free_port

INSTALL_S_MAX = 1_200
HERE = Path(__file__).resolve().parent / "contenders"

NODE_JS = "24"
"""The oldest major version that the n8n below runs on; the package brings the program itself."""


@dataclass(frozen=True)
class NpmPackage:
    name: str
    version: str
    script: str
    """What is run, from the folder of the package."""
    compiled: tuple[str, ...] = ()
    """Packages that are compiled here. Of others no script is run: they compile what is not needed, or download."""

    @property
    def folder(self) -> Path:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cache / "flowker-benchmarks" / f"{self.name}-{self.version}"

    @property
    def command(self) -> list[str]:
        return [str(self._modules / self._node / "bin" / "node"), str(self._modules / self.name / self.script)]

    def install(self) -> None:
        if self.installed_version() == self.version:
            return
        if shutil.which("npm") is None:
            raise Unavailable("npm is not installed")
        self.folder.mkdir(parents=True, exist_ok=True)
        packages = [f"{self._node}@{NODE_JS}", f"{self.name}@{self.version}"]
        self._npm("install", "--ignore-scripts", "--no-save", "--no-package-lock", "--omit=dev", *packages)
        if self.compiled:
            self._npm("rebuild", *self.compiled)

    def installed_version(self) -> str | None:
        try:
            return str(json.loads((self._modules / self.name / "package.json").read_text())["version"])
        except FileNotFoundError:
            return None

    @property
    def _modules(self) -> Path:
        return self.folder / "node_modules"

    @property
    def _node(self) -> str:
        return f"node-linux-{ {'x86_64': 'x64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }"

    def _npm(self, *arguments: str) -> None:
        node = self._modules / self._node
        # What is compiled is compiled for the program that it will run in, with the headers beside it.
        environment = {**os.environ, "npm_config_nodedir": str(node), "PATH": f"{node}/bin:{os.environ['PATH']}"}
        command = ["npm", "--prefix", str(self.folder), "--no-audit", "--no-fund", *arguments]
        try:
            subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True, timeout=INSTALL_S_MAX
            )
        except subprocess.CalledProcessError as error:
            raise Unavailable(f"npm could not install it: {_last_words(error.stderr)}") from None
        except subprocess.TimeoutExpired:
            raise Unavailable(f"npm did not install it within {INSTALL_S_MAX} s") from None


NODE_RED = NpmPackage("node-red", "5.0.7", "red.js")
N8N = NpmPackage("n8n", "2.38.7", "bin/n8n", compiled=("sqlite3",))


def prepare_node_red(place: Place) -> None:
    for name in ("flows.json", "settings.js"):
        shutil.copy(HERE / "node_red" / name, place.directory)


def n8n_environment(place: Place) -> dict[str, str]:
    """Its defaults, with nothing that calls home, and its database where it is counted."""
    return {
        "N8N_USER_FOLDER": str(place.directory),
        "DB_SQLITE_DATABASE": str(place.directory / "store.db"),
        "N8N_PORT": str(place.port),
        "N8N_LISTEN_ADDRESS": "127.0.0.1",
        "N8N_DIAGNOSTICS_ENABLED": "false",
        "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
        "N8N_TEMPLATES_ENABLED": "false",
        "N8N_DISABLED_MODULES": "mcp-registry",
        "N8N_LOG_LEVEL": "error",
        "N8N_RUNNERS_BROKER_PORT": str(free_port()),
        "N8N_ENFORCE_SETTINGS_FILE_PERMISSIONS": "true",
    }


def prepare_n8n(response_mode: str, place: Place) -> None:
    """Import the workflow and publish it, with n8n's own commands."""
    workflow = json.loads((HERE / "n8n" / "workflow.json").read_text().replace("RESPONSE_MODE", response_mode))
    file = place.directory / "workflow.json"
    file.write_text(json.dumps(workflow))
    for arguments in (["import:workflow", f"--input={file}"], ["publish:workflow", f"--id={workflow['id']}"]):
        environment = {**os.environ, **n8n_environment(place)}
        subprocess.run([*N8N.command, *arguments], env=environment, check=True, capture_output=True, timeout=120)


def _last_words(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "without a word"
