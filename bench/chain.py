"""A chain of 10,000 records, read and verified from cold as a device does that joins or is restored."""

import os
import time
from typing import Final

from nacl import bindings as sodium

from bench.connections import first_records
from bench.figures import Figure
from mesh_protocol.chain import AddMember, InviteClose, InviteOpen, Record, invite_id_of, make_record, mesh_id_of
from mesh_protocol.ids import MemberId
from mesh_protocol.keys import SigningKey
from mesh_protocol.members import extend

RECORDS: Final = 10_000
LIMIT: Final = 4.0
"""What reading and folding may add to the signatures themselves."""


def make_chain(count: int) -> list[bytes]:
    """A mesh that lets people in: of three records one opens an invite, one admits by it or without, one closes it."""
    owner = SigningKey.from_seed(os.urandom(32))
    records = first_records(owner, "wss://broker.example", SigningKey.from_seed(os.urandom(32)).public)
    mesh = mesh_id_of(records[0])

    def append(kind: str, body: bytes) -> Record:
        records.append(make_record(records[-1], kind, body, owner, mesh))
        return records[-1]

    while len(records) < count:
        pub = SigningKey.from_seed(os.urandom(32)).public
        opened = append("invite_open", InviteOpen(pub, "member", 2, 1 << 45, False).encode())
        device = SigningKey.from_seed(os.urandom(32)).public
        invite_id = invite_id_of(opened)
        append("add_member", AddMember(MemberId(os.urandom(16)), "member", device, os.urandom(296), invite_id).encode())
        append("invite_close", InviteClose(invite_id).encode())
    return [record.encode() for record in records[:count]]


def measure_chain() -> list[Figure]:
    """Seconds from the bytes of the records to the state, against as many bare verifications."""
    chain = make_chain(RECORDS)
    began = time.perf_counter()
    state = extend(None, [Record.decode(data) for data in chain])
    took = time.perf_counter() - began
    if state.seq != RECORDS:
        raise RuntimeError(f"the chain ends at {state.seq}")
    key = SigningKey.from_seed(os.urandom(32))
    message = bytes(500)
    signature = key.sign(message)
    began = time.perf_counter()
    for _ in range(RECORDS):
        sodium.crypto_sign_open(signature + message, key.public)
    bare = time.perf_counter() - began
    note = f"{RECORDS / took:,.0f} records a second, {sum(map(len, chain)) >> 10:,} KiB"
    return [
        Figure(f"a chain of {RECORDS:,} records from cold", took, "s", bare, "its signatures alone", LIMIT, note=note)
    ]


if __name__ == "__main__":
    for figure in measure_chain():
        print(f"{figure.name}: {figure.value:.3g} {figure.unit}, {figure.ratio:.2f} × {figure.against}; {figure.note}")
