"""Roles and what each may do: one closed list of permissions, a set of them for each role, and one for a single member.

```
owner   everything, and nobody takes any of it from him
admin   everything but deleting the mesh
member  sending, using tools, writing state
```

A `policy` record gives one member another set than his role's; a `set_role` record ends it. Who may sign what on the
chain follows from here (`chain_rules`, `chain_removals`); what a peer may do with another is that peer's own grant.
"""

from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from mesh_protocol.pae import BadEncoding

ROLES: Final = ("member", "admin", "owner")
"""From the least to the most."""

PERMISSIONS: Final = (
    "delete_mesh",
    "deploy_mcp",
    "invite",
    "manage_files",
    "manage_permissions",
    "manage_vault",
    "manage_watches",
    "manage_webhooks",
    "send",
    "use_tools",
    "write_state",
)
"""Every permission there is, in rising order."""

ALL: Final = frozenset(PERMISSIONS)

ROLE_PERMISSIONS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "owner": ALL,
        "admin": ALL - {"delete_mesh"},
        "member": frozenset({"send", "use_tools", "write_state"}),
    }
)


def rank(role: str) -> int:
    """The place of a role: 0 member, 1 admin, 2 owner. Raises BadEncoding for any other word."""
    try:
        return ROLES.index(role)
    except ValueError:
        raise BadEncoding("a role must be owner, admin or member") from None


def effective(role: str, policy: frozenset[str] | None) -> frozenset[str]:
    """The permissions of a member with this role; `policy` is what a policy record gave him, or None."""
    return ROLE_PERMISSIONS[role] if policy is None or role == "owner" else policy


def require_permissions(permissions: tuple[str, ...]) -> None:
    """Raises BadEncoding unless these are known permissions in rising order, each once."""
    if not ALL.issuperset(permissions):
        raise BadEncoding("a permission that this build does not know: update meshd")
    if any(first >= second for first, second in pairwise(permissions)):
        raise BadEncoding("permissions must stand in rising order, each once")
