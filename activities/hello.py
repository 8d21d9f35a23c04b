"""Steps that greet: the smallest there are, see docs/tutorial.md."""

from temporalio import activity

from commerce.messages.base import Nothing
from commerce.messages.steps import Call
from commerce.messages.tutorial import Greeting, HelloWorld


class HelloActivities:
    """Say hello."""

    @activity.defn(name="step-1")
    async def greet(self, _call: Call[Nothing]) -> Greeting:
        """Say hello to nobody in particular."""
        return Greeting(message="Hello from step one!")

    @activity.defn(name="step-2")
    async def greet_by_name(self, call: Call[HelloWorld]) -> Greeting:
        """Say hello to somebody."""
        return Greeting(message=f"Hello {call.input.name} from step two!")
