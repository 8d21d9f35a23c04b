"""What the two processes of docs/tutorial.md are asked and answer."""

from typing import Annotated

from pydantic import Field

from commerce.messages.base import Message, ProcessInput

Name = Annotated[str, Field(min_length=1, max_length=100)]


class HelloWorld(ProcessInput):
    """The input of `hello-world`: whom to greet."""

    name: Name


class Greeting(Message):
    """The result of `hello-world`, and what each of its steps answers."""

    message: str


class CountProducts(ProcessInput):
    """The input of `product-count`: nothing to choose."""


class ProductCount(Message):
    """The result of `product-count`, and what its step answers."""

    count: int

    def note(self) -> str:
        """Return how many there are."""
        return f"{self.count:,} products"
