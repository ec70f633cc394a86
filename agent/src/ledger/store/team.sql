-- The team a call belongs to and the account it is charged to: facts that many calls share.

ALTER TABLE shape ADD COLUMN team TEXT;
ALTER TABLE shape ADD COLUMN account TEXT; -- a keyed hash of the credential

DROP VIEW calls;
CREATE VIEW calls AS
SELECT
  c.call_id, c.started_at,
  CASE WHEN h.outcome IS NULL THEN 'open' ELSE 'settled' END AS state,
  h.kind, h.via,
  s.pid, s.start_ticks, s.exe, s.command, s.uid, s.user, s.verified,
  s.workload, s.unit, s.container, s.pod, s.app,
  h.team, h.environment, h.agent_name, h.account,
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
