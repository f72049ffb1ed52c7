"""What was spent on the API, and the conversations it was spent on, as the proxy recorded them."""

from typing import Annotated, Literal, TypeAlias

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op

Grouping: TypeAlias = Literal["day", "model", "session", "agent", "account", "client", "kind", "tool"]
BodyPart: TypeAlias = Literal["request", "answer"]
Since = Annotated[
    str,
    msgspec.Meta(
        max_length=32, description="from this day on: 2026-11-21, or today, or 7d for the last seven; default: all"
    ),
]
ConversationId = Annotated[
    str, msgspec.Meta(min_length=1, max_length=128, description="the conversation's id, or its beginning")
]
Rows = Annotated[int, msgspec.Meta(ge=1, le=500, description="how many rows at most")]
Skip = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class UsageSums(Answer, frozen=True):
    """Sums. The input is what was neither read from nor written to a cache; `thinking_tokens` are part of the output.

    `unpriced` requests are not in `cost_usd`: their model has no price here. `partial` ones broke off; `unaccounted` ones
    succeeded, but what they used could not be read.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    thinking_tokens: int
    cost_usd: float
    unpriced: int
    partial: int
    unaccounted: int
    failed: int


class UsageRow(UsageSums, frozen=True):
    """One group, and its sums."""

    key: str


class WindowRow(Answer, frozen=True):
    """A rate limit of a subscription as the API last told it; `used` is a share of 1, `until_ms` when it begins anew.
    `requests`, `tokens` of all classes and `cost_usd` are what went through the proxy since it began, 0 where that is not
    told."""

    account: str
    window: str
    used: float
    status: str
    until_ms: int
    seen_ms: int
    requests: int
    tokens: int
    cost_usd: float


class UsageAnswer(UsageSums, frozen=True):
    """The totals, and a row for each group behind the `skip` first ones. `more` groups are in the totals alone. `trouble`
    says what is not recorded."""

    by: str
    since: str
    rows: list[UsageRow]
    more: int
    windows: list[WindowRow]
    trouble: str


@op(
    "usage.show",
    answer=UsageAnswer,
    tier=Tier.USER,
    errors=(),
    command=Command("usage", hidden=frozenset({"skip"})),
)
class ShowUsage(Request, frozen=True):
    """Show what was spent: requests, tokens of each class and cost, by day or by what you name.

    By tool, a request that calls two of them counts for both; the totals count it once. A client without a name of its own
    is counted under what it says it is.
    """

    by: Annotated[Grouping, msgspec.Meta(description="what to group by")] = "day"
    since: Since = ""
    limit: Rows = 100
    skip: Skip = 0


class ConversationRow(Answer, frozen=True):
    """One conversation. Its id is the session's, where the client names one."""

    id: str
    session: str
    account: str
    first_ms: int
    last_ms: int
    requests: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_usd: float


class ConversationsAnswer(Answer, frozen=True):
    """The newest first, behind the `skip` first ones. `more` says that there are older ones."""

    conversations: list[ConversationRow]
    more: bool


@op(
    "usage.conversations",
    answer=ConversationsAnswer,
    tier=Tier.USER,
    command=Command("conversations", hidden=frozenset({"skip"})),
)
class ListConversations(Request, frozen=True):
    """List the conversations that went through the proxy, the newest first."""

    since: Since = ""
    limit: Rows = 50
    skip: Skip = 0


class ThreadRow(Answer, frozen=True):
    """One branch of one agent's history. `agent` is empty for the session itself; `parent_agent` started this one.
    `origin` is the row of the request that it branches off from, 0 for a beginning, and `origin_branch` the branch that one
    is on; `guessed`: by content alone. `unpriced` requests are not in `cost_usd`."""

    agent: str
    parent_agent: str
    branch: str
    origin: int
    origin_branch: str
    guessed: bool
    first_ms: int
    last_ms: int
    requests: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_usd: float
    unpriced: int


class RequestRow(Answer, frozen=True):
    """One request. `parent` is the row it follows, 0 for none. Times in milliseconds, -1 where they did not come.
    `unpriced`: its model has no price here, and `cost_usd` is 0.
    `stored_bytes` is what request and answer say where that is stored (mesh proxy on --store bodies), else 0."""

    row: int
    started_ms: int
    agent: str
    branch: str
    parent: int
    kind: str
    model: str
    status: int
    outcome: str
    stop_reason: str
    tools: list[str]
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    thinking_tokens: int
    cost_usd: float
    unpriced: bool
    partial: bool
    unaccounted: str
    error: str
    first_byte: float
    first_token: float
    total: float
    request_id: str
    stored_bytes: int


class ConversationAnswer(ConversationRow, frozen=True):
    """A conversation as a tree: threads by agent and branch, behind the `skip` first ones, and its newest requests before
    the row `before`, oldest of them first. The sums are the whole conversation's; `more` says that there are earlier
    requests, `more_threads` that there are later threads. One answer holds about 50 requests."""

    threads: list[ThreadRow]
    more_threads: bool
    turns: list[RequestRow]
    more: bool


@op(
    "usage.conversation",
    answer=ConversationAnswer,
    tier=Tier.USER,
    errors=("not_found", "ambiguous_id"),
    command=Command("conversation", args=("id",), hidden=frozenset({"skip", "before"})),
)
class ShowConversation(Request, frozen=True):
    """Show one conversation: its branches, compactions and sub-tasks, each with tokens, cost and time."""

    id: ConversationId
    limit: Rows = 100
    skip: Skip = 0
    before: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0


class BodyAnswer(Answer, frozen=True):
    """A piece of what was said, `size` bytes in all; `next_offset` is where the next one begins, 0 after the last."""

    row: int
    part: str
    size: int
    next_offset: int
    text: str


@op(
    "usage.body",
    answer=BodyAnswer,
    tier=Tier.USER,
    guarded=True,
    errors=("not_found",),
    texts="text",
)
class ReadBody(Request, frozen=True):
    """Read what a request or its answer says, where bodies are stored, piece by piece."""

    row: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    part: BodyPart
    offset: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0


class ImportAnswer(Answer, frozen=True):
    """`messages` were read, `added` of them had not gone through the proxy and are counted now. `following` says whether
    the transcripts are read on from now on."""

    files: int
    messages: int
    added: int
    following: bool


@op(
    "usage.import",
    answer=ImportAnswer,
    tier=Tier.USER,
    audited=("follow", "stop"),
    errors=("not_found",),
    command=Command("usage import", hidden=frozenset({"config"})),
)
class ImportUsage(Request, frozen=True):
    """Count what Claude Code's transcripts tell of sessions that did not use the proxy.

    A message that went through the proxy is not counted again, nor is one that was imported before.
    """

    config: Annotated[str, msgspec.Meta(max_length=1_024, description="Claude Code's folder")] = ""
    follow: Annotated[bool, msgspec.Meta(description="and go on doing so, every half minute")] = False
    stop: Annotated[bool, msgspec.Meta(description="follow them no longer")] = False


class DayRow(Answer, frozen=True):
    """One day. `both` messages are known to the proxy and to the transcripts; the tokens are of those, all classes
    together, and `difference` is the proxy's less the transcripts'. Side questions, such as a title, are in no transcript.
    """

    day: str
    both: int
    only_proxy: int
    only_transcripts: int
    proxy_tokens: int
    transcript_tokens: int
    difference: int


class ReconcileAnswer(Answer, frozen=True):
    """The newest day first, behind the `skip` first ones, and the sum of all differences. `more` days are in it alone."""

    days: list[DayRow]
    difference: int
    more: int


@op(
    "usage.reconcile",
    answer=ReconcileAnswer,
    tier=Tier.USER,
    command=Command(
        "usage reconcile",
        rows="days",
        columns=("day", "both", "only_proxy", "only_transcripts", "proxy_tokens", "transcript_tokens", "difference"),
        hidden=frozenset({"skip"}),
    ),
)
class Reconcile(Request, frozen=True):
    """Hold what the proxy recorded against what the transcripts tell (mesh usage import), day by day."""

    since: Since = "30d"
    skip: Skip = 0


class RepriceAnswer(Answer, frozen=True):
    """Of `requests` that were looked at, `changed` have another cost now. The costs are of all of them."""

    requests: int
    changed: int
    before_usd: float
    after_usd: float


@op(
    "usage.reprice",
    answer=RepriceAnswer,
    tier=Tier.USER,
    audited=(),
    errors=("bad_settings",),
    command=Command("usage reprice"),
)
class Reprice(Request, frozen=True):
    """Give recorded requests the prices of today: after you edited prices.toml, or where a model had no price."""
