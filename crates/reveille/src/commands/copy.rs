//! `reveille copy` and `reveille fetch`: copy files and directories to and from the selected hosts.

use std::path::Path;

use reveille_account::Exit;
use reveille_fleet::Preview;
use reveille_job::{Job, reads_like_template};
use reveille_ledger::RunKind;
use reveille_transport::transfer::Original;
use serde_json::{Value, json};

use crate::cli::{CopyArgs, FetchArgs, Globals, OnHosts};
use crate::failure::Failure;
use crate::launch::{self, Request};
use crate::printer::Printer;

/// Copies local files and directories to every host.
pub(crate) fn copy(args: &CopyArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let [sources @ .., destination] = args.files.as_slice() else {
        return Err(Failure::usage(
            "copy needs a local file and its destination on the hosts",
        ));
    };
    let destination = text(destination)?;
    if sources.len() > 1 && !destination.ends_with('/') {
        return Err(Failure::usage(format!(
            "the destination of several files must be a directory: write `{destination}/`"
        )));
    }
    if let Some(mode) = args.mode.as_deref().filter(|mode| !is_mode(mode)) {
        return Err(Failure::usage(format!(
            "--mode {mode}: not an octal mode, such as 0640"
        )));
    }
    if reads_like_template(&destination) {
        printer.warning(
            "`{{ … }}` is a part of the name as it is; an `upload` step of a job fills in the values of each host",
        );
    }
    let mut steps = Vec::new();
    for source in sources {
        let mut upload = json!({ "src": literal(&self::source(source)?), "dest": literal(&destination) });
        for (key, value) in [
            ("mode", &args.mode),
            ("owner", &args.owner),
            ("group", &args.group),
        ] {
            if let Some(value) = value {
                upload[key] = json!(value);
            }
        }
        steps.push(json!({ "name": format!("copy {}", source.display()), "upload": upload }));
    }
    let preview = Preview {
        check: args.check,
        diff: args.diff,
    };
    start(RunKind::Copy, preview, &steps, &args.on, globals, printer)
}

/// Fetches files and directories from every host.
pub(crate) fn fetch(args: &FetchArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let directory = std::path::absolute(&args.to)
        .map_err(|error| Failure::usage(format!("can't write to {}: {error}", args.to.display())))?;
    std::fs::create_dir_all(&directory)
        .map_err(|error| Failure::usage(format!("can't write to {}: {error}", args.to.display())))?;
    let steps: Vec<Value> = args
        .paths
        .iter()
        .map(|path| {
            Ok(json!({
                "name": format!("fetch {path}"),
                "download": { "src": literal(path), "to": literal(&format!("{}/", text(&directory)?)) },
            }))
        })
        .collect::<Result<_, Failure>>()?;
    let preview = Preview::default();
    start(RunKind::Fetch, preview, &steps, &args.on, globals, printer)
}

fn start(
    kind: RunKind,
    preview: Preview,
    steps: &[Value],
    on: &OnHosts,
    globals: &Globals,
    printer: &Printer,
) -> Result<Exit, Failure> {
    // JSON is YAML: the ledger records the same text as for a job file.
    let text = json!({ "steps": steps }).to_string();
    let job = Job::written(&text, kind.as_str()).map_err(Failure::Mistakes)?;
    let kind = if preview.check { RunKind::Check } else { kind };
    let mut request = Request::plain(kind, job, on, true, globals, printer)?;
    request.recipe.options.preview = preview;
    launch::start(request, &on.report, printer)
}

/// The absolute path of a local file or directory, so that a resumed run finds it from any directory.
fn source(path: &Path) -> Result<String, Failure> {
    let refused = |why: String| Failure::usage(format!("can't copy {}: {why}", path.display()));
    let wrong = |error: std::io::Error| refused(error.to_string());
    let original = Original::at(path).map_err(wrong)?;
    let written = text(path)?;
    let whole = text(&std::path::absolute(path).map_err(wrong)?)?;
    let whole = whole.trim_end_matches('/');
    if original.is_directory() {
        // A slash at the end means the directory's contents only.
        let slash = if written.ends_with('/') { "/" } else { "" };
        return Ok(format!("{whole}{slash}"));
    }
    if written.ends_with('/') {
        return Err(refused("it is a file: remove the slash at its end".to_owned()));
    }
    std::fs::File::open(path).map_err(wrong)?;
    Ok(whole.to_owned())
}

fn is_mode(text: &str) -> bool {
    (3..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..b'8').contains(&digit))
}

fn text(path: &Path) -> Result<String, Failure> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::usage(format!("{} is not UTF-8", path.display())))
}

/// Escapes text that is not a template.
fn literal(text: &str) -> String {
    text.replace("{{", "{{ '{{' }}")
}
