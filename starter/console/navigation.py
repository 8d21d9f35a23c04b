"""The pages that the navigation leads to, in its order."""

from typing import NamedTuple

from starter.console.sessions import PATH


class Place(NamedTuple):
    """A page of the navigation: its address, and its name."""

    path: str
    name: str

    def is_current(self, path: str) -> bool:
        """Return whether a path is this page, or one below it."""
        return path == self.path or (self.path != f"{PATH}/" and path.startswith(f"{self.path}/"))


NAVIGATION = (
    Place(f"{PATH}/", "Today"),
    Place(f"{PATH}/orders", "Orders"),
    Place(f"{PATH}/returns", "Returns"),
    Place(f"{PATH}/processes", "Processes"),
    Place(f"{PATH}/stock", "Stock"),
    Place(f"{PATH}/jobs", "Jobs"),
    Place(f"{PATH}/reports", "Reports"),
    Place(f"{PATH}/mails", "Mails"),
    Place(f"{PATH}/webhooks", "Webhooks"),
    Place(f"{PATH}/customers", "Customers"),
)
