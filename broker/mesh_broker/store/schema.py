"""The broker's tables. Every column is an id, a number, a key, a signed record or ciphertext."""

from typing import Final

APPLICATION_ID: Final = 0x6D627231  # "mbr1"

MIGRATIONS: Final = (
    """
    CREATE TABLE mesh (
        no INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        creator BLOB NOT NULL,
        free INTEGER NOT NULL,              -- made without the admission token
        made_ms INTEGER NOT NULL,
        chain_seq INTEGER NOT NULL,
        chain_head BLOB NOT NULL,
        log_seq INTEGER NOT NULL,
        log_head BLOB NOT NULL,
        accepted INTEGER NOT NULL DEFAULT 0 -- envelopes accepted so far
    );
    CREATE INDEX mesh_creator ON mesh (creator) WHERE free;
    CREATE TABLE record (
        mesh INTEGER NOT NULL REFERENCES mesh,
        seq INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (mesh, seq)
    ) WITHOUT ROWID;
    CREATE TABLE log (
        mesh INTEGER NOT NULL REFERENCES mesh,
        n INTEGER NOT NULL,
        head BLOB NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (mesh, n)
    ) WITHOUT ROWID;
    CREATE TABLE device (
        no INTEGER PRIMARY KEY,
        mesh INTEGER NOT NULL REFERENCES mesh,
        id BLOB NOT NULL,
        generation INTEGER NOT NULL DEFAULT 0,
        next_mseq INTEGER NOT NULL DEFAULT 1,
        mail_rows INTEGER NOT NULL DEFAULT 0,
        mail_bytes INTEGER NOT NULL DEFAULT 0,
        prekey BLOB,
        UNIQUE (mesh, id)
    );
    CREATE TABLE seal (
        device INTEGER NOT NULL REFERENCES device,
        epoch INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (device, epoch)
    ) WITHOUT ROWID;
    CREATE TABLE mail (
        no INTEGER PRIMARY KEY,
        device INTEGER NOT NULL REFERENCES device,
        lane INTEGER NOT NULL,
        mseq INTEGER NOT NULL,
        sender INTEGER NOT NULL REFERENCES device,
        member BLOB NOT NULL,
        expires_ms INTEGER NOT NULL,
        size INTEGER NOT NULL,
        envelope BLOB NOT NULL
    );
    CREATE UNIQUE INDEX mail_order ON mail (device, lane, mseq);
    CREATE INDEX mail_expiry ON mail (expires_ms);
    CREATE TABLE share (                    -- what one member's envelopes take in one mailbox
        device INTEGER NOT NULL REFERENCES device,
        member BLOB NOT NULL,
        mail_rows INTEGER NOT NULL,
        mail_bytes INTEGER NOT NULL,
        PRIMARY KEY (device, member)
    ) WITHOUT ROWID;
    CREATE TABLE dedupe (
        no INTEGER PRIMARY KEY,             -- rises with time: pruning begins at the lowest
        sender INTEGER NOT NULL,
        device INTEGER NOT NULL,
        msg_id BLOB NOT NULL,
        attempt INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        UNIQUE (sender, device, msg_id, attempt)
    );
    CREATE TABLE joining (
        no INTEGER PRIMARY KEY AUTOINCREMENT,
        mesh INTEGER NOT NULL REFERENCES mesh,
        invite BLOB NOT NULL,
        device BLOB NOT NULL,
        expires_ms INTEGER NOT NULL,
        data BLOB NOT NULL,
        UNIQUE (mesh, invite, device)
    );
    CREATE INDEX joining_expiry ON joining (expires_ms);
    CREATE TABLE probe (no INTEGER PRIMARY KEY, at INTEGER NOT NULL);
    """,
    """
    CREATE TABLE shared (                   -- the end of all envelopes of one message to many, while one of them lies here
        no INTEGER PRIMARY KEY,
        uses INTEGER NOT NULL,
        data BLOB NOT NULL
    );
    ALTER TABLE mail ADD COLUMN shared INTEGER;
    """,
    """
    CREATE TABLE onetime (                  -- batches of one-time prekeys; the first `given` of each are handed out
        no INTEGER PRIMARY KEY,
        device INTEGER NOT NULL REFERENCES device,
        first INTEGER NOT NULL,
        size INTEGER NOT NULL,
        given INTEGER NOT NULL DEFAULT 0,
        data BLOB NOT NULL,
        UNIQUE (device, first)
    );
    """,
    """
    CREATE TABLE branch (                   -- records of other histories, beside the chain that is served
        mesh INTEGER NOT NULL REFERENCES mesh,
        hash BLOB NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (mesh, hash)
    ) WITHOUT ROWID;
    """,
)
