"""The command line with a sample shop of a third of the orders: `python -m tests.system.small_demo demo`."""

from starter.__main__ import main
from starter.demo import sample_orders, sample_shop

PART = 3

if __name__ == "__main__":
    sample_orders.ORDERS //= PART
    sample_orders.PAUSE *= PART
    sample_orders.CASES = {place // PART: case for place, case in sample_orders.CASES.items()}
    sample_orders.REVIEWS = {place // PART: outcome for place, outcome in sample_orders.REVIEWS.items()}
    sample_shop.TAKEN_BACK //= PART
    main()
