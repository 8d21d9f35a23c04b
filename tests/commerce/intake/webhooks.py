"""Made-up webhooks of Shopify and WooCommerce, in the shapes of their documentation, and their headers."""

import json
from typing import Any

from commerce.intake.signatures import sign

SECRET = "a-secret-of-the-shop-for-tests"


def money(amount: str, presentment: str = "") -> dict[str, Any]:
    """Return a `…_set` of Shopify for a shop in pounds whose customer pays in euros."""
    return {
        "shop_money": {"amount": amount, "currency_code": "GBP"},
        "presentment_money": {"amount": presentment or amount, "currency_code": "EUR"},
    }


def allocation(amount: str) -> dict[str, Any]:
    return {"amount": amount, "amount_set": money(amount), "discount_application_index": 0}


def shopify_line(**facts: Any) -> dict[str, Any]:
    """Return two mugs at 12.50 with a discount of 2.50 for both."""
    return {
        "id": 13001,
        "admin_graphql_api_id": "gid://shopify/LineItem/13001",
        "attributed_staffs": [],
        "current_quantity": 2,
        "fulfillable_quantity": 2,
        "fulfillment_service": "manual",
        "fulfillment_status": None,
        "gift_card": False,
        "grams": 400,
        "name": "Mug - White",
        "price": "12.50",
        "price_set": money("12.50", "14.70"),
        "product_exists": True,
        "product_id": 9001,
        "properties": [],
        "quantity": 2,
        "requires_shipping": True,
        "sku": "MUG",
        "taxable": True,
        "title": "Mug",
        "total_discount": "0.00",
        "variant_id": 9101,
        "variant_title": "White",
        "vendor": "Potter",
        "tax_lines": [{"price": "4.40", "rate": 0.2, "title": "GB VAT"}],
        "duties": [],
        "discount_allocations": [allocation("2.50")],
    } | facts


SHOPIFY_ADDRESS = {
    "first_name": "Ann",
    "last_name": "Lee",
    "name": "Ann Lee",
    "company": "Lee & Co",
    "address1": "1 High Street",
    "address2": "Flat 2",
    "city": "London",
    "zip": "N1 9GU",
    "province": "England",
    "province_code": "ENG",
    "country": "United Kingdom",
    "country_code": "GB",
    "phone": "+44 20 7946 0000",
    "latitude": None,
    "longitude": None,
}


def shopify_order(**facts: Any) -> dict[str, Any]:
    """Return a paid order: 25.00 of goods less 2.50, shipping 3.95, taxes of 4.40 in the prices, total 26.45."""
    return {
        "id": 5678901234567,
        "admin_graphql_api_id": "gid://shopify/Order/5678901234567",
        "app_id": 580111,
        "cancel_reason": None,
        "cancelled_at": None,
        "checkout_id": 34567,
        "confirmation_number": "ABCD1234",
        "confirmed": True,
        "contact_email": "ann@customer.example",
        "created_at": "2026-03-02T13:00:00+01:00",
        "currency": "GBP",
        "current_subtotal_price": "22.50",
        "current_total_discounts": "2.50",
        "current_total_duties_set": None,
        "current_total_price": "26.45",
        "current_total_tax": "4.40",
        "discount_codes": [{"code": "TENOFF", "amount": "2.50", "type": "percentage"}],
        "email": "ann@customer.example",
        "financial_status": "paid",
        "fulfillment_status": None,
        "name": "#1001",
        "note": "Ring twice",
        "note_attributes": [{"name": "gift", "value": "yes"}],
        "number": 1,
        "order_number": 1001,
        "original_total_duties_set": None,
        "payment_gateway_names": ["shopify_payments"],
        "phone": None,
        "presentment_currency": "EUR",
        "processed_at": "2026-03-02T13:00:00+01:00",
        "subtotal_price": "22.50",
        "tags": "vip, gift",
        "taxes_included": True,
        "test": False,
        "total_discounts": "2.50",
        "total_outstanding": "0.00",
        "total_price": "26.45",
        "total_price_set": money("26.45", "31.10"),
        "total_tax": "4.40",
        "total_tip_received": "0.00",
        "updated_at": "2026-03-02T13:00:05+01:00",
        "billing_address": SHOPIFY_ADDRESS,
        "shipping_address": SHOPIFY_ADDRESS,
        "customer": {"id": 77, "email": "ann@customer.example"},
        "fulfillments": [],
        "line_items": [shopify_line()],
        "payment_terms": None,
        "refunds": [],
        "shipping_lines": [
            {
                "id": 271,
                "code": "Standard",
                "discounted_price": "3.95",
                "is_removed": False,
                "price": "3.95",
                "title": "Standard",
                "discount_allocations": [],
            }
        ],
    } | facts


def woo_line(**facts: Any) -> dict[str, Any]:
    """Return three mugs for 10.00 without tax, which is not a whole number of pence for each."""
    return {
        "id": 315,
        "name": "Mug",
        "product_id": 93,
        "variation_id": 0,
        "quantity": 3,
        "tax_class": "",
        "subtotal": "10.00",
        "subtotal_tax": "2.00",
        "total": "9.00",
        "total_tax": "1.80",
        "taxes": [{"id": 75, "total": "1.80", "subtotal": "2.00"}],
        "meta_data": [],
        "sku": "MUG",
        "price": 3,
    } | facts


WOO_ADDRESS = {
    "first_name": "Ann",
    "last_name": "Lee",
    "company": "",
    "address_1": "1 High Street",
    "address_2": "",
    "city": "London",
    "state": "",
    "postcode": "N1 9GU",
    "country": "GB",
    "phone": "",
}


def woo_order(**facts: Any) -> dict[str, Any]:
    """Return an order to be shipped: 10.00 of goods less 1.00, shipping 4.00, taxes 2.60 on top, total 15.60."""
    return {
        "id": 727,
        "parent_id": 0,
        "number": "727",
        "order_key": "wc_order_58d2d042d1d",
        "created_via": "checkout",
        "version": "9.8.1",
        "status": "processing",
        "currency": "GBP",
        "date_created": "2026-03-02T12:00:00",
        "date_created_gmt": "2026-03-02T12:00:00",
        "date_modified": "2026-03-02T12:00:05",
        "date_modified_gmt": "2026-03-02T12:00:05",
        "discount_total": "1.00",
        "discount_tax": "0.20",
        "shipping_total": "4.00",
        "shipping_tax": "0.80",
        "cart_tax": "1.80",
        "total": "15.60",
        "total_tax": "2.60",
        "prices_include_tax": True,
        "customer_id": 26,
        "customer_note": "Ring twice",
        "billing": WOO_ADDRESS | {"email": "ann@customer.example", "phone": "020 7946 0000"},
        "shipping": WOO_ADDRESS,
        "payment_method": "stripe",
        "payment_method_title": "Card",
        "transaction_id": "pi_123",
        "date_paid": "2026-03-02T12:00:03",
        "date_paid_gmt": "2026-03-02T12:00:03",
        "date_completed": None,
        "date_completed_gmt": None,
        "meta_data": [{"id": 1, "key": "_private", "value": "x"}, {"id": 2, "key": "gift", "value": "yes"}],
        "line_items": [woo_line()],
        "tax_lines": [],
        "shipping_lines": [{"id": 317, "method_title": "Flat rate", "method_id": "flat_rate", "total": "4.00"}],
        "fee_lines": [],
        "coupon_lines": [{"id": 318, "code": "tenoff", "discount": "1.00"}],
        "refunds": [],
    } | facts


def encoded(order: Any) -> bytes:
    return order if isinstance(order, bytes) else json.dumps(order).encode()


def shopify_headers(body: bytes, *, secret: str = SECRET, topic: str = "orders/create", webhook_id: str = "w-1") -> Any:
    return {
        "Content-Type": "application/json",
        "X-Shopify-Topic": topic,
        "X-Shopify-Hmac-Sha256": sign(body, secret),
        "X-Shopify-Webhook-Id": webhook_id,
        "X-Shopify-Event-Id": f"event-of-{webhook_id}",
        "X-Shopify-Shop-Domain": "a-shop.myshopify.com",
        "X-Shopify-API-Version": "2026-01",
    }


def woo_headers(body: bytes, *, secret: str = SECRET, topic: str = "order.created", delivery_id: str = "d-1") -> Any:
    return {
        "Content-Type": "application/json",
        "X-WC-Webhook-Topic": topic,
        "X-WC-Webhook-Resource": "order",
        "X-WC-Webhook-Event": topic.partition(".")[2],
        "X-WC-Webhook-Signature": sign(body, secret),
        "X-WC-Webhook-ID": "3",
        "X-WC-Webhook-Delivery-ID": delivery_id,
    }
