//! The recipes of `docs/notify.md`, run by the real program with what hosts should not say.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread::JoinHandle;

use crate::support::{Ended, Reveille};

/// The scripts of the page by name.
fn recipes() -> BTreeMap<String, String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/notify.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```sh\n").skip(1);
    blocks
        .map(|block| {
            let script = block.split("```").next().unwrap();
            let name = script.lines().nth(1).unwrap().trim_start_matches("# ");
            (name.split(':').next().unwrap().to_owned(), script.to_owned())
        })
        .collect()
}

fn executable(reveille: &Reveille, name: &str, script: &str) -> String {
    let path = reveille.file(name, script);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

/// An HTTP server for one request: gives its path and its body.
fn once() -> (u16, JoinHandle<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        reader.read_line(&mut request).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        reader.get_mut().write_all(answer.as_bytes()).unwrap();
        let path = request.split(' ').nth(1).unwrap().to_owned();
        (path, String::from_utf8(body).unwrap())
    });
    (port, served)
}

const JOB: &str = r#"
name: 'odd "job" ü'
steps:
  - name: bad
    when: inventory_hostname != 'fine'
    run: |
      printf '.\nquote " back\\slash <!channel> & \001\033[31m$(id) `id` [x](http://y) %s\n\n' "'" >&2
      exit 3
on_failed:
  - {name: note, run: 'echo stays drained; exit 1'}
"#;

/// Runs the job with a recipe, and with a curl that records its arguments.
fn notified(name: &str, environment: &[(&str, &str)], reveille: &Reveille, hosts: &str) -> Ended {
    let job = reveille.file("job.yaml", JOB);
    let script = executable(reveille, name, &recipes()[name]);
    std::fs::create_dir_all(reveille.path().join("bin")).unwrap();
    executable(
        reveille,
        "bin/curl",
        "#!/bin/sh\necho \"$@\" >>\"$HOME/arguments\"\nPATH=${PATH#*:} exec curl \"$@\"\n",
    );
    let path = format!(
        "{}/bin:{}",
        reveille.path().display(),
        std::env::var("PATH").unwrap()
    );
    let mut command = reveille.command(&[
        "run",
        &job,
        "-w",
        hosts,
        "--transport",
        "local",
        "--notify",
        &script,
    ]);
    command.env("PATH", path).envs(environment.iter().copied());
    let ended = Ended::of(&command.output().unwrap());
    assert!(!ended.stderr.contains("--notify"), "{}", ended.stderr);
    ended
}

#[test]
fn every_recipe_of_the_page_is_tested_here() {
    let names: Vec<_> = recipes().into_keys().collect();
    assert_eq!(
        names,
        ["notify-mail", "notify-prometheus", "notify-slack", "notify-teams"]
    );
}

#[test]
fn slack_gets_valid_json_in_which_hosts_mention_nobody() {
    let reveille = Reveille::new();
    let (port, served) = once();
    let hook = format!("http://127.0.0.1:{port}/services/s3cret");
    notified("notify-slack", &[("SLACK_WEBHOOK", &hook)], &reveille, "a,b,fine").expect(3);
    let (path, body) = served.join().unwrap();
    assert_eq!(path, "/services/s3cret");
    let message: serde_json::Value = serde_json::from_str(&body).unwrap();
    let text = message["text"].as_str().unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("odd \"job\" ü r-"), "{text}");
    assert!(
        lines[0].ends_with(": 2 of 3 hosts did not succeed (exit 3)"),
        "{text}"
    );
    assert!(
        lines[1].starts_with(
            "2 × command_failed in bad, such as a: exit status 3: quote \" back\\slash &lt;!channel&gt; &amp;"
        ),
        "{text}"
    );
    assert!(
        lines[1].ends_with("; then `note` of on_failed: exit status 1: stays drained"),
        "{text}"
    );
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    let arguments = std::fs::read_to_string(reveille.path().join("arguments")).unwrap();
    assert!(!arguments.contains("s3cret"), "{arguments}");
}

#[test]
fn teams_gets_an_adaptive_card_of_plain_text() {
    let reveille = Reveille::new();
    let (port, served) = once();
    let hook = format!("http://127.0.0.1:{port}/workflows/x?sig=s3cret&v=1");
    notified("notify-teams", &[("TEAMS_WEBHOOK", &hook)], &reveille, "a,fine").expect(3);
    let (path, body) = served.join().unwrap();
    assert_eq!(path, "/workflows/x?sig=s3cret&v=1");
    let message: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(message["type"], "message");
    let card = &message["attachments"][0];
    assert_eq!(card["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(card["content"]["type"], "AdaptiveCard");
    let body = card["content"]["body"].as_array().unwrap();
    assert_eq!(body.len(), 3, "{card}");
    for block in body {
        assert_eq!(block["type"], "RichTextBlock");
        assert_eq!(block["inlines"][0]["type"], "TextRun");
    }
    assert_eq!(body[1]["inlines"][0]["color"], "Attention");
    let said = body[2]["inlines"][0]["text"].as_str().unwrap();
    assert!(
        said.contains("<!channel>") && said.contains("[x](http://y)"),
        "{said}"
    );
    assert!(!said.contains(char::is_control), "{said:?}");
    let arguments = std::fs::read_to_string(reveille.path().join("arguments")).unwrap();
    assert!(!arguments.contains("s3cret"), "{arguments}");
}

#[test]
fn a_mail_has_headers_of_ours_only_and_is_sent_only_if_a_host_failed() {
    let reveille = Reveille::new();
    let sendmail = executable(
        &reveille,
        "sendmail",
        "#!/bin/sh\n{ echo \"$@\"; cat; } >\"$HOME/mail\"\n",
    );
    let environment = [("MAIL_TO", "ops@example.com"), ("SENDMAIL", &sendmail)];
    notified("notify-mail", &environment, &reveille, "fine,").expect(0);
    assert!(!reveille.path().join("mail").exists());
    notified("notify-mail", &environment, &reveille, "a,b,fine").expect(3);
    let mail = std::fs::read_to_string(reveille.path().join("mail")).unwrap();
    let (headers, body) = mail.split_once("\n\n").unwrap();
    assert_eq!(
        headers,
        "-i -t\nTo: ops@example.com\nSubject: odd \"job\" ?: 2 of 3 hosts did not succeed\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit"
    );
    let lines: Vec<_> = body.lines().collect();
    assert_eq!(lines.len(), 4, "{body}");
    assert!(
        lines[2].starts_with("a: command_failed in bad: exit status 3: quote \""),
        "{body}"
    );
    assert!(!body.contains(|c: char| c.is_control() && c != '\n'), "{body:?}");
}

#[test]
fn the_file_for_prometheus_is_replaced_whole() {
    let reveille = Reveille::new();
    let directory = reveille.path().join("textfiles");
    std::fs::create_dir(&directory).unwrap();
    let environment = [("TEXTFILE_DIR", directory.to_str().unwrap())];
    notified("notify-prometheus", &environment, &reveille, "fine,").expect(0);
    notified("notify-prometheus", &environment, &reveille, "a,b,fine").expect(3);
    let files: Vec<_> = std::fs::read_dir(&directory).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let text = std::fs::read_to_string(directory.join("reveille-odd__job___.prom")).unwrap();
    for line in [
        "# TYPE reveille_run_exit_code gauge\nreveille_run_exit_code{run=\"odd \\\"job\\\" ü\"} 3\n",
        "reveille_run_hosts{run=\"odd \\\"job\\\" ü\",status=\"failed\"} 2\n",
        "reveille_run_hosts{run=\"odd \\\"job\\\" ü\",status=\"success\"} 1\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}
