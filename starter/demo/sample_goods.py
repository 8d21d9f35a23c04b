"""The items and customers of the sample shop, all of them invented."""

from random import Random
from typing import NamedTuple

WORKSHOP, HARBOUR = "Workshop", "Harbour Store"  # the two locations; the first has priority

# Handle, title, price, variants. A product without variants has a single one, named like it.
PRODUCTS = """
linen-notebook     | Linen Notebook              | 12.50 | Sage, Clay, Ink
dot-grid-journal   | Dot Grid Journal            | 16.00 | Small, Large
letter-set         | Slow Post Letter Set        | 14.00 | Cream, Blue
heron-pen          | Heron Fountain Pen          | 38.00 | Fine, Medium
garden-ink         | Garden Ink 50 ml            |  9.50 | Moss, Dusk, Rust
pencil-tin         | Tin of Twelve Pencils       | 11.00 |
brass-ruler        | Brass Ruler                 | 13.50 |
meadow-tape        | Meadow Paper Tape           |  4.20 | Poppy, Fern, Cornflower
wax-seal           | Wax Seal Kit                | 22.00 | Fox, Owl
postcard-box       | Box of Thirty Postcards     |  9.00 |
desk-calendar      | Perpetual Desk Calendar     | 28.00 | Oak, Walnut
sketchbook         | Pocket Sketchbook           |  7.50 | Plain, Toned
paper-clips        | Brass Paper Clips           |  5.50 |
pencil-roll        | Canvas Pencil Roll          | 19.00 | Olive, Rust
bookplates         | Woodcut Bookplates          |  6.40 | Hare, Heron
paper-lampshade    | Paper Lampshade             | 24.00 |
harbour-breakfast  | Harbour Breakfast Tea       |  7.80 | 50 g, 125 g, 250 g
grey-heron         | Grey Heron Earl Grey        |  8.40 | 50 g, 125 g, 250 g
quiet-evening      | Quiet Evening Camomile      |  6.90 | 50 g, 125 g
mountain-oolong    | Misty Mountain Oolong       | 12.20 | 50 g, 125 g
toasted-rice       | Toasted Rice Green Tea      |  8.90 | 50 g, 125 g
orchard-rooibos    | Orchard Rooibos             |  6.60 | 50 g, 125 g
first-snow         | First Snow White Tea        | 15.50 | 50 g
garden-mint        | Garden Mint                 |  5.20 | 50 g, 125 g
tea-letters        | Seven Teas by Letter        | 18.00 |
tea-tin            | Tea Tin                     | 11.50 | Copper, Slate
tea-strainer       | Nesting Tea Strainer        | 14.80 |
honey-spoon        | Olivewood Honey Spoon       |  6.20 |
morning-mug        | Morning Mug                 | 17.00 | Oat, Speckle, Sea
teapot-for-two     | Teapot for Two              | 42.00 | Oat, Sea
little-pourer      | Little Milk Pourer          | 15.00 | Oat, Speckle
egg-cups           | Pair of Egg Cups            | 16.50 | Oat, Sea
soup-bowl          | Wide Soup Bowl              | 21.00 | Oat, Speckle, Sea
side-plate         | Side Plate                  | 14.50 | Oat, Speckle
bud-vase           | Bud Vase                    | 19.50 | Moss, Chalk, Plum
butter-dish        | Butter Dish                 | 26.00 |
salt-cellar        | Salt Cellar                 | 12.00 | Chalk, Plum
incense-pebble     | Incense Pebble              |  9.80 |
festival-teapot    | Festival Teapot             | 68.00 |
moon-jar           | Moon Jar, Thrown to Order   | 54.00 |
gift-card          | Gift Card by E-mail         | 25.00 |
"""
SCARCE = (  # everybody wants them; there are fewer than wanted
    *("MORNING-MUG-SPECKLE", "HERON-PEN-FINE", "HARBOUR-BREAKFAST-125-G"),
    *("TEAPOT-FOR-TWO-SEA", "LINEN-NOTEBOOK-SAGE", "GARDEN-INK-MOSS"),
)
SPREAD = "FESTIVAL-TEAPOT"  # a few at each location
BACKORDER = "MOON-JAR"  # may be ordered beyond stock
UNTRACKED = "GIFT-CARD"  # has no stock and is not shipped

# Names and streets as text, separated by blanks and commas.
FIRST_NAMES = """
    Ada Amara Bella Bruno Callum Clara Dario Edith Elif Emil Fern Finn Greta Hana Hugo Ines Iris Jonas Juno Kofi Lena
    Leo Lior Mabel Marek Mina Nadia Niall Noor Orla Oskar Pia Priya Quinn Rafael Rosa Sami Silas Tamsin Theo Una Viktor
    Wren Yara Zelda
"""
LAST_NAMES = """
    Abbott Achterberg Bellamy Brandt Carvalho Castell Dauphin Dunmore Eklund Falk Fenwick Gallagher Haddad Hartley
    Ibarra Jansen Kessler Kowalska Lindqvist Marlowe Mbeki Nakamura Novak Okafor Penrose Quist Rahman Rowan Sandoval
    Thorne Umarov Vance Winslow Yilmaz Zeller
"""
STREETS = """
    Alder Lane, Bellringer Street, Canal Walk, Dovecote Road, Elm Rise, Ferry Lane, Granary Row, Hillcrest, Ivy Court,
    Juniper Way, Kiln Street, Lantern Yard, Mill Road, North Quay, Orchard Close, Pump Street
"""


class Town(NamedTuple):
    """A town where customers live."""

    city: str
    zip: str
    province: str
    country: str


class Customer(NamedTuple):
    """A customer."""

    name: str
    email: str
    street: str
    town: Town


TOWNS = (
    *(Town("Bristol", "BS1 4DJ", "", "GB"), Town("Leeds", "LS1 5ES", "", "GB"), Town("Edinburgh", "EH1 1TG", "", "GB")),
    *(Town("Cardiff", "CF10 2AF", "", "GB"), Town("Cork", "T12 W8KP", "", "IE"), Town("Lyon", "69002", "", "FR")),
    *(Town("Freiburg", "79098", "", "DE"), Town("Utrecht", "3511 ED", "", "NL"), Town("Portland", "97205", "OR", "US")),
)


class Item(NamedTuple):
    """A variant for sale; the price is in minor units."""

    sku: str
    handle: str
    title: str  # of the product
    name: str  # on an order line
    price: int


def customers(random: Random, count: int) -> list[Customer]:
    """Return `count` different customers."""
    first, last, streets = FIRST_NAMES.split(), LAST_NAMES.split(), [name.strip() for name in STREETS.split(",")]
    names = random.sample([(a, b) for a in first for b in last], count)
    return [
        Customer(
            name=f"{a} {b}",
            email=f"{a}.{b}@customer.example".lower(),
            street=f"{random.randint(1, 180)} {random.choice(streets)}",
            town=random.choice(TOWNS),
        )
        for a, b in names
    ]


def all_items() -> list[Item]:
    """Return every variant in the order of PRODUCTS."""
    rows = [[cell.strip() for cell in row.split("|")] for row in PRODUCTS.strip().splitlines()]
    return [
        Item(
            sku="-".join(filter(None, [handle, *variant.lower().split()])).upper(),
            handle=handle,
            title=title,
            name=f"{title} - {variant}" if variant else title,
            price=round(float(price) * 100),
        )
        for handle, title, price, variants in rows
        for variant in variants.split(", ")
    ]
