#!/usr/bin/env python3
"""Plays the service manager: `Type=notify`, the watchdog's words, the descriptor store, restarts.

Run in place of `weir`. For `daemon` it starts the real one and stays its parent, also its successors'
(they are reparented to it); any other command becomes the real one. SIGUSR1 restarts the daemon,
SIGTERM ends it. What it is told lies, a line each, in `messages` beside it.
"""
import array, ctypes, os, selectors, signal, socket, sys, time

HOME = os.path.dirname(os.path.abspath(__file__))
WEIR = open(os.path.join(HOME, 'weir-path')).read().strip()
if 'daemon' not in sys.argv[1:]:
    os.execv(WEIR, [WEIR] + sys.argv[1:])

PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
log = open(os.path.join(HOME, 'messages'), 'a', buffering=1)
path = os.path.join(HOME, 'notify')
if os.path.exists(path):
    os.unlink(path)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(path)
os.chmod(path, 0o777)
store = {}

# Nobody outlives this process, however it ends.
alive, known = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.close(known)
    notify.close()
    pids = set()
    while True:
        word = os.read(alive, 4096)
        if not word:
            break
        pids.update(int(pid) for pid in word.split())
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    os._exit(0)
os.close(alive)

def start():
    fds = [os.dup(fd) for _, fd in sorted(store.items())]
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        moved = [os.dup(fd) for fd in fds]
        high = [__import__('fcntl').fcntl(fd, __import__('fcntl').F_DUPFD, 100) for fd in moved]
        for number, fd in enumerate(high):
            os.dup2(fd, 3 + number, inheritable=True)
        os.closerange(3 + len(high), 256)
        environment = dict(os.environ, NOTIFY_SOCKET=path, WATCHDOG_PID=str(os.getpid()))
        environment['WATCHDOG_USEC'] = open(os.path.join(HOME, 'watchdog')).read().strip()
        if high:
            environment['LISTEN_PID'] = str(os.getpid())
            environment['LISTEN_FDS'] = str(len(high))
            environment['LISTEN_FDNAMES'] = ':'.join(sorted(store))
        os.execve(WEIR, [WEIR] + sys.argv[1:], environment)
    for fd in fds:
        os.close(fd)
    os.write(known, b'%d ' % pid)
    return pid

def heard():
    message, ancillary, _, _ = notify.recvmsg(4096, socket.CMSG_SPACE(64))
    fds = array.array('i')
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
    words = message.decode().split('\n')
    told = dict(word.split('=', 1) for word in words if '=' in word)
    log.write('%.3f %s\n' % (time.time(), ' | '.join(word for word in words if word)))
    name = told.get('FDNAME', 'stored')
    if told.get('FDSTORE') == '1' and fds:
        if name in store:
            os.close(store[name])
        store[name] = fds[0]
    elif told.get('FDSTOREREMOVE') == '1' and name in store:
        os.close(store.pop(name))
    return told

wanted = {signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD, signal.SIGHUP, signal.SIGINT}
wake, woken = os.pipe()
os.set_blocking(woken, False)
signal.set_wakeup_fd(woken)
for one in wanted:
    signal.signal(one, lambda *_: None)
main, state = start(), 'running'
selector = selectors.DefaultSelector()
selector.register(notify, selectors.EVENT_READ)
selector.register(wake, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        if key.fileobj is notify:
            told = heard()
            if 'MAINPID' in told:
                main = int(told['MAINPID'])
                os.write(known, b'%d ' % main)
            continue
        for number in os.read(wake, 64):
            if number == signal.SIGUSR1:
                state = 'restarting'
                os.kill(main, signal.SIGTERM)
            elif number in (signal.SIGTERM, signal.SIGINT):
                state = 'ending'
                os.kill(main, signal.SIGTERM)
            elif number == signal.SIGHUP:
                os.kill(main, signal.SIGHUP)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid = 0
            if pid == 0:
                break
            if pid != main:
                log.write('%.3f ended %d with %d\n' % (time.time(), pid, status))
                continue
            log.write('%.3f main ended with %d\n' % (time.time(), status))
            if state != 'restarting':
                sys.exit(os.waitstatus_to_exitcode(status) & 255)
            state, main = 'running', start()
