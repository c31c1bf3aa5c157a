//! Options that set how a run proceeds and what it reports.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use reveille_text::{Bytes, duration};

/// Options that set how a run proceeds and when it stops.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rollout")]
pub(crate) struct Pacing {
    /// Work on at most N hosts at once [default: 512]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrency: Option<u32>,
    /// Work in batches: a number, a share, or a list such as 1,5%,25%
    ///
    /// The last size of a list is used again until all hosts are done. A batch starts when the one before has ended.
    #[arg(long, value_name = "N|%|LIST", value_delimiter = ',')]
    pub(crate) serial: Vec<String>,
    /// Stop starting hosts once more than N have failed
    #[arg(long, value_name = "N|%")]
    pub(crate) max_fail: Option<String>,
    /// Try N hosts first; if one of them fails, start no others
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) canary: Option<u32>,
    /// Exit 0 if at most N hosts fail
    #[arg(long, value_name = "N|%", hide_short_help = true)]
    pub(crate) allow_failed: Option<String>,
    /// Exit 0 if at most N hosts fail with CLASS
    #[arg(long, value_name = "CLASS=N", hide_short_help = true)]
    pub(crate) allow_class: Vec<String>,
    /// How long running steps may continue after the first Ctrl-C
    ///
    /// Press Ctrl-C again to detach at once; durable commands continue on their hosts.
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, default_value = "10s", hide_short_help = true)]
    pub(crate) grace: Duration,
    /// Keep a note with the run
    #[arg(long, value_name = "TEXT", hide_short_help = true)]
    pub(crate) comment: Option<String>,
    /// How long to keep trying to reconnect to a lost host [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, help_heading = "Watchdog", hide_short_help = true)]
    pub(crate) reconnect_within: Option<Duration>,
    /// Shortest silence before the watchdog checks a step without a deadline [default: 2m]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, help_heading = "Watchdog", hide_short_help = true)]
    pub(crate) silence_floor: Option<Duration>,
    /// How long a step without a deadline may be stuck, with no process of it making progress [default: 2h]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, help_heading = "Watchdog", hide_short_help = true)]
    pub(crate) hard_cap: Option<Duration>,
    /// Keep at most SIZE of output, such as 500MB, of all hosts together; count and drop the rest
    #[arg(long, value_name = "SIZE", help_heading = "Output", hide_short_help = true)]
    pub(crate) max_output: Option<Bytes>,
}

/// Options that set what is reported, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Report {
    /// Format of the result on standard output
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Write each event as a line of JSON to FILE (- for standard output)
    #[arg(long, value_name = "FILE|-", hide_short_help = true)]
    pub(crate) events: Option<PathBuf>,
    /// Write the artifacts to DIR, during the run and at its end
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    pub(crate) export_to: Option<PathBuf>,
    /// Write a JUnit report to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Run COMMAND (by sh) when the run has ended, with the summary as JSON on its standard input
    #[arg(long, value_name = "COMMAND", hide_short_help = true)]
    pub(crate) notify: Option<String>,
}

/// Format of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Human,
    /// One JSON object
    Json,
}
