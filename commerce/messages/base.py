"""The base of all messages: immutable models whose validation errors never show values."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

UNKNOWN_FIELD = "there is no such field"


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class Message(BaseModel):
    """The base of all messages: immutable, and its values never appear in errors."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, json_schema_serialization_defaults_required=True)

    def summary(self) -> str:
        """Return a step's result in a few words, to be shown with the progress of the run."""
        return ""


class ProcessInput(Message):
    """The input of a process; an invalid one fails the run with BadInput instead of blocking it."""

    is_process_input: ClassVar[bool] = True


class FieldError(Message):
    """The problem with one field of an input, without its value."""

    field: str
    message: str


def problem_message(kind: str, message: str) -> str:
    """Return the text of one of pydantic's validation problems; `kind` is its type."""
    return UNKNOWN_FIELD if kind == "extra_forbidden" else message.removeprefix("Value error, ")


def field_errors(error: ValidationError) -> list[FieldError]:
    """Return pydantic's validation problems, one per field and without values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        FieldError(
            field=".".join(str(part) for part in problem["loc"]) or "input",
            message=problem_message(problem["type"], problem["msg"]),
        )
        for problem in problems
    ]


class Nothing(Message):
    """The result of a step that returns no data."""
