//! Peers that misbehave: every failure has its kind, memory stays bounded, and the test ends.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::server::{Bench, TURNS, assert_balanced, failures};

/// Accepts connections on a thread of its own, and passes each to `play`.
pub(crate) fn peer(play: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || play(stream));
        }
    });
    address
}

/// Reads the head of a request; returns nothing if none comes.
pub(crate) fn question(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Runs a test against a peer that fails each request.
fn run(address: SocketAddr, http: &str) -> serde_json::Value {
    let bench = Bench::new(&format!(
        "base_url: http://{address}\nhttp: {{{http}}}\n{TURNS}\ntasks: [{{get: /}}]\nstages: [{{users: 3, for: 5m}}]\n"
    ))
    .turns(6);
    let (status, summary) = bench.summary(&[]);
    assert_eq!(status, 3, "{summary:#}");
    assert_eq!(summary["requests"]["completed"], 0);
    assert!(summary["generator"]["peak_memory_kib"].as_u64() < Some(64 << 10));
    assert_balanced(&summary);
    summary
}

#[test]
fn refused() {
    let address = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    assert!(failures(&run(address, ""), "refused") > 0);
}

#[test]
fn reset() {
    let address = peer(|mut stream| {
        question(&mut stream);
        // Without lingering, closing resets the connection.
        let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO));
    });
    assert!(failures(&run(address, ""), "reset") > 0);
}

#[test]
fn closed_without_an_answer() {
    let address = peer(|mut stream| drop(question(&mut stream)));
    assert!(failures(&run(address, ""), "closed") > 0);
}

#[test]
fn silent() {
    let address = peer(|mut stream| {
        question(&mut stream);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    assert!(failures(&run(address, "timeout: 300ms"), "timeout") > 0);
}

#[test]
fn slow_loris() {
    let address = peer(|mut stream| {
        question(&mut stream);
        let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec();
        answer.resize(answer.len() + 1000, b'x');
        for byte in answer {
            // The slowness of this peer is what the test is about.
            let (_held, never) = std::sync::mpsc::channel::<()>();
            let _ = never.recv_timeout(std::time::Duration::from_millis(3));
            if stream.write_all(&[byte]).is_err() {
                return;
            }
        }
    });
    let summary = run(address, "timeout: 300ms");
    assert!(
        failures(&summary, "body_timeout") + failures(&summary, "timeout") > 0,
        "{summary:#}"
    );
}

#[test]
fn endless_body() {
    let address = peer(|mut stream| {
        question(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 8192]).is_ok() {}
    });
    assert!(failures(&run(address, "max_body: 1MiB"), "too_large") > 0);
}

#[test]
fn cut_body() {
    let address = peer(|mut stream| {
        question(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
    });
    assert!(failures(&run(address, ""), "incomplete") > 0);
}

#[test]
fn not_http() {
    let address = peer(|mut stream| {
        question(&mut stream);
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n");
    });
    assert!(failures(&run(address, ""), "protocol") > 0);
}

#[test]
fn endless_head() {
    let address = peer(|mut stream| {
        question(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream
            .write_all(b"x-more: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")
            .is_ok()
        {}
    });
    assert!(failures(&run(address, ""), "protocol") > 0);
}

#[test]
fn redirects_in_a_circle() {
    let address = peer(|mut stream| {
        question(&mut stream);
        let _ = stream.write_all(
            b"HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        );
    });
    assert!(failures(&run(address, "redirects: 3"), "redirect") > 0);
}

#[test]
fn no_tls_where_tls_is_expected() {
    let address = peer(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    let bench = Bench::new(&format!(
        "base_url: https://{address}\nhttp: {{verify: false}}\ntasks: [{{get: /}}]\nstages: [{{users: 2, for: 300ms}}]\n"
    ));
    let (status, summary) = bench.summary(&[]);
    assert_eq!(status, 3);
    assert!(failures(&summary, "tls") > 0, "{summary:#}");
}
