//! Two connections joined without reading what passes: for hosts that are none of ours and clients
//! that do not trust us.
//!
//! Bytes go through the kernel by splice(2), or through a buffer where there is no pipe to be had.
//! Each direction ends on its own (an end of stream is passed on as a half-close, and the other
//! direction goes on); a reset on either side becomes a reset on the other, so that neither end
//! mistakes a broken transfer for a finished one.

mod pipe;

use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::Shutdown;
use rustix::pipe::{SpliceFlags, splice};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use pipe::{CAPACITY, Pipe, Pipes};

/// Size of the buffer that stands in for a pipe.
const FALLBACK: usize = 16 * 1024;

/// Joins connections; one per agent, so that all tunnels share one stock of pipes.
#[derive(Debug, Clone)]
pub struct Tunnels {
    pipes: Arc<Pipes>,
    idle: Duration,
}

/// What passed through a tunnel, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayed {
    /// Bytes delivered to the upstream, the prefix included.
    pub up: u64,
    /// Bytes delivered to the client.
    pub down: u64,
    /// How it ended.
    pub end: End,
}

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides finished.
    Finished,
    /// The client reset the connection, or could not be written to.
    ClientReset,
    /// The upstream reset the connection, or could not be written to.
    UpstreamReset,
    /// One side had finished, and the other was silent for the allowed time.
    Idle,
    /// The caller's `stop` resolved.
    Stopped,
}

impl Tunnels {
    /// Tunnels that end when one side has finished and the other is silent for `idle`, and use at most `pipes` pipes (two
    /// descriptors each) between them.
    pub fn new(idle: Duration, pipes: usize) -> Self {
        Self { pipes: Pipes::new(pipes), idle }
    }

    /// Sends `prefix` (what was read from the client already) upstream, then passes bytes both ways
    /// until both sides have finished, one resets, nothing moves for too long, or `stop` resolves.
    /// Both connections are closed on return: with a reset unless both sides had finished.
    pub async fn relay(
        &self,
        client: TcpStream,
        prefix: &[u8],
        upstream: TcpStream,
        stop: impl Future<Output = ()>,
    ) -> Relayed {
        let (up, down) = (Flow::new(), Flow::new());
        let upward = async {
            send(&upstream, prefix, &up).await.map_err(|_| End::UpstreamReset)?;
            self.pass(&client, &upstream, &up, (End::ClientReset, End::UpstreamReset)).await
        };
        let downward = self.pass(&upstream, &client, &down, (End::UpstreamReset, End::ClientReset));
        let cut_short = async {
            tokio::select! {
                () = silence(&up, &down, self.idle) => End::Idle,
                () = stop => End::Stopped,
            }
        };
        let end = join((&client, upward), (&upstream, downward), cut_short).await;
        if end != End::Finished {
            reset(&client);
            reset(&upstream);
        }
        Relayed { up: up.bytes(), down: down.bytes(), end }
    }

    /// Passes one direction to its end. `ends` says what a failure to read and to write means.
    async fn pass(
        &self,
        from: &TcpStream,
        to: &TcpStream,
        flow: &Flow,
        (read_failed, write_failed): (End, End),
    ) -> Result<(), End> {
        let mut buffer = Vec::new();
        // Once splice is refused (a socket that cannot), it is not tried again.
        let mut spliceable = true;
        loop {
            from.readable().await.map_err(|_| read_failed)?;
            let pipe = if spliceable { self.pipes.take() } else { None };
            let step = match pipe {
                Some(pipe) => splice_all(from, to, pipe, flow).await,
                None => copy_some(from, to, &mut buffer, flow).await,
            };
            match step {
                Ok(Step::Moved) => {}
                Ok(Step::NotSpliceable) => spliceable = false,
                Ok(Step::End) => {
                    // Fails only where `to` is gone, which the other direction reports.
                    let _gone = rustix::net::shutdown(to, Shutdown::Write);
                    flow.finish();
                    return Ok(());
                }
                Err(Fault::Read) => return Err(read_failed),
                Err(Fault::Write) => return Err(write_failed),
            }
        }
    }
}

/// Runs both directions, each given with the side it reads from, to the end of both or to whatever
/// comes first.
async fn join(
    (client, upward): (&TcpStream, impl Future<Output = Result<(), End>>),
    (upstream, downward): (&TcpStream, impl Future<Output = Result<(), End>>),
    cut_short: impl Future<Output = End>,
) -> End {
    tokio::pin!(upward, downward, cut_short);
    let (mut up_done, mut down_done) = (false, false);
    while !(up_done && down_done) {
        let passed = tokio::select! {
            passed = &mut upward, if !up_done => { up_done = true; passed }
            passed = &mut downward, if !down_done => { down_done = true; passed }
            // Nobody reads any more from a side that has finished sending, so nobody else would
            // see it break. While it is read from, the reader must meet the break: there may be
            // bytes before it.
            () = broken(client), if up_done => Err(End::ClientReset),
            () = broken(upstream), if down_done => Err(End::UpstreamReset),
            end = &mut cut_short => Err(end),
        };
        if let Err(end) = passed {
            return end;
        }
    }
    End::Finished
}

/// What one direction has done so far.
struct Flow {
    began: Instant,
    bytes: AtomicU64,
    /// When a byte last moved, in milliseconds since `began`.
    active: AtomicU64,
    over: AtomicBool,
}

impl Flow {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            bytes: AtomicU64::new(0),
            active: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }

    fn finish(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.delivered(0);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn delivered(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let active = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.active.store(active, Ordering::Relaxed);
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn active_at(&self) -> Instant {
        self.began + Duration::from_millis(self.active.load(Ordering::Relaxed))
    }
}

enum Step {
    /// Bytes moved, or there were none after all.
    Moved,
    /// The reading side has finished.
    End,
    /// These sockets cannot be spliced; nothing was read.
    NotSpliceable,
}

enum Fault {
    Read,
    Write,
}

/// Passes what is there now, through `pipe`, until `from` would block.
async fn splice_all(
    from: &TcpStream,
    to: &TcpStream,
    mut pipe: Pipe,
    flow: &Flow,
) -> Result<Step, Fault> {
    loop {
        // The pipe is empty here, so "would block" can only mean the socket.
        let filled = from.try_io(Interest::READABLE, || splice_once(from, pipe.ends().1, CAPACITY));
        match filled {
            Ok(0) => return Ok(Step::End),
            Ok(bytes) => pipe.filled = bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Moved),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Ok(Step::NotSpliceable);
            }
            Err(_) => return Err(Fault::Read),
        }
        while pipe.filled > 0 {
            let left = pipe.filled;
            let moved = to
                .async_io(Interest::WRITABLE, || splice_once(pipe.ends().0, to, left))
                .await
                .map_err(|_| Fault::Write)?;
            pipe.filled -= moved;
            flow.delivered(moved);
        }
    }
}

fn splice_once(from: impl AsFd, to: impl AsFd, length: usize) -> io::Result<usize> {
    let moved = rustix::io::retry_on_intr(|| {
        splice(&from, None, &to, None, length, SpliceFlags::NONBLOCK)
    })?;
    Ok(moved)
}

/// Passes what one read gives, through a buffer.
async fn copy_some(
    from: &TcpStream,
    to: &TcpStream,
    buffer: &mut Vec<u8>,
    flow: &Flow,
) -> Result<Step, Fault> {
    buffer.resize(FALLBACK, 0);
    match from.try_read(buffer) {
        Ok(0) => Ok(Step::End),
        Ok(bytes) => {
            send(to, &buffer[..bytes], flow).await.map_err(|_| Fault::Write)?;
            Ok(Step::Moved)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Step::Moved),
        Err(_) => Err(Fault::Read),
    }
}

async fn send(to: &TcpStream, mut bytes: &[u8], flow: &Flow) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = to.async_io(Interest::WRITABLE, || to.try_write(bytes)).await?;
        flow.delivered(sent);
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// Resolves when the connection is broken, as opposed to finished.
async fn broken(stream: &TcpStream) {
    if stream.ready(Interest::ERROR).await.is_ok() && matches!(stream.take_error(), Ok(None)) {
        // Readiness stays set until an operation on the socket clears it, so asking again would
        // spin. An error that has been taken already was seen by whoever took it.
        std::future::pending::<()>().await;
    }
}

/// Resolves when one direction is over and the other has not moved a byte for `idle` since.
///
/// While both are open nobody is cut: a client may wait for an answer for as long as it likes, and
/// keep-alive probes find out whether its peer is gone.
async fn silence(up: &Flow, down: &Flow, idle: Duration) {
    loop {
        let due = up.active_at().max(down.active_at()) + idle;
        let now = Instant::now();
        if now < due {
            tokio::time::sleep_until(due).await;
        } else if up.is_over() || down.is_over() {
            return;
        } else {
            tokio::time::sleep(idle).await;
        }
    }
}

/// Makes closing the connection send a reset.
fn reset(stream: &TcpStream) {
    // Fails only on a socket that is gone.
    let _gone = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const HOUR: Duration = Duration::from_hours(1);

    /// The two ends of a loopback connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        (dialled, accepted)
    }

    /// A tunnel under test with its two far ends; the relay runs while `ends` does.
    async fn through<F, T>(
        tunnels: &Tunnels,
        prefix: &[u8],
        stop: impl Future<Output = ()>,
        ends: impl FnOnce(TcpStream, TcpStream) -> F,
    ) -> (Relayed, T)
    where
        F: Future<Output = T>,
    {
        let (client, near_client) = pair().await;
        let (near_upstream, upstream) = pair().await;
        tokio::join!(
            tunnels.relay(near_client, prefix, near_upstream, stop),
            ends(client, upstream)
        )
    }

    fn is_reset<T: std::fmt::Debug>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
    }

    /// Bytes whose every 8 tell their place, so that loss, doubling and reordering all show.
    fn pattern(length: usize) -> Vec<u8> {
        (0..length as u64 / 8)
            .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect()
    }

    async fn large_transfer(pipes: usize) {
        let tunnels = Tunnels::new(HOUR, pipes);
        let (there, back) = (pattern(24 << 20), pattern(9 << 20));
        let prefix = &there[..1000];
        let ends = async |client: TcpStream, upstream: TcpStream| {
            let (mut client_in, mut client_out) = client.into_split();
            let (mut upstream_in, mut upstream_out) = upstream.into_split();
            let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
            tokio::join!(
                async {
                    client_out.write_all(&there[1000..]).await.unwrap();
                    client_out.shutdown().await.unwrap();
                },
                async {
                    upstream_out.write_all(&back).await.unwrap();
                    upstream_out.shutdown().await.unwrap();
                },
                async { upstream_in.read_to_end(&mut got_up).await.unwrap() },
                async { client_in.read_to_end(&mut got_down).await.unwrap() },
            );
            (got_up == there, got_down == back)
        };
        let (relayed, intact) = through(&tunnels, prefix, std::future::pending(), ends).await;
        assert_eq!(intact, (true, true));
        let (up, down) = (there.len() as u64, back.len() as u64);
        assert_eq!(relayed, Relayed { up, down, end: End::Finished });
        let (open, idle) = tunnels.pipes.counts();
        assert!(open == idle && open <= pipes, "{open} open, {idle} idle");
    }

    #[tokio::test]
    async fn a_large_transfer_arrives_whole_both_ways() {
        large_transfer(8).await;
    }

    #[tokio::test]
    async fn without_pipes_bytes_are_copied() {
        large_transfer(0).await;
    }

    #[tokio::test]
    async fn an_end_of_stream_is_a_half_close() {
        let tunnels = Tunnels::new(HOUR, 8);
        let ends = async |mut client: TcpStream, mut upstream: TcpStream| {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut asked = Vec::new();
            upstream.read_to_end(&mut asked).await.unwrap();
            assert_eq!(asked, b"hello, question");
            // The client has finished sending; the answer still goes through, in pieces.
            for piece in [b"first ", b"second"] {
                upstream.write_all(piece).await.unwrap();
                let mut got = [0; 6];
                client.read_exact(&mut got).await.unwrap();
                assert_eq!(&got, piece);
            }
            drop(upstream);
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        };
        let (relayed, ()) = through(&tunnels, b"hello, ", std::future::pending(), ends).await;
        assert_eq!(relayed, Relayed { up: 15, down: 12, end: End::Finished });
    }

    #[tokio::test]
    async fn the_server_may_speak_first_and_close_first() {
        let tunnels = Tunnels::new(HOUR, 8);
        let ends = async |mut client: TcpStream, mut upstream: TcpStream| {
            upstream.write_all(b"220 ready").await.unwrap();
            upstream.shutdown().await.unwrap();
            let mut banner = Vec::new();
            client.read_to_end(&mut banner).await.unwrap();
            assert_eq!(banner, b"220 ready");
            client.write_all(b"thanks").await.unwrap();
            drop(client);
            let mut thanks = Vec::new();
            upstream.read_to_end(&mut thanks).await.unwrap();
            assert_eq!(thanks, b"thanks");
        };
        let (relayed, ()) = through(&tunnels, b"", std::future::pending(), ends).await;
        assert_eq!(relayed, Relayed { up: 6, down: 9, end: End::Finished });
    }

    #[tokio::test]
    async fn a_reset_goes_through_in_either_direction() {
        let tunnels = Tunnels::new(HOUR, 8);
        let (relayed, ()) =
            through(&tunnels, b"", std::future::pending(), async |client, mut upstream| {
                reset(&client);
                drop(client);
                assert!(is_reset(upstream.read(&mut [0; 1]).await));
            })
            .await;
        assert_eq!(relayed.end, End::ClientReset);

        let (relayed, ()) =
            through(&tunnels, b"", std::future::pending(), async |mut client, upstream| {
                reset(&upstream);
                drop(upstream);
                assert!(is_reset(client.read(&mut [0; 1]).await));
            })
            .await;
        assert_eq!(relayed.end, End::UpstreamReset);
    }

    #[tokio::test]
    async fn a_reset_after_a_half_close_is_seen() {
        let tunnels = Tunnels::new(HOUR, 8);
        let ends = async |mut client: TcpStream, mut upstream: TcpStream| {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut asked = Vec::new();
            upstream.read_to_end(&mut asked).await.unwrap();
            // Nothing flows now; only the watch on the finished side can notice.
            reset(&client);
            drop(client);
            upstream.ready(Interest::ERROR).await.unwrap();
            assert!(upstream.write(b"answer").await.is_err());
        };
        let (relayed, ()) = through(&tunnels, b"", std::future::pending(), ends).await;
        assert_eq!(relayed.end, End::ClientReset);
    }

    #[tokio::test]
    async fn bytes_before_a_reset_are_delivered() {
        let tunnels = Tunnels::new(HOUR, 8);
        let ends = async |mut client: TcpStream, mut upstream: TcpStream| {
            upstream.write_all(b"last words").await.unwrap();
            reset(&upstream);
            drop(upstream);
            let mut got = [0; 10];
            client.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"last words");
        };
        let (relayed, ()) = through(&tunnels, b"", std::future::pending(), ends).await;
        assert_eq!((relayed.down, relayed.end), (10, End::UpstreamReset));
    }

    #[tokio::test]
    async fn a_tunnel_is_cut_for_silence_only_when_one_side_has_finished() {
        let tunnels = Tunnels::new(Duration::from_millis(150), 8);
        let ends = async |mut client: TcpStream, mut upstream: TcpStream| {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(30)).await;
                upstream.write_all(b".").await.unwrap();
            }
            let mut got = [0; 10];
            client.read_exact(&mut got).await.unwrap();
            // Twice the bound without a byte, and both sides still there.
            tokio::time::sleep(Duration::from_millis(300)).await;
            upstream.shutdown().await.unwrap();
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
            assert!(is_reset(upstream.read(&mut [0; 1]).await));
        };
        let (relayed, ()) = through(&tunnels, b"", std::future::pending(), ends).await;
        assert_eq!(relayed, Relayed { up: 0, down: 10, end: End::Idle });
    }

    #[tokio::test]
    async fn a_stopped_tunnel_counts_what_it_delivered_and_holds_no_pipe() {
        let tunnels = Tunnels::new(HOUR, 8);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let ends = async |mut client: TcpStream, mut upstream: TcpStream| {
            client.write_all(b"abc").await.unwrap();
            upstream.read_exact(&mut [0; 3]).await.unwrap();
            assert_eq!(tunnels.pipes.counts(), (1, 1), "an idle tunnel holds none");
            stop.send(()).unwrap();
            assert!(is_reset(client.read(&mut [0; 1]).await));
        };
        let stopped = async { stopped.await.unwrap() };
        let (relayed, ()) = through(&tunnels, b"", stopped, ends).await;
        assert_eq!(relayed, Relayed { up: 3, down: 0, end: End::Stopped });
    }

    #[tokio::test]
    async fn a_reader_that_stalls_holds_the_sender_back_without_spinning() {
        let tunnels = Tunnels::new(HOUR, 8);
        let ends = async |client: TcpStream, mut upstream: TcpStream| {
            let chunk = vec![7; 1 << 16];
            let mut sent = 0;
            // Until every buffer between the two is full.
            while let Ok(wrote) =
                tokio::time::timeout(Duration::from_millis(300), upstream.write(&chunk)).await
            {
                sent += wrote.unwrap();
            }
            let before = cpu();
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(
                cpu().saturating_sub(before) < Duration::from_millis(250),
                "busy while blocked"
            );
            drop(upstream);
            let mut client = client;
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            assert_eq!(got.len(), sent);
        };
        let (relayed, ()) = through(&tunnels, b"", std::future::pending(), ends).await;
        assert_eq!(relayed.end, End::Finished);
    }

    /// Processor time this thread has used.
    fn cpu() -> Duration {
        let at = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(at.tv_sec.unsigned_abs(), u32::try_from(at.tv_nsec).unwrap())
    }

    #[test]
    fn a_relay_can_be_spawned() {
        fn sendable<T: Send>(_: T) {}
        let tunnels = Tunnels::new(HOUR, 1);
        sendable(async move {
            let (a, b) = pair().await;
            tunnels.relay(a, b"", b, std::future::pending()).await
        });
    }
}
