"""Upkeep deletes no record that a process may still need (E17)."""

import pytest

from commerce.errors import SettingsError
from commerce.settings import Settings, load_settings
from workflows.deliver_webhook import TOTAL_TIME


def test_events_are_kept_until_their_deliveries_have_ended() -> None:
    longest = TOTAL_TIME.days
    with pytest.raises(SettingsError, match="COMMERCE_KEEP_EVENTS_DAYS"):
        load_settings({"COMMERCE_KEEP_EVENTS_DAYS": str(longest)})
    assert load_settings({"COMMERCE_KEEP_EVENTS_DAYS": str(longest + 1)}).keep_events_days == longest + 1
    assert Settings().keep_events_days > longest
