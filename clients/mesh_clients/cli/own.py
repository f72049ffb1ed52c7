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
    "up": ("", "Start the daemon and wait until it is ready.", (), ()),
    "down": ("daemon.stop", "Stop the daemon; what is queued stays and goes out at the next start.", (), ()),
    "version": ("", "Print the version.", (), ()),
    "help": (
        "",
        "Show what a command does.",
        ("verb", "more"),
        (("verb", "", "text", (), "", "the command"), ("more", "", "text", (), "", "its second word, if it has one")),
    ),
    "install": (
        "",
        "Set up Claude Code for this user: MCP server, hooks, status line; and the daemon as a service.",
        (),
        (
            ("yes", "--yes", "on", (), False, "change the files without asking"),
            ("no_service", "--no-service", "on", (), False, "install no service: mesh up starts the daemon by itself"),
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
    "statusline": ("", "Print Claude Code's status line; Claude Code runs it.", (), ()),
    "hook": ("", "Take in one of Claude Code's hook events; Claude Code runs it.", (), ()),
}

MORE_FIELDS: "dict[str, tuple[Row, ...]]" = {
    "send": (("files", "--file", "texts", (), [], "announce a file: its name, size and digest (may be repeated)"),),
    "inbox": (("follow", "--follow", "on", (), False, "go on printing messages as they come, until Ctrl-C"),),
}

HELP = {
    ("send", "to"): "a name from mesh peers, @GROUP, '*' for everybody (in quotes), or several with commas between",
    ("send", "message"): "the text, at most 64 KiB; - reads standard input",
    ("new", "broker"): "the broker, ws://HOST:PORT or wss://HOST[#TOKEN]; - reads it; default: only this machine",
    ("join", "url"): "the link; - reads it from standard input or asks for it",
}
"""Help for fields that mean more on a command line than elsewhere."""

HANDLERS = {
    "new": "new",
    "join": "join",
    "invite": "invite",
    "send": "send",
    "inbox": "inbox",
    "message": "message",
    "thread": "thread",
    "outbox": "outbox",
    "outbox cancel": "cancel",
    "status": "status",
    "doctor": "doctor",
    "up": "up",
    "down": "down",
    "unlock": "unlock",
    "version": "version",
    "help": "help",
    "install": "install",
    "uninstall": "uninstall",
    "completion": "completion",
}
"""The module of this folder that runs a verb; any other is printed by the table."""

DIRECT = ("mcp", "statusline", "hook")
"""Run without any of this: the `mesh` script tells them apart before it imports anything."""

ORDER = (
    ("Meshes", ("new", "invite", "join", "list")),
    ("Messages", ("peers", "send", "inbox", "message", "thread", "outbox", "outbox cancel", "outbox requeue")),
    ("Trust", ("trust", "trust list", "held", "held release")),
    ("Groups", ("group join", "group leave", "group list")),
    (
        "This machine",
        ("status", "doctor", "sessions", "mode", "why", "up", "down", "unlock", "completion", "version", "help"),
    ),
    ("For Claude Code", ("install", "uninstall", "mcp", "statusline", "hook")),
)
