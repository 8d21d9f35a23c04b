"""The smallest process there is: two steps, one after the other. See docs/tutorial.md."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.hello import HelloActivities
    from commerce.messages.base import Nothing
    from commerce.messages.progress import Progress
    from commerce.messages.tutorial import Greeting, HelloWorld
    from workflows.engine.saga import Saga

PLAN = (HelloActivities.greet, HelloActivities.greet_by_name)


@workflow.defn(name="hello-world")
class HelloWorldWorkflow:
    """Can run under any id, any number of times."""

    def __init__(self) -> None:
        self._saga = Saga(PLAN)

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Return which steps are done."""
        return self._saga.progress

    @workflow.run
    async def run(self, request: HelloWorld) -> Greeting:
        """Greet twice and return the second greeting, which is by name."""
        async with self._saga as saga:
            await saga.step(HelloActivities.greet, Nothing())
            return await saga.step(HelloActivities.greet_by_name, request)
