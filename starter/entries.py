"""The entries of process types: what callers send, and how it becomes the input of a process."""

from datetime import datetime, timedelta, timezone
from typing import Annotated, Any
from uuid import uuid4

from pydantic import AfterValidator, SecretStr

from commerce import passwords
from commerce.email_addresses import normalise_address, validate_address
from commerce.errors import BadInput
from commerce.messages.analytics import IN_THE_FUTURE
from commerce.messages.base import FieldError, Message
from commerce.messages.customers import CustomerRegistration
from commerce.person_names import validate_name

LAST_ZONE = timezone(timedelta(hours=14))  # where a day starts first


def _validate_password(password: SecretStr) -> SecretStr:
    return SecretStr(passwords.validate_password(password.get_secret_value()))


class Registration(Message):
    """The registration form: an e-mail address, a password of 8 to 128 characters, and a name."""

    email: Annotated[str, AfterValidator(validate_address)]
    password: Annotated[SecretStr, AfterValidator(_validate_password)]
    first_name: Annotated[str, AfterValidator(validate_name)]
    last_name: Annotated[str, AfterValidator(validate_name)]


async def unchanged(request: Any) -> Any:
    """Return the caller's input unchanged."""
    return request


async def without_resume(request: Any) -> Any:
    """Return a job's input unchanged; raises BadInput if the caller set `resume`, which only the job itself may set."""
    if getattr(request, "resume", None) is not None:
        raise BadInput([FieldError(field="resume", message="is set by the job itself when it resumes")])
    return request


async def without_future_date(request: Any) -> Any:
    """Return the input unchanged; raises BadInput if the caller set `resume`, or a date that no time zone has reached.

    Whether the date is in the future in the shop's own time zone, only the process knows.
    """
    request = await without_resume(request)
    if request.date is not None and request.date > datetime.now(LAST_ZONE).date():
        raise BadInput([FieldError(field="date", message=IN_THE_FUTURE)])
    return request


async def without_after(delivery: Any) -> Any:
    """Return a delivery unchanged; raises BadInput if the caller set `after`, which only the relay may set."""
    if delivery.after is not None:
        raise BadInput([FieldError(field="after", message="is set by the relay")])
    return delivery


async def with_normal_address(request: Any) -> Any:
    """Return the input with its e-mail address as customers are found by it."""
    return request.model_copy(update={"email": normalise_address(request.email)})


async def with_return_id(request: Any) -> Any:
    """Return the input with an id for the return, if the caller chose none."""
    return request if request.return_id else request.model_copy(update={"return_id": uuid4().hex[:16]})


async def with_password_hash(request: Registration) -> CustomerRegistration:
    """Return the input with the password's hash in place of the password, so that no other code sees it in clear."""
    return CustomerRegistration(
        email=request.email,
        password_hash=await passwords.hash(request.password.get_secret_value()),
        first_name=request.first_name,
        last_name=request.last_name,
    )
