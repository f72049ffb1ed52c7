"""The daemon's database: one file, because a message, its dedupe mark and its receipt must share one commit."""

from typing import Final

APPLICATION_ID: Final = 0x6D657368  # "mesh"

_V1: Final = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE mesh(
  mesh BLOB PRIMARY KEY, slug TEXT NOT NULL UNIQUE, state TEXT NOT NULL, me TEXT NOT NULL, member BLOB NOT NULL,
  broker_url TEXT NOT NULL, broker_key BLOB NOT NULL, secret BLOB NOT NULL, created_ms INTEGER NOT NULL,
  next_mseq INTEGER NOT NULL DEFAULT 0, trouble TEXT NOT NULL DEFAULT '') STRICT, WITHOUT ROWID;

CREATE TABLE chain(mesh BLOB NOT NULL, seq INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY(mesh, seq))
  STRICT, WITHOUT ROWID;

CREATE TABLE epoch_key(mesh BLOB NOT NULL, epoch INTEGER NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY(mesh, epoch))
  STRICT, WITHOUT ROWID;

CREATE TABLE prekey(
  mesh BLOB NOT NULL, prekey_id INTEGER NOT NULL, sealed BLOB NOT NULL, signed BLOB NOT NULL, made_ms INTEGER NOT NULL,
  PRIMARY KEY(mesh, prekey_id)) STRICT, WITHOUT ROWID;

-- What this device sent. Content is sealed under the store key; a message without key repeats freely.
CREATE TABLE message(
  msg_id BLOB PRIMARY KEY, mesh BLOB NOT NULL, kind TEXT NOT NULL, scope TEXT NOT NULL, idem_key TEXT,
  fingerprint BLOB NOT NULL, from_session TEXT NOT NULL, origin TEXT NOT NULL, lane TEXT NOT NULL,
  reply_to BLOB NOT NULL, conv BLOB NOT NULL, created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
  content BLOB NOT NULL, UNIQUE(mesh, scope, idem_key)) STRICT, WITHOUT ROWID;

-- How far it got, for each recipient device. `envelope` is kept from before its first transmission until it is stored
-- there, so that a retry is the same bytes.
CREATE TABLE delivery(
  msg_id BLOB NOT NULL, device BLOB NOT NULL, mesh BLOB NOT NULL, member BLOB NOT NULL, to_session TEXT NOT NULL,
  path TEXT NOT NULL, lane INTEGER NOT NULL, stream_seq INTEGER NOT NULL, attempt INTEGER NOT NULL DEFAULT 0,
  envelope BLOB, message_hash BLOB, outer_hash BLOB, expires_ms INTEGER NOT NULL, queued_ms INTEGER NOT NULL,
  accepted_ms INTEGER NOT NULL DEFAULT 0, stored_ms INTEGER NOT NULL DEFAULT 0, shown_ms INTEGER NOT NULL DEFAULT 0,
  turn_ms INTEGER NOT NULL DEFAULT 0, n INTEGER NOT NULL DEFAULT 0, ended TEXT NOT NULL DEFAULT '',
  session TEXT NOT NULL DEFAULT '', evidence TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '',
  PRIMARY KEY(msg_id, device)) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_waiting ON delivery(mesh, lane, stream_seq)
  WHERE accepted_ms = 0 AND ended = '' AND path = 'mesh';
CREATE INDEX delivery_open ON delivery(expires_ms) WHERE stored_ms = 0 AND ended = '';
CREATE INDEX message_bounce ON message(msg_id) WHERE kind = 'bounce';

-- What this device received. `session_key` is the local session that is to see it; `person` says it is in the person's
-- inbox too. `n` counts the receipts given for it.
CREATE TABLE inbox(
  row INTEGER PRIMARY KEY AUTOINCREMENT, mesh BLOB NOT NULL, msg_id BLOB NOT NULL, from_device BLOB NOT NULL,
  from_member BLOB NOT NULL, from_session TEXT NOT NULL, origin TEXT NOT NULL, to_session TEXT NOT NULL,
  session_key TEXT NOT NULL, person INTEGER NOT NULL, lane TEXT NOT NULL, reply_to BLOB NOT NULL, conv BLOB NOT NULL,
  created_ms INTEGER NOT NULL, stored_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, content BLOB NOT NULL,
  attempt INTEGER NOT NULL, message_hash BLOB NOT NULL, n INTEGER NOT NULL, path TEXT NOT NULL,
  read_ms INTEGER NOT NULL DEFAULT 0, shown_ms INTEGER NOT NULL DEFAULT 0, turn_ms INTEGER NOT NULL DEFAULT 0,
  evidence TEXT NOT NULL DEFAULT '', UNIQUE(from_device, msg_id)) STRICT;
CREATE INDEX inbox_unread ON inbox(person, read_ms) WHERE read_ms = 0;
CREATE INDEX inbox_session ON inbox(session_key, shown_ms) WHERE shown_ms = 0;

CREATE INDEX inbox_message ON inbox(msg_id);

-- Everything committed from another device, receipts included: what makes a second arrival harmless.
CREATE TABLE seen(from_device BLOB NOT NULL, msg_id BLOB NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY(from_device, msg_id))
  STRICT, WITHOUT ROWID;

CREATE TABLE stream(mesh BLOB NOT NULL, device BLOB NOT NULL, sent INTEGER NOT NULL DEFAULT 0, got INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(mesh, device)) STRICT, WITHOUT ROWID;

CREATE TABLE receipt_out(
  id INTEGER PRIMARY KEY AUTOINCREMENT, mesh BLOB NOT NULL, device BLOB NOT NULL, msg_id BLOB NOT NULL,
  attempt INTEGER NOT NULL, message_hash BLOB NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, session TEXT NOT NULL,
  evidence TEXT NOT NULL, at_ms INTEGER NOT NULL, n INTEGER NOT NULL, expires_ms INTEGER NOT NULL) STRICT;
CREATE INDEX receipt_waiting ON receipt_out(mesh, device);

CREATE TABLE session(
  key TEXT PRIMARY KEY, pid INTEGER NOT NULL, start INTEGER NOT NULL, session_id TEXT NOT NULL, name TEXT NOT NULL,
  cwd TEXT NOT NULL, config_dir TEXT NOT NULL, summary TEXT NOT NULL, visible INTEGER NOT NULL, profile TEXT NOT NULL,
  wish TEXT NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;

CREATE TABLE live_seen(mesh BLOB NOT NULL, device BLOB NOT NULL, generation INTEGER NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY(mesh, device)) STRICT, WITHOUT ROWID;
"""

_V2: Final = """
-- One message to many: `audience` is what the sender wrote (@group, *, or empty), `shared` the ciphertext that all its
-- devices get, `secret` (under the store key) what each device's wrap holds.
ALTER TABLE message ADD COLUMN audience TEXT NOT NULL DEFAULT '';
ALTER TABLE message ADD COLUMN shared BLOB;
ALTER TABLE message ADD COLUMN secret BLOB;

-- How far a message got at each of several sessions of one device.
CREATE TABLE delivery_session(
  msg_id BLOB NOT NULL, device BLOB NOT NULL, session TEXT NOT NULL, shown_ms INTEGER NOT NULL DEFAULT 0,
  turn_ms INTEGER NOT NULL DEFAULT 0, evidence TEXT NOT NULL DEFAULT '', ended TEXT NOT NULL DEFAULT '',
  reason TEXT NOT NULL DEFAULT '', PRIMARY KEY(msg_id, device, session)) STRICT, WITHOUT ROWID;

-- A message has one row for each session of this device that it is for.
CREATE TABLE inbox_new(
  row INTEGER PRIMARY KEY AUTOINCREMENT, mesh BLOB NOT NULL, msg_id BLOB NOT NULL, from_device BLOB NOT NULL,
  from_member BLOB NOT NULL, from_session TEXT NOT NULL, origin TEXT NOT NULL, to_session TEXT NOT NULL,
  session_key TEXT NOT NULL, person INTEGER NOT NULL, lane TEXT NOT NULL, reply_to BLOB NOT NULL, conv BLOB NOT NULL,
  created_ms INTEGER NOT NULL, stored_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, content BLOB NOT NULL,
  attempt INTEGER NOT NULL, message_hash BLOB NOT NULL, n INTEGER NOT NULL, path TEXT NOT NULL,
  read_ms INTEGER NOT NULL DEFAULT 0, shown_ms INTEGER NOT NULL DEFAULT 0, turn_ms INTEGER NOT NULL DEFAULT 0,
  evidence TEXT NOT NULL DEFAULT '', audience TEXT NOT NULL DEFAULT '',
  UNIQUE(from_device, msg_id, to_session)) STRICT;
INSERT INTO inbox_new SELECT row, mesh, msg_id, from_device, from_member, from_session, origin, to_session, session_key,
  person, lane, reply_to, conv, created_ms, stored_ms, expires_ms, content, attempt, message_hash, n, path, read_ms,
  shown_ms, turn_ms, evidence, '' FROM inbox;
DROP TABLE inbox;
ALTER TABLE inbox_new RENAME TO inbox;
CREATE INDEX inbox_unread ON inbox(person, read_ms) WHERE read_ms = 0;
CREATE INDEX inbox_session ON inbox(session_key, shown_ms) WHERE shown_ms = 0;
CREATE INDEX inbox_message ON inbox(msg_id);
CREATE INDEX inbox_conversation ON inbox(conv);
CREATE INDEX message_conversation ON message(conv);
CREATE INDEX message_void ON message(msg_id) WHERE kind = 'void';

-- Which groups the sessions of this device are in, and what every other device last said of its own (sealed).
CREATE TABLE group_member(
  session_key TEXT NOT NULL, name TEXT NOT NULL, role TEXT NOT NULL, joined_ms INTEGER NOT NULL,
  PRIMARY KEY(session_key, name)) STRICT, WITHOUT ROWID;
CREATE TABLE profile(
  mesh BLOB NOT NULL, device BLOB NOT NULL, version INTEGER NOT NULL, at_ms INTEGER NOT NULL, sealed BLOB NOT NULL,
  PRIMARY KEY(mesh, device)) STRICT, WITHOUT ROWID;

-- How a session wants its messages: push, inbox (only when it asks) or off.
ALTER TABLE session ADD COLUMN mode TEXT NOT NULL DEFAULT 'push';
"""

_V3: Final = """
-- What this person decided of a sender's messages to his sessions: hold or refuse; no row is allow.
CREATE TABLE trust(mesh BLOB NOT NULL, member BLOB NOT NULL, policy TEXT NOT NULL, PRIMARY KEY(mesh, member))
  STRICT, WITHOUT ROWID;

-- Messages that no session gets until they are let in, and the session each was for. Its inbox row names the session
-- 'held' meanwhile, which is no session's key.
CREATE TABLE held(row INTEGER PRIMARY KEY, session_key TEXT NOT NULL, since_ms INTEGER NOT NULL) STRICT;
"""

_V4: Final = """
-- How long this machine was connected to the mesh's broker since a signed prekey was made.
ALTER TABLE prekey ADD COLUMN connected_ms INTEGER NOT NULL DEFAULT 0;

-- One-time prekeys whose private half (sealed) is here, and those that are used up, with the message they went for.
CREATE TABLE onetime(
  mesh BLOB NOT NULL, prekey_id INTEGER NOT NULL, sealed BLOB NOT NULL, made_ms INTEGER NOT NULL,
  PRIMARY KEY(mesh, prekey_id)) STRICT, WITHOUT ROWID;
CREATE TABLE onetime_used(
  mesh BLOB NOT NULL, prekey_id INTEGER NOT NULL, from_device BLOB NOT NULL, msg_id BLOB NOT NULL, at_ms INTEGER NOT NULL,
  PRIMARY KEY(mesh, prekey_id)) STRICT, WITHOUT ROWID;
"""

_V5: Final = """
-- Who changed what: signed entries, each with the hash of the one before.
CREATE TABLE audit(seq INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;

-- Members whose keys a person compared: their devices then, and the name that they had.
CREATE TABLE verified(
  mesh BLOB NOT NULL, member BLOB NOT NULL, name TEXT NOT NULL, devices BLOB NOT NULL, at_ms INTEGER NOT NULL,
  PRIMARY KEY(mesh, member)) STRICT, WITHOUT ROWID;
"""

_V6: Final = """
-- What a person withholds from a sender besides: words with blanks between. A policy of allow may stand beside it.
ALTER TABLE trust ADD COLUMN withheld TEXT NOT NULL DEFAULT '';
-- When that was decided, on whichever device of the person; and when each of his other devices was told all of it.
ALTER TABLE trust ADD COLUMN at_ms INTEGER NOT NULL DEFAULT 0;
-- Keys under which devices say what their sessions do where not everybody may read it (sealed; the own one with who has it).
CREATE TABLE details_key(mesh BLOB NOT NULL, device BLOB NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY(mesh, device))
  STRICT, WITHOUT ROWID;
CREATE TABLE standing_told(mesh BLOB NOT NULL, device BLOB NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY(mesh, device))
  STRICT, WITHOUT ROWID;

-- The guard, where it is on: its passphrase (sealed, stretched) and the tries at it; and tokens by their hash.
CREATE TABLE guard(
  one INTEGER PRIMARY KEY CHECK(one = 1), sealed BLOB NOT NULL, since_ms INTEGER NOT NULL, tries INTEGER NOT NULL,
  last_ms INTEGER NOT NULL) STRICT;
CREATE TABLE guard_token(
  id TEXT PRIMARY KEY, name TEXT NOT NULL, hash BLOB NOT NULL, made_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
  used_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Recovery keys of meshes that were made or restored here (sealed; NULL: removed from here), and when they were backed up.
CREATE TABLE recovery(mesh BLOB PRIMARY KEY, sealed BLOB, backed_up_ms INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;

-- Valid records of other histories of a mesh, epoch keys that belong to those, the newest tip of our own history that
-- the broker signed, and signed tips of histories that nobody has shown us.
CREATE TABLE branch(mesh BLOB NOT NULL, hash BLOB NOT NULL, record BLOB NOT NULL, PRIMARY KEY(mesh, hash))
  STRICT, WITHOUT ROWID;
CREATE TABLE branch_key(
  mesh BLOB NOT NULL, epoch INTEGER NOT NULL, kc BLOB NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY(mesh, epoch, kc))
  STRICT, WITHOUT ROWID;
CREATE TABLE signed_tip(mesh BLOB PRIMARY KEY, tip BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE evidence(
  mesh BLOB NOT NULL, hash BLOB NOT NULL, tip BLOB NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY(mesh, hash))
  STRICT, WITHOUT ROWID;

-- The highest record of the chain that each other machine was seen to hold.
CREATE TABLE confirmed(mesh BLOB NOT NULL, device BLOB NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY(mesh, device))
  STRICT, WITHOUT ROWID;

-- Members' machines that want to leave and wait for this one to sign it; `seq` is the record under which they said so.
CREATE TABLE leaver(
  mesh BLOB NOT NULL, device BLOB NOT NULL, seq INTEGER NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY(mesh, device))
  STRICT, WITHOUT ROWID;

-- When this machine learnt of each device of a mesh.
CREATE TABLE device_added(mesh BLOB NOT NULL, device BLOB NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY(mesh, device))
  STRICT, WITHOUT ROWID;
"""

MIGRATIONS: Final = (_V1, _V2, _V3, _V4, _V5, _V6)
