"""Settings accept cron expressions and their names, and reject invalid ones before Temporal sees them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce.cron import Preset, cron_numbers, cron_text, parse_cron
from commerce.errors import SettingsError
from commerce.settings import load_settings


@pytest.mark.parametrize(
    ("expression", "normalised"),
    [
        ("0 2 * * *", "0 2 * * *"),
        ("  */15   *  * * * ", "*/15 * * * *"),
        ("0,30 9-17 1-31/2 jan-mar,Dec MON-fri", "0,30 9-17 1-31/2 jan-mar,Dec MON-fri"),
        ("5/15 0 * * 7", "5/15 0 * * 7"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 31 2,3 *", "0 0 31 2,3 *"),
    ],
)
def test_an_expression_of_five_fields_is_only_trimmed(expression: str, normalised: str) -> None:
    assert parse_cron(expression) == normalised


@pytest.mark.parametrize("name", ["every_6_hours", "EVERY_6_HOURS", "every6Hours", " every6hours "])
def test_names_of_presets_are_accepted_in_several_styles(name: str) -> None:
    assert parse_cron(name) == Preset.EVERY_6_HOURS.value == "0 */6 * * *"


def test_every_preset_is_a_valid_expression() -> None:
    assert [parse_cron(preset.value) for preset in Preset] == [parse_cron(preset.name) for preset in Preset]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        *((preset.value, preset.value) for preset in Preset),
        ("0-59 0-23 1-31 jan-dec 1-7", "* * * * *"),
        ("0,15,30,45 0,12 */1 * sun", "*/15 */12 * * 0"),
        ("5/15 0 * * 7", "5-50/15 0 * * 0"),
        ("1,2 9-17/2 1-3,7,8,9 jan-mar,DEC mon-fri", "1,2 9-17/2 1-3,7-9 1-3,12 1-5"),
    ],
)
def test_expressions_of_equal_meaning_have_one_text(expression: str, text: str) -> None:
    assert cron_text(cron_numbers(expression)) == text
    assert cron_numbers(text) == cron_numbers(expression)


@given(
    numbers=st.tuples(
        *(st.sets(st.integers(low, high), min_size=1) for low, high in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6)))
    )
)
def test_the_text_of_any_numbers_has_their_meaning(numbers: tuple[set[int], ...]) -> None:
    text = cron_text(numbers)
    assert cron_numbers(text) == list(numbers)
    assert len(text.split()) == 5


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@hourly", "five fields"),
        ("fortnightly", "one of every_minute, every_5_minutes"),
        ("60 * * * *", "minute must be"),
        ("-1 * * * *", "minute must be"),
        ("+1 * * * *", "minute must be"),
        ("١ * * * *", "minute must be"),
        ("*/0 * * * *", "minute must be"),
        ("*/60 * * * *", "minute must be"),
        ("*/5/2 * * * *", "minute must be"),
        ("*-5 * * * *", "minute must be"),
        ("1,,2 * * * *", "minute must be"),
        ("0 24 * * *", "hour must be"),
        ("0 17-9 * * *", "hour must be"),
        ("0 0 0 * *", "day of the month must be"),
        ("0 0 L * *", "day of the month must be"),
        ("0 0 * 13 *", "month must be"),
        ("0 0 * mon *", "month must be"),
        ("0 0 * * 8", "day of the week must be"),
        ("0 0 * * sat-sun", "day of the week must be"),
        ("0 0 31 2 *", "it would never run"),
        ("0 0 31 4,jun,9/2 *", "it would never run"),
    ],
)
def test_an_error_names_the_invalid_field(expression: str, error: str) -> None:
    with pytest.raises(ValueError, match=error) as raised:
        parse_cron(expression)
    assert "\n" not in str(raised.value)


def test_a_setting_accepts_an_expression_or_a_name() -> None:
    settings = load_settings({"COMMERCE_CRON_SYNC_INVENTORY": "hourly", "COMMERCE_CRON_UPKEEP": "15 4 * * sun"})
    assert (settings.cron_sync_inventory, settings.cron_upkeep) == ("0 * * * *", "15 4 * * sun")


@pytest.mark.parametrize(
    "job", ["CLEANUP_EXPIRED_CARTS", "SYNC_INVENTORY", "PROCESS_PENDING_ORDERS", "COLLECT_ANALYTICS_DATA", "UPKEEP"]
)
def test_an_invalid_setting_is_reported_with_the_name_of_the_variable(job: str) -> None:
    with pytest.raises(SettingsError, match=f"^COMMERCE_CRON_{job}: the hour must be .*$"):
        load_settings({f"COMMERCE_CRON_{job}": "0 25 * * *"})
