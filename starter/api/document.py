"""The OpenAPI document keeps the nulls of its examples, which FastAPI would remove."""

from typing import Any

from fastapi import FastAPI

NULL = "(null)"  # stands for None while FastAPI makes the document


def restore_nulls(app: FastAPI) -> None:
    """Put the nulls back into the app's document."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            generate()
            app.openapi_schema = _replace(app.openapi_schema, NULL, None)
        document: dict[str, Any] = app.openapi_schema or {}
        return document

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI documents it


def keep_nulls(example: Any) -> Any:
    """Return an example whose nulls `restore_nulls` will find."""
    return _replace(example, None, NULL)


def _replace(value: Any, old: str | None, new: str | None) -> Any:
    match value:
        case dict():
            return {name: _replace(item, old, new) for name, item in value.items()}
        case list():
            return [_replace(item, old, new) for item in value]
    return new if value == old else value
