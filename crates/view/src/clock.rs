//! Wall-clock times, in the operator's time zone.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A clock on the wall: it shows Unix milliseconds in a time zone.
#[derive(Debug, Clone)]
pub struct Clock(TimeZone);

// === impl Clock ===

impl Clock {
    /// The time zone of this machine and user (`TZ`).
    pub fn here() -> Self {
        Self(TimeZone::system())
    }

    /// UTC.
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// `10:15:02`
    pub fn time(&self, ms: u64) -> String {
        self.format(ms, "%H:%M:%S")
    }

    /// `2026-11-21`
    pub fn date(&self, ms: u64) -> String {
        self.format(ms, "%Y-%m-%d")
    }

    /// `2026-11-21 10:15:02`
    pub fn date_time(&self, ms: u64) -> String {
        self.format(ms, "%Y-%m-%d %H:%M:%S")
    }

    /// `2026-11-21 10:15:02 +00:00`
    pub fn with_offset(&self, ms: u64) -> String {
        self.format(ms, "%Y-%m-%d %H:%M:%S %:z")
    }

    fn format(&self, ms: u64, format: &str) -> String {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        let timestamp = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
        timestamp.to_zoned(self.0.clone()).strftime(format).to_string()
    }
}
