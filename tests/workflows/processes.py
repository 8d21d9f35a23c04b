"""A process that runs a script, to test the saga with steps that succeed, fail, wait or exceed their time limit."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Literal

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.boundary.generations import begin, key_of_run
    from commerce import generations, ledger
    from commerce.database import Database
    from commerce.errors import CarrierDown, CarrierRefused, CarrierUnavailable, StepWithdrawn
    from commerce.messages.base import Message, Nothing, ProcessInput
    from commerce.messages.progress import Progress
    from commerce.messages.steps import Begin, BeginResult, Call
    from workflows.engine.cancellation import allow_failure, gather
    from workflows.engine.policies import Policy
    from workflows.engine.saga import Saga

FAST_RETRIES = Policy(
    attempt=timedelta(seconds=5), deadline=timedelta(seconds=20), retry=RetryPolicy(timedelta(milliseconds=20))
)
ONE_SHORT_ATTEMPT = Policy(
    attempt=timedelta(seconds=1), deadline=timedelta(seconds=1), retry=RetryPolicy(maximum_attempts=1)
)


class Step(Message):
    """One step of a script: its kind and how it behaves."""

    name: str = ""
    kind: Literal["step", "skip", "may fail", "child", "wait", "final", "bug"] = "step"
    fails: int = 0  # how many attempts fail, in turn before and after the effect; -1: permanent error
    outages: int = 0  # how many attempts before those find the carrier down
    tries: int | None = None  # how many failed attempts that count end the step
    deadline_seconds: int = 20  # for all attempts together
    undo_fails: bool = False  # with a permanent error
    undo_outages: int = 0  # how many attempts at the undo find the carrier down
    local: bool = False  # it is first tried locally
    slow: bool = False  # its attempt exceeds the time limit
    parallel: tuple["Step", ...] = ()  # steps that run in parallel with this one
    child_steps: tuple["Step", ...] = ()  # the script of the child process


class Script(ProcessInput):
    """The input of the scripted process."""

    steps: tuple[Step, ...]


class Done(Message):
    """The result of a step: its name and the number of the attempt that had the effect."""

    name: str
    attempt: int


class ScriptedSteps:
    """Activities that log their calls in `journal` and count their effects. The ledger lets each effect happen once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.journal: list[str] = []
        self.effects: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.slow_may_continue = asyncio.Event()
        self.on_call: Callable[[str], Awaitable[object]] | None = None

    @activity.defn(name="first")
    async def first(self, call: Begin[Script]) -> BeginResult:
        """Begin the run in the ledger."""
        key = key_of_run(call.key)
        leftovers = await begin(self._database, key, lambda tx: generations.find_leftovers(tx, key))
        return BeginResult(leftovers=leftovers, generation=key.generation)

    @activity.defn(name="do")
    async def do(self, call: Call[Step]) -> Done:
        """Apply the effect once, or fail as the script says."""
        step, attempt = call.input, activity.info().attempt
        await self._log(f"do {step.name} {attempt}")
        self.keys.add(str(call.key))
        if step.slow:
            await self.slow_may_continue.wait()
        if step.fails == -1:
            raise CarrierRefused(code="SCRIPT", status=422)
        if attempt <= step.outages:
            raise CarrierDown("HTTP 401", 401)
        attempt -= step.outages
        if attempt <= step.fails and attempt % 2:
            raise CarrierUnavailable("before the effect")
        try:
            async with self._database.transaction() as tx:
                done = await ledger.once(tx, call, Done, lambda: self._apply(step, attempt), final=step.kind == "final")
        except StepWithdrawn:
            await self._log(f"refuse {step.name}")
            raise
        if attempt <= step.fails:
            raise CarrierUnavailable("after the effect")
        return done

    async def _log(self, line: str) -> None:
        self.journal.append(line)
        if self.on_call:
            await self.on_call(line)

    async def _apply(self, step: Step, attempt: int) -> Done:
        self.effects[step.name] += 1
        return Done(name=step.name, attempt=attempt)

    @activity.defn(name="undo")
    async def undo(self, call: Call[Step]) -> Nothing:
        """Undo the effect."""
        step = call.input
        await self._log(f"undo {step.name}")
        if activity.info().attempt <= step.undo_outages:
            raise CarrierDown("HTTP 401", 401)
        if step.undo_fails:
            raise CarrierRefused(code="SCRIPT", status=422)

        async def revert(done: Done) -> None:
            self.effects[done.name] -= 1

        async with self._database.transaction() as tx:
            return await ledger.undo(tx, call, Done, revert)


@workflow.defn(name="scripted")
class ScriptedProcess:
    """Run a script. The result is the names of the steps in the order in which they ended."""

    def __init__(self) -> None:
        self.saga = Saga()
        self.ended: list[str] = []

    @workflow.query
    def progress(self) -> Progress:
        return self.saga.progress

    @workflow.run
    async def run(self, script: Script) -> list[str]:
        async with self.saga as saga:
            await saga.begin(ScriptedSteps.first, script)
            for step in script.steps:
                await self.run_group(step)
        return self.ended

    async def run_group(self, step: Step) -> None:
        if step.parallel:
            await gather(*(self.run_step(each) for each in (step, *step.parallel)))
        elif step.kind == "may fail":
            if await allow_failure(self.run_step(step)) is None:
                self.ended.append(f"{step.name} failed")
        else:
            await self.run_step(step)

    async def run_step(self, step: Step) -> bool:
        saga, undo = self.saga, ScriptedSteps.undo
        if step.kind == "skip":
            saga.progress.step(step.name).skip("the script says so")
        elif step.kind == "wait":
            await asyncio.sleep(3600)
        elif step.kind == "bug":
            raise ValueError("a bug")
        elif step.kind == "child":
            child = f"{workflow.info().workflow_id}-{step.name}"
            await saga.child(ScriptedProcess.run, Script(steps=step.child_steps), id=child)
        else:
            final = step.kind == "final"
            policy = replace(FAST_RETRIES, deadline=timedelta(seconds=step.deadline_seconds), tries=step.tries)
            since = "local-final-steps" if final else policy.local_since
            policy = replace(policy, local_tries=2 if step.local else 0, local_since=since)
            policy = ONE_SHORT_ATTEMPT if step.slow else policy
            done = await saga.step(
                ScriptedSteps.do, step, undo=None if final else undo, name=step.name, policy=policy, final=final
            )
            assert done.name == step.name
        self.ended.append(step.name)
        return True


@workflow.defn(name="repaired")
class BuggyProcess:
    """The version with a bug after its first step."""

    @workflow.run
    async def run(self, script: Script) -> str:
        async with Saga() as saga:
            await saga.begin(ScriptedSteps.first, script)
            await saga.step(ScriptedSteps.do, Step(name="a"), undo=ScriptedSteps.undo, name="a")
            raise ValueError("a bug")


@workflow.defn(name="repaired")
class RepairedProcess:
    """The version that fixes the bug."""

    @workflow.run
    async def run(self, script: Script) -> str:
        async with Saga() as saga:
            await saga.begin(ScriptedSteps.first, script)
            await saga.step(ScriptedSteps.do, Step(name="a"), undo=ScriptedSteps.undo, name="a")
        return "fixed"
