"""What the pages of lists share: filters that are the address of the page, and reasons of actions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from http import HTTPStatus
from typing import Any, TypedDict, TypeVar
from urllib.parse import quote, urlencode

from starlette.responses import Response

from commerce.errors import BadInput
from commerce.messages.base import FieldError
from starter.console.sessions import PATH
from starter.console.views import View

ChoiceT = TypeVar("ChoiceT", bound=str)
NO_REASON = "Say why: the reason is kept."


class Who(TypedDict):
    """The reason of an action, and whose it is."""

    reason: str
    actor: str


class Listing:
    """A page with a list. Its address has the filters, and where its page of the list starts.

    `problems` collects what is wrong with the filters, until `check`; `problem` is what the page shows of it. The
    template gets `problem`, `filters`, `here` and `is_first`.
    """

    def __init__(self, view: View, path: str, names: Sequence[str]) -> None:
        self._view = view
        query = {name: value.replace("\0", "").strip() for name, value in view.request.query_params.items()}
        sent = {name: value for name, value in query.items() if value}
        self.filters = {name: sent.get(name, "") for name in names}
        self.cursor = sent.get("cursor")
        used = {name: value for name, value in self.filters.items() if value}
        self.here = f"{PATH}/{path}" + (f"?{urlencode(used)}" if used else "")
        self.problems: list[FieldError] = []
        self.problem: str | None = None

    def choice(self, name: str, choices: Sequence[ChoiceT]) -> ChoiceT | None:
        """Return the value of a filter that must be one of these, or None without one."""
        value = self.filters[name]
        if value and value not in choices:
            self.problems.append(FieldError(field=name, message=f"must be one of {', '.join(choices)}"))
        return next((choice for choice in choices if choice == value), None)

    def day(self, name: str) -> date | None:
        """Return the day that a filter names, or None without one."""
        try:
            return date.fromisoformat(self.filters[name]) if self.filters[name] else None
        except ValueError:
            self.problems.append(FieldError(field=name, message="must be a day like 2026-03-01"))
            return None

    def check(self) -> None:
        """Raise BadInput if a filter was wrong."""
        if self.problems:
            raise BadInput(self.problems)

    @contextmanager
    def showing_problems(self) -> Iterator[None]:
        """Catch a BadInput of the block, for the page to show."""
        try:
            yield
        except BadInput as error:
            self.problem = summary(error)

    def render(self, template: str, **variables: Any) -> Response:
        """Return the page; its status is 422 if it shows a problem."""
        status = HTTPStatus.UNPROCESSABLE_ENTITY if self.problem else HTTPStatus.OK
        address = {"filters": self.filters, "here": self.here, "is_first": self.cursor is None}
        return self._view.render(template, status, problem=self.problem, **address, **variables)


def who(view: View) -> Who:
    """Return the reason that a form gives, and whose it is. Raises BadInput without a reason."""
    reason = view.form.get("reason")
    if not reason:
        raise BadInput([FieldError(field="reason", message=NO_REASON)])
    return {"reason": reason, "actor": view.caller.name}


def summary(error: BadInput) -> str:
    """Return what is wrong, on one line."""
    return "; ".join(f"{field.field}: {field.message}" for field in error.fields)


def process_path(process_id: str, part: str = "") -> str:
    """Return the path of the page of a process, or of what is below it."""
    return f"{PATH}/processes/{quote(process_id, safe='~')}{part}"
