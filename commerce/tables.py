"""The shop's tables. Their constraints keep stock, fulfillments and accounts consistent.

Money is an integer in minor units (I10). Times are `timestamptz`. Ids that other systems know (orders, SKUs) are text.
"""

from datetime import date, datetime
from typing import Annotated, Any, get_args
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    MetaData,
    Sequence,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from commerce.messages.operator_actions import ActionName
from commerce.open_orders import MAY_BE_OPEN
from commerce.order_status import INDEXED, WORDS

Json = dict[str, Any]
Serial = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
Uuid = Annotated[UUID, mapped_column(primary_key=True, server_default=func.uuidv7())]
Now = Annotated[datetime, mapped_column(server_default=func.now())]


class Base(DeclarativeBase):
    """The base of all tables, with the naming convention of constraints and the column types."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: DateTime(timezone=True), Json: JSONB, list[Json]: JSONB, list[str]: JSONB}  # noqa: RUF012 - SQLAlchemy reads it from the class


def one_of(column: str, *values: str) -> CheckConstraint:
    """Return a CHECK constraint that a text column holds one of these values."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(v) for v in values)})", name=column)


class Location(Base):
    """A place that holds stock; stock is taken from the location with the lowest priority number first (I7).

    The address is where its parcels are sent from; without one, the settings hold.
    """

    __tablename__ = "locations"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    priority: Mapped[int] = mapped_column(server_default="0")
    sender_name: Mapped[str | None]
    company: Mapped[str | None]
    street1: Mapped[str | None]
    street2: Mapped[str | None]
    city: Mapped[str | None]
    zip: Mapped[str | None]
    state: Mapped[str | None]
    country: Mapped[str | None]  # ISO 3166, two letters
    phone: Mapped[str | None]
    __table_args__ = (CheckConstraint("num_nonnulls(street1, city, country) IN (0, 3)", name="address"),)


class Product(Base):
    """A product of the shop; customers order its variants."""

    __tablename__ = "products"
    id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]


class Variant(Base):
    """A version of a product that can be ordered; its SKU is its public id."""

    __tablename__ = "variants"
    id: Mapped[str] = mapped_column(primary_key=True)
    product_id: Mapped[str] = mapped_column(ForeignKey("products.id"), index=True)
    sku: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str] = mapped_column(server_default="")
    manage_inventory: Mapped[bool] = mapped_column(server_default=text("true"))
    allow_backorder: Mapped[bool] = mapped_column(server_default=text("false"))


class Listing(Base):
    """A product and options under which a variant is sold; a variant can have several (I11)."""

    __tablename__ = "listings"
    product_id: Mapped[str] = mapped_column(ForeignKey("products.id"), primary_key=True)
    variant_id: Mapped[str] = mapped_column(ForeignKey("variants.id"), primary_key=True, index=True)
    options: Mapped[str] = mapped_column(primary_key=True)  # like `Red / Large`; empty if the product has none
    name: Mapped[str]  # as order lines have it: `Title - Red / Large`
    __table_args__ = (Index(None, "name", postgresql_using="hash"),)


class VariantLink(Base):
    """The variant that a person has chosen for order lines without a known SKU (I12)."""

    __tablename__ = "variant_links"
    line_text: Mapped[str] = mapped_column(primary_key=True)  # the SKU of the lines, or their title if they have none
    variant_id: Mapped[str] = mapped_column(ForeignKey("variants.id"), index=True)
    created_at: Mapped[Now]


class InventoryItem(Base):
    """A physical item in stock; a variant consists of one item or, as a kit, of several (I6)."""

    __tablename__ = "inventory_items"
    id: Mapped[str] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(unique=True)


class VariantInventoryItem(Base):
    """The number of units of an item that one unit of a variant needs."""

    __tablename__ = "variant_inventory_items"
    variant_id: Mapped[str] = mapped_column(ForeignKey("variants.id"), primary_key=True)
    inventory_item_id: Mapped[str] = mapped_column(ForeignKey("inventory_items.id"), primary_key=True, index=True)
    required_quantity: Mapped[int] = mapped_column(server_default="1")
    __table_args__ = (CheckConstraint("required_quantity >= 1", name="required_quantity"),)


class InventoryLevel(Base):
    """The stock of an item at a location: available = stocked - reserved (I1)."""

    __tablename__ = "inventory_levels"
    inventory_item_id: Mapped[str] = mapped_column(ForeignKey("inventory_items.id"), primary_key=True)
    location_id: Mapped[str] = mapped_column(ForeignKey("locations.id"), primary_key=True)
    stocked_quantity: Mapped[int] = mapped_column(server_default="0")
    reserved_quantity: Mapped[int] = mapped_column(server_default="0")
    imported_on_hand: Mapped[int | None]  # the last imported count, as the file has it
    counted_at: Mapped[datetime | None]  # the time of that count; the same count again changes nothing (I13)
    oversold: Mapped[bool] = mapped_column(
        server_default=text("false")
    )  # an import or a sync set stocked below reserved (I9)
    __table_args__ = (
        CheckConstraint("stocked_quantity >= 0", name="stocked"),
        CheckConstraint("reserved_quantity >= 0", name="reserved"),
        Index("ix_inventory_levels_oversold", "inventory_item_id", postgresql_where=text("oversold")),
    )


class StockMovement(Base):
    """A change of a level's `stocked_quantity`, written in the same transaction (I1)."""

    __tablename__ = "stock_movements"
    id: Mapped[Serial]
    inventory_item_id: Mapped[str]
    location_id: Mapped[str]
    quantity: Mapped[int]
    reason: Mapped[str]
    reference: Mapped[str]
    created_at: Mapped[Now]
    __table_args__ = (
        ForeignKeyConstraint(
            ["inventory_item_id", "location_id"],
            ["inventory_levels.inventory_item_id", "inventory_levels.location_id"],
        ),
        one_of("reason", "import", "sync", "fulfillment", "cancel", "returned", "pick_short"),
        CheckConstraint("quantity <> 0", name="quantity"),
        Index(None, "inventory_item_id", "location_id", "created_at"),
    )


class Reservation(Base):
    """Units of an item at a location reserved for an order line, included in the level's `reserved_quantity` (I2)."""

    __tablename__ = "reservations"
    id: Mapped[Serial]
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"), index=True)
    order_line_id: Mapped[int] = mapped_column(ForeignKey("order_lines.id"))
    inventory_item_id: Mapped[str]
    location_id: Mapped[str]
    quantity: Mapped[int]
    backorder: Mapped[bool | None]  # its variant could be backordered at that time; null in rows of older versions
    __table_args__ = (
        ForeignKeyConstraint(
            ["inventory_item_id", "location_id"],
            ["inventory_levels.inventory_item_id", "inventory_levels.location_id"],
        ),
        UniqueConstraint("inventory_item_id", "location_id", "order_line_id"),
        CheckConstraint("quantity >= 1", name="quantity"),
    )


class Customer(Base):
    """A person with an e-mail address: a guest who ordered, or an account. A guest may register later (A2)."""

    __tablename__ = "customers"
    id: Mapped[Uuid]
    email: Mapped[str | None] = mapped_column(unique=True)  # null: the person was forgotten (A7)
    has_account: Mapped[bool] = mapped_column(server_default=text("false"))
    first_name: Mapped[str | None]
    last_name: Mapped[str | None]
    created_at: Mapped[Now]
    registered_at: Mapped[datetime | None] = mapped_column(index=True)
    registered_by: Mapped[str | None]  # the process id; null: that without a key, see AddressDigests
    __table_args__ = (
        Index("ix_customers_created_at_id", "created_at", "id"),
        Index("ix_customers_email_start", "email", postgresql_ops={"email": "text_pattern_ops"}),
    )


class PendingRegistration(Base):
    """A registration that waits until its address is proven, with the hash of the password chosen for it (A9)."""

    __tablename__ = "pending_registrations"
    process_id: Mapped[str] = mapped_column(primary_key=True)
    password_hash: Mapped[str]
    asked_at: Mapped[datetime] = mapped_column(index=True)


class ForgottenAddress(Base):
    """An e-mail address whose owner was forgotten, as a digest under a key of the settings (A7).

    Orders from before that time are stored without their person.
    """

    __tablename__ = "forgotten_addresses"
    digest: Mapped[str] = mapped_column(primary_key=True)
    forgotten_at: Mapped[datetime]


class AuthUser(Base):
    """The login of an account."""

    __tablename__ = "auth_users"
    id: Mapped[Uuid]
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("customers.id"), unique=True)
    provider_id: Mapped[str] = mapped_column(server_default="emailpass")
    password_hash: Mapped[str]
    created_at: Mapped[Now]


class CustomerGroup(Base):
    """A named set of customers."""

    __tablename__ = "customer_groups"
    id: Mapped[Uuid]
    name: Mapped[str] = mapped_column(unique=True)


class CustomerGroupMember(Base):
    """A customer's membership of a group."""

    __tablename__ = "customer_group_members"
    group_id: Mapped[UUID] = mapped_column(ForeignKey("customer_groups.id"), primary_key=True)
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("customers.id"), primary_key=True, index=True)


class Order(Base):
    """An order; while it has a `hold_reason`, `process-pending-orders` does not process it (V10).

    `id` is ours: the default source's own id, and for any other source `SOURCE~ID` (`commerce/order_identity.py`).
    """

    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(server_default="shop")  # the system that the order comes from
    external_id: Mapped[str | None]  # the source's own id, if it differs from the name
    name: Mapped[str | None]  # as customers know the order, like #1001; null if the source has not stated it
    name_key: Mapped[str | None]  # the name or assumed name, without #; null if an older order has the same one
    number: Mapped[str] = mapped_column(
        Computed("coalesce(name, name_key, id)", persisted=False), nullable=True
    )  # what mails and screens call the order
    customer_id: Mapped[UUID | None] = mapped_column(ForeignKey("customers.id"))
    email: Mapped[str | None]
    payment_status: Mapped[str]
    fulfillment_status: Mapped[str] = mapped_column(server_default="not_fulfilled")
    currency: Mapped[str]
    shipping_total: Mapped[int] = mapped_column(BigInteger, server_default="0")
    discount_total: Mapped[int] = mapped_column(BigInteger, server_default="0")  # includes the discounts of the lines
    discount_code: Mapped[str | None]
    tax_total: Mapped[int] = mapped_column(BigInteger, server_default="0")
    taxes_included: Mapped[bool | None]  # whether the prices contain the taxes; null: not known, or there are none
    duties_total: Mapped[int] = mapped_column(BigInteger, server_default="0")
    tip_total: Mapped[int] = mapped_column(BigInteger, server_default="0")
    total: Mapped[int] = mapped_column(BigInteger)
    refunded_total: Mapped[int] = mapped_column(BigInteger, server_default="0")
    outstanding_total: Mapped[int | None] = mapped_column(BigInteger)  # still to be paid, as the source states it
    payment_method: Mapped[str | None]
    payment_reference: Mapped[str | None]
    risk_level: Mapped[str | None]  # in lower case
    note: Mapped[str | None]
    note_attributes: Mapped[str | None]  # as exported: `name: value` per line
    tags: Mapped[str | None]  # as exported, separated by commas
    shipping_method: Mapped[str | None]
    shipping_name: Mapped[str | None]
    shipping_company: Mapped[str | None]
    shipping_address1: Mapped[str | None]
    shipping_address2: Mapped[str | None]
    shipping_city: Mapped[str | None]
    shipping_zip: Mapped[str | None]
    shipping_province: Mapped[str | None]
    shipping_province_name: Mapped[str | None]
    shipping_country: Mapped[str | None]
    shipping_phone: Mapped[str | None]
    phone: Mapped[str | None]  # the customer's, for carriers if the shipping address has none
    billing_name: Mapped[str | None]
    billing_company: Mapped[str | None]
    billing_address1: Mapped[str | None]
    billing_address2: Mapped[str | None]
    billing_city: Mapped[str | None]
    billing_zip: Mapped[str | None]
    billing_province: Mapped[str | None]
    billing_country: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime | None]  # when the source last changed the order, if it says so
    paid_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    cancellation: Mapped[str | None]  # here, not at the source: `cancelling` while the process takes the order back
    hold_reason: Mapped[str | None]
    held_by: Mapped[str | None]  # the generation of the run that was refused
    approved_revision: Mapped[int | None]  # the decisive revision that a person has approved as it is
    approved_reasons: Mapped[list[str] | None]  # the reasons of the holds that this person has ended
    refused_at: Mapped[datetime | None]  # when it was last refused for lack of stock
    waits_for_backorders: Mapped[
        bool | None
    ]  # null: it does not wait for stock; true: the stock it waits for includes units that can be backordered
    revision: Mapped[int] = mapped_column(server_default="1")  # raised by each change that the source makes
    decisive_revision: Mapped[int] = mapped_column(
        server_default="1"
    )  # that of the last change that a run under way must know of
    corrections: Mapped[Json | None]  # the source's values of the columns that an operator has corrected
    content_hash: Mapped[str]  # of the order as it was last received; the same content again changes nothing
    forgotten_at: Mapped[datetime | None]  # when its customer was forgotten; nothing personal is stored of it since
    keeps_invoice: Mapped[bool | None]  # its billing name and address stay until the retention of invoices ends
    __table_args__ = (
        one_of(
            "payment_status",
            *("awaiting", "authorized", "captured", "partially_captured"),
            *("refunded", "partially_refunded", "cancelled", "expired"),
        ),
        one_of(
            "fulfillment_status",
            *("not_fulfilled", "partially_fulfilled", "fulfilled", "fulfilled_elsewhere"),
            *("restocked", "scheduled", "on_hold"),
        ),
        one_of("cancellation", "cancelling", "cancelled"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
        CheckConstraint("total >= 0 AND shipping_total >= 0", name="money"),
        Index("uq_orders_source_external_id", "source", "external_id", unique=True),
        Index("uq_orders_source_name_key", "source", "name_key", unique=True),
        Index("ix_orders_namesakes", "source", "name", postgresql_where=text("name_key IS NULL AND name IS NOT NULL")),
        Index(None, "created_at", "id"),
        *(
            Index(f"ix_orders_{status}", "created_at", "id", postgresql_where=text(condition))
            for status, condition in INDEXED.items()
        ),
        Index("ix_orders_words", text(WORDS), postgresql_using="gin"),
        Index(None, "customer_id", "created_at"),
        Index("ix_orders_kept_invoices", "created_at", postgresql_where=text("keeps_invoice")),
        Index(
            "ix_orders_open",
            "created_at",
            "id",
            postgresql_where=text(f"{MAY_BE_OPEN} AND hold_reason IS NULL"),
        ),
        Index(
            "ix_orders_on_hold",
            "created_at",
            postgresql_where=text(f"{MAY_BE_OPEN} AND hold_reason IS NOT NULL"),
        ),
    )


class ShipUnpaidMethod(Base):
    """A payment method, in lower case, whose orders are processed while they await payment.

    Workers write their setting when they start, so that it is the same for all who ask which orders are open.
    """

    __tablename__ = "ship_unpaid_methods"
    method: Mapped[str] = mapped_column(primary_key=True)


class CapturablePayment(Base):
    """A pattern of the references of authorized payments that are captured here; written like ShipUnpaidMethod (P4)."""

    __tablename__ = "capturable_payments"
    pattern: Mapped[str] = mapped_column(primary_key=True)


class OrderLine(Base):
    """A quantity of a variant at a unit price; it has no variant if its SKU is unknown."""

    __tablename__ = "order_lines"
    id: Mapped[Serial]
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"))
    position: Mapped[int]
    variant_id: Mapped[str | None] = mapped_column(ForeignKey("variants.id"), index=True)
    sku: Mapped[str]
    title: Mapped[str]
    quantity: Mapped[int]  # to ship; 0: the source has removed the line, or all of it was refunded
    refunded_quantity: Mapped[int | None]  # ordered, but not to ship because it was refunded; null: not known
    unit_price: Mapped[int] = mapped_column(BigInteger)
    requires_shipping: Mapped[bool] = mapped_column(server_default=text("true"))
    discount: Mapped[int] = mapped_column(BigInteger, server_default="0")  # of the whole line
    fulfillment_status: Mapped[str] = mapped_column(server_default="not_fulfilled")  # at the source
    vendor: Mapped[str | None]
    returned_quantity: Mapped[int] = mapped_column(server_default="0")  # came back
    returning_quantity: Mapped[int] = mapped_column(server_default="0")  # in returns that are open
    __table_args__ = (
        UniqueConstraint("order_id", "position"),
        CheckConstraint("quantity >= 0", name="quantity"),
        CheckConstraint(
            "returned_quantity >= 0 AND returning_quantity >= 0 AND returned_quantity + returning_quantity <= quantity",
            name="returned_quantity",
        ),
        CheckConstraint("refunded_quantity >= 0", name="refunded_quantity"),
        CheckConstraint("unit_price >= 0", name="unit_price"),
        one_of("fulfillment_status", "not_fulfilled", "partially_fulfilled", "fulfilled_elsewhere", "restocked"),
        Index("ix_order_lines_unknown_sku", "sku", postgresql_where=text("variant_id IS NULL")),
    )


# Taken by exports one after another, never by the transactions that fulfill orders: see `fulfillment_export.py`.
EXPORT_NUMBERS = Sequence("fulfillment_export_numbers", data_type=BigInteger, metadata=Base.metadata)


class Fulfillment(Base):
    """What an order takes from one location, live until `cancelled_at` is set (V4, V15)."""

    __tablename__ = "fulfillments"
    id: Mapped[Uuid]
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"))
    # Null: nothing was in stock, or an older version took it from one or several locations.
    # Not `location_id`, which queries of older versions would find ambiguous.
    from_location_id: Mapped[str | None] = mapped_column(ForeignKey("locations.id"))
    position: Mapped[int] = mapped_column(server_default="1")  # among the live fulfillments of the order
    tracking_number: Mapped[str | None]
    shipment_id: Mapped[str | None]
    label_url: Mapped[str | None]
    carrier: Mapped[str | None]  # that delivers the parcel, as shops name it, such as USPS
    # Units of items that the order's lines needed when it was created, 0 in all but the order's first fulfillment; null
    # in rows of older versions.
    required_units: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[Now]
    completed_at: Mapped[datetime | None]  # when the order was fulfilled with it
    cancelled_at: Mapped[datetime | None]
    export_number: Mapped[int | None] = mapped_column(BigInteger)  # set by the first export that has it
    __table_args__ = (
        Index(None, "order_id"),
        Index("uq_fulfillments_export_number", "export_number", unique=True),
        Index(None, "tracking_number", postgresql_where=text("tracking_number IS NOT NULL")),
        Index(
            "ix_fulfillments_unexported",
            "order_id",
            postgresql_where=text("export_number IS NULL AND cancelled_at IS NULL"),
        ),
        Index(
            "uq_fulfillments_live_at_location",
            "order_id",
            "from_location_id",
            unique=True,
            postgresql_where=text("cancelled_at IS NULL"),
            postgresql_nulls_not_distinct=True,
        ),
    )


class FulfillmentItem(Base):
    """Units of an item at a location that a fulfillment removed from stock, per order line (I8)."""

    __tablename__ = "fulfillment_items"
    id: Mapped[Serial]
    fulfillment_id: Mapped[UUID] = mapped_column(ForeignKey("fulfillments.id"), index=True)
    order_line_id: Mapped[int] = mapped_column(ForeignKey("order_lines.id"), index=True)
    inventory_item_id: Mapped[str]
    location_id: Mapped[str]
    quantity: Mapped[int]
    __table_args__ = (
        ForeignKeyConstraint(
            ["inventory_item_id", "location_id"],
            ["inventory_levels.inventory_item_id", "inventory_levels.location_id"],
        ),
        Index(None, "inventory_item_id", "location_id"),
        CheckConstraint("quantity >= 1", name="quantity"),
    )


class PickRecord(Base):
    """What the warehouse was asked to pick for a fulfillment, in one round of the step that waits for it (K1)."""

    __tablename__ = "picks"
    id: Mapped[Uuid]  # identifies the pick at the warehouse
    fulfillment_id: Mapped[UUID] = mapped_column(ForeignKey("fulfillments.id"))
    round: Mapped[int]
    business_key: Mapped[str]
    generation: Mapped[str]
    lines: Mapped[list[Json] | None]  # units by SKU; null: the fulfillment had no goods
    missing: Mapped[list[Json] | None]  # what was not found; null: not answered
    created_at: Mapped[Now]
    answered_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("fulfillment_id", "round"),
        Index(None, "business_key", "generation", "round"),
        CheckConstraint("(missing IS NULL) = (answered_at IS NULL)", name="answered"),
    )


class PickShort(Base):
    """Units that left a fulfillment because its pick was short: `lost` ones were not found (K3)."""

    __tablename__ = "pick_shorts"
    fulfillment_id: Mapped[UUID] = mapped_column(ForeignKey("fulfillments.id"), primary_key=True)
    order_line_id: Mapped[int] = mapped_column(ForeignKey("order_lines.id"), primary_key=True, index=True)
    inventory_item_id: Mapped[str] = mapped_column(ForeignKey("inventory_items.id"), primary_key=True)
    location_id: Mapped[str] = mapped_column(ForeignKey("locations.id"), primary_key=True)
    quantity: Mapped[int]
    lost: Mapped[int]
    __table_args__ = (CheckConstraint("quantity >= 1 AND lost BETWEEN 0 AND quantity", name="quantity"),)


class OrderReturn(Base):
    """A return of a fulfilled order: `open` until the goods are back, `closed` if they are not (R1, R4).

    Its id is part of its process's id. It goes to the location that most of its units came from.
    """

    __tablename__ = "order_returns"
    id: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"), index=True)
    state: Mapped[str] = mapped_column(server_default="open")
    location_id: Mapped[str | None] = mapped_column(ForeignKey("locations.id"))  # null: nothing came from stock
    refund: Mapped[bool]  # whether it is refunded here
    refund_shipping: Mapped[bool]
    amount: Mapped[int | None] = mapped_column(BigInteger)  # what the units that came back are worth
    # What was refunded elsewhere, and counted for no return, when it was registered; and what counts for this one.
    unclaimed_before: Mapped[int] = mapped_column(BigInteger)
    refunded_elsewhere: Mapped[int] = mapped_column(BigInteger, server_default="0")
    shipment_id: Mapped[str | None]
    tracking_number: Mapped[str | None]
    label_url: Mapped[str | None]
    carrier: Mapped[str | None]  # that delivers the parcel
    created_at: Mapped[Now]
    asked_at: Mapped[datetime | None]  # when the mail to the customer was queued
    received_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    __table_args__ = (
        one_of("state", "open", "received", "completed", "closed"),
        CheckConstraint("amount >= 0 AND refunded_elsewhere BETWEEN 0 AND amount", name="amount"),
        Index(None, "created_at", "id"),
        Index(
            "ix_order_returns_unfinished",
            "created_at",
            "id",
            postgresql_where=text("state IN ('open', 'received')"),
        ),
        Index(None, "tracking_number", postgresql_where=text("tracking_number IS NOT NULL")),
    )


class OrderReturnLine(Base):
    """Units of an order line in a return: to come back, and those that came back."""

    __tablename__ = "order_return_lines"
    return_id: Mapped[str] = mapped_column(ForeignKey("order_returns.id"), primary_key=True)
    order_line_id: Mapped[int] = mapped_column(ForeignKey("order_lines.id"), primary_key=True, index=True)
    quantity: Mapped[int]
    received: Mapped[int | None]
    sellable: Mapped[int | None]  # of those received
    __table_args__ = (
        CheckConstraint("quantity >= 1", name="quantity"),
        CheckConstraint("received BETWEEN 0 AND quantity AND sellable BETWEEN 0 AND received", name="received"),
    )


class OrderReturnItem(Base):
    """Units of an item that a return has put back into the stock of a location, per order line (R3)."""

    __tablename__ = "order_return_items"
    return_id: Mapped[str] = mapped_column(ForeignKey("order_returns.id"), primary_key=True)
    order_line_id: Mapped[int] = mapped_column(ForeignKey("order_lines.id"), primary_key=True, index=True)
    inventory_item_id: Mapped[str] = mapped_column(primary_key=True)
    location_id: Mapped[str]
    quantity: Mapped[int]
    __table_args__ = (
        ForeignKeyConstraint(
            ["inventory_item_id", "location_id"],
            ["inventory_levels.inventory_item_id", "inventory_levels.location_id"],
        ),
        Index(None, "inventory_item_id", "location_id"),
        CheckConstraint("quantity >= 1", name="quantity"),
    )


class Cart(Base):
    """A visitor's cart."""

    __tablename__ = "carts"
    id: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str | None]
    currency: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    content_hash: Mapped[str | None]  # of an imported cart; other carts have none
    __table_args__ = (Index("ix_carts_open", "updated_at", "id", postgresql_where=text("completed_at IS NULL")),)


class CartLine(Base):
    """A quantity of a variant in a cart."""

    __tablename__ = "cart_lines"
    id: Mapped[Serial]
    cart_id: Mapped[str] = mapped_column(ForeignKey("carts.id", ondelete="CASCADE"), index=True)
    variant_id: Mapped[str | None] = mapped_column(ForeignKey("variants.id"), index=True)
    sku: Mapped[str]
    quantity: Mapped[int]
    unit_price: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[Now]
    __table_args__ = (CheckConstraint("quantity >= 1", name="quantity"),)


class Notification(Base):
    """A queued mail or alert, sent once per key; all attempts use the same Message-ID (N1)."""

    __tablename__ = "notifications"
    key: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    recipient: Mapped[str]
    order_id: Mapped[str | None] = mapped_column(ForeignKey("orders.id"), index=True)
    data: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    status: Mapped[str] = mapped_column(server_default="queued")
    message_id: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default="0")
    lease_until: Mapped[datetime | None]  # until then, an attempt may be sending it; queued: no worker sends it unasked
    error: Mapped[str | None]
    created_at: Mapped[Now]
    sent_at: Mapped[datetime | None]
    __table_args__ = (
        one_of("status", "queued", "sending", "sent", "failed"),
        Index(None, "created_at", "key"),
        Index("ix_notifications_unsent", "created_at", postgresql_where=text("status <> 'sent'")),
    )


class OutboxEvent(Base):
    """An event to publish, written in the transaction that makes it true; published in order per aggregate (N3)."""

    __tablename__ = "outbox_events"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    type: Mapped[str]
    aggregate: Mapped[str]
    data: Mapped[Json]
    created_at: Mapped[Now]
    published_at: Mapped[datetime | None]
    handled_at: Mapped[datetime | None]  # when the processes that it starts had started; its deliveries may come later
    traceparent: Mapped[str | None]
    __table_args__ = (
        Index(None, "aggregate", "sequence"),
        Index("ix_outbox_events_unpublished", "sequence", postgresql_where=text("published_at IS NULL")),
        Index(
            "ix_outbox_events_unhandled",
            "type",
            "sequence",
            postgresql_where=text("published_at IS NULL AND handled_at IS NULL"),
        ),
        Index("ix_outbox_events_published", "published_at", postgresql_where=text("published_at IS NOT NULL")),
    )


class WebhookEndpoint(Base):
    """A registered webhook URL that gets our events (N5)."""

    __tablename__ = "webhook_endpoints"
    id: Mapped[Uuid]
    url: Mapped[str] = mapped_column(unique=True)
    secret: Mapped[str]
    event_types: Mapped[list[str]]
    created_at: Mapped[Now]
    disabled_at: Mapped[datetime | None]


class IntakeDelivery(Base):
    """A signed webhook of a shop's platform: taken once per delivery id, topic and body.

    WooCommerce gives all deliveries of one second the same id. A body is kept while it waits, or if it could not be
    used, until upkeep deletes it.
    """

    __tablename__ = "intake_deliveries"
    platform: Mapped[str] = mapped_column(primary_key=True)
    delivery_id: Mapped[str] = mapped_column(primary_key=True)
    content_hash: Mapped[str] = mapped_column(primary_key=True)
    topic: Mapped[str]
    source: Mapped[str]  # of its order
    received_at: Mapped[Now] = mapped_column(index=True)
    status: Mapped[str]
    order_id: Mapped[str | None]  # no foreign key: an order that could not be stored has none
    problem: Mapped[str | None]  # the kind of problem, for alerts
    reason: Mapped[str | None]
    body: Mapped[bytes | None]
    alerted_at: Mapped[datetime | None]
    __table_args__ = (
        one_of("status", "stored", "ignored", "unusable", "waiting"),
        Index(
            "ix_intake_deliveries_open",
            "received_at",
            postgresql_where=text("status = 'waiting' OR status = 'unusable' AND alerted_at IS NULL"),
        ),
    )


class DailyMetric(Base):
    """The figures of one day in one currency (J5)."""

    __tablename__ = "daily_metrics"
    day: Mapped[date] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    orders: Mapped[int]
    revenue: Mapped[int] = mapped_column(BigInteger)
    average_order_value: Mapped[int] = mapped_column(BigInteger)
    new_customers: Mapped[int]
    returning_customers: Mapped[int]
    top_products: Mapped[list[Json]]
    computed_at: Mapped[Now]
    awaiting: Mapped[int] = mapped_column(BigInteger, server_default="0")
    refunded: Mapped[int] = mapped_column(BigInteger, server_default="0")
    reported_revenue: Mapped[int | None] = mapped_column(BigInteger)  # of the first count after the end of the day
    change: Mapped[str | None]  # since that count: `unlisted` until a report of another day lists it, then `listed`
    __table_args__ = (
        one_of("change", "unlisted", "listed"),
        Index("ix_daily_metrics_unlisted", "day", postgresql_where=text("change = 'unlisted'")),
    )


class Refund(Base):
    """A part of an order's refunds, on the day on which it became known; negative if the source takes it back (J5)."""

    __tablename__ = "refunds"
    id: Mapped[Serial]
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"), index=True)
    amount: Mapped[int] = mapped_column(BigInteger)
    known_at: Mapped[Now] = mapped_column(index=True)


class OrderPayment(Base):
    """What was captured of an order's payment, and how much of that was refunded, never more (P1).

    The amounts are those of the time at which the last refund was planned, or the last return registered.
    """

    __tablename__ = "order_payments"
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    captured: Mapped[int] = mapped_column(BigInteger)
    refunded_elsewhere: Mapped[int] = mapped_column(BigInteger, server_default="0")  # at the shop or the provider
    refunded: Mapped[int] = mapped_column(BigInteger, server_default="0")  # the sum of `order_refunds`
    __table_args__ = (
        CheckConstraint(
            "refunded >= 0 AND refunded_elsewhere >= 0 AND refunded + refunded_elsewhere <= captured", name="refunded"
        ),
    )


class OrderCapture(Base):
    """A payment that is captured for an order, for no other one, and included in its captured amount (P4)."""

    __tablename__ = "order_captures"
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    payment_id: Mapped[str] = mapped_column(primary_key=True)
    provider: Mapped[str]
    amount: Mapped[int] = mapped_column(BigInteger)
    ours: Mapped[bool]  # this shop has captured it, and so refunds it if the order is undone
    captured_at: Mapped[Now]
    __table_args__ = (UniqueConstraint("payment_id"), CheckConstraint("amount >= 0", name="amount"))


class OrderRefund(Base):
    """A refund that this shop makes: `due` once it is planned, `made` when the provider has made it or a person has.

    It is `pending` while the provider has accepted it, but may still fail; then it is `due` again.

    Its id identifies it at the provider, whatever run of whatever process asks for it.
    """

    __tablename__ = "order_refunds"
    id: Mapped[Uuid]
    order_id: Mapped[str] = mapped_column(ForeignKey("order_payments.order_id"))
    purpose: Mapped[str]
    amount: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(server_default="due")
    provider: Mapped[str]  # `shop`: it is made where the order comes from
    payment_id: Mapped[str]  # at the provider; empty at the shop
    refund_id: Mapped[str | None]
    created_at: Mapped[Now]
    made_at: Mapped[datetime | None]
    checked_at: Mapped[datetime | None]  # when the provider was last asked what has become of a pending refund
    __table_args__ = (
        UniqueConstraint("order_id", "purpose"),
        one_of("state", "due", "pending", "made"),
        Index("ix_order_refunds_pending", "checked_at", postgresql_where=text("state = 'pending'")),
        CheckConstraint("amount > 0", name="amount"),
    )


class DayToCount(Base):
    """A mark that the figures of the day of this moment have changed, until a run has counted it again (J7)."""

    __tablename__ = "days_to_count"
    moment: Mapped[datetime] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    customer_id: Mapped[UUID | None]  # whose order it is, because their next order's day can change as well


class ProcessGeneration(Base):
    """The generation that may act for a business key: that of the run that started last."""

    __tablename__ = "process_generations"
    business_key: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[str]
    started_at: Mapped[datetime]
    closed_generation: Mapped[str | None]  # begins no more steps, because its run undoes them
    __table_args__ = (Index(None, "started_at", "business_key"),)


class StepLedger(Base):
    """The ledger: one entry per step, whose key makes it happen once; `undoing` and `undone` are tombstones."""

    __tablename__ = "step_ledger"
    business_key: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    undo: Mapped[str | None]
    call: Mapped[Json]
    note: Mapped[Json | None]  # what a step with an external call must remember between its transactions
    result: Mapped[Json | None]
    lease_until: Mapped[datetime | None]  # until then, an attempt may be making an external call
    final: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[Now]
    updated_at: Mapped[Now]
    __table_args__ = (one_of("state", "started", "done", "undoing", "undone"),)


class StepWait(Base):
    """One round of a step that waits for an answer from outside; without a `kind` it is open (W1).

    It is open only while its generation is the current one.
    """

    __tablename__ = "step_waits"
    id: Mapped[Uuid]
    business_key: Mapped[str]
    generation: Mapped[str]
    step: Mapped[str]
    round: Mapped[int]
    asked_at: Mapped[datetime]
    until: Mapped[datetime]  # shown to people; whether the time is over, only the process decides
    kind: Mapped[str | None]
    data: Mapped[Json | None]
    reason: Mapped[str | None]
    answered_by: Mapped[str | None]  # through what the answer came
    answered_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]  # when the process got it, or no longer wanted any
    digest: Mapped[str | None]  # identifies the answer, by its idempotency key if it has one
    __table_args__ = (
        UniqueConstraint("business_key", "generation", "step", "round"),
        one_of("kind", "success", "failure", "retry", "expired", "withdrawn"),
        CheckConstraint("round >= 1", name="round"),
        CheckConstraint(
            "(digest IS NOT NULL) = (coalesce(kind, '') IN ('success', 'failure', 'retry'))", name="digest"
        ),
        Index("uq_step_waits_digest", "business_key", "step", "digest", unique=True),
        Index("ix_step_waits_open", "asked_at", postgresql_where=text("kind IS NULL")),
        Index(
            "ix_step_waits_undelivered",
            "answered_at",
            postgresql_where=text("kind IS NOT NULL AND delivered_at IS NULL"),
        ),
    )


class OperatorAction(Base):
    """An operator's action and its reason. Temporal gets only its id, because free text may hold personal data."""

    __tablename__ = "operator_actions"
    id: Mapped[Uuid]
    process_id: Mapped[str] = mapped_column(index=True)
    run_id: Mapped[str]
    action: Mapped[str]
    reason: Mapped[str]
    actor: Mapped[str]
    created_at: Mapped[Now]
    __table_args__ = (one_of("action", *get_args(ActionName)),)
