"""Calls without a pause, in several ways at once, until there is a file of the given name; each is
one line: how, the call's id if the agent gave one, what came of it.

Kept connections are used again as SDKs use them: not if the other side has closed them by then.
"""
import http.client, json, os, select, ssl, sys, threading, time

enough, pace, body = sys.argv[1], float(sys.argv[2]), sys.argv[3]
ways = sys.argv[4].split(',')
context = ssl.create_default_context()
lines = threading.Lock()

def connect(way):
    if way == 'gateway':
        return http.client.HTTPConnection('127.0.0.1', 4180, timeout=30)
    return http.client.HTTPSConnection('api.openai.com', context=context, timeout=30)

def usable(connection):
    if connection is None or connection.sock is None:
        return False
    return not select.select([connection.sock], [], [], 0)[0]

def call(way, connection):
    path = '/openai/v1/chat/completions' if way == 'gateway' else '/v1/chat/completions'
    asked = json.loads(body)
    if way == 'stream':
        asked['stream'] = True
    connection.request('POST', path, json.dumps(asked), {'authorization': 'Bearer sk-t'})
    answer = connection.getresponse()
    told = answer.read()
    whole = answer.status == 200 and (way != 'stream' or told.endswith(b'data: [DONE]\n\n'))
    end = 'whole' if whole else '%d:%s' % (answer.status, told[-200:].decode(errors='replace'))
    return answer.getheader('x-weir-call-id', '-'), end.replace('\n', ' ')

def run(way):
    connection = None
    while not os.path.exists(enough):
        began = time.time()
        if not usable(connection):
            if connection is not None:
                connection.close()
            connection = connect(way)
        try:
            told = call(way, connection)
        except (OSError, http.client.HTTPException) as error:
            told = ('-', '%s: %s' % (type(error).__name__, error))
            connection.close()
        if way in ('new', 'gateway'):
            connection.close()
        with lines:
            print(way, *told, '%.3f' % began, '%.3f' % (time.time() - began), sep='\t', flush=True)
        time.sleep(max(0, pace - (time.time() - began)))

threads = [threading.Thread(target=run, args=(way,)) for way in ways]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
