"""The settings: whether each can be read, whether each is known, and whether somebody hears of trouble."""

from difflib import get_close_matches

from commerce.settings import PREFIX, supported_variables, load_settings, check_settings
from starter.doctor.examination import Installation
from starter.doctor.findings import CheckResult, failed, ok, warning

TEMPORAL = "TEMPORAL_"
TEMPORAL_VARIABLES = {
    f"{TEMPORAL}{name}"
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
ALIKE, VERY_ALIKE = 0.7, 0.9  # of the letters: for names that are meant for us, and for those of anybody


async def values(installation: Installation) -> CheckResult:
    """Every variable of ours holds something that makes sense."""
    if wrong := check_settings(installation.environment):
        return failed("; ".join(wrong), "Correct it where it is set: in the environment, in .env, or in the file named")
    installation.settings = load_settings(installation.environment)
    return ok("all make sense")


async def names(installation: Installation) -> CheckResult:
    """No variable has a name that nobody reads."""
    known = supported_variables() | TEMPORAL_VARIABLES
    unknown = {name: near for name in sorted(installation.environment) if (near := _meant(name, known)) is not None}
    if not unknown:
        return ok("all are known")
    cures = [f"rename {name} to {near}" if near else f"remove {name}" for name, near in unknown.items()]
    return warning(f"nobody reads {', '.join(unknown)}", _sentence("; ".join(cures)))


async def admins(installation: Installation) -> CheckResult:
    """Somebody is told when something needs a person."""
    assert installation.settings
    if count := len(installation.settings.admin_emails):
        return ok(f"{count} told of trouble")
    return warning("nobody is told when something needs a person", "Set COMMERCE_ADMIN_EMAILS, like ann@shop.example")


def _meant(name: str, known: set[str]) -> str | None:
    """Return the known name that an unknown one is most like, empty if it is like none; None: it is no matter."""
    if name in known:
        return None
    written = name.upper()
    if not written.startswith(PREFIX):
        return next(iter(get_close_matches(written, sorted(known), 1, VERY_ALIKE)), None)
    rests = sorted(each.removeprefix(PREFIX) for each in known if each.startswith(PREFIX))
    near = get_close_matches(written.removeprefix(PREFIX), rests, 1, ALIKE)
    return f"{PREFIX}{near[0]}" if near else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
