"""What is later decides, and without times states only go forward (V11)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from commerce.imports.new_order import ORDER_FIELDS, NewOrderLine
from commerce.imports.order_merge import StoredLine, keeps_lines, merge, merge_lines

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
MUG, BOX = NewOrderLine("MUG", "Mug", 2, 250, True), NewOrderLine("BOX", "Box", 1, 100, True)


def columns(**values: Any) -> dict[str, Any]:
    """Return the columns of an open, paid order to London."""
    known: dict[str, Any] = dict.fromkeys(ORDER_FIELDS)
    known |= {"payment_status": "captured", "fulfillment_status": "not_fulfilled", "shipping_city": "London"}
    return known | {"refunded_total": 0, "created_at": NOON, "corrections": None} | values


@pytest.mark.parametrize(
    ("field", "before", "after", "taken"),
    [
        ("payment_status", "awaiting", "captured", True),
        ("payment_status", "captured", "awaiting", False),
        ("payment_status", "captured", "refunded", True),
        ("payment_status", "refunded", "partially_refunded", False),
        ("payment_status", "cancelled", "captured", False),
        ("payment_status", "expired", "captured", True),
        ("fulfillment_status", "not_fulfilled", "fulfilled_elsewhere", True),
        ("fulfillment_status", "fulfilled_elsewhere", "not_fulfilled", False),
        ("fulfillment_status", "on_hold", "not_fulfilled", True),
        ("fulfillment_status", "not_fulfilled", "on_hold", True),
        ("cancelled_at", None, NOON, True),
        ("cancelled_at", NOON, None, False),
        ("refunded_total", 100, 250, True),
        ("refunded_total", 250, 100, False),
        ("shipping_city", "London", "Leeds", True),
        ("shipping_city", "London", None, True),
    ],
)
def test_a_file_moves_states_forward_and_changes_facts(  # (V11)
    field: str, before: object, after: object, taken: bool
) -> None:
    changes, kept = merge(columns(**{field: before}), columns(**{field: after}))
    assert (changes, kept) == (({field: after}, []) if taken else ({}, [field]))


def test_a_later_time_of_the_source_decides_everything() -> None:
    stored = columns(updated_at=NOON, cancelled_at=NOON, payment_status="refunded")
    changes, kept = merge(stored, columns(updated_at=LATER, shipping_city="Leeds"))
    assert changes == {
        "updated_at": LATER,
        "cancelled_at": None,
        "payment_status": "captured",
        "shipping_city": "Leeds",
    }
    assert kept == []


def test_an_earlier_time_of_the_source_changes_nothing() -> None:
    changes, kept = merge(columns(updated_at=LATER), columns(updated_at=NOON, cancelled_at=NOON, shipping_city="Leeds"))
    assert (changes, sorted(kept)) == ({}, ["cancelled_at", "shipping_city"])
    assert keeps_lines(columns(updated_at=LATER), columns(updated_at=NOON))


def test_at_the_same_time_of_the_source_states_only_go_forward() -> None:
    """Webhooks state times in seconds, and those of one second may come in any order."""
    paid = columns(updated_at=NOON, payment_status="captured")
    pending = columns(updated_at=NOON, payment_status="awaiting", shipping_city="Leeds")
    assert merge(paid, pending) == ({"shipping_city": "Leeds"}, ["payment_status"])
    assert merge(pending, paid).changes["payment_status"] == "captured"


def test_a_file_changes_only_states_of_an_order_whose_source_has_stated_a_time() -> None:
    changes, kept = merge(columns(updated_at=NOON), columns(cancelled_at=NOON, shipping_city="Leeds"))
    assert (changes, kept) == ({"cancelled_at": NOON}, ["shipping_city"])
    assert keeps_lines(columns(updated_at=NOON), columns())


@pytest.mark.parametrize("status", ["not_fulfilled", "fulfilled_elsewhere", "partially_fulfilled"])
@pytest.mark.parametrize("updated_at", [None, LATER])
def test_of_an_order_fulfilled_here_only_payments_are_noted(status: str, updated_at: datetime | None) -> None:
    received = columns(
        updated_at=updated_at,
        fulfillment_status=status,
        payment_status="refunded",
        cancelled_at=NOON,
        shipping_city="Leeds",
    )
    stored = columns(fulfillment_status="fulfilled")
    changes, kept = merge(stored, received)
    assert changes == {"payment_status": "refunded", "cancelled_at": NOON} | (
        {"updated_at": updated_at} if updated_at else {}
    )
    assert kept == ["shipping_city"]
    assert keeps_lines(stored, received)


def test_a_correction_stays_until_the_source_states_another_value() -> None:
    stored = columns(shipping_city="Leeds", corrections={"shipping_city": "Leads"})
    assert merge(stored, columns(shipping_city="Leads")) == ({}, [])
    changes, _ = merge(stored, columns(shipping_city="York"))
    assert changes == {"shipping_city": "York", "corrections": None}


def test_lines_are_matched_by_sku_and_title() -> None:
    stored = [StoredLine(1, MUG), StoredLine(2, BOX)]
    assert merge_lines(stored, [BOX, MUG]) == ([], [], False)
    assert merge_lines(stored, [MUG._replace(unit_price=300), BOX]) == (
        [StoredLine(1, MUG._replace(unit_price=300))],
        [],
        False,
    )
    assert merge_lines(stored, [MUG._replace(quantity=3), BOX]) == ([StoredLine(1, MUG._replace(quantity=3))], [], True)


@pytest.mark.parametrize("state", ["partially_fulfilled", "fulfilled_elsewhere", "restocked"])
def test_the_state_of_a_line_only_goes_forward_too(state: str) -> None:  # (V11)
    stored, open_again = [StoredLine(1, MUG._replace(fulfillment_status=state))], MUG._replace(unit_price=300)
    assert merge_lines(stored, [MUG]) == ([], [], False)
    assert merge_lines(stored, [open_again]).changed == [
        StoredLine(1, MUG._replace(fulfillment_status=state, unit_price=300))
    ]
    assert merge_lines(stored, [MUG], later=True) == ([StoredLine(1, MUG)], [], True)
    forward = merge_lines([StoredLine(1, MUG)], [stored[0].line])
    assert forward == (stored, [], True)


def test_a_line_that_the_source_has_removed_has_no_units() -> None:
    assert merge_lines([StoredLine(1, MUG), StoredLine(2, BOX)], [MUG]) == (
        [StoredLine(2, BOX._replace(quantity=0))],
        [],
        True,
    )
    removed = StoredLine(2, BOX._replace(quantity=0))
    assert merge_lines([StoredLine(1, MUG), removed], [MUG]) == ([], [], False)
    assert merge_lines([StoredLine(1, MUG), removed], [MUG, BOX]) == ([StoredLine(2, BOX)], [], True)


def test_a_line_that_the_source_has_added_is_new() -> None:
    assert merge_lines([StoredLine(1, MUG)], [MUG, MUG, BOX]) == ([], [MUG, BOX], True)


@pytest.mark.parametrize("cancellation", ["cancelling", "cancelled"])
def test_a_source_does_not_bring_back_an_order_that_is_cancelled_here(cancellation: str) -> None:  # (B2)
    stored = columns(
        updated_at=NOON, cancelled_at=NOON, fulfillment_status="restocked", cancellation=cancellation, note=None
    )
    received = columns(updated_at=LATER, fulfillment_status="fulfilled_elsewhere", shipping_city="Leeds", note="?")
    assert merge(stored, received).changes == {"updated_at": LATER, "note": "?"}
    assert keeps_lines(stored, received)
    assert merge(stored | {"cancelled_at": None}, columns(cancelled_at=LATER)).changes == {"cancelled_at": LATER}
