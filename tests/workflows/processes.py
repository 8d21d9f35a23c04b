"""A process that does what its script says, for trying the saga: steps that succeed, fail, hang or are cut off."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Literal

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from commerce import ledger
    from commerce.database import Database
    from commerce.errors import CarrierRefused, CarrierUnavailable, StepWithdrawn
    from commerce.messages.base import Message, Nothing, ProcessInput
    from commerce.messages.progress import Progress
    from commerce.messages.steps import Begin, BeginResult, Call
    from workflows.engine.cancellation import allow_failure, gather
    from workflows.engine.policies import Policy
    from workflows.engine.saga import Saga

QUICK = Policy(
    attempt=timedelta(seconds=5), deadline=timedelta(seconds=20), retry=RetryPolicy(timedelta(milliseconds=20))
)
HASTY = Policy(attempt=timedelta(seconds=1), deadline=timedelta(seconds=1), retry=RetryPolicy(maximum_attempts=1))


class Step(Message):
    """One step of a script and how it behaves."""

    name: str = ""
    how: Literal["step", "skip", "may fail", "child", "wait", "final", "bug"] = "step"
    fails: int = 0  # so many attempts fail, in turn before and after the effect; -1: refused for good
    seconds: int = 20  # until it is given up
    undo_fails: bool = False  # refused for good
    late: bool = False  # its attempt is slower than its time limit
    beside: tuple["Step", ...] = ()  # steps that run side by side with it
    inside: tuple["Step", ...] = ()  # the script of the child process


class Script(ProcessInput):
    """The input of the scripted process."""

    steps: tuple[Step, ...]


class Done(Message):
    """What a step answers: its own name and the attempt that did it."""

    name: str
    attempt: int


class ScriptedSteps:
    """Steps with a journal of calls, and effects that the ledger lets happen once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.journal: list[str] = []
        self.effects: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.hurry = asyncio.Event()
        self.on_call: Callable[[str], Awaitable[object]] | None = None

    @activity.defn(name="first")
    async def first(self, call: Begin[Script]) -> BeginResult:
        """Begin."""
        async with self._database.transaction() as tx:
            return BeginResult(leftovers=await ledger.begin(tx, call))

    @activity.defn(name="do")
    async def do(self, call: Call[Step]) -> Done:
        """Have the effect once, or fail as the script says."""
        step, attempt = call.input, activity.info().attempt
        await self._note(f"do {step.name} {attempt}")
        self.keys.add(str(call.key))
        if step.late:
            await self.hurry.wait()
        if step.fails == -1:
            raise CarrierRefused(code="SCRIPT", status=422)
        if attempt <= step.fails and attempt % 2:
            raise CarrierUnavailable("before the effect")
        try:
            async with self._database.transaction() as tx:
                done = await ledger.once(tx, call, Done, lambda: self._effect(step, attempt))
        except StepWithdrawn:
            await self._note(f"refuse {step.name}")
            raise
        if attempt <= step.fails:
            raise CarrierUnavailable("after the effect")
        return done

    async def _note(self, line: str) -> None:
        self.journal.append(line)
        if self.on_call:
            await self.on_call(line)

    async def _effect(self, step: Step, attempt: int) -> Done:
        self.effects[step.name] += 1
        return Done(name=step.name, attempt=attempt)

    @activity.defn(name="undo")
    async def undo(self, call: Call[Step]) -> Nothing:
        """Take the effect back."""
        step = call.input
        await self._note(f"undo {step.name}")
        if step.undo_fails:
            raise CarrierRefused(code="SCRIPT", status=422)

        async def take_back(done: Done) -> None:
            self.effects[done.name] -= 1

        async with self._database.transaction() as tx:
            return await ledger.undo(tx, call, Done, take_back)


@workflow.defn(name="scripted")
class ScriptedProcess:
    """Runs its script; its result is the names of the steps in order of their end."""

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
                await self.play(step)
        return self.ended

    async def play(self, step: Step) -> None:
        if step.beside:
            await gather(*(self.take(one) for one in (step, *step.beside)))
        elif step.how == "may fail":
            if await allow_failure(self.take(step)) is None:
                self.ended.append(f"{step.name} failed")
        else:
            await self.take(step)

    async def take(self, step: Step) -> bool:
        saga, undo = self.saga, ScriptedSteps.undo
        if step.how == "skip":
            saga.progress.step(step.name).skip("the script says so")
        elif step.how == "wait":
            await asyncio.sleep(3600)
        elif step.how == "bug":
            raise ValueError("a plain bug")
        elif step.how == "child":
            child = f"{workflow.info().workflow_id}-{step.name}"
            await saga.child(ScriptedProcess.run, Script(steps=step.inside), id=child)
        else:
            policy = HASTY if step.late else replace(QUICK, deadline=timedelta(seconds=step.seconds))
            final = step.how == "final"
            done = await saga.step(
                ScriptedSteps.do, step, undo=None if final else undo, name=step.name, policy=policy, final=final
            )
            assert done.name == step.name
        self.ended.append(step.name)
        return True


@workflow.defn(name="repaired")
class BuggyProcess:
    """A deploy with a plain bug after its first step."""

    @workflow.run
    async def run(self, script: Script) -> str:
        async with Saga() as saga:
            await saga.begin(ScriptedSteps.first, script)
            await saga.step(ScriptedSteps.do, Step(name="a"), undo=ScriptedSteps.undo, name="a")
            raise ValueError("a plain bug")


@workflow.defn(name="repaired")
class RepairedProcess:
    """The deploy that mends it."""

    @workflow.run
    async def run(self, script: Script) -> str:
        async with Saga() as saga:
            await saga.begin(ScriptedSteps.first, script)
            await saga.step(ScriptedSteps.do, Step(name="a"), undo=ScriptedSteps.undo, name="a")
        return "mended"
