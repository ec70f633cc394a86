-- What calls and connections came to in each quarter of an hour: whoever asks for a month does not
-- read each of its calls. Written together with the calls and connections themselves. `quarter`
-- counts from 1970; the sums of those before `sums_since` in `meta` are not whole, and not to be
-- gone by.

-- Calls that are over, by their start.
CREATE TABLE call_sum (
  quarter INTEGER NOT NULL,
  subject INTEGER NOT NULL,
  shape INTEGER NOT NULL,
  class TEXT NOT NULL, -- why they failed; empty where they did not
  calls INTEGER NOT NULL,
  priced INTEGER NOT NULL, -- those with a known cost
  cost_nanos INTEGER NOT NULL,
  alone INTEGER NOT NULL, -- those whose only attempt agrees with the call
  timed INTEGER NOT NULL, -- those with a known latency
  latency_us INTEGER NOT NULL,
  input INTEGER NOT NULL,
  cache_read INTEGER NOT NULL,
  cache_write_5m INTEGER NOT NULL,
  cache_write_1h INTEGER NOT NULL,
  output INTEGER NOT NULL,
  reasoning INTEGER NOT NULL,
  audio_input INTEGER NOT NULL,
  audio_output INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  PRIMARY KEY (quarter, subject, shape, class)
) WITHOUT ROWID, STRICT;

-- Connections, by their end.
CREATE TABLE connection_sum (
  quarter INTEGER NOT NULL,
  subject INTEGER NOT NULL,
  provider TEXT NOT NULL,
  treatment TEXT NOT NULL,
  reason TEXT NOT NULL,
  failed INTEGER NOT NULL,
  connections INTEGER NOT NULL,
  bytes_up INTEGER NOT NULL,
  bytes_down INTEGER NOT NULL,
  first_opened INTEGER NOT NULL,
  last_opened INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  PRIMARY KEY (quarter, subject, provider, treatment, reason, failed)
) WITHOUT ROWID, STRICT;

INSERT INTO meta (name, value)
SELECT 'sums_since', coalesce(max(at) / 900000000 + 1, 0)
FROM (SELECT max(started_at) AS at FROM call UNION ALL SELECT max(closed_at) FROM connection);
