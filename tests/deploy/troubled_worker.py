"""A worker with failing steps and a bug, whose metrics count failures: `python -m tests.deploy.troubled_worker`."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    import worker
    from commerce.messages.tutorial import Greeting, HelloWorld
    from tests.faults import Faults
    from workflows.hello_world import HelloWorldWorkflow


@workflow.defn(name="hello-world")
class BuggyHello:
    """Fails at its first line."""

    @workflow.run
    async def run(self, _request: HelloWorld) -> Greeting:
        raise ValueError("a plain bug")


if __name__ == "__main__":
    worker.WORKFLOWS = tuple(BuggyHello if kind is HelloWorldWorkflow else kind for kind in worker.WORKFLOWS)
    worker.main([Faults({"release-inventory": "before"})])
