"""The audit, for the person to read and to check."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from mesh_protocol.ids import DeviceId
from mesh_protocol.ops.audit import AuditAnswer, AuditRow, AuditVerified, ListAudit, VerifyAudit
from mesh_protocol.pae import MAX_INT, CryptoError
from mesh_protocol.wire.errors import MeshError
from meshd.audit_entry import BEGUN, Broken, Entry, read_entry
from meshd.local.dispatch import Call, handles
from meshd.store import audit as store

PORTION: Final = 100
"""Entries read at a time: some 10 ms of checking signatures."""
MAX_BYTES: Final = 48 * 1024
"""Of the rows in one answer; a header holds 64 KiB."""
UNITS_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


@handles(ListAudit)
async def list_audit(call: Call, request: ListAudit) -> AuditAnswer:
    node = call.app.node
    since_ms = node.now() - int(request.since[:-1]) * UNITS_MS[request.since[-1]] if request.since else 0
    rows: list[AuditRow] = []
    told: set[int] = set()
    room, before = MAX_BYTES, MAX_INT
    while found := store.read_before(node.db.reader, before, PORTION):
        entries = await node.seams.threads(partial(_read, node.device, found))
        for entry in entries:
            if entry.deed.began:
                told.add(entry.deed.began)
            if entry.seq in told or entry.deed.at_ms < since_ms:
                continue
            row = _row(call, entry)
            room -= 200 + len(row.who) + len(row.mesh) + 4 * len(row.target)
            if len(rows) == request.limit or room < 0:
                return AuditAnswer(rows=rows, more=True)
            rows.append(row)
        before = found[-1][0]
    return AuditAnswer(rows=rows, more=False)


def _read(device: DeviceId, found: Sequence[tuple[int, bytes]]) -> list[Entry]:
    entries: list[Entry] = []
    for number, data in found:
        try:
            entries.append(read_entry(data, device))
        except CryptoError as error:
            raise MeshError("audit_broken", entry=number, why=f"it was changed ({error})") from None
    return entries


def _row(call: Call, entry: Entry) -> AuditRow:
    deed = entry.deed
    outcome = deed.outcome
    if outcome == BEGUN:
        outcome = "under way" if entry.seq in call.app.audit.under_way else "unfinished"
    return AuditRow(
        entry=entry.seq,
        at_ms=deed.at_ms,
        who=deed.who,
        tier=deed.tier,
        operation=deed.operation,
        mesh=deed.mesh,
        target=" ".join(f"{name}={value}" for name, value in deed.target),
        outcome=outcome,
    )


@handles(VerifyAudit)
async def verify_audit(call: Call, request: VerifyAudit) -> AuditVerified:
    try:
        walk = await call.app.audit.verify()
    except Broken as broken:
        raise MeshError("audit_broken", entry=broken.seq, why=broken.why) from None
    newest = walk.last.hash.hex() if walk.last is not None else ""
    return AuditVerified(entries=walk.count, since_ms=walk.since_ms, newest=newest, first=walk.first)
