"""The life of a provider configuration."""

from typing import get_args

import pytest

from flowker.domain.errors import ProviderConfigurationStatusUnchanged
from flowker.domain.provider_configurations import Status, require_change


@pytest.mark.parametrize("wanted", get_args(Status))
@pytest.mark.parametrize("current", get_args(Status))
def test_a_status_changes_to_the_other_one(current: str, wanted: Status) -> None:
    """To ask for the status that it has is a mistake that is told."""
    if current != wanted:
        require_change(current, wanted)
        return
    with pytest.raises(ProviderConfigurationStatusUnchanged, match=f"is {current} already"):
        require_change(current, wanted)
