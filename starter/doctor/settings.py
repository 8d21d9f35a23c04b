"""The settings: whether their values are valid, their names known, and alerts have a recipient."""

import asyncio
from difflib import get_close_matches
from pathlib import Path

from commerce.settings import PREFIX, check_settings, load_settings, read_stack, supported_variables
from starter.doctor.findings import CheckResult, failed, ok, warning
from starter.doctor.runner import CheckContext

TEMPORAL_PREFIX = "TEMPORAL_"
TEMPORAL_VARIABLES = {
    f"{TEMPORAL_PREFIX}{name}"
    for name in (
        "ADDRESS",
        "NAMESPACE",
        "API_KEY",
        "TLS",
        "TLS_SERVER_NAME",
        "TLS_SERVER_CA_CERT_PATH",
        "TLS_SERVER_CA_CERT_DATA",
        "TLS_CLIENT_CERT_PATH",
        "TLS_CLIENT_CERT_DATA",
        "TLS_CLIENT_KEY_PATH",
        "TLS_CLIENT_KEY_DATA",
        "TLS_DISABLE_HOST_VERIFICATION",
        "CODEC_ENDPOINT",
        "CODEC_AUTH",
        "CONFIG_FILE",
        "PROFILE",
    )
}
SIMILAR, VERY_SIMILAR = 0.7, 0.9  # of the letters: for names that start with our prefix, and for all others


async def check_values(context: CheckContext) -> CheckResult:
    """Check that all COMMERCE_ variables have valid values."""
    if problems := check_settings(context.environment):
        return failed(
            "; ".join(problems), "Correct it where it is set: in the environment, in .env, or in the file it names"
        )
    context.settings = load_settings(context.environment)
    return ok("all valid")


async def check_names(context: CheckContext) -> CheckResult:
    """Check that no variable has a mistyped name."""
    known = supported_variables() | TEMPORAL_VARIABLES
    unknown = {name: similar for name in sorted(context.environment) if (similar := _intended(name, known)) is not None}
    if not unknown:
        return ok("all known")
    advice = "; ".join(
        f"rename {name} to {similar}" if similar else f"remove {name}" for name, similar in unknown.items()
    )
    return warning(f"unknown: {', '.join(unknown)}", advice[:1].upper() + advice[1:])


async def check_stack(context: CheckContext) -> CheckResult:
    """Check that the environment does not hide the embedded stack that runs in the data folder."""
    folder = Path(context.environment[f"{PREFIX}DATA_DIR"])
    stack = (await asyncio.to_thread(read_stack, folder)).get("environment", {})
    if not stack:
        return ok(f"no embedded stack runs in {folder}")
    other = [name for name in stack if context.environment.get(name) != stack[name]]
    if not other:
        return ok(f"those of the embedded stack in {folder}")
    return warning(
        f"the environment overrides those of the embedded stack in {folder}: {', '.join(sorted(other))}",
        "Unset them, also in .env, to reach that stack; or stop it, if another shop is meant",
    )


async def check_admins(context: CheckContext) -> CheckResult:
    """Check that alerts have a recipient."""
    if count := len(context.settings.admin_emails):
        return ok(f"{count} receive alerts" if count > 1 else "1 receives alerts")
    return warning("no address for alerts is set", "Set COMMERCE_ADMIN_EMAILS, for example to ann@shop.example")


def _intended(name: str, known: set[str]) -> str | None:
    """Return the known name that an unknown name resembles, "" if it resembles none, None if it is not ours."""
    if name in known:
        return None
    upper = name.upper()
    if not upper.startswith(PREFIX):
        return next(iter(get_close_matches(upper, sorted(known), 1, VERY_SIMILAR)), None)
    suffixes = sorted(each.removeprefix(PREFIX) for each in known if each.startswith(PREFIX))
    similar = get_close_matches(upper.removeprefix(PREFIX), suffixes, 1, SIMILAR)
    return f"{PREFIX}{similar[0]}" if similar else ""
