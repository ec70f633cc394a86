-- Where limits were asked, `steps` keeps their figures instead of a text:
--   {"CALL-ID": [[at_us, rule, action, detail]
--                | [at_us, action, limits, [used, ...], [tokens, nano_dollars] | null, remark | null],
--                ...], ...,
--    "limits": {"NUMBER": {"policy": ..., "of": [[key, quantity, limit], ...]}, ...}}
-- The view shows such figures as {"key": [used, limit], ...}, dollars in billionths.

DROP VIEW decisions;
CREATE VIEW decisions AS
SELECT
  c.call_id, step.key AS n, step.value ->> 0 AS at_us,
  CASE json_type(step.value, '$[2]')
    WHEN 'integer' THEN d.steps ->> ('$.limits.' || (step.value ->> 2) || '.policy')
    ELSE step.value ->> 1
  END AS rule,
  CASE json_type(step.value, '$[2]')
    WHEN 'integer' THEN step.value ->> 1
    ELSE step.value ->> 2
  END AS action,
  CASE json_type(step.value, '$[2]')
    WHEN 'integer' THEN (
      SELECT json_group_object(limits.value ->> 0, json_array(used.value, limits.value ->> 2))
      FROM json_each(d.steps, '$.limits.' || (step.value ->> 2) || '.of') AS limits
      JOIN json_each(step.value, '$[3]') AS used ON used.key = limits.key)
    ELSE step.value ->> 3
  END AS detail
FROM call c
JOIN decision d ON d.id = c.decision
JOIN json_each(d.steps, '$.' || c.call_id) AS step;
