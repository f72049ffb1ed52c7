"""Who shares the API proxy of this host, and under which accounts."""

from typing import TYPE_CHECKING

from mesh_protocol.ops.proxyteam import (
    AccountRow,
    AccountsAnswer,
    AddAccount,
    AllowAnswer,
    AllowClient,
    ClientRow,
    ClientsAnswer,
    DropAccount,
    ListAccounts,
    ListClients,
    NameAnswer,
    RevokeClient,
)
from mesh_protocol.wire.errors import MeshError
from meshd.local.dispatch import Call, handles

if TYPE_CHECKING:
    from meshd.services.proxy.service import Service


@handles(AllowClient)
async def allow_client(call: Call, request: AllowClient) -> AllowAnswer:
    service = _service_that_is_on(call)
    if request.account and all(each.name != request.account for each in service.accounts.all()):
        raise MeshError("not_found", what="account", id=request.account)
    token = await service.clients.allow(request.name, request.account)
    return AllowAnswer(name=request.name, account=request.account, url=service.settings.url_of(token))


@handles(ListClients)
async def list_clients(call: Call, request: ListClients) -> ClientsAnswer:
    clients = call.app.proxy.service().clients.all() if call.app.proxy.used else []
    return ClientsAnswer(clients=[ClientRow(*each) for each in clients])


@handles(RevokeClient)
async def revoke_client(call: Call, request: RevokeClient) -> NameAnswer:
    if not (call.app.proxy.used and await call.app.proxy.service().clients.revoke(request.name)):
        raise MeshError("not_found", what="client", id=request.name)
    return NameAnswer(name=request.name)


@handles(AddAccount)
async def add_account(call: Call, request: AddAccount) -> AccountRow:
    from meshd.services.proxy.team.accounts import LOGIN, Account  # with the service, only where it is used

    service = _service_that_is_on(call)
    if (request.kind == LOGIN) != bool(request.token_url):
        raise MeshError("bad_request", what="a login has a --token-url, a key has none")
    account = Account(
        request.name, request.kind, request.host, request.token_url, request.client_id, call.app.node.now()
    )
    await service.accounts.add(account, request.secret)
    service.accounts_changed()
    return AccountRow(*account)


@handles(ListAccounts)
async def list_accounts(call: Call, request: ListAccounts) -> AccountsAnswer:
    accounts = call.app.proxy.service().accounts.all() if call.app.proxy.used else []
    return AccountsAnswer(accounts=[AccountRow(*each) for each in accounts])


@handles(DropAccount)
async def drop_account(call: Call, request: DropAccount) -> NameAnswer:
    if not (call.app.proxy.used and await call.app.proxy.service().accounts.remove(request.name)):
        raise MeshError("not_found", what="account", id=request.name)
    call.app.proxy.service().accounts_changed()
    return NameAnswer(name=request.name)


def _service_that_is_on(call: Call) -> "Service":
    if not call.app.proxy.used or not call.app.proxy.service().settings.on:
        raise MeshError("service_off", service="proxy")
    return call.app.proxy.service()
