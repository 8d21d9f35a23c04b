"""Words that tell where they have been: of every kind of what is personal or secret in the leak test, its own."""

import json

from commerce.messages.customers import CustomerData

MAIL = "zq-leak-mail"  # what the addresses of all who register begin with
FIRST, LAST = "Zephyrina", "Quackenbush"
PASSWORD = "plumbago zebra 97"
GIVEN_AS_HASH = "tarragon otter 41"  # a password that a careless client puts where a hash belongs
SALT, DIGEST = "emVicmFzYWx0emVicmFzYQ", "ZGlnZXN0b2ZhemVicmFwYXNzd29yZG9mdGhpcnR5dHc"
HASH = f"$argon2id$v=19$m=65536,t=3,p=4${SALT}${DIGEST}"
BUYER = "zq-leak-buyer"  # what the addresses of those begin with who order
RECIPIENT, STREET, PHONE = "Xanthippe Featherstone", "77 Wigglesworth Parade", "+44 7700 900461"
REASON = "Bartholomew Ravenscroft rang and changed his mind"
ACTOR = "operator-cholmondeley"
ADMIN = "zq-leak-admin@shop.example"
TOKEN, CARRIER_KEY = "zq-leak-token-of-the-api", "zq-leak-key-of-the-carrier"

# What processes are given, so what Temporal keeps: in clear, unless it is encrypted.
PASSED_ON = {
    "address of a customer": [MAIL],
    "first name": [FIRST],
    "last name": [LAST],
    "hash of a password": [HASH[: HASH.index(SALT) - 1], SALT, DIGEST],
    "password given as its hash": [GIVEN_AS_HASH],
}
# What Temporal has no business with.
KEPT_BACK = {
    "password": [PASSWORD],
    "address of a buyer": [BUYER],
    "recipient": [RECIPIENT, *RECIPIENT.split()],
    "street": [STREET],
    "phone": [PHONE],
    "operator's reason": [REASON, "Ravenscroft"],
    "operator": [ACTOR],
    "address of an admin": [ADMIN],
    "token of the API": [TOKEN],
    "key of the carrier": [CARRIER_KEY],
}

SOMEBODY = CustomerData(email=f"{MAIL}.of.nobody@shop.example", first_name=FIRST, last_name=LAST)
# What exceptions say that nobody has thought of: by step, and of a process itself. Names stand in fields, as in what a
# program shows of its objects: no log can know one within a sentence.
BLURTED = {
    "validate-customer-data": f"no mail server takes <{SOMEBODY.email}>, {SOMEBODY.email}",
    "create-customer": f"cannot store {SOMEBODY!r}",
    "create-auth-user": f"cannot store {SOMEBODY.model_dump() | {'password_hash': HASH, 'password': GIVEN_AS_HASH}}",
    "assign-customer-group": f"cannot assign {json.dumps(SOMEBODY.model_dump() | {'password_hash': HASH})}",
    "process": f"a plain bug with {SOMEBODY!r} and {json.dumps(SOMEBODY.model_dump() | {'password_hash': HASH})}",
}
