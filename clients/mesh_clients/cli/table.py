"""The commands that come from operations. Written by tools/generate_table.py (make generate); not edited by hand.

verb: (method, summary, positional fields, fields, payload, texts, rows, columns), and a field is
(name, flag, kind, choices, default, help); its flag is empty where it is positional.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from mesh_protocol.wire.codec import JsonValue

    Row: TypeAlias = tuple[str, str, str, tuple[str, ...], JsonValue, str]
    Entry: TypeAlias = tuple[str, str, tuple[str, ...], tuple[Row, ...], str, str, str, tuple[str, ...]]

# fmt: off
VERBS: "dict[str, Entry]" = {
    'audit': ('audit.list', 'List what was changed on this machine, and by whom; the newest first.', (), (
        ('since', '--since', 'text', (), '', 'only of the last 30m, 24h or 7d; default: all'),
        ('limit', '--limit', 'int', (), 50, 'how many at most'),
    ), '', '', 'rows', ('at_ms', 'who', 'operation', 'mesh', 'target', 'outcome')),
    'audit verify': ('audit.verify', 'Check every entry of the audit and its end; names the first one that is changed or missing.', (), (
    ), '', '', '', ()),
    'budget allow': ('budget.allow', 'Let those go on whom a budget holds: they may spend more, once.', ('id',), (
        ('id', '', 'int', (), None, "the budget's id, see mesh budget"),
        ('more', '--more', 'float', (), 0.0, "how much more; default: the budget's amount once again"),
    ), '', '', '', ()),
    'budget': ('budget.list', 'List the budgets and the requests that they hold.', (), (
    ), '', '', '', ()),
    'budget remove': ('budget.remove', 'Take a budget away; what it holds goes on.', ('id',), (
        ('id', '', 'int', (), None, "the budget's id, see mesh budget"),
    ), '', '', '', ()),
    'budget set': ('budget.set', 'Limit what may be spent through the proxy; who reaches it waits until you allow more.', ('amount',), (
        ('amount', '', 'float', (), None, 'in dollars, or in tokens of all classes'),
        ('per', '--per', 'text', ('day', 'session', 'agents'), 'day', 'for each what; agents: each sub-agent with all that it starts'),
        ('unit', '--unit', 'text', ('usd', 'tokens'), 'usd', 'of the amount'),
        ('only', '--only', 'text', (), '', 'for this one session or agent alone, by its id'),
    ), '', '', '', ()),
    'status': ('daemon.status', 'Show the daemon, its meshes, and whether their brokers answer.', (), (
    ), '', '', '', ()),
    'device list': ('device.list', "List the devices of a mesh's members.", (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', 'devices', ('device', 'member', 'state', 'signer', 'here', 'added_by')),
    'device revoke': ('device.revoke', 'Take one device out for good, and with it every device that it added; its member stays.', ('device',), (
        ('device', '', 'text', (), None, 'the beginning of its id, see mesh device list'),
        ('keep', '--keep', 'texts', (), [], 'devices that it added and that stay all the same'),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('wait_s', '--wait', 'float', (), 10.0, 'seconds to wait until the other machines have confirmed it'),
    ), '', '', '', ()),
    'group join': ('group.join', 'Put a session into a group; once more changes its role there.', ('name',), (
        ('name', '', 'text', (), None, 'a path such as web/ui; @ in front is allowed'),
        ('role', '--role', 'text', (), '', 'free text, such as lead, member, observer; peers see it'),
        ('session', '--session', 'text', (), '', "which session of this machine; an agent's own if left out"),
    ), '', '', '', ()),
    'group leave': ('group.leave', 'Take a session out of a group.', ('name',), (
        ('name', '', 'text', (), None, 'a path such as web/ui; @ in front is allowed'),
        ('session', '--session', 'text', (), '', "which session of this machine; an agent's own if left out"),
    ), '', '', '', ()),
    'group list': ('group.list', 'List the groups of the mesh and the sessions in them.', (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('session', '--session', 'text', (), '', 'only the groups of this session of this machine'),
    ), '', '', 'members', ('group', 'to', 'role', 'online', 'as_of_ms')),
    'inbox': ('inbox.read', 'Print the unread messages and mark them read.', (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('sender', '--from', 'text', (), '', 'only from this person'),
        ('limit', '--limit', 'int', (), 50, 'how many at most'),
        ('all', '--all', 'on', (), False, 'also what was read before'),
        ('wait_s', '--wait', 'float', (), 0.0, 'seconds to wait for a first message'),
    ), '', 'messages[].message', '', ()),
    'unlock': ('keys.unlock', 'Open the keys of a daemon that started while they were locked.', (), (
    ), 'passphrase', '', '', ()),
    'templates': ('launch.templates', "List the templates of mesh launch: groups to be in, and what an agent is told of the team's ways.", (), (
    ), '', '', 'templates', ('template', 'groups', 'roles', 'about')),
    'ban': ('member.ban', 'Remove a member, and let none of his devices in again, whatever invite they bring; also who was removed before.', ('peer',), (
        ('peer', '', 'text', (), None, "a member's name, or the beginning of his id"),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('wait_s', '--wait', 'float', (), 10.0, 'seconds to wait until the other machines have confirmed it'),
    ), '', '', '', ()),
    'kick': ('member.kick', 'Remove a member, as mesh member remove does.', ('peer',), (
        ('peer', '', 'text', (), None, "a member's name, or the beginning of his id"),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('wait_s', '--wait', 'float', (), 10.0, 'seconds to wait until the other machines have confirmed it'),
    ), '', '', '', ()),
    'member list': ('member.list', 'List the members of a mesh, and those who were removed.', (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', 'members', ('member', 'role', 'state', 'signer', 'devices', 'me', 'id')),
    'member remove': ('member.remove', 'Remove a member with all his devices, begin a new key for those who stay, and close every open invite.', ('peer',), (
        ('peer', '', 'text', (), None, "a member's name, or the beginning of his id"),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('wait_s', '--wait', 'float', (), 10.0, 'seconds to wait until the other machines have confirmed it'),
    ), '', '', '', ()),
    'role': ('member.role', "Give a member another role. The devices of owners and admins may invite, admit and remove; a member's may not.", ('peer', 'role'), (
        ('peer', '', 'text', (), None, "a member's name, or the beginning of his id"),
        ('role', '', 'text', ('owner', 'admin', 'member'), None, 'owner: everything; admin: all but deleting the mesh; member: to send and use tools'),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'unban': ('member.unban', 'Let the devices of a banned member in again, if somebody invites them.', ('peer',), (
        ('peer', '', 'text', (), None, "a member's name, or the beginning of his id"),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'invite': ('mesh.invite', 'Make a link that lets one more machine join.', (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('role', '--role', 'text', ('member', 'admin'), 'member', "the newcomer's role"),
        ('expires_s', '--expires', 'int', (), 86400, 'seconds until the link stops working, at most a day'),
    ), '', '', '', ()),
    'join': ('mesh.join', 'Join a mesh by an invite link.', ('url',), (
        ('url', '', 'text', (), None, 'the link; - reads it from standard input'),
        ('me', '--name', 'text', (), '', 'your name in it; default: your login name'),
        ('wait_s', '--wait', 'float', (), 10.0, 'seconds to wait for being let in'),
    ), '', '', '', ()),
    'list': ('mesh.list', 'List the meshes of this machine.', (), (
    ), '', '', 'meshes', ('mesh', 'me', 'state', 'link', 'members', 'online', 'broker')),
    'new': ('mesh.new', 'Make a new mesh with this machine as its first member.', ('name',), (
        ('name', '', 'text', (), None, "the mesh's name"),
        ('me', '--name', 'text', (), '', 'your name in it; default: your login name'),
        ('broker', '--broker', 'text', (), '', 'the broker, ws://HOST:PORT or wss://HOST[#TOKEN]; default: only this machine'),
    ), '', '', '', ()),
    'send': ('message.send', 'Send an encrypted message to a person, a session, or several.', ('to', 'message'), (
        ('to', '', 'targets', (), None, 'a name from list_peers, @GROUP, * for everybody, or a list of these'),
        ('message', '', 'text', (), None, 'the text, at most 64 KiB'),
        ('priority', '--priority', 'text', ('now', 'next', 'low'), 'next', 'now: also while it works; next: when it is idle; low: when it asks for messages'),
        ('reply_to', '--reply-to', 'text', (), '', 'the id of the message this answers'),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('idempotency_key', '--idempotency-key', 'text', (), '', 'the same key and request within 45 days send nothing twice'),
        ('wait', '--wait', 'text', ('queued', 'accepted', 'stored', 'shown'), 'queued', 'return when it got this far'),
        ('timeout', '--timeout', 'float', (), 30.0, 'seconds to wait at most'),
    ), 'message', '', '', ()),
    'message': ('message.status', 'Show how far a message got.', ('id',), (
        ('id', '', 'text', (), None, "the message's id, or its first 8 characters or more"),
        ('offset', '--offset', 'int', (), 0, 'from which recipient on, where they are many'),
    ), '', 'message', '', ()),
    'thread': ('message.thread', 'Show a whole conversation: a message, what it answers, and all that answers it.', ('id',), (
        ('id', '', 'text', (), None, 'the id of any message in it, or its first 8 characters or more'),
        ('limit', '--limit', 'int', (), 50, 'how many of the newest at most'),
    ), '', 'messages[].message', '', ()),
    'outbox cancel': ('outbox.cancel', 'Take back a message where the broker has not accepted it yet.', ('id',), (
        ('id', '', 'text', (), None, "the message's id, or its first 8 characters or more"),
    ), '', '', '', ()),
    'outbox': ('outbox.list', "List what you sent that is not on its recipient's machine yet, and why.", (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('failed', '--failed', 'on', (), False, 'what ended without having been stored there, instead'),
        ('limit', '--limit', 'int', (), 50, 'how many at most'),
    ), '', 'waiting[].message', '', ()),
    'outbox requeue': ('outbox.requeue', 'Send a failed message once more: the same text to the same devices, those alone where it ended without arriving.', ('id',), (
        ('id', '', 'text', (), None, "the message's id, or its first 8 characters or more"),
    ), '', '', '', ()),
    'peers': ('peer.list', 'List people and sessions of the mesh.', (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('group', '--group', 'text', (), '', 'only the sessions in this group and in those below it'),
    ), '', 'peers[].summary', 'peers', ('to', 'status', 'mode', 'online', 'groups', 'verified', 'summary')),
    'proxy env': ('proxy.env', 'Print what to set so that Claude Code uses the proxy: eval "$(mesh proxy env)".', (), (
    ), '', '', '', ()),
    'proxy off': ('proxy.off', 'Take no more requests for the API; what is under way is answered to its end.', (), (
    ), '', '', '', ()),
    'proxy on': ('proxy.on', 'Pass requests to the Anthropic API through this daemon, and record what they use.', (), (
        ('upstream', '--upstream', 'text', (), '', 'where requests go; default: as before, at first https://api.anthropic.com'),
        ('port', '--port', 'int', (), 0, 'the port on this machine; default: as before, at first a free one'),
        ('new_token', '--new-token', 'on', (), False, 'make a new token; the old URL is refused from now on'),
    ), '', '', '', ()),
    'proxy status': ('proxy.status', 'Show whether the proxy runs, and whether it records all that passes.', (), (
    ), '', '', '', ()),
    'sessions': ('session.list', 'List the agent sessions of this machine, how they want their messages, and how many wait.', (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', 'sessions', ('session', 'mesh', 'status', 'mode', 'rung', 'waiting', 'trouble', 'why')),
    'mode': ('session.mode', 'Set how a session gets its messages: pushed, only when it asks, or not at all until this is changed again.', ('mode',), (
        ('mode', '', 'text', ('push', 'inbox', 'off'), None, 'push: they are shown to it; inbox: only when it asks; off: they wait'),
        ('session', '--session', 'text', (), '', 'a session of this machine, by its name; default: your own, or the only one'),
    ), '', '', '', ()),
    'why': ('session.why', 'Say in one line why a session does not go on, or why messages do not reach it.', ('session',), (
        ('session', '', 'text', (), None, 'a session of this machine, by its name'),
    ), '', '', '', ()),
    'held': ('trust.held', 'List the messages that are held back from your sessions.', (), (
        ('limit', '--limit', 'int', (), 50, 'how many at most'),
    ), '', 'held[].message', 'held', ('id', 'sender', 'to', 'message')),
    'trust list': ('trust.list', 'List whose messages are held or refused here; all others are allowed.', (), (
    ), '', '', 'peers', ('peer', 'mesh', 'policy')),
    'held release': ('trust.release', 'Let a held message go to the session it is for.', ('id',), (
        ('id', '', 'text', (), None, "the message's id, or its first 8 characters or more"),
    ), '', '', '', ()),
    'trust': ('trust.set', "Decide what becomes of a person's messages here: shown to your sessions, held until you let them in, or refused.", ('policy', 'peer'), (
        ('policy', '', 'text', ('allow', 'hold', 'refuse'), None, 'allow: they are shown; hold: they wait for mesh held release; refuse: not taken'),
        ('peer', '', 'text', (), None, ''),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'conversation': ('usage.conversation', 'Show one conversation: its branches, compactions and sub-tasks, each with tokens, cost and time.', ('id',), (
        ('id', '', 'text', (), None, "the conversation's id, or its beginning"),
        ('limit', '--limit', 'int', (), 100, 'how many rows at most'),
    ), '', '', '', ()),
    'conversations': ('usage.conversations', 'List the conversations that went through the proxy, the newest first.', (), (
        ('since', '--since', 'text', (), '', 'from this day on: 2026-11-21, or today, or 7d for the last seven; default: all'),
        ('limit', '--limit', 'int', (), 50, 'how many rows at most'),
    ), '', '', '', ()),
    'usage import': ('usage.import', "Count what Claude Code's transcripts tell of sessions that did not use the proxy.", (), (
        ('follow', '--follow', 'on', (), False, 'and go on doing so, every half minute'),
        ('stop', '--stop', 'on', (), False, 'follow them no longer'),
    ), '', '', '', ()),
    'usage reconcile': ('usage.reconcile', 'Hold what the proxy recorded against what the transcripts tell (mesh usage import), day by day.', (), (
        ('since', '--since', 'text', (), '30d', 'from this day on: 2026-11-21, or today, or 7d for the last seven; default: all'),
    ), '', '', 'days', ('day', 'both', 'only_proxy', 'only_transcripts', 'proxy_tokens', 'transcript_tokens', 'difference')),
    'usage': ('usage.show', 'Show what was spent: requests, tokens of each class and cost, by day or by what you name.', (), (
        ('by', '--by', 'text', ('day', 'model', 'session', 'agent', 'account', 'kind', 'tool'), 'day', 'what to group by'),
        ('since', '--since', 'text', (), '', 'from this day on: 2026-11-21, or today, or 7d for the last seven; default: all'),
        ('limit', '--limit', 'int', (), 100, 'how many rows at most'),
    ), '', '', '', ()),
    'verify': ('verify.show', 'Show the 60 digits that you and a peer must both see, and whether his keys changed since you compared them.', ('peer',), (
        ('peer', '', 'text', (), None, ''),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
}
# fmt: on
