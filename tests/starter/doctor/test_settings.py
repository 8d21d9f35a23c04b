"""The doctor's findings and advice for settings."""

import json
from pathlib import Path

from tests.starter.doctor.conftest import RunCheck


async def test_all_invalid_values_are_named_but_not_shown(run_check: RunCheck) -> None:
    finding = await run_check(
        "Settings", "values", COMMERCE_CURRENCY="hunter2", COMMERCE_API_PORT="hunter3", COMMERCE_SMTP_URL="hunter4"
    )
    assert (finding.state, finding.code) == ("failed", 2)
    assert finding.found.startswith("COMMERCE_SMTP_URL: must start with smtp://")
    assert (
        "COMMERCE_CURRENCY: must be three capital letters" in finding.found and "COMMERCE_API_PORT: " in finding.found
    )
    assert "hunter" not in str(finding)
    assert finding.advice.startswith("Correct it where it is set")


async def test_a_missing_file_is_named(run_check: RunCheck) -> None:
    finding = await run_check("Settings", "values", COMMERCE_SMTP_URL_FILE="/nowhere")
    assert finding.found == "COMMERCE_SMTP_URL_FILE: /nowhere cannot be read: No such file or directory"


async def test_mistyped_names_are_shown_with_the_most_similar_known_name(run_check: RunCheck) -> None:
    mistyped = {"COMMERCE_DATABSE_URL": "x", "COMERCE_SMTP_URL": "x", "TEMPORAL_ADRESS": "x", "commerce_zzz": "x"}
    finding = await run_check("Settings", "names", **mistyped, SHELL="/bin/sh")
    assert (finding.state, finding.code) == ("warning", 0)
    assert finding.found == "unknown: COMERCE_SMTP_URL, COMMERCE_DATABSE_URL, TEMPORAL_ADRESS, commerce_zzz"
    assert finding.advice == (
        "Rename COMERCE_SMTP_URL to COMMERCE_SMTP_URL; rename COMMERCE_DATABSE_URL to COMMERCE_DATABASE_URL; "
        "rename TEMPORAL_ADRESS to TEMPORAL_ADDRESS; remove commerce_zzz"
    )
    assert (
        await run_check("Settings", "names", COMMERCE_DATABASE_URL_FILE="x", TEMPORAL_GRPC_META_X="x")
    ).state == "ok"


async def test_an_environment_that_hides_the_running_stack_is_named(run_check: RunCheck, tmp_path: Path) -> None:
    stack = {"TEMPORAL_ADDRESS": "127.0.0.1:7233", "COMMERCE_SMTP_URL": "smtp://x"}
    own = {"COMMERCE_DATA_DIR": str(tmp_path), **stack}
    assert (await run_check("Settings", "stack", **own)).found == f"no embedded stack runs in {tmp_path}"
    (tmp_path / "stack.json").write_text(json.dumps({"environment": stack}))
    assert (await run_check("Settings", "stack", **own)).state == "ok"
    finding = await run_check("Settings", "stack", **own | {"TEMPORAL_ADDRESS": "hunter2"})
    assert (finding.state, finding.code, "hunter2" in str(finding)) == ("warning", 0, False)
    assert finding.found.endswith(f"the embedded stack in {tmp_path}: TEMPORAL_ADDRESS")


async def test_no_recipient_of_alerts_is_a_warning(run_check: RunCheck) -> None:
    finding = await run_check("Settings", "admins", COMMERCE_ADMIN_EMAILS="")
    assert (finding.state, finding.found) == ("warning", "no address for alerts is set")
    assert "COMMERCE_ADMIN_EMAILS" in finding.advice


async def test_temporals_own_variables_are_checked(run_check: RunCheck) -> None:
    finding = await run_check("Settings", "Temporal", TEMPORAL_PROFILE="missing")
    assert (finding.state, finding.code) == ("failed", 2)
    assert "Profile 'missing' not found" in finding.found and "TEMPORAL_CONFIG_FILE" in finding.advice
    finding = await run_check("Settings", "Temporal", TEMPORAL_ADDRESS="https://ann:hunter2@host")
    assert finding.found == "TEMPORAL_ADDRESS: must be HOST:PORT" and "hunter2" not in str(finding)
