"""A process that waits for answers, to test waits."""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from activities.boundary.generations import begin, key_of_run
    from commerce import generations, ledger
    from commerce.database import Database
    from commerce.errors import CarrierRefused
    from commerce.messages.base import Message, Nothing, ProcessInput
    from commerce.messages.notifications import Alert
    from commerce.messages.progress import Progress
    from commerce.messages.steps import Begin, BeginResult, Call
    from workflows.engine.cancellation import gather
    from workflows.engine.saga import Saga


class Picked(Message):
    """What the warehouse answers."""

    units: int


class Errand(ProcessInput):
    """The input of the waiting process."""

    seconds: float = 600  # until which it waits
    default: int | None = None  # the units that count if there is no answer
    remind: bool = False
    refused: bool = False  # the request is refused
    parallel: bool = False  # it waits for two answers at once


class ErrandSteps:
    """Activities that count their effects by name of the step; `on_ask` is called while somebody is asked."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.effects: Counter[str] = Counter()
        self.asked: list[str] = []
        self.on_ask: Callable[[], Awaitable[object]] | None = None

    @activity.defn(name="first")
    async def first(self, call: Begin[Errand]) -> BeginResult:
        """Begin the run in the ledger."""
        key = key_of_run(call.key)
        leftovers = await begin(self._database, key, lambda tx: generations.find_leftovers(tx, key))
        return BeginResult(leftovers=leftovers, generation=key.generation)

    @activity.defn(name="reserve")
    async def reserve(self, call: Call[Errand]) -> Nothing:
        """Apply an effect."""
        return await self._once(call)

    @activity.defn(name="pick")
    async def pick(self, call: Call[Errand]) -> Nothing:
        """Ask."""
        if call.input.refused:
            raise CarrierRefused(code="TEST", status=422)
        done = await self._once(call)
        self.asked.append(call.key.step)
        if self.on_ask:
            await self.on_ask()
        return done

    @activity.defn(name="pack")
    async def pack(self, call: Call[Errand]) -> Nothing:
        """Ask somebody else."""
        return await self.pick(call)

    @activity.defn(name="ship")
    async def ship(self, call: Call[Picked]) -> Nothing:
        """Apply the last effect."""
        return await self._once(call)

    @activity.defn(name="revert")
    async def revert(self, call: Call[Errand]) -> Nothing:
        """Revert the effect of a step."""

        async def undone(_: Nothing) -> None:
            self.effects[call.key.step] -= 1

        async with self._database.transaction() as tx:
            return await ledger.undo(tx, call, Nothing, undone)

    async def _once(self, call: Call[Errand] | Call[Picked]) -> Nothing:
        async def apply() -> Nothing:
            self.effects[call.key.step] += 1
            return Nothing()

        async with self._database.transaction() as tx:
            return await ledger.once(tx, call, Nothing, apply)


@workflow.defn(name="errand")
class ErrandProcess:
    """Reserve, ask, wait, ship. The result is the number of units in the answers."""

    def __init__(self) -> None:
        self.saga = Saga()
        self.undo = ErrandSteps.revert

    @workflow.query
    def progress(self) -> Progress:
        return self.saga.progress

    @workflow.run
    async def run(self, errand: Errand) -> int:
        async with self.saga as saga:
            await saga.begin(ErrandSteps.first, errand)
            await saga.step(ErrandSteps.reserve, errand, undo=self.undo)
            if errand.parallel:
                picked = await gather(self.ask(ErrandSteps.pick, errand), self.ask(ErrandSteps.pack, errand))
            else:
                picked = [await self.ask(ErrandSteps.pick, errand)]
            units = sum(each.units for each in picked)
            await saga.step(ErrandSteps.ship, Picked(units=units), final=True)
        return units

    async def ask(self, step: Callable[[ErrandSteps, Call[Errand]], Awaitable[Nothing]], errand: Errand) -> Picked:
        alert = Alert(kind="not-picked", key=f"not-picked/{workflow.info().run_id}", message="Nobody has picked")
        return await self.saga.wait(
            step,
            errand,
            answer=Picked,
            until=timedelta(seconds=errand.seconds),
            undo=self.undo,
            remind=alert if errand.remind else None,
            default=None if errand.default is None else Picked(units=errand.default),
        )
