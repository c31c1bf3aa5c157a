//! Recorded durations, from CSV.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::failure::{Failure, Result};

/// The durations of one class, in the order in which its runs began.
#[derive(Debug)]
pub(super) struct Stream {
    /// Seconds.
    pub(super) durations: Vec<f64>,
}

/// Reads all files; streams of the same name belong together.
pub(super) fn read(files: &[PathBuf]) -> Result<Vec<Stream>> {
    let mut streams = Vec::new();
    let mut places = HashMap::new();
    for file in files {
        let text = text(file)?;
        parse(&text, &mut streams, &mut places)
            .map_err(|what| Failure::Missing(format!("{}: {what}", file.display())))?;
    }
    Ok(streams)
}

fn text(file: &Path) -> Result<String> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Missing(format!("{}: {error}", file.display()));
    if file.extension().is_none_or(|extension| extension != "gz") {
        return fs::read_to_string(file).map_err(|error| wrong(&error));
    }
    let output = Command::new("gzip").arg("-dc").arg("--").arg(file).output()?;
    if !output.status.success() {
        return Err(wrong(&String::from_utf8_lossy(&output.stderr).trim()));
    }
    String::from_utf8(output.stdout).map_err(|error| wrong(&error))
}

fn parse(
    text: &str,
    streams: &mut Vec<Stream>,
    places: &mut HashMap<String, usize>,
) -> std::result::Result<(), String> {
    let mut lines = text.lines().enumerate();
    let head = lines.next().map_or("", |(_, head)| head);
    if head != "stream,start,runtime_s" {
        return Err("line 1: the columns are not stream,start,runtime_s".to_owned());
    }
    for (number, line) in lines {
        let wrong = || format!("line {}: not a stream, a start and a duration", number + 1);
        let (rest, seconds) = line.rsplit_once(',').ok_or_else(wrong)?;
        let (stream, _) = rest.rsplit_once(',').ok_or_else(wrong)?;
        let seconds: f64 = seconds.trim().parse().map_err(|_| wrong())?;
        if !(seconds.is_finite() && seconds > 0.0) {
            return Err(wrong());
        }
        let place = *places.entry(stream.to_owned()).or_insert_with(|| {
            streams.push(Stream {
                durations: Vec::new(),
            });
            streams.len() - 1
        });
        streams[place].durations.push(seconds);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_keep_their_order() {
        let (mut streams, mut places) = (Vec::new(), HashMap::new());
        let text = "stream,start,runtime_s\na/x,2023-06-04 12:29:07,6.24\nb,0,1\na/x,1,7\n";
        parse(text, &mut streams, &mut places).unwrap();
        let durations: Vec<_> = streams.iter().map(|stream| stream.durations.clone()).collect();
        assert_eq!(durations, [vec![6.24, 7.0], vec![1.0]]);
        for (text, line) in [
            ("stream\n", 1),
            ("stream,start,runtime_s\na,b,-1\n", 2),
            ("stream,start,runtime_s\na,1\n", 2),
        ] {
            let error = parse(text, &mut streams, &mut places).unwrap_err();
            assert!(error.starts_with(&format!("line {line}: ")), "{error}");
        }
    }
}
