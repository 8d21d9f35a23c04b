"""Errors of the database: which are about the data or the change, and which are about the database itself."""

import random

import pytest
from sqlalchemy import text

from commerce.database import Database
from commerce.errors import ConstraintViolated, DatabaseUnavailable, InvalidData

ADD_CUSTOMER = "INSERT INTO customers (email) VALUES (:email)"


async def execute(database: Database, statement: str, **values: object) -> None:
    async with database.transaction() as tx:
        await tx.execute(text(statement), values)


@pytest.mark.parametrize(
    ("statement", "values", "reason"),
    [
        ("SELECT 2147483647 + 1", {}, "22003"),
        ("SELECT 1 / 0", {}, "22012"),
        ("SELECT CAST(CAST(:value AS text) AS uuid)", {"value": "x"}, "22P02"),
        (ADD_CUSTOMER, {"email": "a\0b"}, "22021"),
        ("SELECT CAST(:value AS int)", {"value": 2**31}, "DataError"),
        (ADD_CUSTOMER, {"email": random.Random(1).randbytes(30_000).hex()}, "54000"),  # too long for its index
    ],
    ids=["overflow", "division", "uuid", "NUL", "parameter", "index"],
)
async def test_invalid_data_is_permanent(
    database: Database, statement: str, values: dict[str, object], reason: str
) -> None:
    with pytest.raises(InvalidData, match=reason) as raised:
        await execute(database, statement, **values)
    assert len(str(raised.value)) < 200  # no values


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("INSERT INTO customers (email) VALUES ('a'), ('a')", "23505, uq_customers_email"),
        ("INSERT INTO products (id, title) VALUES (NULL, NULL)", "23502"),
        ("INSERT INTO locations (id, name, priority) VALUES ('a', NULL, 1)", "23502"),
        ("INSERT INTO auth_users (customer_id, password_hash) VALUES (uuidv7(), '')", "23503"),
        ("INSERT INTO notifications (key, kind, recipient, message_id, status) VALUES ('', '', '', '', 'x')", "23514"),
    ],
)
async def test_a_violated_constraint_is_permanent(database: Database, statement: str, reason: str) -> None:
    with pytest.raises(ConstraintViolated, match=reason):
        await execute(database, statement)


@pytest.mark.parametrize("state", ["08006", "40001", "40P01", "42P01", "53300", "55P03", "57014", "57P01", "58030"])
async def test_everything_else_may_work_a_moment_later(database: Database, state: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=state):
        await execute(database, f"DO $$ BEGIN RAISE SQLSTATE '{state}'; END $$")
