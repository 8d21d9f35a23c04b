"""Messages of the two processes of docs/tutorial.md."""

from typing import Annotated

from pydantic import Field

from commerce.messages.base import Message, ProcessInput, count_of

Name = Annotated[str, Field(min_length=1, max_length=100)]


class HelloWorld(ProcessInput):
    """The input of `hello-world`: the name to greet."""

    name: Name


class Greeting(Message):
    """The result of `hello-world` and of each of its steps."""

    message: str


class CountProducts(ProcessInput):
    """The input of `product-count`, which has no options."""


class ProductCount(Message):
    """The result of `product-count` and of its step."""

    count: int

    def summary(self) -> str:
        """Return the number of products."""
        return count_of(self.count, "product")
