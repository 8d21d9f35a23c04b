"""The entry of `customer-registration`: checks and hashes the password, so that no other code sees it in clear."""

from typing import Annotated

from pydantic import AfterValidator, SecretStr

from commerce import passwords
from commerce.email_addresses import validate_address
from commerce.messages.base import Message
from commerce.messages.customers import CustomerRegistration
from commerce.person_names import validate_name


def _validate_password(password: SecretStr) -> SecretStr:
    return SecretStr(passwords.validate_password(password.get_secret_value()))


class Registration(Message):
    """The registration form: an e-mail address, a password of 8 to 128 characters, and a name."""

    email: Annotated[str, AfterValidator(validate_address)]
    password: Annotated[SecretStr, AfterValidator(_validate_password)]
    first_name: Annotated[str, AfterValidator(validate_name)]
    last_name: Annotated[str, AfterValidator(validate_name)]


async def prepare(request: Registration) -> CustomerRegistration:
    """Return the workflow's input, which has the password's hash in place of the password."""
    return CustomerRegistration(
        email=request.email,
        password_hash=await passwords.hash(request.password.get_secret_value()),
        first_name=request.first_name,
        last_name=request.last_name,
    )
