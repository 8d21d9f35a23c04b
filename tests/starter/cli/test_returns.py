"""`commerce returns …`: output as text and as JSON, and exit codes."""

from functools import partial
from pathlib import Path

import pytest

from tests.polling import until
from tests.running_shop import RunningShop
from tests.starter.cli.conftest import Commerce


@pytest.fixture
def returns(commerce: Commerce) -> Commerce:
    """Run `commerce returns …`."""
    return partial(commerce, "returns")


async def test_goods_are_returned_by_commands(returns: Commerce, shop: RunningShop, tmp_path: Path) -> None:  # (R3)
    await shop.data.stock("MUG", main=9)
    await shop.data.order("cli-15", MUG=3, columns={"total": 0})
    async with shop.worker():
        await shop.process("cli-15")
        started = await returns("start", "cli-15", "--item", "MUG=2", "--reason", "too small", "--json")
        return_id, process_id = started.json["return_id"], started.json["transaction_id"]
        second = (await returns("start", "cli-15", "--no-label", "--reason", "broken")).out
        assert second.startswith("Return ") and " of order cli-15 is started" in second

        async def waits() -> bool | None:
            found = await shop.data.sql("SELECT count(*) FROM order_returns WHERE asked_at IS NOT NULL")
            return found == [2] or None

        await until(waits)
        listed = (await returns("list", "--state", "open", "--order", "cli-15")).out.splitlines()
        assert len(listed) == 3 and any(line.startswith(f"{return_id}  cli-15") for line in listed)
        wrong = await returns("receive", return_id, "--item", "MUG=3")
        assert (wrong.code, len(wrong.err.splitlines())) == (2, 1)
        received = await returns("receive", return_id, "--item", "MUG=2:1")
        assert received.out.startswith(f"It is noted what came back of {return_id}.")
        assert (await shop.client.get_workflow_handle(process_id).result())["restocked"] == 1
        other = next(line.split()[0] for line in listed[1:] if not line.startswith(return_id))
        (tmp_path / "monday.csv").write_text(f"Return,SKU,Quantity\n{other},MUG,1\nnone,MUG,1\n")
        for _ in range(2):
            by_file = await returns("receive-file", "monday.csv")
            assert (by_file.code, by_file.out) == (1, "1 return received\n")
            assert by_file.err == "return none: Return none does not exist, or was closed.\n"
        await shop.client.get_workflow_handle(f"return-order-{other}").result()
    shown = await returns("show", return_id)
    assert shown.out.splitlines()[0].split() == [return_id, "completed"]
    assert await shop.data.levels("MUG") == {"main": (8, 0)}


@pytest.mark.parametrize(
    "arguments",
    [
        ["start", "1", "--reason", "x", "--item", "MUG"],
        ["start", "1", "--reason", "x", "--item", "MUG=2:1"],
        ["receive", "r", "--item", "MUG=1:2"],
        ["receive", "r"],
        ["receive", "r", "--everything", "--item", "MUG=1"],
        ["list", "--limit", "0"],
    ],
)
async def test_wrong_usage_is_exit_code_2(returns: Commerce, arguments: list[str]) -> None:
    assert (await returns(*arguments)).code == 2
