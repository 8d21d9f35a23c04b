"""Who sends a request, and what they may do: every route states the least role that it requires."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer, SecurityScopes

from commerce.api_tokens import Role as Role
from starter.api.error_codes import ErrorCode
from starter.api.errors import ApiError

# Documents the header in OpenAPI; starter/api/tokens.py checks it, also for paths without a route.
BEARER = HTTPBearer(auto_error=False, description="The secret of one of COMMERCE_API_TOKENS")


@dataclass(frozen=True)
class Caller:
    """Who sends a request: the name that the record of operators' actions has, and the role."""

    name: str
    role: Role

    @property
    def sees_personal_data(self) -> bool:
        """Whether customers' data are shown in clear."""
        return self.role.includes(Role.operator)

    def require(self, least: Role) -> None:
        """Raise ApiError unless the caller has this role or a higher one."""
        if not self.role.includes(least):
            message = f"This requires the role {least}; {self.name} has the role {self.role}"
            raise ApiError(HTTPStatus.FORBIDDEN, ErrorCode.RoleRequired, message)


LOCAL = Caller("local", Role.admin)  # without tokens, only this machine can reach the API


def caller_of(request: Request) -> Caller:
    """Return who sends a request, as the check of tokens or of the session has found out."""
    caller: Caller = request.state.caller
    return caller


CallerDep = Annotated[Caller, Depends(caller_of)]


def requires(least: Role) -> Any:
    """Return the dependency of a route that only callers with this role or a higher one may use; else it is a 403.

    OpenAPI names the role in the route's `security`.
    """
    return Security(_check_role, scopes=[least])


def _check_role(scopes: SecurityScopes, caller: CallerDep, _: Annotated[Any, Security(BEARER)]) -> None:
    for least in scopes.scopes:
        caller.require(Role(least))
