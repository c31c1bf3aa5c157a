//! Waits, stages and thresholds.

use std::time::Duration;

use reveille_document::{Node, Value, items};
use reveille_text::duration;

use super::super::model::{Metric, Stage, Threshold, Wait};
use super::super::quantity;
use super::super::schema::{StageFile, ThresholdLong, WaitKind};
use super::context::Context;

/// The most users of a stage.
const MAX_USERS: u64 = 1_000_000;

impl Context<'_> {
    pub(super) fn wait(&mut self, node: &Node) -> Option<Wait> {
        let Value::Map(_) = node.value else {
            return self.reader.duration(node).map(Wait::Constant);
        };
        let fields = self.fields::<WaitKind>(node, "`wait`")?;
        let reader = &mut self.reader;
        if let Some(node) = fields.get("constant") {
            return reader.duration(node).map(Wait::Constant);
        }
        if let Some(node) = fields.get("exponential") {
            return reader.duration(node).map(Wait::Exponential);
        }
        if let Some(node) = fields.get("pacing") {
            return reader.duration(node).map(Wait::Pacing);
        }
        if let Some(node) = fields.get("throughput") {
            let rate = reader.parsed(node, quantity::rate)?;
            if rate <= 0.0 {
                reader.mistake(&node.place, "the throughput of a user must be more than 0");
                return None;
            }
            return Some(Wait::Pacing(Duration::from_secs_f64(1.0 / rate)));
        }
        let node = fields.need("uniform", "`wait`", reader)?;
        let [low, high] = items(node)[..] else {
            let message = "`uniform` needs the shortest and the longest wait: `[1s, 3s]`";
            reader.mistake(&node.place, message);
            return None;
        };
        let (from, to) = (reader.duration(low)?, reader.duration(high)?);
        if to < from {
            reader.mistake(&high.place, "the shorter wait must come first");
            return None;
        }
        Some(Wait::Uniform(from, to))
    }

    pub(super) fn stages(&mut self, node: &Node) -> Vec<Stage> {
        let nodes = items(node).into_iter();
        let stages: Vec<Stage> = nodes.filter_map(|node| self.stage(node)).collect();
        if let Some(Stage::Hold(_)) = stages.first() {
            self.reader.mistake_with_hint(
                &node.place,
                "the first stage can't be `hold`",
                "begin with `{users: 10, for: 1m}`, `{ramp: 10, over: 30s}` or `{arrive: 50/s, for: 1m}`",
            );
        }
        stages
    }

    fn stage(&mut self, node: &Node) -> Option<Stage> {
        let fields = self.fields::<StageFile>(node, "a stage")?;
        let reader = &mut self.reader;
        if let Some(node) = fields.get("hold") {
            return reader.duration(node).map(Stage::Hold);
        }
        if let Some(node) = fields.get("ramp") {
            let to = reader.whole(node, 0..=MAX_USERS);
            let over = fields.need("over", "a ramp", reader);
            return Some(Stage::Ramp {
                to: to?,
                over: reader.duration(over?)?,
            });
        }
        if let Some(node) = fields.get("users") {
            let users = reader.whole(node, 0..=MAX_USERS);
            let time = fields.need("for", "a stage with `users`", reader);
            return Some(Stage::Users {
                users: users?,
                time: reader.duration(time?)?,
            });
        }
        let Some(node) = fields.get("arrive") else {
            reader.mistake(fields.place, "a stage needs `ramp`, `hold`, `users` or `arrive`");
            return None;
        };
        let rate = reader.parsed(node, quantity::rate);
        let (ramp, time) = match (fields.get("over"), fields.get("for")) {
            (Some(over), None) => (true, reader.duration(over)),
            (None, Some(time)) => (false, reader.duration(time)),
            _ => {
                reader.mistake(
                    fields.place,
                    "`arrive` needs a duration: `for`, or `over` for a ramp",
                );
                return None;
            }
        };
        let max_users = fields.get("max_users");
        let max_users = max_users.and_then(|node| reader.whole(node, 1..=MAX_USERS));
        Some(Stage::Arrive {
            rate: rate?,
            time: time?,
            ramp,
            max_users: max_users.unwrap_or(1000),
        })
    }

    pub(super) fn thresholds(&mut self, node: &Node) -> Vec<Threshold> {
        let mut thresholds = Vec::new();
        for node in items(node) {
            let threshold = match &node.value {
                Value::Map(_) => self.threshold(node),
                _ => self.reader.parsed(node, Threshold::parse),
            };
            if let Some(threshold) = &threshold
                && let Err((message, hint)) = threshold.fits(&self.rows)
            {
                self.reader.mistake_with_hint(&node.place, message, hint);
            }
            thresholds.extend(threshold);
        }
        thresholds
    }

    fn threshold(&mut self, node: &Node) -> Option<Threshold> {
        let fields = self.fields::<ThresholdLong>(node, "a threshold")?;
        let reader = &mut self.reader;
        let metric = fields.need("metric", "a threshold", reader)?;
        let name = reader.scalar(metric)?;
        let metric = reader.parsed(metric, Metric::parse)?;
        let task = fields.get("task").and_then(|node| reader.filled(node));
        let (below, limit) = match (fields.get("below"), fields.get("above")) {
            (Some(node), None) => (true, node),
            (None, Some(node)) => (false, node),
            _ => {
                reader.mistake(fields.place, "a threshold needs a limit: `below` or `above`");
                return None;
            }
        };
        let written = reader.scalar(limit)?;
        let limit = reader.parsed(limit, |text| metric.limit(text))?;
        let words = [("actual", true), ("intended", false)];
        let actual = fields.get("start").and_then(|node| reader.word(node, &words));
        let abort = fields.get("abort").and_then(|node| reader.truth(node));
        let of = task.as_ref().map_or(String::new(), |task| format!("({task})"));
        Some(Threshold {
            text: format!("{name}{of} {} {written}", if below { "<" } else { ">" }),
            metric,
            task,
            below,
            limit,
            abort: abort.unwrap_or(false),
            actual: actual.unwrap_or(false),
        })
    }
}

impl Threshold {
    /// Parses `errors < 1%`, `p99(manifest) < 500ms`, `rate > 100/s`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a threshold; write it like `errors < 1%`, `p99 < 500ms` or `rate > 100/s`"
            )
        };
        let (left, right) = text.split_at(text.find(['<', '>']).ok_or_else(wrong)?);
        let (sign, right) = right.split_at(1);
        let (metric, task) = match left.trim().split_once('(') {
            Some((metric, rest)) => {
                let task = rest.trim().strip_suffix(')').ok_or_else(wrong)?;
                (metric, Some(task.trim().to_owned()))
            }
            None => (left, None),
        };
        let metric = Metric::parse(metric.trim())?;
        Ok(Self {
            text: text.trim().to_owned(),
            limit: metric.limit(right.trim())?,
            metric,
            task,
            below: sign == "<",
            abort: false,
            actual: false,
        })
    }

    /// Checks that its task is one of these rows. Returns a message and a hint if not.
    pub(crate) fn fits(&self, rows: &[String]) -> Result<(), (String, String)> {
        let Some(task) = self.task.as_ref().filter(|task| !rows.contains(task)) else {
            return Ok(());
        };
        let near = reveille_account::SourceError::nearest(task, rows.iter().map(String::as_str));
        let hint = near.map_or_else(
            || format!("the tasks are {}", rows.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        Err((format!("no task is named `{task}`"), hint))
    }
}

/// Parses `95` and `99.9` as percentiles, `999` and `9999` as 99.9 and 99.99.
fn quantile(digits: &str) -> Option<f64> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    if digits.len() > 2 && digits.starts_with('9') && !digits.contains('.') {
        return format!("0.{digits}").parse().ok();
    }
    let percent: f64 = digits.parse().ok()?;
    (percent > 0.0 && percent <= 100.0).then_some(percent / 100.0)
}

impl Metric {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "errors" => Ok(Metric::Errors),
            "rate" => Ok(Metric::Rate),
            "late" => Ok(Metric::Late),
            "mean" => Ok(Metric::Mean),
            "max" => Ok(Metric::Quantile(1.0)),
            _ => text
                .strip_prefix('p')
                .and_then(quantile)
                .map(Metric::Quantile)
                .ok_or_else(|| {
                    format!("`{text}` is not a metric; the metrics are p50, p95, p99, p99.9 …, max, mean, errors, rate, late")
                }),
        }
    }

    pub(crate) fn limit(self, text: &str) -> Result<f64, String> {
        match self {
            Metric::Quantile(_) | Metric::Mean => duration::parse(text).map(|limit| limit.as_secs_f64()),
            Metric::Errors | Metric::Late => quantity::share(text),
            Metric::Rate => quantity::rate(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_percents_or_nines() {
        for (digits, value) in [
            ("5", 0.05),
            ("50", 0.5),
            ("99", 0.99),
            ("99.9", 0.999),
            ("999", 0.999),
            ("9999", 0.9999),
            ("995", 0.995),
            ("100", 1.0),
        ] {
            let found = quantile(digits).expect(digits);
            assert!((found - value).abs() < 1e-12, "p{digits} is {found}");
        }
        for bad in ["", "0", "101", "500", "1e1", "-5", "9.9.9", ".", "inf"] {
            assert_eq!(quantile(bad), None, "{bad}");
        }
    }
}
