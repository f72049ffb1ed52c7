"""Which tests are the suite of which module: those named for it, and frozen vectors where it makes bytes. Each takes less
than a second of CPU, without the few cases that measure time, count to thousands or stand for whole histories."""

from collections.abc import Mapping
from typing import Final

P: Final = "tests/protocol/test_"
W: Final = "tests/protocol/wire/test_"
V: Final = "tests/vectors/test_"

FROZEN: Final = f"{V}frozen_vectors.py"
MEMBERSHIP: Final = f"{V}membership_vectors.py"
LIMITS: Final = f"{P}frozen_limits.py"
RULES: Final = (
    LIMITS,
    f"{P}chain_edges.py",
    f"{P}members.py",
    f"{P}removals.py",
    f"{P}rights.py",
    FROZEN,
    MEMBERSHIP,
)
RECORDS: Final = (
    LIMITS,
    f"{P}chain_edges.py",
    f"{P}chain_records.py",
    f"{P}members.py",
    f"{P}removals.py",
    FROZEN,
    MEMBERSHIP,
)

LEFT_OUT: Final = (
    f"{FROZEN}::test_the_generator_makes_the_frozen_bytes_every_time",
    f"{P}group_envelope.py::test_two_thousand_and_forty_eight_recipients_each_open_their_envelope",
    f"{W}codec.py::test_a_thousand_bombs_are_each_judged_within_100_ms",
    f"{W}framing.py::test_a_megabyte_fed_byte_by_byte_is_taken_in_linear_time",
)
"""Tests that cost more than the rest of their suite."""

DECLARED: Final = frozenset({"broker_api", "broker_chain", "broker_meeting", "crashpoints", "ids", "op", "registry"})
"""Modules without a suite here: they name ids and declare the calls of daemon and broker."""

SUITES: Final[Mapping[str, tuple[str, ...]]] = {
    "pae": (LIMITS, f"{P}pae.py", FROZEN),
    "padding": (LIMITS, f"{P}sealing.py", FROZEN),
    "keys": (LIMITS, f"{P}keys.py", f"{P}sealing.py", f"{V}rfc_vectors.py", FROZEN),
    "hpke": (LIMITS, f"{P}sealing.py", f"{V}rfc_vectors.py", FROZEN),
    "prekeys": (LIMITS, f"{P}onetime_batches.py", f"{V}onetime_vectors.py"),
    "envelope": (LIMITS, f"{P}envelope.py", f"{P}envelope_edges.py", FROZEN),
    "fan": (LIMITS, f"{P}fan.py", FROZEN),
    "group_envelope": (LIMITS, f"{P}group_envelope.py", f"{P}group_forgeries.py", FROZEN),
    "receipt": (LIMITS, f"{P}receipt_contents.py", FROZEN),
    "profile": (LIMITS, f"{P}profile_edges.py", f"{P}profiles.py", f"{V}profile_vectors.py"),
    "attachments": (LIMITS, f"{P}attachment_names.py", f"{P}attachments.py", f"{V}attachment_vectors.py"),
    "void": (LIMITS, f"{P}voids.py", f"{V}void_vectors.py"),
    "hello": (LIMITS, f"{P}hello_signatures.py", f"{P}hello_edges.py", FROZEN),
    "tip": (LIMITS, f"{P}tip_signatures.py", FROZEN),
    "live": (LIMITS, f"{P}live_frames.py", f"{P}live_edges.py", FROZEN),
    "names": (LIMITS, f"{P}names.py", FROZEN),
    "invite": (LIMITS, f"{P}invite_links.py", FROZEN),
    "meeting": (f"{P}meeting.py", f"{P}meeting_edges.py", f"{V}link_vectors.py"),
    "details": (f"{P}details_keys.py",),
    "witness": (f"{P}witness.py", f"{P}witness_edges.py", f"{V}told_vectors.py"),
    "standing": (LIMITS, f"{P}standings.py", f"{V}told_vectors.py"),
    "seals": (LIMITS, f"{P}seal_edges.py", f"{P}seals.py", f"{P}rotation.py", FROZEN),
    "rotation": (
        LIMITS,
        f"{P}rotation.py",
    ),
    "key_request": (LIMITS, f"{P}rotation.py", MEMBERSHIP),
    "safety": (LIMITS, f"{P}safety_numbers.py", MEMBERSHIP),
    "linking": (LIMITS, f"{P}linking.py", MEMBERSHIP),
    "words": (LIMITS, f"{P}linking.py", MEMBERSHIP),
    "rights": (LIMITS, f"{P}rights.py", MEMBERSHIP),
    "chain": RECORDS,
    "chain_bodies": RECORDS,
    "chain_changes": RECORDS,
    "chain_fields": RECORDS,
    "chain_draft": RULES,
    "chain_rules": RULES,
    "chain_removals": RULES,
    "chain_state": RULES,
    "members": RULES,
    "forks": (LIMITS, f"{P}chain_edges.py", f"{P}forks.py", MEMBERSHIP),
    "wire.codec": (LIMITS, f"{W}codec.py", f"{W}wire_vectors.py"),
    "wire.errors": (
        LIMITS,
        f"{W}errors.py",
    ),
    "wire.framing": (LIMITS, f"{W}framing_edges.py", f"{W}framing.py", f"{W}wire_vectors.py"),
    "wire.items": (
        LIMITS,
        f"{W}items.py",
    ),
    "wire.record": (
        LIMITS,
        f"{W}items.py",
    ),
    "wire.rpc": (LIMITS, f"{W}rpc.py", f"{W}wire_vectors.py"),
}
