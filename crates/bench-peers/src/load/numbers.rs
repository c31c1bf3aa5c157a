//! What the tools report, each in its own format.

use serde_json::Value;

/// What a tool reports; latencies in milliseconds.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Numbers {
    /// Requests with the expected answer, and all others.
    pub(crate) completed: f64,
    pub(crate) failed: f64,
    /// Answers a second.
    pub(crate) rate: f64,
    /// p50, p99, p99.9, and the highest; none if the tool does not report it.
    pub(crate) latencies: [Option<f64>; 4],
}

/// If a larger share fails, the numbers are those of something else.
const MOST_FAILED: f64 = 0.01;

// === impl Numbers ===

impl Numbers {
    /// Why these numbers are no result, if they are none.
    pub(crate) fn problem(&self) -> Option<String> {
        let all = self.completed + self.failed;
        if self.completed <= 0.0 || self.rate <= 0.0 {
            return Some("no request was answered".to_owned());
        }
        (self.failed > all * MOST_FAILED).then(|| format!("{:.0} of {all:.0} requests failed", self.failed))
    }

    /// Reveille's summary, with latencies from the `actual` or the `intended` start.
    pub(crate) fn of_reveille(text: &str, start: &str) -> Option<Self> {
        let summary: Value = serde_json::from_str(text).ok()?;
        let requests = &summary["requests"];
        Some(Self {
            completed: requests["completed"].as_f64()?,
            failed: requests["failed"].as_f64().unwrap_or(0.0),
            rate: requests["completed_rate"].as_f64()?,
            latencies: ["p50", "p99", "p999", "max"].map(|name| summary[start][name].as_f64()),
        })
    }

    pub(crate) fn of_oha(text: &str) -> Option<Self> {
        let all: Value = serde_json::from_str(text).ok()?;
        let quantile = |name: &str| Some(all["latencyPercentiles"][name].as_f64()? * 1e3);
        let slowest = all["summary"]["slowest"].as_f64().map(|slowest| slowest * 1e3);
        let total = |table: &str| -> f64 {
            let counts = all[table].as_object().into_iter().flatten();
            counts.filter_map(|(_, count)| count.as_f64()).sum()
        };
        let answers = total("statusCodeDistribution");
        let good = all["statusCodeDistribution"]["200"].as_f64().unwrap_or(0.0);
        // Requests in progress at the end are cut off, as with the other tools, and are no failures.
        let cut_off = all["errorDistribution"]["aborted due to deadline"].as_f64();
        Some(Self {
            completed: good,
            failed: answers - good + total("errorDistribution") - cut_off.unwrap_or(0.0),
            rate: all["summary"]["requestsPerSec"].as_f64()?,
            latencies: [quantile("p50"), quantile("p99"), quantile("p99.9"), slowest],
        })
    }

    /// wrk's `--latency` reports only these quantiles.
    pub(crate) fn of_wrk(text: &str) -> Option<Self> {
        let lines = || text.lines().map(str::trim);
        let field = |name: &str, place: usize| {
            let line = lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(place)
        };
        let latency = |name: &str, place: usize| field(name, place).and_then(milliseconds);
        let bad: f64 = field("Non-2xx", 4).map_or(Some(0.0), |word| word.parse().ok())?;
        // `Socket errors: connect 0, read 1, write 0, timeout 2`, which are not among the requests.
        let lost: f64 = lines()
            .find_map(|line| line.strip_prefix("Socket errors: "))
            .into_iter()
            .flat_map(|line| line.split([' ', ',']))
            .filter_map(|word| word.parse::<f64>().ok())
            .sum();
        let all = lines().find_map(|line| line.split_once(" requests in "))?.0;
        let all: f64 = all.parse().ok()?;
        Some(Self {
            completed: all - bad,
            failed: bad + lost,
            rate: field("Requests/sec:", 1)?.parse().ok()?,
            latencies: [latency("50%", 1), latency("99%", 1), None, latency("Latency ", 3)],
        })
    }

    /// Goose's report has a table of microseconds for each request; there is one.
    pub(crate) fn of_goose(text: &str) -> Option<Self> {
        let all: Value = serde_json::from_str(text).ok()?;
        let metrics = &all["raw_metrics"];
        let one = metrics["requests"].as_object()?.values().next()?;
        let count = one["raw_data"]["counter"].as_f64()?;
        let failed = one["fail_count"].as_f64().unwrap_or(0.0);
        let quantile = quantiles(&one["raw_data"]["times_us"]);
        Some(Self {
            completed: count - failed,
            failed,
            rate: (count - failed) / metrics["duration"].as_f64()?,
            latencies: [0.5, 0.99, 0.999, 1.0].map(|share| quantile(share).map(|time| time / 1e3)),
        })
    }

    /// Locust's JSON has a table of rounded response times.
    pub(crate) fn of_locust(text: &str) -> Option<Self> {
        let all: Value = serde_json::from_str(&text[text.find('[')?..]).ok()?;
        let one = &all[0];
        let count = one["num_requests"].as_f64()?;
        let failed = one["num_failures"].as_f64().unwrap_or(0.0);
        let span = one["last_request_timestamp"].as_f64()? - one["start_time"].as_f64()?;
        let quantile = quantiles(&one["response_times"]);
        let slowest = one["max_response_time"].as_f64();
        Some(Self {
            completed: count - failed,
            failed,
            rate: if span > 0.0 { count / span } else { 0.0 },
            latencies: [quantile(0.5), quantile(0.99), quantile(0.999), slowest],
        })
    }
}

/// Reads a time such as `327.23us` or `1.02s`.
fn milliseconds(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let number: f64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "us" => Some(number / 1e3),
        "ms" => Some(number),
        "s" => Some(number * 1e3),
        _ => None,
    }
}

/// Quantiles of a table of times and their counts.
fn quantiles(table: &Value) -> impl Fn(f64) -> Option<f64> {
    let mut times: Vec<(f64, f64)> = table
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(time, count)| Some((time.parse().ok()?, count.as_f64()?)))
        .collect();
    times.sort_by(|left, right| left.0.total_cmp(&right.0));
    let total: f64 = times.iter().map(|(_, count)| count).sum();
    move |share| {
        let mut seen = 0.0;
        times.iter().find_map(|(time, count)| {
            seen += count;
            (seen >= total * share).then_some(*time)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_tools_are_read() {
        let wrk = Numbers::of_wrk(
            "  1100809 requests in 10.01s, 250.90MB read\n    Latency   327.23us  257.19us   6.62ms   97.69%\n     50%  300.00us\n     99%    1.20ms\nRequests/sec: 109970.97\n",
        )
        .unwrap();
        assert!((wrk.rate - 109_970.97).abs() < 0.1);
        assert_eq!(wrk.latencies, [Some(0.3), Some(1.2), None, Some(6.62)]);
        let goose = Numbers::of_goose(
            r#"{"raw_metrics": {"duration": 2, "requests": {"GET /": {"raw_data": {"counter": 10, "times_us": {"90": 9, "1500": 1}}}}}}"#,
        )
        .unwrap();
        assert!((goose.rate - 5.0).abs() < 0.1);
        assert_eq!(goose.latencies, [Some(0.09), Some(1.5), Some(1.5), Some(1.5)]);
        let locust = Numbers::of_locust(
            r#"[{"num_requests": 20, "start_time": 1.0, "last_request_timestamp": 3.0, "max_response_time": 9.5, "response_times": {"1": 19, "9": 1}}]"#,
        )
        .unwrap();
        assert!((locust.rate - 10.0).abs() < 0.1);
        assert_eq!(locust.latencies, [Some(1.0), Some(9.0), Some(9.0), Some(9.5)]);
    }

    /// A tool that ended early, or whose requests fail, has no numbers.
    #[test]
    fn a_failed_run_is_no_result() {
        for read in [
            Numbers::of_oha,
            Numbers::of_wrk,
            Numbers::of_goose,
            Numbers::of_locust,
        ] {
            for text in ["", "Killed", "{}", "[{}]"] {
                assert_eq!(read(text), None, "{text}");
            }
        }
        assert_eq!(Numbers::of_reveille("{}", "actual"), None);
        let problem = |completed: f64, failed: f64| {
            let numbers = Numbers {
                completed,
                failed,
                rate: completed,
                ..Numbers::default()
            };
            numbers.problem()
        };
        assert_eq!(problem(1000.0, 3.0), None);
        assert_eq!(problem(0.0, 0.0).unwrap(), "no request was answered");
        assert_eq!(problem(90.0, 10.0).unwrap(), "10 of 100 requests failed");
        let oha = Numbers::of_oha(
            r#"{"summary": {"requestsPerSec": 5.0, "slowest": 0.002}, "latencyPercentiles": {"p50": 0.001},
                "statusCodeDistribution": {"200": 40, "500": 8}, "errorDistribution": {"aborted due to deadline": 2, "reset": 1}}"#,
        );
        let oha = oha.unwrap();
        assert_eq!(
            (oha.completed, oha.failed, oha.latencies[0]),
            (40.0, 9.0, Some(1.0))
        );
        let wrk = "  50 requests in 1.00s, 1MB read\n  Socket errors: connect 0, read 1, write 0, timeout 2\n  Non-2xx or 3xx responses: 7\nRequests/sec: 50.0\n";
        let wrk = Numbers::of_wrk(wrk).unwrap();
        assert_eq!((wrk.completed, wrk.failed), (43.0, 10.0));
    }
}
