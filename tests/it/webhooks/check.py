# Whether a callback is signed, as its receiver would find out: SECRET TIMESTAMP SIGNATURE BODY.
import hashlib, hmac, sys, time

secret, stamp, signature, body = sys.argv[1:5]
expected = hmac.new(secret.encode(), f"{stamp}.{body}".encode(), hashlib.sha256).hexdigest()
fresh = abs(time.time() - int(stamp)) <= 300
sys.exit(0 if fresh and hmac.compare_digest("sha256=" + expected, signature) else 1)
