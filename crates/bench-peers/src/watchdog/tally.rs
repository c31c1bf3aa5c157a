//! What a replay counts.

use crate::table::Table;

/// Counts and sums over all judged runs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) runs: u64,
    /// Healthy attempts.
    pub(super) healthy: u64,
    pub(super) false_kills: u64,
    pub(super) abandoned: u64,
    /// Sum of deadline ÷ duration.
    pub(super) stretch: f64,
    pub(super) hangs: u64,
    pub(super) found: u64,
    /// Sums over those that were found.
    pub(super) wait_s: f64,
    pub(super) wait_stretch: f64,
}

// === impl Tally ===

impl Tally {
    pub(super) const COLUMNS: &'static str = "rule | hangs | runs | false kills | of healthy attempts | abandoned | deadline ÷ run | hangs found | time to find one, s | ÷ run";

    /// Adds these counts to a table of such columns.
    pub(super) fn row(&self, table: &mut Table, name: &str, hang_share: f64) {
        let per = |sum: f64, count: u64| sum / count.max(1) as f64;
        let found = if self.hangs == 0 {
            "– | – | –".to_owned()
        } else {
            format!(
                "{} of {} | {:.1} | {:.2}",
                self.found,
                self.hangs,
                per(self.wait_s, self.found),
                per(self.wait_stretch, self.found)
            )
        };
        table.row(format_args!(
            "{name} | {:.0} % | {} | {} | {:.4} % | {} | {:.3} | {found}",
            hang_share * 100.0,
            self.runs,
            self.false_kills,
            per(100.0 * self.false_kills as f64, self.healthy),
            self.abandoned,
            per(self.stretch, self.runs),
        ));
    }
}
