"""Labels and limits that peers rely on: to change one is to speak another protocol, so each stands here a second time."""

from dataclasses import replace

import pytest

from mesh_protocol import (
    attachments,
    chain,
    chain_bodies,
    chain_changes,
    chain_draft,
    chain_fields,
    envelope,
    fan,
    hello,
    invite,
    key_request,
    linking,
    live,
    names,
    pae,
    prekeys,
    profile,
    receipt,
    rights,
    safety,
    seals,
    standing,
    void,
)
from mesh_protocol.keys import sign_prekey
from mesh_protocol.wire import codec, errors, framing, items, rpc
from mesh_samples import HERE

LABELS = """
    action-approval action-request audit-entry backup chain-record chain-sig dm-info dm-sig epoch-kc epoch-seal file-key
    file-manifest file-payload file-wrap genesis group-aad group-kc group-sig hello-broker hello-client invite-key
    join-name join-request key-request link-commit link-words live-chan live-key live-sig meet-frame meet-key log-aad log-head log-key log-sig
    name prekey-opk-batch prekey-spk remote-open runner-attest safety-number snapshot-key store-column tip vault-aad
    vault-grant wrap-info
"""
LIMITS = {
    attachments: {"MAX_FILES": 16, "MAX_NAME": 255, "CONTENT_TYPE": "mesh/text-and-files"},
    chain: {"MAX_RECORD": 4_096, "SYNC_STEP": 2_000},
    chain_bodies: {"SALT_SIZE": 16, "MAX_INVITE_USES": 1_000},
    chain_changes: {"MAX_KEPT": 90},
    chain_draft: {"MAX_DEVICES": 10_000, "MAX_MEMBER_DEVICES": 10, "MAX_SIGNERS": 64, "MAX_RUN": 32},
    chain_fields: {"MAX_SEALED_NAME": 512, "MAX_BROKER_URLS": 8, "MAX_BROKER_URL": 256},
    envelope: {"MAX_ENVELOPE": 262_144, "MAX_ATTEMPT": 255, "MAX_SESSION": 128, "MAX_LABEL": 512},
    fan: {"MAX_RECIPIENTS": 2_048, "MAX_SHARED": 261_120, "MAX_FAN": 785_408, "WRAPPED_SIZE": 112, "MAX_CODE": 64},
    hello: {"CHALLENGE_SIZE": 32, "HELLO_NONCE_SIZE": 32, "SESSION_ID_SIZE": 16, "MAX_VERSION": 65_535},
    invite: {"SECRET_SIZE": 32, "MAX_SIGNERS": 64, "MAX_JOIN_REQUEST": 65_536, "MAX_LINK": 1_536},
    key_request: {"MAX_KEY_REQUEST": 1_024},
    linking: {"NONCE_SIZE": 32, "WORD_COUNT": 4},
    live: {"CHANNEL_SIZE": 16, "MAX_LIVE": 65_536, "MAX_KIND": 32},
    names: {"MAX_MEMBER_NAME": 32, "MAX_MESH_NAME": 48, "MAX_NAME_BYTES": 240},
    pae: {"MAX_INT": 2**63 - 1},
    prekeys: {"FIRST_ONETIME": 2**62, "MAX_BATCH": 100, "LOW": 30, "BATCH_BYTES": 4_096, "MAX_AGE_MS": 3_888_000_000},
    profile: {"MAX_SESSIONS": 256, "MAX_GROUPS": 32, "MAX_PROFILE": 32_768},
    receipt: {"MAX_ROWS": 64, "MAX_REASON": 64, "MAX_EVIDENCE": 64},
    safety: {"ROUNDS": 5_200, "NUMBER_SIZE": 60},
    seals: {"MAX_EPOCHS": 16_384, "MAX_SEAL": 1_048_576},
    codec: {"DEFAULT": (65_536, 16, 4_096, 65_536)},
    errors: {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "BAD_DATA": 65,
        "UNAVAILABLE": 69,
        "TRY_LATER": 75,
        "NOT_ALLOWED": 77,
        "CONFIG": 78,
    },
    framing: {"MAX_HEADER": 65_536, "MAX_BODY": 1_048_576, "PREFIX": 8},
    items: {"MAX_ITEMS": 4_096},
    rpc: {"PROTOCOL": (1, 0), "MAX_METHOD": 64, "MAX_ID": 2**32 - 1, "MAX_IN_FLIGHT": 64, "CANCEL": "rpc.cancel"},
    standing: {"MAX_ENTRIES": 256, "MAX_WORDS": 16, "POLICIES": {"allow", "hold", "refuse", "block"}},
    void: {"MAX_NUMBERS": 1_024},
}


def test_every_label_that_was_ever_signed_under_is_still_there():
    assert set(LABELS.split()) <= pae.LABELS
    assert len(pae.PURPOSES) == len(pae.LABELS)


def test_a_purpose_that_is_not_registered_is_refused_by_name():
    for use in (lambda: pae.pae("no-purpose", b""), lambda: pae.split_pae(b"", "no-purpose", 1)):
        with pytest.raises(ValueError, match="no-purpose") as raised:
            use()
        assert not isinstance(raised.value, pae.CryptoError)


@pytest.mark.parametrize("module", LIMITS, ids=lambda module: module.__name__)
def test_every_limit_is_the_one_that_was_agreed_on(module):
    assert {name: getattr(module, name) for name in LIMITS[module]} == LIMITS[module]


def test_what_is_not_said_is_empty():
    assert fan.Outcome(3, 5) == (3, 5, "", 0.0)
    assert HERE.state.members[HERE.member("alice")].invite_id == b""


def test_the_first_prekey_may_be_made_at_the_beginning_of_time():
    assert sign_prekey(HERE.key("bob"), HERE.mesh_id, 0, HERE.prekey("bob").public, 0).made_ms == 0


def test_the_ids_of_one_time_prekeys_begin_at_two_to_the_62nd():
    assert prekeys.is_onetime(2**62)
    assert not prekeys.is_onetime(2**62 - 1)
    key = HERE.key("bob")
    pubs = [HERE.prekey("bob").public]
    assert prekeys.sign_batch(key, HERE.mesh_id, 2**62, 0, pubs).made_ms == 0
    for first_id, made_ms in ((2**62 - 1, 0), (2**63 - 100, 0), (2**62, 2**63)):
        with pytest.raises(pae.BadEncoding):
            prekeys.sign_batch(key, HERE.mesh_id, first_id, made_ms, pubs)


def test_a_prekey_is_too_old_a_moment_after_45_days():
    assert not prekeys.is_too_old(5, 5 + 45 * 86_400_000)
    assert prekeys.is_too_old(5, 6 + 45 * 86_400_000)


def test_a_name_has_one_letter_at_the_least_and_thirty_two_at_the_most():
    for name in ("a", "n" * names.MAX_MEMBER_NAME):
        assert names.check_name(name) == name
    assert names.check_mesh_name("n" * names.MAX_MESH_NAME) == "n" * 48
    for name in ("", "n" * 33):
        with pytest.raises(pae.BadEncoding):
            names.check_name(name)


def test_a_bounce_may_be_of_the_attempt_zero():
    bounce = replace(HERE.bounce, attempt=0)
    assert receipt.Bounce.decode(bounce.encode()) == bounce


def test_there_are_three_roles_and_no_other_word_is_one():
    assert [rights.rank(role) for role in ("member", "admin", "owner")] == [0, 1, 2]
    for word in ("guest", "", "Owner"):
        with pytest.raises(pae.BadEncoding):
            rights.rank(word)
