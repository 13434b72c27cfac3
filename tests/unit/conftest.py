"""What unit tests share: Hypothesis without chance or stop-watch, and logs that no test configures for others."""

import pytest
import structlog
from hypothesis import settings

settings.register_profile("unit", deadline=None, derandomize=True, database=None)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def _unconfigured_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logger keeps the configuration of its first use: what one test configured, all further ones would have.

    How logs are configured is tested in processes of their own.
    """

    def leave_as_it_is(**_: object) -> None:
        """In place of `structlog.configure`."""

    monkeypatch.setattr(structlog, "configure", leave_as_it_is)
