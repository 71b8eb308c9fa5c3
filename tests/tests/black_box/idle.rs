//! Connections that stand and say nothing.

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Server, until};

/// What a client sends first: the preface and empty SETTINGS (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// Idle connections.
const IDLE: usize = 2_000;

/// Memory that one of them may take: a few buffers.
const KIB_EACH: f64 = 64.0;

/// Both ends of every connection of ours, and some.
fn more_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    assert!(most as usize > IDLE + 200, "this system lets a process open {most} files only");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_idle_connections_cost_little() {
    more_open_files();
    let mut server = Server::start(1.0, 1.0, &[]).await;
    let mut old = server.client().await;
    server.is_well(&mut old).await;
    let (memory, files) = (server.memory(), server.files());
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        idle.push(stream);
    }
    // Each has the server's SETTINGS: it is served, not merely in the system's backlog.
    for stream in &mut idle {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[3], 4, "the first frame is SETTINGS");
    }
    server.is_well(&mut old).await;
    let grown = server.memory() - memory;
    assert!(grown * 1024.0 < KIB_EACH * IDLE as f64, "{grown:.0} MiB for {IDLE} idle connections");
    // The clients of the looks before and after come and go.
    assert!(server.files() + 10 >= files + IDLE, "{} open files, {files} before", server.files());
    drop(idle);
    until("their files are closed", async || (server.files() < files + 50).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_hold_nobody_up() {
    let mut server = Server::start(1.0, 1.0, &[]).await;
    let mut old = server.client().await;
    let memory = server.memory();
    let mut half = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // Nothing, a part of the preface, or a frame that never ends.
        let said = match n % 3 {
            0 => &b""[..],
            1 => &PREFACE[..10],
            _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x40\x00\x04",
        };
        stream.write_all(said).await.unwrap();
        half.push(stream);
    }
    server.is_well(&mut old).await;
    assert!(server.memory() - memory < 50.0);
}
