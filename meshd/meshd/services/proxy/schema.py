"""The proxy's own databases: what was spent on what, without any text; and the texts, where a person wants them stored."""

from typing import Final

APPLICATION_ID: Final = 0x6D707279  # "mpry"

_V1: Final = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- One row a request. Tokens are what the API reported; `cost` is in nano-dollars, null where the price is not known.
-- `partial`: the answer broke off. `unaccounted`: why its usage is not known, empty otherwise.
-- `source` and `linked` say how the session and the parent are known; `content` is a guess.
CREATE TABLE request(
  row INTEGER PRIMARY KEY, started_ms INTEGER NOT NULL, day TEXT NOT NULL, account TEXT NOT NULL, client TEXT NOT NULL,
  session TEXT NOT NULL, agent TEXT NOT NULL, parent_agent TEXT NOT NULL, source TEXT NOT NULL, model TEXT NOT NULL,
  kind TEXT NOT NULL, input INTEGER NOT NULL, cache_write_5m INTEGER NOT NULL, cache_write_1h INTEGER NOT NULL,
  cache_read INTEGER NOT NULL, output INTEGER NOT NULL, thinking INTEGER NOT NULL, searches INTEGER NOT NULL,
  cost INTEGER, stop_reason TEXT NOT NULL, tools TEXT NOT NULL, status INTEGER NOT NULL, outcome TEXT NOT NULL,
  partial INTEGER NOT NULL, unaccounted TEXT NOT NULL, error TEXT NOT NULL, first_byte_ms REAL NOT NULL,
  first_token_ms REAL NOT NULL, total_ms REAL NOT NULL, request_id TEXT NOT NULL, message_id TEXT NOT NULL,
  conversation TEXT NOT NULL, branch TEXT NOT NULL, parent INTEGER, linked TEXT NOT NULL, system BLOB NOT NULL,
  children INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE INDEX request_conversation ON request(conversation, row) WHERE conversation != '';

-- Where a history was last seen: `scope` keeps sessions, agents and accounts apart.
CREATE TABLE history(scope TEXT NOT NULL, chain BLOB NOT NULL, request INTEGER NOT NULL, seen_ms INTEGER NOT NULL,
  PRIMARY KEY(scope, chain)) STRICT, WITHOUT ROWID;
CREATE INDEX history_seen ON history(seen_ms);

CREATE TABLE branch(
  conversation TEXT NOT NULL, name TEXT NOT NULL, agent TEXT NOT NULL, start INTEGER NOT NULL, origin INTEGER,
  PRIMARY KEY(conversation, agent, name)) STRICT, WITHOUT ROWID;

-- Prompts that sub-tasks were started with, to know by it a sub-task whose client names none.
CREATE TABLE prompt(mark BLOB PRIMARY KEY, request INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Sums, so that no question has to read every request. `unpriced` counts requests whose cost is not known.
CREATE TABLE total(
  day TEXT NOT NULL, account TEXT NOT NULL, session TEXT NOT NULL, agent TEXT NOT NULL, model TEXT NOT NULL,
  kind TEXT NOT NULL, requests INTEGER NOT NULL, input INTEGER NOT NULL, cache_write_5m INTEGER NOT NULL,
  cache_write_1h INTEGER NOT NULL, cache_read INTEGER NOT NULL, output INTEGER NOT NULL, thinking INTEGER NOT NULL,
  searches INTEGER NOT NULL, cost INTEGER NOT NULL, unpriced INTEGER NOT NULL, partial INTEGER NOT NULL,
  unaccounted INTEGER NOT NULL, failed INTEGER NOT NULL,
  PRIMARY KEY(day, account, session, agent, model, kind)) STRICT, WITHOUT ROWID;

CREATE TABLE tool_total(
  day TEXT NOT NULL, tool TEXT NOT NULL, requests INTEGER NOT NULL, calls INTEGER NOT NULL, input INTEGER NOT NULL,
  cache_write_5m INTEGER NOT NULL, cache_write_1h INTEGER NOT NULL, cache_read INTEGER NOT NULL,
  output INTEGER NOT NULL, cost INTEGER NOT NULL, PRIMARY KEY(day, tool)) STRICT, WITHOUT ROWID;

CREATE TABLE conversation(
  id TEXT PRIMARY KEY, session TEXT NOT NULL, account TEXT NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
  requests INTEGER NOT NULL, input INTEGER NOT NULL, cache_write_5m INTEGER NOT NULL, cache_write_1h INTEGER NOT NULL,
  cache_read INTEGER NOT NULL, output INTEGER NOT NULL, cost INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX conversation_last ON conversation(last_ms);

-- How much of its rate limits the API says is used.
CREATE TABLE window(
  account TEXT NOT NULL, name TEXT NOT NULL, used REAL NOT NULL, status TEXT NOT NULL, reset_ms INTEGER NOT NULL,
  seen_ms INTEGER NOT NULL, PRIMARY KEY(account, name)) STRICT, WITHOUT ROWID;

-- Requests under way for longer than a moment, so that a daemon that is killed has them counted as far as it knew.
CREATE TABLE under_way(number INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;
"""

_V2: Final = """
CREATE INDEX request_message ON request(message_id) WHERE message_id != '';
CREATE INDEX request_day ON request(day);

-- What Claude Code's transcripts tell of each answer, and up to where each transcript has been read.
CREATE TABLE transcript(message_id TEXT PRIMARY KEY, day TEXT NOT NULL, tokens INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX transcript_day ON transcript(day);
CREATE TABLE transcript_file(path TEXT PRIMARY KEY, read INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""

_V3: Final = """
-- The sums without sessions and agents: a few rows a day, whatever is spent.
CREATE TABLE day_total(
  day TEXT NOT NULL, account TEXT NOT NULL, model TEXT NOT NULL, kind TEXT NOT NULL, requests INTEGER NOT NULL,
  input INTEGER NOT NULL, cache_write_5m INTEGER NOT NULL, cache_write_1h INTEGER NOT NULL, cache_read INTEGER NOT NULL,
  output INTEGER NOT NULL, thinking INTEGER NOT NULL, searches INTEGER NOT NULL, cost INTEGER NOT NULL,
  unpriced INTEGER NOT NULL, partial INTEGER NOT NULL, unaccounted INTEGER NOT NULL, failed INTEGER NOT NULL,
  PRIMARY KEY(day, account, model, kind)) STRICT, WITHOUT ROWID;
INSERT INTO day_total SELECT day, account, model, kind, sum(requests), sum(input), sum(cache_write_5m),
  sum(cache_write_1h), sum(cache_read), sum(output), sum(thinking), sum(searches), sum(cost), sum(unpriced),
  sum(partial), sum(unaccounted), sum(failed) FROM total GROUP BY day, account, model, kind;
CREATE INDEX total_session ON total(session);

-- Limits of a person's own, in nano-dollars or tokens as `unit` says, for one `key` or, where it is empty, for each. What a
-- person allowed beyond it is in `allowance`, by the session, agent or day that it was for.
CREATE TABLE budget(
  id INTEGER PRIMARY KEY, scope TEXT NOT NULL, key TEXT NOT NULL, unit TEXT NOT NULL, amount INTEGER NOT NULL,
  made_ms INTEGER NOT NULL) STRICT;
CREATE TABLE allowance(
  budget INTEGER NOT NULL, key TEXT NOT NULL, amount INTEGER NOT NULL, PRIMARY KEY(budget, key)) STRICT, WITHOUT ROWID;
"""

_V4: Final = """
-- Clients with a token of their own, of which the SHA-256 is kept; and accounts, their secrets sealed under the store key.
CREATE TABLE client(
  name TEXT PRIMARY KEY, hash BLOB NOT NULL, account TEXT NOT NULL, made_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE account(
  name TEXT PRIMARY KEY, kind TEXT NOT NULL, host TEXT NOT NULL, token_url TEXT NOT NULL, client_id TEXT NOT NULL,
  made_ms INTEGER NOT NULL, secret BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- What a request's bodies are found by, where they are stored, and the tier that its price is of.
ALTER TABLE request ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
ALTER TABLE request ADD COLUMN tier TEXT NOT NULL DEFAULT '';

-- Sums by client: its name, or where it has none what it says of itself, without a version.
CREATE TABLE client_total(
  day TEXT NOT NULL, client TEXT NOT NULL, requests INTEGER NOT NULL, input INTEGER NOT NULL,
  cache_write_5m INTEGER NOT NULL, cache_write_1h INTEGER NOT NULL, cache_read INTEGER NOT NULL, output INTEGER NOT NULL,
  thinking INTEGER NOT NULL, searches INTEGER NOT NULL, cost INTEGER NOT NULL, unpriced INTEGER NOT NULL,
  partial INTEGER NOT NULL, unaccounted INTEGER NOT NULL, failed INTEGER NOT NULL,
  PRIMARY KEY(day, client)) STRICT, WITHOUT ROWID;
INSERT INTO client_total SELECT day, substr(client, 1, instr(client || '/', '/') - 1) AS name, count(*), sum(input),
  sum(cache_write_5m), sum(cache_write_1h), sum(cache_read), sum(output), sum(thinking), sum(searches),
  coalesce(sum(cost), 0), sum(cost IS NULL), sum(partial), sum(unaccounted != ''),
  sum(status >= 400 OR error != '' OR outcome NOT IN ('complete', 'open')) FROM request GROUP BY day, name;
"""

MIGRATIONS: Final = (_V1, _V2, _V3, _V4)

BODIES_ID: Final = 0x6D706264  # "mpbd"

# Bodies lie in a file of their own: what they weigh and cost is no matter of the record's. `sealed` is compressed and
# sealed, `kept` its size, `size` that of what passed, and `coding` what the API had compressed that with.
_BODIES_V1: Final = """
CREATE TABLE body(
  number INTEGER NOT NULL, part TEXT NOT NULL, started_ms INTEGER NOT NULL, size INTEGER NOT NULL, kept INTEGER NOT NULL,
  coding TEXT NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY(number, part)) STRICT;
"""

BODIES_MIGRATIONS: Final = (_BODIES_V1,)
