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
    'backup check': ('backup.check', 'Open a backup, verify all of it, and show what it holds. Nothing is restored.', (), (
    ), 'passphrase', '', '', ()),
    'backup': ('backup.make', 'Write a file, sealed under a passphrase, with which you come back when this machine is gone.', (), (
        ('recovery', '--recovery', 'on', (), False, 'also the recovery keys: they let you in when all your machines are lost'),
        ('include_device_key', '--include-device-key', 'on', (), False, "also this machine's own key: whoever opens the file can be this machine"),
    ), 'passphrase', '', '', ()),
    'keys recovery': ('backup.recovery', 'Print the recovery key of a mesh, to be kept on paper, while it is still on this machine.', (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'restore': ('backup.restore', 'Come back from a backup, as a new machine of the same person; or with --same-device as that very machine.', (), (
        ('same_device', '--same-device', 'on', (), False, 'be the machine of the backup, which must never run again; needs its key in the file'),
        ('lost', '--lost', 'on', (), False, 'your other machines are lost: take them out, by the recovery key in the file'),
    ), 'passphrase', '', '', ()),
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
    ), '', '', 'devices', ('device', 'member', 'mine', 'here', 'state', 'signer', 'online', 'seen_ms', 'added_ms', 'added_by')),
    'device restore': ('device.restore', 'Let a restored machine in: one of your own, or of a member who has no machine left.', ('peer', 'code'), (
        ('peer', '', 'text', (), None, "a member's name, or the beginning of his id"),
        ('code', '', 'text', (), None, 'what mesh restore shows there; - reads it'),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'device revoke': ('device.revoke', 'Take one device out for good, and with it every device that it added; its member stays.', ('device',), (
        ('device', '', 'text', (), None, 'the beginning of its id, see mesh device list'),
        ('keep', '--keep', 'texts', (), [], 'devices that it added and that stay all the same'),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('wait_s', '--wait', 'float', (), 10.0, 'seconds to wait until the other machines have confirmed it'),
    ), '', '', '', ()),
    'block': ('grant.block', 'Show nobody here what a peer writes, and let him see nothing of it: his messages are stored and never shown.', ('peer',), (
        ('peer', '', 'text', (), None, ''),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'grant': ('grant.give', 'Give a peer back what was taken with mesh revoke. Everybody has all of it at first.', ('peer', 'keys'), (
        ('peer', '', 'text', (), None, ''),
        ('keys', '', 'texts', ('read', 'dm', 'broadcast'), None, 'read: see your sessions; dm: write to you by name; broadcast: to a group or to all'),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'grants': ('grant.list', 'List what this person lets each peer do here, or one peer.', ('peer',), (
        ('peer', '', 'text', (), '', 'only this one'),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', 'peers', ('peer', 'mesh', 'policy', 'grants')),
    'revoke': ('grant.take', 'Let a peer not see your sessions, or take no more direct messages of his, or none to a group or to everybody.', ('peer', 'keys'), (
        ('peer', '', 'text', (), None, ''),
        ('keys', '', 'texts', ('read', 'dm', 'broadcast'), None, 'read: see your sessions; dm: write to you by name; broadcast: to a group or to all'),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'unblock': ('grant.unblock', 'Show again what a peer writes from now on. What he wrote while he was blocked stays away.', ('peer',), (
        ('peer', '', 'text', (), None, ''),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
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
    'guard off': ('guard.off', 'Ask for no passphrase any more, and forget all tokens. Needs the passphrase; a token does not do.', (), (
    ), '', '', '', ()),
    'guard on': ('guard.on', 'Let every guarded command ask for a passphrase, which is typed on the terminal. If the guard is on, another one.', (), (
    ), '', '', '', ()),
    'guard status': ('guard.status', 'Say whether the guarded commands ask for a passphrase.', (), (
    ), '', '', '', ()),
    'inbox': ('inbox.read', 'Print the unread messages and mark them read.', (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('sender', '--from', 'text', (), '', 'only from this person'),
        ('limit', '--limit', 'int', (), 50, 'how many at most'),
        ('all', '--all', 'on', (), False, 'also what was read before'),
        ('wait_s', '--wait', 'float', (), 0.0, 'seconds to wait for a first message'),
    ), '', 'messages[].message', '', ()),
    'invite approve': ('invite.approve', 'Let in a machine that waits for it.', ('who',), (
        ('who', '', 'text', (), None, "the name of who waits, or the beginning of his device's id"),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'invite close': ('invite.close', 'Close an invite: its link lets nobody in any more.', ('invite',), (
        ('invite', '', 'text', (), None, "the beginning of the invite's id, see mesh invites"),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'invite deny': ('invite.deny', 'Turn away a machine that waits; its invite stays open for others until mesh invite close.', ('who',), (
        ('who', '', 'text', (), None, "the name of who waits, or the beginning of his device's id"),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'invites': ('invite.list', 'List the invites of a mesh, who came in by them, and who waits to be let in.', (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('all', '--all', 'on', (), False, 'also those that are used up, closed or expired'),
    ), '', '', '', ()),
    'keys protect': ('keys.protect', 'Put the keys that lie in a file under a passphrase, or under another one.', (), (
    ), 'passphrase', '', '', ()),
    'keys status': ('keys.status', 'Show where the keys of this machine lie and how they are protected.', (), (
    ), '', '', '', ()),
    'unlock': ('keys.unlock', 'Open the keys of a daemon that started while they were locked.', (), (
    ), 'passphrase', '', '', ()),
    'keys unprotect': ('keys.unprotect', 'Take the passphrase of the keys away: from then on they are as safe as an ssh key without one.', (), (
    ), 'passphrase', '', '', ()),
    'templates': ('launch.templates', "List the templates of mesh launch: groups to be in, and what an agent is told of the team's ways.", (), (
    ), '', '', 'templates', ('template', 'groups', 'roles', 'about')),
    'device join': ('link.join', 'Link this machine to a mesh that another machine of yours is in, by the link that it shows.', ('url',), (
        ('url', '', 'text', (), None, 'the link; - reads it from standard input'),
    ), '', '', '', ()),
    'device link': ('link.open', 'Link another machine of yours: show a link, then compare four words.', (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'member allow': ('member.allow', 'Let a member do more than his role says. A new role ends it. Nobody gives what he may not do himself.', ('peer', 'keys'), (
        ('peer', '', 'text', (), None, "a member's name, or the beginning of his id"),
        ('keys', '', 'texts', ('delete_mesh', 'deploy_mcp', 'invite', 'manage_files', 'manage_permissions', 'manage_vault', 'manage_watches', 'manage_webhooks', 'send', 'use_tools', 'write_state'), None, 'what he may do; those of mesh member rights'),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'ban': ('member.ban', 'Remove a member, and let none of his devices in again, whatever invite they bring; also who was removed before.', ('peer',), (
        ('peer', '', 'text', (), None, "a member's name, or the beginning of his id"),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('wait_s', '--wait', 'float', (), 10.0, 'seconds to wait until the other machines have confirmed it'),
    ), '', '', '', ()),
    'member deny': ('member.deny', 'Take from a member some of what his role lets him do. An owner may do everything.', ('peer', 'keys'), (
        ('peer', '', 'text', (), None, "a member's name, or the beginning of his id"),
        ('keys', '', 'texts', ('delete_mesh', 'deploy_mcp', 'invite', 'manage_files', 'manage_permissions', 'manage_vault', 'manage_watches', 'manage_webhooks', 'send', 'use_tools', 'write_state'), None, 'what he may do; those of mesh member rights'),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'kick': ('member.kick', 'Remove a member, as mesh member remove does.', ('peer',), (
        ('peer', '', 'text', (), None, "a member's name, or the beginning of his id"),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('wait_s', '--wait', 'float', (), 10.0, 'seconds to wait until the other machines have confirmed it'),
    ), '', '', '', ()),
    'member list': ('member.list', 'List the members of a mesh, and those who were removed.', (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', 'members', ('member', 'role', 'state', 'signer', 'devices', 'me', 'id')),
    'member removals': ('member.removals', 'List who was taken out of a mesh, and which machines have not shown yet that they hold it.', (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('limit', '--limit', 'int', (), 20, ''),
    ), '', '', 'removals', ('member', 'state', 'devices', 'confirmed', 'waiting', 'id')),
    'member remove': ('member.remove', 'Remove a member with all his devices, begin a new key for those who stay, and close every open invite.', ('peer',), (
        ('peer', '', 'text', (), None, "a member's name, or the beginning of his id"),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('wait_s', '--wait', 'float', (), 10.0, 'seconds to wait until the other machines have confirmed it'),
    ), '', '', '', ()),
    'member rights': ('member.rights', 'List what each member of a mesh may do.', (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', 'members', ('member', 'role', 'own', 'signer', 'permissions')),
    'role': ('member.role', "Give a member another role. The devices of owners and admins may invite, admit and remove; a member's may not.", ('peer', 'role'), (
        ('peer', '', 'text', (), None, "a member's name, or the beginning of his id"),
        ('role', '', 'text', ('owner', 'admin', 'member'), None, 'owner: everything; admin: all but deleting the mesh; member: to send and use tools'),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'unban': ('member.unban', 'Let the devices of a banned member in again, if somebody invites them.', ('peer',), (
        ('peer', '', 'text', (), None, "a member's name, or the beginning of his id"),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
    'invite': ('mesh.invite', 'Make a link that lets others join: one machine, or as many as you say.', (), (
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
        ('role', '--role', 'text', ('member', 'admin', 'owner'), 'member', "the newcomer's role, at most your own"),
        ('uses', '--uses', 'int', (), 1, 'how many machines it lets in'),
        ('expires_s', '--expires', 'int', (), 86400, 'seconds until the link stops working, at most a day'),
        ('approve', '--approve', 'on', (), False, 'let nobody in before a person said yes (mesh invite approve)'),
        ('qr', '--qr', 'on', (), False, 'also as a QR code'),
    ), '', '', '', ()),
    'join': ('mesh.join', 'Join a mesh by an invite link.', ('url',), (
        ('url', '', 'text', (), None, 'the link; - reads it from standard input'),
        ('me', '--name', 'text', (), '', 'your name in it; default: your login name'),
        ('wait_s', '--wait', 'float', (), 10.0, 'seconds to wait for being let in'),
    ), '', '', '', ()),
    'leave': ('mesh.leave', 'Leave a mesh: its keys and messages are deleted here, and somebody who may signs that this machine is out.', ('mesh',), (
        ('mesh', '', 'text', (), '', 'which mesh, by its local name, if there are several'),
        ('forget', '--forget', 'on', (), False, 'drop it here at once and tell nobody: the others go on listing this machine'),
        ('wait_s', '--wait', 'float', (), 10.0, 'seconds to wait until it is signed'),
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
    'prompts': ('prompt.list', 'List the prompt library, and what is wrong with a file of it that is not served.', (), (
    ), '', '', '', ()),
    'proxy account': ('proxy.account', 'Keep an account of the API for clients of this host: an API key, or a login with its refresh token.', ('name',), (
        ('name', '', 'text', (), None, 'what the account is called here'),
        ('kind', '--kind', 'text', ('key', 'login'), 'key', 'key: an API key; login: a refresh token'),
        ('host', '--host', 'text', (), '', 'a name of this machine that chooses the account, such as work.localhost'),
        ('token_url', '--token-url', 'text', (), '', "a login's token endpoint"),
        ('client_id', '--client-id', 'text', (), '', "a login's client id"),
    ), 'secret', '', '', ()),
    'proxy accounts': ('proxy.accounts', 'List the accounts that clients of this host may use.', (), (
    ), '', '', 'accounts', ('name', 'kind', 'host', 'made_ms')),
    'proxy allow': ('proxy.allow', 'Give a client of this host a base URL of its own, in the place of the one that it had.', ('name',), (
        ('name', '', 'text', (), None, 'what the client is called here'),
        ('account', '--account', 'text', (), '', 'the account whose credential its requests get; default: they keep their own'),
    ), '', '', '', ()),
    'proxy clients': ('proxy.clients', 'List the clients that have a base URL of their own.', (), (
    ), '', '', 'clients', ('name', 'account', 'made_ms')),
    'proxy drop': ('proxy.drop', 'Forget an account and its secret; who has no other is refused from its next request on.', ('name',), (
        ('name', '', 'text', (), None, 'the account, see mesh proxy accounts'),
    ), '', '', '', ()),
    'proxy env': ('proxy.env', 'Print what to set so that Claude Code uses the proxy: eval "$(mesh proxy env)".', (), (
    ), '', '', '', ()),
    'proxy forget': ('proxy.forget', 'Delete the stored bodies of requests and answers, for good.', (), (
        ('older', '--older', 'int', (), 0, 'only what is older than so many days; default: all'),
        ('requests', '--requests', 'on', (), False, 'and the single requests of the record: conversations, times, sessions'),
    ), '', '', '', ()),
    'proxy off': ('proxy.off', 'Take no more requests for the API; what is under way is answered to its end.', (), (
    ), '', '', '', ()),
    'proxy on': ('proxy.on', 'Pass requests to the Anthropic API through this daemon, and record what they use.', (), (
        ('upstream', '--upstream', 'text', (), '', 'where requests go; default: as before, at first https://api.anthropic.com'),
        ('port', '--port', 'int', (), 0, 'the port on this machine; default: as before, at first a free one'),
        ('new_token', '--new-token', 'on', (), False, 'make a new token; the old URL is refused from now on'),
        ('via', '--via', 'text', (), '', "the network's own proxy on the way, such as http://proxy.example:3128; none: straight; default: as before, at first straight"),
        ('store', '--store', 'text', ('', 'bodies', 'nothing'), '', 'bodies: store what requests and answers say, encrypted; nothing: do not; default: as before, at first nothing'),
        ('keep_days', '--keep-days', 'int', (), 0, 'how long bodies stay; default: as before, at first 14'),
        ('keep_mib', '--keep-mib', 'int', (), 0, 'how many MiB of them at most; default: as before, at first 512'),
        ('history_days', '--history-days', 'int', (), 0, 'how long single requests stay in the record; default: as before, at first 365'),
    ), '', '', '', ()),
    'proxy revoke': ('proxy.revoke', "Take a client's base URL away: from its next request on it is refused.", ('name',), (
        ('name', '', 'text', (), None, 'the client, see mesh proxy clients'),
    ), '', '', '', ()),
    'proxy status': ('proxy.status', 'Show whether the proxy runs, and whether it records all that passes.', (), (
    ), '', '', '', ()),
    'resolve': ('resolve.choose', 'Say which history of a mesh counts, when its broker has signed two. Without a head: show them.', ('head',), (
        ('head', '', 'text', (), '', 'the beginning of the head to keep'),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), 'recovery', '', '', ()),
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
    'token create': ('token.create', 'Make a token with which a script may use the guarded commands; it is shown once. Needs the passphrase.', ('name',), (
        ('name', '', 'text', (), None, 'what it is for, as the list shows it'),
        ('days', '--days', 'int', (), 90, 'how long it is good'),
    ), '', '', '', ()),
    'token list': ('token.list', 'List the tokens of scripts.', (), (
    ), '', '', 'tokens', ('id', 'name', 'made_ms', 'expires_ms', 'used_ms')),
    'token revoke': ('token.revoke', 'Make a token useless.', ('id',), (
        ('id', '', 'text', (), None, 'see mesh token list'),
    ), '', '', '', ()),
    'held': ('trust.held', 'List what waits for your word: messages held back from your sessions, and requests that a budget holds.', (), (
        ('limit', '--limit', 'int', (), 50, 'how many at most'),
    ), '', 'held[].message', 'held', ('id', 'sender', 'verified', 'to', 'message')),
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
    'usage reprice': ('usage.reprice', 'Give recorded requests the prices of today: after you edited prices.toml, or where a model had no price.', (), (
    ), '', '', '', ()),
    'usage': ('usage.show', 'Show what was spent: requests, tokens of each class and cost, by day or by what you name.', (), (
        ('by', '--by', 'text', ('day', 'model', 'session', 'agent', 'account', 'client', 'kind', 'tool'), 'day', 'what to group by'),
        ('since', '--since', 'text', (), '', 'from this day on: 2026-11-21, or today, or 7d for the last seven; default: all'),
        ('limit', '--limit', 'int', (), 100, 'how many rows at most'),
    ), '', '', '', ()),
    'verify': ('verify.show', 'Show the 60 digits that you and a peer must both see, and whether his keys changed since you compared them.', ('peer',), (
        ('peer', '', 'text', (), None, ''),
        ('mesh', '--mesh', 'text', (), '', "which mesh, by its local name; empty: the session's or default one"),
    ), '', '', '', ()),
}
# fmt: on
