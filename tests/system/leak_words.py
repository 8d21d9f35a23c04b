"""Unique words for every kind of personal or secret data, by which the leak test recognizes them."""

import json

from commerce.messages.customers import CustomerData

CUSTOMER_PREFIX = "zq-leak-mail"  # prefix of the email addresses of registering customers
FIRST, LAST = "Zephyrina", "Quackenbush"
PASSWORD = "plumbago zebra 97"
PASSWORD_AS_HASH = "tarragon otter 41"  # a password that a client sends by mistake in place of a hash
SALT, DIGEST = "emVicmFzYWx0emVicmFzYQ", "ZGlnZXN0b2ZhemVicmFwYXNzd29yZG9mdGhpcnR5dHc"
HASH = f"$argon2id$v=19$m=65536,t=3,p=4${SALT}${DIGEST}"
BUYER_PREFIX = "zq-leak-buyer"  # prefix of the email addresses of buyers
RECIPIENT, STREET, PHONE = "Xanthippe Featherstone", "77 Wigglesworth Parade", "+44 7700 900461"
REASON = "Bartholomew Ravenscroft rang and changed his mind"
ACTOR = "operator-cholmondeley"
ADMIN = "zq-leak-admin@shop.example"
TOKEN, CARRIER_KEY = "zq-leak-token-of-the-api", "zq-leak-key-of-the-carrier"
LINK_KEY = "zq-leak-key-of-links-of-32-characters"
WAREHOUSE_SECRET, PAYMENTS_KEY = "zq-leak-secret-of-the-warehouse", "zq-leak-key-of-the-payments"

# The inputs of processes. Temporal stores them: in plain text unless encryption is on.
PROCESS_INPUT = {
    "customer's address": [CUSTOMER_PREFIX],
    "first name": [FIRST],
    "last name": [LAST],
    "password hash": [HASH[: HASH.index(SALT) - 1], SALT, DIGEST],
    "password sent as its hash": [PASSWORD_AS_HASH],
}
# Data that must never reach Temporal.
NEVER_IN_TEMPORAL = {
    "password": [PASSWORD],
    "buyer's address": [BUYER_PREFIX],
    "recipient": [RECIPIENT, *RECIPIENT.split()],
    "street": [STREET],
    "phone": [PHONE],
    "operator's reason": [REASON, "Ravenscroft"],
    "operator": [ACTOR],
    "admin's address": [ADMIN],
    "API token": [TOKEN],
    "carrier's API key": [CARRIER_KEY],
    "key of links": [LINK_KEY],
    "warehouse's secret": [WAREHOUSE_SECRET],
    "payment provider's key": [PAYMENTS_KEY],
}

CUSTOMER = CustomerData(email=f"{CUSTOMER_PREFIX}.of.nobody@shop.example", first_name=FIRST, last_name=LAST)
# Messages of unexpected errors, by step, and of an error in workflow code. Names appear only as fields of printed
# objects: redaction cannot recognize a name in free text.
ERROR_TEXTS = {
    "validate-customer-data": f"no mail server takes <{CUSTOMER.email}>, {CUSTOMER.email}",
    "create-customer": f"cannot store {CUSTOMER!r}",
    "create-auth-user": f"cannot store {CUSTOMER.model_dump() | {'password_hash': HASH, 'password': PASSWORD_AS_HASH}}",
    "assign-customer-group": f"cannot assign {json.dumps(CUSTOMER.model_dump() | {'password_hash': HASH})}",
    "complete-order": f"cannot store {CUSTOMER!r} <{CUSTOMER.email}>",
    "process": f"a plain bug with {CUSTOMER!r} and {json.dumps(CUSTOMER.model_dump() | {'password_hash': HASH})}",
}
