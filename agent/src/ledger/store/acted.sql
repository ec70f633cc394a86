-- What policies did about calls, or would have done: lines of POLICY, a tab, ACTION; NULL while a
-- call is open, and for calls of versions that did not keep it.

ALTER TABLE shape ADD COLUMN acted TEXT;
