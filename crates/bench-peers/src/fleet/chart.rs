//! A chart of values over time, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 150.0;
const GAP: f64 = 46.0;
const TOP: f64 = 30.0;

/// Values over one unit, drawn above each other.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) lines: Vec<Line>,
}

/// One value over time: seconds and the value.
pub(super) struct Line {
    name: &'static str,
    colour: &'static str,
    points: Vec<(f64, f64)>,
    /// It holds until the next point; otherwise points are joined.
    steps: bool,
}

/// Draws panels below each other on one axis of time.
pub(super) fn draw(panels: &[Panel]) -> String {
    let lines = panels.iter().flat_map(|panel| &panel.lines);
    let points = lines.flat_map(|line| &line.points);
    let end = points.map(|point| point.0).fold(1.0, f64::max);
    let height = TOP + (HEIGHT + GAP) * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#444\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        LEFT + WIDTH + RIGHT
    );
    for (number, panel) in panels.iter().enumerate() {
        let top = TOP + (HEIGHT + GAP) * number as f64;
        panel.draw(&mut svg, top, end);
    }
    svg.push_str("</svg>\n");
    svg
}

// === impl Line ===

impl Line {
    /// A line that joins its points.
    pub(super) fn joined(name: &'static str, colour: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self {
            name,
            colour,
            points,
            steps: false,
        }
    }

    /// A line of steps.
    pub(super) fn steps(name: &'static str, colour: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self {
            steps: true,
            ..Self::joined(name, colour, points)
        }
    }
}

// === impl Panel ===

impl Panel {
    fn draw(&self, svg: &mut String, top: f64, end: f64) {
        let values = self.lines.iter().flat_map(|line| &line.points);
        let most = ceiling(values.map(|point| point.1).fold(0.0, f64::max));
        let x = |seconds: f64| LEFT + WIDTH * seconds / end;
        let y = |value: f64| top + HEIGHT * (1.0 - value / most);
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{:.0}\" font-weight=\"bold\">{}</text>",
            top - 8.0,
            self.title
        );
        for part in 0..=4 {
            let value = most * f64::from(part) / 4.0;
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {y:.1}h{WIDTH}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                LEFT - 6.0,
                y(value) + 4.0,
                y = y(value),
            );
        }
        for part in 0..=5 {
            let seconds = end * f64::from(part) / 5.0;
            let _ = writeln!(
                svg,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{seconds:.1} s</text>",
                x(seconds),
                top + HEIGHT + 16.0
            );
        }
        for (number, line) in self.lines.iter().enumerate() {
            let mut path = String::new();
            for (seconds, value) in &line.points {
                let (x, y) = (x(*seconds), y(*value));
                let _ = match (path.is_empty(), line.steps) {
                    (true, _) => write!(path, "M{x:.1} {y:.1}"),
                    (false, true) => write!(path, "H{x:.1}V{y:.1}"),
                    (false, false) => write!(path, "L{x:.1} {y:.1}"),
                };
            }
            let label = top + 12.0 + 18.0 * number as f64;
            let _ = writeln!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
                 <text x=\"{:.0}\" y=\"{label:.0}\" fill=\"{colour}\">{}</text>",
                LEFT + WIDTH + 8.0,
                line.name,
                colour = line.colour,
            );
        }
    }
}

/// The next value that is 1, 2, 4 or 8 times a power of ten.
fn ceiling(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1.0).log10().floor());
    [1.0, 2.0, 4.0, 8.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|ceiling| *ceiling >= value)
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_values() {
        for (value, end) in [
            (0.0, 1.0),
            (1.0, 1.0),
            (150.0, 200.0),
            (1999.0, 2000.0),
            (9.5, 10.0),
        ] {
            assert_eq!(ceiling(value).to_string(), end.to_string());
        }
    }
}
