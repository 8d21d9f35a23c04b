"""What every model that crosses a process border shares: immutable, and silent about its values."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError


class Message(BaseModel):
    """What every model shares: immutable, and its values never show up in an error."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    def note(self) -> str:
        """Return a step's answer in a few words, for who looks at the run."""
        return ""


class ProcessInput(Message):
    """The input of a process; one that does not fit fails the run as BadInput instead of hanging it."""

    is_process_input: ClassVar[bool] = True


class FieldError(Message):
    """What is wrong with one field of an input, without its value."""

    field: str
    message: str


def field_errors(error: ValidationError) -> list[FieldError]:
    """Return what pydantic complains of, by field and without values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        FieldError(
            field=".".join(str(part) for part in problem["loc"]) or "input",
            message=problem["msg"].removeprefix("Value error, "),
        )
        for problem in problems
    ]


class Nothing(Message):
    """A step's answer that says only that it is done."""
