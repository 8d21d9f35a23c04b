"""Counts have a time, variants are sold under several listings, and fulfillments are exported once."""

import sqlalchemy as sa
from alembic import op

from commerce.migrations import concurrent_indexes

revision = "0011"
down_revision = "0010"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("inventory_levels", sa.Column("counted_at", TIME, nullable=True), if_not_exists=True)
    op.add_column("fulfillments", sa.Column("carrier", sa.String(), nullable=True), if_not_exists=True)
    op.add_column("fulfillments", sa.Column("completed_at", TIME, nullable=True), if_not_exists=True)
    op.add_column("fulfillments", sa.Column("export_number", sa.BigInteger(), nullable=True), if_not_exists=True)
    op.execute("CREATE SEQUENCE IF NOT EXISTS fulfillment_export_numbers AS bigint")
    op.create_table(
        "listings",
        sa.Column("product_id", sa.String(), nullable=False),
        sa.Column("variant_id", sa.String(), nullable=False),
        sa.Column("options", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["product_id"], ["products.id"], name="fk_listings_product_id"),
        sa.ForeignKeyConstraint(["variant_id"], ["variants.id"], name="fk_listings_variant_id"),
        sa.PrimaryKeyConstraint("product_id", "variant_id", "options", name="pk_listings"),
        if_not_exists=True,
    )
    op.create_index("ix_listings_variant_id", "listings", ["variant_id"], if_not_exists=True)
    op.create_index("ix_listings_name", "listings", ["name"], postgresql_using="hash", if_not_exists=True)
    op.create_table(
        "variant_links",
        sa.Column("line_text", sa.String(), nullable=False),
        sa.Column("variant_id", sa.String(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["variant_id"], ["variants.id"], name="fk_variant_links_variant_id"),
        sa.PrimaryKeyConstraint("line_text", name="pk_variant_links"),
        if_not_exists=True,
    )
    op.create_index("ix_variant_links_variant_id", "variant_links", ["variant_id"], if_not_exists=True)
    concurrent_indexes.create_index("uq_fulfillments_export_number", "fulfillments", ["export_number"], unique=True)
    concurrent_indexes.create_index(
        "ix_fulfillments_unexported",
        "fulfillments",
        ["order_id"],
        postgresql_where=sa.text("export_number IS NULL AND cancelled_at IS NULL"),
    )
