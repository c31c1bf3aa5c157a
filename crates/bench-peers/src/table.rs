//! Tables in Markdown, filled row by row, and what stands in their cells.

use std::fmt;

use xtask::tell;

/// A table; shown as Markdown.
#[derive(Debug)]
pub(crate) struct Table(String);

/// The least, the median and the most of some values; all 0 if there are none.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

// === impl Table ===

impl Table {
    /// An empty table; bars separate the names of its columns.
    pub(crate) fn new(columns: &str) -> Self {
        let rule = "---|".repeat(columns.split('|').count());
        Self(format!("| {columns} |\n|{rule}\n"))
    }

    /// Adds a row, and prints it, because the next one may take minutes.
    pub(crate) fn row(&mut self, cells: fmt::Arguments<'_>) {
        let row = format!("| {cells} |");
        tell::line(&row);
        self.0.push_str(&row);
        self.0.push('\n');
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

// === impl Spread ===

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let [Some(least), Some(most)] = [values.first(), values.last()].map(Option::<&f64>::copied) else {
            return Self::default();
        };
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Self { least, median, most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_rule_below_its_head() {
        let mut table = Table::new(" | hosts");
        table.row(format_args!("one | {}", 1));
        assert_eq!(table.to_string(), "|  | hosts |\n|---|---|\n| one | 1 |\n");
    }

    #[test]
    fn a_spread_is_that_of_sorted_values() {
        let spread = |least, median, most| Spread { least, median, most };
        assert_eq!(Spread::of([3.0, 1.0, 2.0].into_iter()), spread(1.0, 2.0, 3.0));
        assert_eq!(Spread::of([2.0, 1.0].into_iter()), spread(1.0, 1.5, 2.0));
        assert_eq!(Spread::of(std::iter::empty()), Spread::default());
    }
}
