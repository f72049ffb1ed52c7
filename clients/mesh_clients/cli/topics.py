"""What `mesh help TOPIC` says beyond the commands: short, and the same that the manual page has."""

from mesh_protocol.wire import errors

STATUSES: "dict[int, str]" = {
    errors.OK: "it was done; mesh doctor: nothing is broken",
    errors.FAILED: "it was not done, or the message ended short of what was asked for; mesh doctor: something is broken",
    errors.USAGE: "the command line, or a name in it, is wrong",
    errors.BAD_DATA: "what was given is not valid: an invite, a text that is too large",
    errors.UNAVAILABLE: "no daemon, or the broker does not answer",
    errors.TRY_LATER: "not now: try again; what was begun goes on in the background",
    errors.NOT_ALLOWED: "not allowed",
    errors.CONFIG: "something has to be set up first, or mended",
    130: "Ctrl-C",
}
TOPICS: "dict[str, tuple[str, str, tuple[tuple[str, str], ...]]]" = {
    "addresses": (
        "how recipients are named",
        "mesh send, mesh trust and the tools of agents take these; mesh peers lists them in its column TO.",
        (
            ("bob", "the person: his inbox on each of his machines, and his session if exactly one is live"),
            ("bob/web", "one session of his"),
            ("web", "a session of your own, on this machine"),
            ("@backend", "everybody in a group, and in the groups below it; mesh group list"),
            ("'*'", "everybody in the mesh; in quotes, or the shell takes it"),
            ("bob,@ops", "several, with commas between"),
            ("team:bob", "bob of the mesh team, where a name is in several meshes"),
        ),
    ),
    "priorities": (
        "when a message is shown to a session",
        "mesh send --priority; the machine of the recipient decides, because it alone knows what its sessions do.",
        (
            ("now", "at once, in the middle of its work at the next tool; 6 a minute from one sender"),
            ("next", "when it is idle; the default"),
            ("low", "when it asks for it"),
        ),
    ),
    "receipts": (
        "how far a message got",
        "Each word is said only by the machine that knows it, and signed; mesh message ID shows them all.",
        (
            ("queued", "it is stored on this machine and waits for the broker"),
            ("accepted", "the broker has it, on its disk"),
            ("stored", "the recipient's machine has it"),
            ("shown", "it is part of the session's conversation, or the person's screen"),
            ("turn_started", "the session's model was asked with it"),
            ("held, refused", "the recipient, or his session, keeps it back or does not take it; the reason is told"),
            ("expired", "it was not stored anywhere within 30 days"),
            ("cancelled", "you took it back before the broker had it"),
        ),
    ),
    "environment": (
        "variables that mean something",
        "Everything else of the environment is neither read nor handed on.",
        (
            ("MESH_HOME", "the folder of everything: data, keys, socket, configuration"),
            ("MESH", "the mesh that an agent's session is in; without it the default one"),
            ("NO_COLOR", "no bold, no colour, no faint (no-color.org); as with TERM=dumb"),
            ("COLUMNS", "the width of the status line, as Claude Code sets it"),
            ("MESH_LOG_LEVEL", "debug, info, warning or error; of the daemon, at its start"),
            ("MESH_KEYS", "auto, keyring or file: where a new identity goes"),
            ("CLAUDE_CONFIG_DIR", "where Claude Code's settings are, for mesh install and mesh doctor"),
            ("XDG_RUNTIME_DIR", "where the socket is, unless MESH_HOME is set"),
        ),
    ),
    "files": (
        "what lies in the data folder",
        "It is MESH_HOME, else ~/.local/share/meshd (macOS: ~/Library/Application Support/meshd), for you alone.",
        (
            ("config.toml", "settings of the daemon, read at its start"),
            ("keys/", "this machine's identity; mesh doctor says how it is protected"),
            ("mesh.db", "messages, sessions, what waits to be sent"),
            ("broker/", "the broker of meshes that only this machine has"),
            ("run/where", "where the socket is"),
            ("logs/", "the daemon's log; no message and no secret is in it"),
            ("install/", "Claude Code's files as they were before mesh install"),
        ),
    ),
    "exit": (
        "exit statuses",
        "Every command ends with one of these.",
        tuple((str(status), text) for status, text in STATUSES.items()),
    ),
}
"""By its name, which is no command's: what it is about, a sentence, and pairs."""
