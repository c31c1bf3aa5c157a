//! Hostile hosts: memory is bounded, no file outside the run's directory is written, no escape sequence is printed.

use std::io::Write as _;
use std::net::TcpListener;

use reveille_testbed::Testbed;

use crate::support::Reveille;

#[test]
fn endless_lines_before_the_banner() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    // Answers every try until the test ends.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                while stream
                    .write_all(b"\x1b[2Jwelcome to this very long banner\r\n")
                    .is_ok()
                {}
            });
        }
    });
    let reveille = Reveille::new();
    let ended = reveille
        .run(&[
            "exec",
            "-w",
            "127.0.0.1",
            "--port",
            &port,
            "--format",
            "json",
            "--",
            "true",
        ])
        .expect(3);
    let summary = ended.json();
    assert_eq!(summary["hosts"][0]["class"], "protocol_error", "{summary}");
    assert!(!ended.stderr.contains('\u{1b}'), "{:?}", ended.stderr);
}

#[test]
fn a_flood_costs_bounded_memory_and_disk() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let bytes: u64 = std::env::var("REVEILLE_FLOOD").map_or(300 << 20, |bytes| bytes.parse().unwrap());
    let command = format!("head -c {bytes} /dev/zero; echo the end");
    let ended = reveille
        .run(&["exec", "-i", &inventory, "--format", "json", "--", &command])
        .expect(0);
    let summary = ended.json();
    let peak = summary["controller"]["peak_bytes"].as_u64().unwrap();
    assert!(peak < 120 << 20, "{} MB", peak >> 20);
    assert_eq!(summary["hosts"][0]["truncated"], true);
    assert!(
        summary["hosts"][0]["stdout"]
            .as_str()
            .unwrap()
            .ends_with("the end\n")
    );
    let raw = reveille
        .run(&["logs", "last", "host-001", "--raw"])
        .expect(0)
        .stdout;
    assert!(raw.len() <= 10 << 20, "{}", raw.len());
    assert!(raw.ends_with("the end\n"));
    let shown = reveille.run(&["logs", "last", "host-001"]).expect(0).stdout;
    let lost = format!("[{} bytes not kept]", bytes + 8 - (10 << 20));
    assert!(shown.replace(',', "").contains(&lost), "the gap is not stated");
}

#[test]
fn an_output_that_is_not_kept_is_still_mentioned() {
    let reveille = Reveille::new();
    for (most, lines) in [
        ("0", ["[2,000 bytes not kept]"; 2]),
        ("2500", ["", "[1,500 bytes not kept]"]),
    ] {
        let print = "i=0; while [ $i -lt 1000 ]; do echo x; i=$((i+1)); done";
        let arguments = [
            "exec",
            "-w",
            "a,b",
            "--transport",
            "local",
            "-c1",
            "--max-output",
            most,
            print,
        ];
        let shown = reveille.run(&arguments).expect(0).stdout;
        for line in lines {
            assert!(shown.contains(line), "{shown}");
        }
        assert_eq!(shown.contains("a,b"), most == "0", "{shown}");
    }
}

#[test]
fn escape_sequences_and_invalid_text() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let command = r"printf '\033]0;owned\007\033[31mred\377\000\n'; printf '\033[2Jgone' >&2; exit 7";
    let ended = reveille.run(&["exec", "-i", &inventory, "--", command]).expect(3);
    let text = ended.stdout + &ended.stderr;
    assert!(!text.contains('\u{1b}') && !text.contains('\0'), "{text:?}");
    assert!(text.contains("red\u{fffd}") && text.contains("gone"), "{text:?}");
    let shown = reveille.run(&["logs", "host-001"]).expect(0).stdout;
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let raw = reveille
        .command(&["logs", "last", "host-001", "--raw"])
        .output()
        .unwrap()
        .stdout;
    assert_eq!(raw, b"\x1b]0;owned\x07\x1b[31mred\xff\0\n\x1b[2Jgone");
    let show = reveille.run(&["show"]).expect(0).stdout;
    assert!(!show.contains('\u{1b}'), "{show:?}");
}

#[test]
fn a_download_stays_where_it_belongs() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let secret = reveille.file("secret", "from the host\n");
    let job = format!(
        "steps:\n  - download: {{src: '{secret}/../../{}/secret', to: kept}}\n",
        {
            let directory = reveille.path().file_name().unwrap();
            directory.to_str().unwrap().to_owned()
        }
    );
    // The path goes through a file, so the host refuses it. Only the directory of `--to` is created.
    let job = reveille.file("job.yaml", job);
    reveille.run(&["run", &job, "-i", &inventory]).expect(3);
    let job = reveille.file(
        "job.yaml",
        format!("steps:\n  - download: {{src: '/tmp/../{secret}', to: kept}}\n"),
    );
    reveille.run(&["run", &job, "-i", &inventory]).expect(0);
    let kept = reveille.path().join("kept/host-001/secret");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "from the host\n");
    let job = reveille.file("job.yaml", "steps:\n  - download: {src: '/tmp/..', to: kept}\n");
    let ended = reveille.run(&["run", &job, "-i", &inventory]).expect(3);
    assert!(ended.stderr.contains("does not name a file"), "{}", ended.stderr);
}
