//! New data under load.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use reveille_mirrorlist::synthetic::{self, repository};

use crate::net::{Client, PATIENCE, SIZE, data, options, serve};

fn place(text: &[u8], directory: &Path) {
    let new = directory.join("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, directory.join(synthetic::CACHE)).unwrap();
}

/// Waits until a condition holds.
fn until(what: &str, mut there: impl FnMut() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < PATIENCE, "no longer expected: {what}");
        std::thread::yield_now();
    }
}

/// Sets a flag when a thread ends, also by a failed assertion.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Two sets of data alternate, with broken files between them, and every answer is from one set.
#[test]
fn answers_never_mix_two_snapshots_and_none_fails() {
    let (one, two) = (data("one.example"), data("two.example"));
    let caches = [&one, &two].map(|set| fs::read(set.path().join(synthetic::CACHE)).unwrap());
    let broken = [&caches[0][..=caches[0].len() / 2], b"<html>", b""];
    serve(&options(one.path()), |server| {
        let (address, admin) = (server.addresses()[0], server.admin().unwrap());
        let over = AtomicBool::new(false);
        let seen = [AtomicU64::new(0), AtomicU64::new(0)];
        std::thread::scope(|scope| {
            for client in 0..8_u32 {
                let (over, seen) = (&over, &seen);
                scope.spawn(move || {
                    let _over = Over(over);
                    let mut connection = Client::to(address);
                    let mut number = client;
                    while !over.load(Ordering::Relaxed) {
                        number += 7;
                        let (repo, arch) = repository(number % SIZE.directories / 2 * 2);
                        let path = if number % 3 == 0 { "metalink" } else { "mirrorlist" };
                        let reply = connection.get(
                            &format!("/{path}?repo={repo}&arch={arch}&country=global"),
                            "X-Forwarded-For: 5.6.7.8\r\n",
                        );
                        let text = reply.text();
                        assert_eq!(reply.status, 200, "{text}");
                        let has = [text.contains("one.example"), text.contains("two.example")];
                        assert!(has[0] != has[1], "mixed, or empty: {text}");
                        seen[usize::from(has[1])].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // Also after a failed assertion, so that the clients end.
            let _over = Over(&over);
            let mut connection = Client::to(admin);
            for round in 0..30 {
                let before = seen.each_ref().map(|count| count.load(Ordering::Relaxed));
                place(&caches[(round + 1) % 2], one.path());
                let reply = connection.ask("POST", "/-/reload", b"Content-Length: 0\r\n");
                assert_eq!(reply.status, 200, "{}", reply.text());
                place(broken[round % 3], one.path());
                let reply = connection.ask("POST", "/-/reload", b"Content-Length: 0\r\n");
                assert_eq!(reply.status, 422, "{}", reply.text());
                assert!(
                    reply.text().contains("the old data stay in use"),
                    "{}",
                    reply.text()
                );
                // Until a client has seen the new data.
                let new = (round + 1) % 2;
                until("a client sees the new data", || {
                    assert!(!over.load(Ordering::Relaxed), "a client failed, and reported why");
                    seen[new].load(Ordering::Relaxed) != before[new]
                });
            }
        });
        let metrics = Client::to(admin).get("/metrics", "").text();
        assert!(
            metrics.contains("mirrorlist_reloads_total{result=\"success\"} 30"),
            "{metrics}"
        );
        assert!(
            metrics.contains("mirrorlist_reloads_total{result=\"failure\"} 30"),
            "{metrics}"
        );
    });
}

/// An old snapshot is freed after the last request that holds it.
#[test]
fn an_old_snapshot_is_freed() {
    let directory = data("example");
    serve(&options(directory.path()), |server| {
        let former = std::sync::Arc::downgrade(&server.snapshot());
        let mut admin = Client::to(server.admin().unwrap());
        assert_eq!(
            admin.ask("POST", "/-/reload", b"Content-Length: 0\r\n").status,
            200
        );
        until("the old snapshot is freed", || former.upgrade().is_none());
    });
}

/// A replaced file is read without a request to reload.
#[test]
fn a_changed_file_is_noticed() {
    let (one, two) = (data("one.example"), data("two.example"));
    let new = fs::read(two.path().join(synthetic::CACHE)).unwrap();
    let mut options = options(one.path());
    options.watch = Some(std::time::Duration::from_millis(20));
    serve(&options, |server| {
        let mut client = Client::to(server.addresses()[0]);
        let (repo, arch) = repository(0);
        let target = format!("/mirrorlist?repo={repo}&arch={arch}&country=global");
        assert!(client.get(&target, "").text().contains("one.example"));
        place(&new, one.path());
        until("the change is noticed", || {
            client.get(&target, "").text().contains("two.example")
        });
    });
}

#[test]
fn it_does_not_start_with_broken_files() {
    let directory = data("example");
    for (file, text) in [
        (synthetic::CACHE, "damage"),
        (synthetic::CACHE, ""),
        (synthetic::GEOIP, "damage"),
        (synthetic::NETBLOCKS, "<html>\n"),
        (synthetic::COUNTRIES, "\n"),
    ] {
        let path = directory.path().join(file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, text).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let options = options(directory.path());
        let started = runtime.block_on(reveille_mirrorlist::server::Running::start(&options));
        let message = started.err().unwrap().to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
        fs::write(&path, whole).unwrap();
    }
}
