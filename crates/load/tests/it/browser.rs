//! The HTML report in a real browser.

use std::process::Command;

use crate::server::{Bench, Server};

#[test]
fn a_browser_draws_the_report() {
    let browser =
        find("chromium").expect("the Debian package chromium is installed: `cargo xtask test --install`");
    let server = Server::start();
    let bench = Bench::new(&format!(
        "name: a <script>throw 1</script> & more\nbase_url: {}\nwait: 10ms\n\
         tasks: [{{get: /, name: '<b>front'}}, {{get: /missing}}]\nstages: [{{users: 3, for: 2200ms}}]\n",
        server.url()
    ));
    assert_eq!(bench.run(&["--html", "report.html"]).status.code(), Some(0));
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args(["--enable-logging=stderr", "--window-size=900,1400"])
        .arg(format!("--user-data-dir={}", bench.path("profile").display()))
        .arg(format!("--screenshot={}", bench.path("report.png").display()))
        .arg("--dump-dom")
        .arg(format!("file://{}", bench.path("report.html").display()))
        .env("TMPDIR", bench.directory.path())
        .output()
        .expect("started");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    // The console has a line for each error of a script and each file that could not be loaded.
    assert!(!log.contains("CONSOLE"), "{log}");
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(
        page.contains("<h1>a &lt;script&gt;throw 1&lt;/script&gt; &amp; more</h1>"),
        "{page}"
    );
    assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    let lines: Vec<&str> = page
        .split("points=\"")
        .skip(1)
        .map(|rest| &rest[..rest.find('"').expect("an end")])
        .collect();
    assert_eq!(lines.len(), 7, "{page}");
    // The highest point of the third chart is all users at once.
    assert!(
        lines[6].split(' ').any(|point| point.ends_with(",20.0")),
        "{}",
        lines[6]
    );
    let png = std::fs::read(bench.path("report.png")).expect("a picture");
    assert!(
        png.starts_with(b"\x89PNG") && png.len() > 20_000,
        "{} bytes",
        png.len()
    );
}

fn find(program: &str) -> Option<std::path::PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}
