"""Activities that return greetings: the smallest possible steps, see docs/tutorial.md."""

from temporalio import activity

from commerce.messages.base import Nothing
from commerce.messages.steps import Call
from commerce.messages.tutorial import Greeting, HelloWorld


class HelloActivities:
    """Return greetings."""

    @activity.defn(name="step-1")
    async def greet(self, _call: Call[Nothing]) -> Greeting:
        """Return a greeting."""
        return Greeting(message="Hello from step one!")

    @activity.defn(name="step-2")
    async def greet_by_name(self, call: Call[HelloWorld]) -> Greeting:
        """Return a greeting with a name."""
        return Greeting(message=f"Hello {call.input.name} from step two!")
