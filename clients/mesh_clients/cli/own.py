"""Commands that are no operation's, and what others have beyond their operation. Same shape as the generated table."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_clients.cli.table import Row

VERBS: "dict[str, tuple[str, str, tuple[str, ...], tuple[Row, ...]]]" = {
    "doctor": (
        "daemon.doctor",
        "Check everything that can keep a message from arriving, and say what mends it.",
        (),
        (),
    ),
    "up": (
        "",
        "Start the daemon and wait until it is ready. Where systemd or launchd is yours, it starts at login from then on.",
        (),
        (
            (
                "service",
                "--service",
                "on",
                (),
                False,
                "make it a service of yours first, or fail where there can be none",
            ),
            (
                "no_service",
                "--no-service",
                "on",
                (),
                False,
                "make it none, now and later; one that is there is removed",
            ),
        ),
    ),
    "down": ("daemon.stop", "Stop the daemon; what is queued stays and goes out at the next start.", (), ()),
    "version": ("", "Print the version.", (), ()),
    "help": (
        "",
        "Show what a command does, or tell about a topic.",
        ("verb", "more"),
        (
            ("verb", "", "text", (), "", "a command, a topic, or man for the manual page"),
            ("more", "", "text", (), "", "the command's second word, if it has one"),
        ),
    ),
    "launch": (
        "",
        "Start Claude Code here as a session of the mesh; asks for what is not given. What follows -- goes to it.",
        (),
        (
            ("name", "--name", "text", (), "", "what peers call it; default: its folder's name"),
            ("role", "--role", "text", (), "", "such as lead, reviewer, tester; peers see it"),
            ("groups", "--groups", "text", (), "", "groups to join, with commas between"),
            ("mesh", "--mesh", "text", (), "", "which mesh, by its local name"),
            ("join", "--join", "text", (), "", "join a mesh by this link first; - reads it"),
            ("mode", "--mode", "text", ("push", "inbox", "off"), "", "how it gets its messages; default: push"),
            ("template", "--template", "text", (), "", "groups and ways of a team: see mesh templates"),
            ("proxy", "--proxy", "on", (), False, "send its requests to the API through this daemon (mesh proxy on)"),
            ("ask", "--ask", "on", (), False, "ask again, also for what is remembered of this folder"),
            ("yes", "--yes", "on", (), False, "ask nothing"),
            ("also_yes", "-y", "on", (), False, "the same"),
        ),
    ),
    "open": (
        "",
        "Open a mesh:// link: an invite, or the address of a peer. Asks before it does anything.",
        ("link",),
        (("link", "", "text", (), None, "the link; - reads it from standard input or asks for it"),),
    ),
    "install": (
        "",
        "Set up Claude Code for this user: MCP server, hooks, status line; and the daemon as a service.",
        (),
        (
            ("yes", "--yes", "on", (), False, "change the files without asking"),
            ("no_service", "--no-service", "on", (), False, "install no service: the daemon starts when it is needed"),
            ("check", "--check", "on", (), False, "change nothing; say what is installed, 1 if anything is missing"),
        ),
    ),
    "uninstall": (
        "",
        "Take out what mesh install put in, and put back what was there. Messages and keys stay.",
        (),
        (("yes", "--yes", "on", (), False, "change the files without asking"),),
    ),
    "completion": (
        "",
        "Print the script that completes commands and names in a shell.",
        ("shell",),
        (
            ("shell", "", "text", ("bash", "zsh", "fish"), None, "which shell"),
            ("line", "--line", "text", (), "", "print what could stand at the end of this line, as the script asks it"),
        ),
    ),
    "mcp": (
        "",
        "Speak MCP on standard input and output; Claude Code runs it (mesh install).",
        (),
        (),
    ),
    "statusline": (
        "",
        "Print Claude Code's status line; Claude Code runs it.",
        (),
        (
            (
                "layout",
                "--layout",
                "text",
                ("full", "short", "minimal"),
                "",
                "how much it says; default: config.toml's",
            ),
            (
                "chain",
                "--chain",
                "text",
                (),
                "",
                "a shell command whose lines stand above it, as mesh install writes it",
            ),
            ("within", "--within", "int", (), 600, "milliseconds that this command may take"),
        ),
    ),
    "hook": ("", "Take in one of Claude Code's hook events; Claude Code runs it.", (), ()),
}

_PASSPHRASE_FD: "Row" = (
    *("passphrase_fd", "--passphrase-fd", "int", (), 0),
    "read the passphrases from this open file descriptor, one line each; default: the terminal, or standard input",
)

MORE_FIELDS: "dict[str, tuple[Row, ...]]" = {
    "unlock": (_PASSPHRASE_FD,),
    "backup": (
        ("file", "", "text", (), None, "the file to write; it must not be there yet"),
        (
            "drop_recovery",
            "--drop-recovery",
            "on",
            (),
            False,
            "once the file was read back, remove the recovery keys here",
        ),
        ("force", "--force", "on", (), False, "replace a file that is there"),
        _PASSPHRASE_FD,
    ),
    "backup check": (("file", "", "text", (), None, "the file that mesh backup wrote"), _PASSPHRASE_FD),
    "restore": (("file", "", "text", (), None, "the file that mesh backup wrote"), _PASSPHRASE_FD),
    "keys protect": (_PASSPHRASE_FD,),
    "keys unprotect": (_PASSPHRASE_FD,),
    "guard on": (_PASSPHRASE_FD,),
    "token create": (("file", "--file", "text", (), "", "write it into this new file, which only you can read"),),
    "send": (("files", "--file", "texts", (), [], "announce a file: its name, size and digest (may be repeated)"),),
    "usage": (("csv", "--csv", "on", (), False, "comma-separated values (RFC 4180)"),),
    "usage reconcile": (("csv", "--csv", "on", (), False, "comma-separated values (RFC 4180)"),),
    "conversations": (("csv", "--csv", "on", (), False, "comma-separated values (RFC 4180)"),),
    "conversation": (
        ("csv", "--csv", "on", (), False, "the requests as comma-separated values (RFC 4180)"),
        (
            "bodies",
            "--bodies",
            "on",
            (),
            False,
            "with what was said, where that is stored (mesh proxy on --store bodies)",
        ),
    ),
    "verify": (
        ("confirm", "--confirm", "on", (), False, "they are the same: the peer is verified with these keys"),
        (
            "number",
            "--number",
            "text",
            (),
            "",
            "what you compared, as digits or as the scanned code; confirms if it is so",
        ),
    ),
    "resolve": (
        ("yes", "--yes", "on", (), False, "ask nothing: the other histories end for good"),
        (
            "recovery_from",
            "--recovery",
            "text",
            (),
            "",
            "a file with the printed recovery key; - reads it or asks for it",
        ),
    ),
    "leave": (("yes", "--yes", "on", (), False, "ask nothing: its keys and messages are deleted here"),),
    "inbox": (("follow", "--follow", "on", (), False, "go on printing messages as they come, until Ctrl-C"),),
}

MORE_ARGS: "dict[str, tuple[str, ...]]" = {"backup": ("file",), "backup check": ("file",), "restore": ("file",)}
"""Words that a command takes and its operation does not: what is here is never sent as it stands."""

HELP = {
    ("send", "to"): "a name from mesh peers, @GROUP, '*' for everybody (in quotes), or several with commas between",
    ("send", "message"): "the text, at most 64 KiB; - reads standard input",
    ("new", "broker"): "the broker, ws://HOST:PORT or wss://HOST[#TOKEN]; - reads it; default: only this machine",
    ("device join", "url"): "the link; - reads it from standard input or asks for it",
    ("join", "url"): "the link; - reads it from standard input or asks for it",
}
"""Help for fields that mean more on a command line than elsewhere."""

HANDLERS = {
    "new": "new",
    "join": "join",
    "invite": "invite",
    "invites": "invites",
    "device link": "link",
    "device join": "link",
    "leave": "leave",
    "invite close": "invites",
    "invite approve": "invites",
    "invite deny": "invites",
    "send": "send",
    "inbox": "inbox",
    "message": "message",
    "thread": "thread",
    "outbox": "outbox",
    "outbox cancel": "cancel",
    "status": "status",
    "doctor": "doctor",
    "proxy on": "proxy",
    "proxy off": "proxy",
    "proxy status": "proxy",
    "proxy env": "proxy",
    "proxy forget": "proxy",
    "proxy allow": "proxyteam",
    "proxy account": "proxyteam",
    "usage": "usage",
    "usage import": "usage",
    "usage reconcile": "usage",
    "budget": "budget",
    "held": "held",
    "prompts": "prompts",
    "conversations": "conversations",
    "conversation": "conversations",
    "up": "up",
    "down": "down",
    "unlock": "unlock",
    "backup": "backup",
    "backup check": "backup",
    "restore": "restore",
    "device restore": "restore",
    "keys status": "keys",
    "keys protect": "keys",
    "keys unprotect": "keys",
    "guard on": "guard",
    "token create": "token",
    "verify": "verify",
    "resolve": "resolve",
    "version": "version",
    "help": "help",
    "launch": "launch",
    "open": "open",
    "install": "install",
    "uninstall": "uninstall",
    "completion": "completion",
}
"""The module of this folder that runs a verb; any other is printed by the table."""

DIRECT = ("mcp", "statusline", "hook")
"""Run without any of this: the `mesh` script tells them apart before it imports anything."""

ORDER = (
    ("Meshes", ("new", "join", "open", "list", "leave")),
    ("Invites", ("invite", "invites", "invite approve", "invite deny", "invite close")),
    (
        "Members",
        (
            "member list",
            "member remove",
            "member removals",
            "kick",
            "ban",
            "unban",
            "role",
            "member rights",
            "member allow",
            "member deny",
            "device link",
            "device join",
            "device list",
            "device revoke",
            "device restore",
            "resolve",
        ),
    ),
    ("Messages", ("peers", "send", "inbox", "message", "thread", "outbox", "outbox cancel", "outbox requeue")),
    (
        "Trust",
        ("verify", "trust", "trust list", "held", "held release", "grants", "grant", "revoke", "block", "unblock"),
    ),
    ("Guard", ("guard on", "guard off", "guard status", "token create", "token list", "token revoke")),
    ("Groups", ("group join", "group leave", "group list")),
    (
        "This machine",
        (
            *("status", "doctor", "sessions", "mode", "why", "up", "down"),
            *("unlock", "keys status", "keys protect", "keys unprotect", "keys recovery"),
            *("backup", "backup check", "restore"),
            *("audit", "audit verify", "completion", "version", "help"),
        ),
    ),
    (
        "API proxy",
        (
            *("proxy on", "proxy off", "proxy status", "proxy env", "proxy forget"),
            *("proxy allow", "proxy clients", "proxy revoke", "proxy account", "proxy accounts", "proxy drop"),
            *("usage", "usage import", "usage reconcile", "usage reprice", "conversations", "conversation"),
            *("budget", "budget set", "budget allow", "budget remove"),
        ),
    ),
    ("For Claude Code", ("launch", "templates", "prompts", "install", "uninstall", "mcp", "statusline", "hook")),
)
