#!/bin/sh
# A loop around curl: one small question after the other.
end=$(($(date +%s) + $1))
while [ "$(date +%s)" -lt "$end" ]; do
  curl -sS -o /dev/null "${OPENAI_BASE_URL:-https://api.openai.com/v1}/chat/completions" \
    -H "authorization: Bearer $OPENAI_API_KEY" -H 'content-type: application/json' \
    -H 'x-mock: input=420 output=60 delay=120ms' \
    -d '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"What time is it?"}]}'
  sleep 0.4
done
