-- The tables hold what a call has of its own; what many calls share is in `subject` and `shape`.
-- Read the views: `calls`, `attempts`, `decisions`, `connections`. Times are microseconds, points
-- in time since 1970 UTC; money is in billionths of a US dollar.

CREATE TABLE meta (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

-- Who: one row per process instance and start of the agent.
CREATE TABLE subject (
  id INTEGER PRIMARY KEY,
  pid INTEGER NOT NULL,
  start_ticks INTEGER NOT NULL,
  exe TEXT NOT NULL,
  command TEXT NOT NULL,
  uid INTEGER NOT NULL,
  user TEXT,
  verified INTEGER NOT NULL,
  workload TEXT NOT NULL,
  unit TEXT,
  container TEXT,
  pod TEXT,
  app TEXT,
  first_seen INTEGER NOT NULL,
  last_seen INTEGER NOT NULL -- to the minute
) STRICT;
CREATE INDEX subject_pid ON subject (pid);
CREATE INDEX subject_last_seen ON subject (last_seen);

-- What: the facts about calls that take few values.
CREATE TABLE shape (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  via TEXT NOT NULL,
  environment TEXT NOT NULL,
  agent_name TEXT,
  provider TEXT NOT NULL,
  host TEXT NOT NULL,
  operation TEXT NOT NULL,
  method TEXT NOT NULL,
  path TEXT NOT NULL,
  model TEXT,
  model_served TEXT,
  stream INTEGER NOT NULL,
  status INTEGER,
  outcome TEXT, -- NULL while the call is open
  usage_source TEXT NOT NULL,
  billing TEXT NOT NULL,
  price_version TEXT,
  attempts INTEGER NOT NULL,
  flags TEXT NOT NULL, -- comma-separated
  last_used INTEGER NOT NULL -- to the hour
) STRICT;
CREATE INDEX shape_last_used ON shape (last_used);

CREATE TABLE call (
  call_id TEXT PRIMARY KEY,
  started_at INTEGER NOT NULL,
  subject INTEGER NOT NULL,
  shape INTEGER NOT NULL,
  latency_us INTEGER, -- NULL while open, and where the call was lost
  upstream_us INTEGER NOT NULL DEFAULT 0,
  input INTEGER NOT NULL DEFAULT 0,
  output INTEGER NOT NULL DEFAULT 0,
  cost_nanos INTEGER,
  bytes_in INTEGER NOT NULL DEFAULT 0,
  bytes_out INTEGER NOT NULL DEFAULT 0,
  only_attempt_after_us INTEGER, -- the only attempt, where it agrees with the call:
  only_attempt_us INTEGER,       -- start after the call's, and duration
  decision INTEGER,
  ttft_us INTEGER,
  cache_read INTEGER NOT NULL DEFAULT 0,
  cache_write_5m INTEGER NOT NULL DEFAULT 0,
  cache_write_1h INTEGER NOT NULL DEFAULT 0,
  reasoning INTEGER NOT NULL DEFAULT 0,
  audio_input INTEGER NOT NULL DEFAULT 0,
  audio_output INTEGER NOT NULL DEFAULT 0,
  retry_of TEXT,
  error TEXT
) WITHOUT ROWID, STRICT;
CREATE INDEX call_open ON call (call_id) WHERE latency_us IS NULL;

-- Attempts that differ from their call, or of which there were several.
CREATE TABLE attempt (
  call_id TEXT NOT NULL,
  n INTEGER NOT NULL,
  provider TEXT NOT NULL,
  model TEXT,
  started_at INTEGER NOT NULL,
  status INTEGER,
  outcome TEXT NOT NULL,
  upstream_us INTEGER NOT NULL,
  cost_nanos INTEGER,
  PRIMARY KEY (call_id, n)
) WITHOUT ROWID, STRICT;

-- The decisions on some calls: {"CALL-ID": [[at_us, rule, action, detail], ...], ...}
CREATE TABLE decision (
  id INTEGER PRIMARY KEY,
  last_at INTEGER NOT NULL, -- start of the latest of these calls
  steps TEXT NOT NULL
) STRICT;

CREATE TABLE connection (
  id INTEGER PRIMARY KEY,
  opened_at INTEGER NOT NULL,
  closed_at INTEGER NOT NULL,
  subject INTEGER NOT NULL,
  provider TEXT NOT NULL,
  host TEXT NOT NULL,
  treatment TEXT NOT NULL,
  reason TEXT NOT NULL,
  bytes_up INTEGER NOT NULL,
  bytes_down INTEGER NOT NULL,
  failed INTEGER NOT NULL
) STRICT;
CREATE INDEX connection_closed_at ON connection (closed_at);

CREATE VIEW calls AS
SELECT
  c.call_id, c.started_at,
  CASE WHEN h.outcome IS NULL THEN 'open' ELSE 'settled' END AS state,
  h.kind, h.via,
  s.pid, s.start_ticks, s.exe, s.command, s.uid, s.user, s.verified,
  s.workload, s.unit, s.container, s.pod, s.app,
  NULL AS team, h.environment, h.agent_name,
  h.provider, h.host, h.operation, h.method, h.path, h.model, h.model_served,
  h.stream, h.status, h.outcome, c.error,
  c.input, c.cache_read, c.cache_write_5m, c.cache_write_1h,
  c.output, c.reasoning, c.audio_input, c.audio_output, h.usage_source,
  c.cost_nanos, h.billing, h.price_version,
  h.attempts, c.retry_of, c.ttft_us, c.latency_us, c.upstream_us,
  c.bytes_in, c.bytes_out, h.flags,
  c.subject
FROM call c
JOIN subject s ON s.id = c.subject
JOIN shape h ON h.id = c.shape;

CREATE VIEW attempts AS
SELECT
  c.call_id, 0 AS n, h.provider, h.model,
  c.started_at + c.only_attempt_after_us AS started_at,
  h.status, h.outcome, c.only_attempt_us AS upstream_us, c.cost_nanos
FROM call c
JOIN shape h ON h.id = c.shape
WHERE c.only_attempt_us IS NOT NULL
UNION ALL
SELECT call_id, n, provider, model, started_at, status, outcome, upstream_us, cost_nanos
FROM attempt;

CREATE VIEW decisions AS
SELECT
  c.call_id, step.key AS n,
  step.value ->> 0 AS at_us, step.value ->> 1 AS rule,
  step.value ->> 2 AS action, step.value ->> 3 AS detail
FROM call c
JOIN decision d ON d.id = c.decision
JOIN json_each(d.steps, '$.' || c.call_id) AS step;

CREATE VIEW connections AS
SELECT
  l.id, l.opened_at, l.closed_at,
  s.pid, s.start_ticks, s.exe, s.command, s.uid, s.user, s.verified,
  s.workload, s.unit, s.container, s.pod, s.app,
  l.provider, l.host, l.treatment, l.reason, l.bytes_up, l.bytes_down, l.failed,
  l.subject
FROM connection l
JOIN subject s ON s.id = l.subject;
