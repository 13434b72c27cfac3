"""One place where everything is installed once, for all environments of tox.ini: they need the same.

tox lets environments share an `env_dir`, but makes it anew for each name that comes: here the name does not count. It
is still made anew when the versions or the interpreter change.
"""

from contextlib import AbstractContextManager
from typing import Any

from tox.plugin import impl
from tox.tox_env.api import ToxEnv
from tox.tox_env.info import Info
from tox.tox_env.python.virtual_env.runner import VirtualEnvRunner
from tox.tox_env.register import ToxEnvRegister


class SharedInfo(Info):
    """What tox remembers of the place."""

    def compare(
        self, value: Any, section: str, sub_section: str | None = None
    ) -> AbstractContextManager[tuple[bool, Any | None]]:
        remembered = {**value, "name": "any"} if section == ToxEnv.__name__ else value
        return super().compare(remembered, section, sub_section)


class SharedRunner(VirtualEnvRunner):
    @staticmethod
    def id() -> str:
        return "shared"

    @property
    def cache(self) -> Info:
        return SharedInfo(self.env_dir)


@impl
def tox_register_tox_env(register: ToxEnvRegister) -> None:
    register.add_run_env(SharedRunner)
