"""Upkeep finds old processes by an index instead of reading all of them."""

from commerce.migrations import concurrent_indexes

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    concurrent_indexes.create_index(
        "ix_process_generations_started_at_business_key", "process_generations", ["started_at", "business_key"]
    )
