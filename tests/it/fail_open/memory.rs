//! The kernel refuses memory for the record of a socket.

use harness::{Route, Stage, on_stage};

use super::is_metered;

/// What a socket may hold for its options before Linux 6.8, where it was the whole machine's to say.
const OPTIONS: &str = "20480";

/// One call over a socket that fills its memory for options first: a filter that passes everything,
/// as long as one fits. Prints the id of the call, if the agent gave one, and the status.
const FULL: &str = "
import ctypes, socket, ssl, struct, sys
SO_ATTACH_FILTER = 26
def filter(length):
    words = ctypes.create_string_buffer(struct.pack('HBBI', 0x06, 0, 0, 0xffffffff) * length)
    return words, struct.pack('HxxxxxxQ', length, ctypes.addressof(words))
sock = socket.socket(socket.AF_INET)
for length in range(4096, 0, -1):
    keep, program = filter(length)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
        break
    except OSError:
        pass
else:
    sys.exit('no filter fits')
if length == 4096:
    sys.exit('the longest filter does not fill the memory for options')
sock.settimeout(20)
sock.connect(('192.0.2.10', 443))
tls = ssl.create_default_context().wrap_socket(sock, server_hostname='api.openai.com')
body = '{\"model\":\"gpt-4o-mini\",\"messages\":[]}'
tls.sendall(('POST /v1/chat/completions HTTP/1.1\\r\\nhost: api.openai.com\\r\\nauthorization: Bearer sk-t\\r\\n'
    'connection: close\\r\\ncontent-length: %d\\r\\n\\r\\n%s' % (len(body), body)).encode())
answer = b''
while True:
    read = tls.recv(4096)
    if not read:
        break
    answer += read
head = answer.split(b'\\r\\n\\r\\n')[0].decode().lower()
print('metered' if 'x-weir-call-id' in head else 'direct', head.split(' ')[1])
";

async fn unsaved(stage: &Stage) -> anyhow::Result<u64> {
    stage.metric("weir_capture_events_total", "event=\"unsaved\"").await
}

#[test]
fn a_socket_without_room_for_its_record_connects_directly_and_is_counted() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let limit = "/proc/sys/net/core/optmem_max";
        // The stage's own, where a namespace has one.
        if std::fs::exists(limit)? {
            std::fs::write(limit, OPTIONS)?;
        }
        stage.start(&stage.config()).await?;
        assert!(is_metered(stage, &[]).await?);
        assert_eq!(unsaved(stage).await?, 0);
        let output = stage.succeed(Route::Redirect, &["python3", "-c", FULL]).await?;
        assert_eq!(output.stdout.trim(), "direct 200");
        assert_eq!(unsaved(stage).await?, 1);
        assert!(is_metered(stage, &[]).await?, "others are not concerned");
        assert_eq!(stage.settled(2).await?.len(), 2);
        Ok(())
    })
}
