"""The life of a provider configuration: active from the start, and disabled for as long as it must not be called."""

from typing import Literal

from flowker.domain.errors import ProviderConfigurationStatusUnchanged

Status = Literal["active", "disabled"]


def require_change(current: str, wanted: Status) -> None:
    """Raise `ProviderConfigurationStatusUnchanged` when the status is already what is wanted."""
    if current == wanted:
        raise ProviderConfigurationStatusUnchanged(f"The provider configuration is {current} already.")
