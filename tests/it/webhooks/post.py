# Posts to a webhook, signed by means of its own: NAME SECRET BODY TIME [TIMES]. TIME is `plain`, or
# seconds from now. A body `*N` is N bytes long. Prints one JSON object for each answer.
import hashlib, hmac, http.client, json, sys, time

name, secret, body, when = sys.argv[1:5]
times = int(sys.argv[5]) if len(sys.argv) > 5 else 1
body = b"x" * int(body[1:]) if body.startswith("*") else body.encode()
headers = {
    "content-type": "application/json",
    "authorization": "Bearer s3cret-of-the-sender",
    "x-event": "push",
}
signed = body
if when != "plain":
    stamp = str(int(time.time()) + int(when))
    headers["X-Webhook-Timestamp"] = stamp
    signed = stamp.encode() + b"." + body
digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
headers["X-Webhook-Signature"] = "sha256=" + digest
for _ in range(times):
    connection = http.client.HTTPConnection("127.0.0.1", 4180, timeout=30)
    connection.request("POST", "/v1/webhooks/" + name, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    said = {
        "status": answer.status,
        "body": json.loads(text),
        "text": text,
        "retry_after": answer.getheader("retry-after"),
        "headers": sorted(name.lower() for name, _ in answer.getheaders()),
    }
    print(json.dumps(said), flush=True)
    connection.close()
