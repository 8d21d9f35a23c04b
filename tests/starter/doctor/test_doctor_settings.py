"""What the doctor finds in the settings, and what it advises."""

from tests.starter.doctor.conftest import Find


async def test_every_wrong_value_is_named_and_none_is_shown(find: Find) -> None:
    found = await find(
        "Settings", "values", COMMERCE_CURRENCY="hunter2", COMMERCE_API_PORT="hunter3", COMMERCE_SMTP_URL="hunter4"
    )
    assert (found.state, found.code) == ("failed", 2)
    assert found.found.startswith("COMMERCE_SMTP_URL: must start with smtp://")
    assert "COMMERCE_CURRENCY: must be three capital letters" in found.found and "COMMERCE_API_PORT: " in found.found
    assert "hunter" not in str(found)
    assert found.cure.startswith("Correct it where it is set")


async def test_a_file_that_is_not_there_is_named(find: Find) -> None:
    found = await find("Settings", "values", COMMERCE_SMTP_URL_FILE="/nowhere")
    assert found.found == "COMMERCE_SMTP_URL_FILE: /nowhere cannot be read: No such file or directory"


async def test_mistyped_names_are_told_with_the_nearest_that_is_known(find: Find) -> None:
    mistyped = {"COMMERCE_DATABSE_URL": "x", "COMERCE_SMTP_URL": "x", "TEMPORAL_ADRESS": "x", "commerce_zzz": "x"}
    found = await find("Settings", "names", **mistyped, SHELL="/bin/sh")
    assert (found.state, found.code) == ("warning", 0)
    assert found.found == "nobody reads COMERCE_SMTP_URL, COMMERCE_DATABSE_URL, TEMPORAL_ADRESS, commerce_zzz"
    assert found.cure == (
        "Rename COMERCE_SMTP_URL to COMMERCE_SMTP_URL; rename COMMERCE_DATABSE_URL to COMMERCE_DATABASE_URL; "
        "rename TEMPORAL_ADRESS to TEMPORAL_ADDRESS; remove commerce_zzz"
    )
    assert (await find("Settings", "names", COMMERCE_DATABASE_URL_FILE="x", TEMPORAL_GRPC_META_X="x")).state == "ok"


async def test_nobody_who_is_told_of_trouble_is_a_warning(find: Find) -> None:
    found = await find("Settings", "admins", COMMERCE_ADMIN_EMAILS="")
    assert (found.state, found.found) == ("warning", "nobody is told when something needs a person")
    assert "COMMERCE_ADMIN_EMAILS" in found.cure


async def test_temporals_own_variables_are_read(find: Find) -> None:
    found = await find("Settings", "Temporal's", TEMPORAL_PROFILE="nobody's")
    assert (found.state, found.code) == ("failed", 2)
    assert "Profile 'nobody's' not found" in found.found and "TEMPORAL_CONFIG_FILE" in found.cure
    found = await find("Settings", "Temporal's", TEMPORAL_ADDRESS="https://ann:hunter2@host")
    assert found.found == "TEMPORAL_ADDRESS: is not a host and a port" and "hunter2" not in str(found)
