//! Lines of a screen: text with roles, measured in cells.

use std::fmt::Write as _;

use reveille_account::HostName;
use textwrap::WordSplitter;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What a piece of text is. Each role has a colour; no screen needs colour to be understood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Text without a role.
    #[default]
    Plain,
    /// Succeeded, PASS, accounted for.
    Good,
    /// Failed, quarantined, unaccounted for, FAIL.
    Bad,
    /// Recovering, checked, cancelled, pressure, warning.
    Odd,
    /// Running, and the bar.
    Live,
    /// The job, and the next command.
    Strong,
    /// Times and lists of hosts.
    Faint,
    /// A host in a stream: one of [`HOST_COLOURS`] colours.
    Host(u8),
}

/// The number of colours by which hosts in a stream are told apart.
pub const HOST_COLOURS: u8 = 5;

/// A piece of a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// The text, without control characters.
    pub text: String,
    /// What it is.
    pub role: Role,
}

/// A line of a screen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line(pub Vec<Span>);

// === impl Role ===

impl Role {
    /// Good or bad.
    pub fn of(good: bool) -> Self {
        if good { Self::Good } else { Self::Bad }
    }

    /// The role of a host's name in a stream, which depends on the name only.
    pub fn of_host(host: &HostName) -> Self {
        // FNV-1a: the colour of a host is the same in every run and version.
        let hash = host.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        Self::Host(u8::try_from(hash % u32::from(HOST_COLOURS)).unwrap_or(0))
    }

    /// The code of the colour, as in `ESC [ CODE m`.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Role::Plain => None,
            Role::Good => Some("32"),
            Role::Bad => Some("31"),
            Role::Odd => Some("33"),
            Role::Live => Some("36"),
            Role::Strong => Some("1"),
            Role::Faint => Some("2"),
            Role::Host(number) => Some(match number % HOST_COLOURS {
                0 => "35",
                1 => "36",
                2 => "94",
                3 => "95",
                _ => "96",
            }),
        }
    }

    /// The text in its colour, if colour is `on`.
    pub fn coloured(self, text: &str, on: bool) -> String {
        match self.code() {
            Some(code) if on && !text.is_empty() => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }
}

// === impl Line ===

impl Line {
    /// An empty line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds text.
    #[must_use]
    pub fn with(mut self, text: impl Into<String>, role: Role) -> Self {
        self.push(text, role);
        self
    }

    /// Adds text.
    pub fn push(&mut self, text: impl Into<String>, role: Role) {
        let text = text.into();
        if !text.is_empty() {
            self.0.push(Span { text, role });
        }
    }

    /// Cells.
    pub fn width(&self) -> usize {
        self.0.iter().map(|span| span.text.width()).sum()
    }

    /// Adds blanks up to a width.
    pub fn pad(&mut self, width: usize) {
        let blanks = width.saturating_sub(self.width());
        self.push(" ".repeat(blanks), Role::Plain);
    }

    /// Adds `right` at the right end of a line of `width` cells, if there are at least two blanks before it.
    pub fn push_right(&mut self, right: Line, width: usize) {
        if self.width() + 2 + right.width() <= width {
            self.pad(width - right.width());
            self.0.extend(right.0);
        }
    }

    /// The line, cut to `width` cells.
    #[must_use]
    pub fn cut(self, width: usize) -> Self {
        if self.width() <= width {
            return self;
        }
        let mut cut = Self::new();
        let mut left = width;
        for span in self.0 {
            let cells = span.text.width();
            if cells < left {
                left -= cells;
                cut.0.push(span);
            } else {
                cut.push(cut_to(&span.text, left), span.role);
                break;
            }
        }
        cut
    }

    /// The text with escape sequences for colours, if colour is `on`.
    pub fn text(&self, on: bool) -> String {
        let mut text = String::new();
        for span in &self.0 {
            let _ = text.write_str(&span.role.coloured(&span.text, on));
        }
        text
    }
}

impl From<&str> for Line {
    fn from(text: &str) -> Self {
        Self::new().with(text, Role::Plain)
    }
}

/// The number of cells that a text occupies.
pub fn cells(text: &str) -> usize {
    text.width()
}

/// The text, or its beginning with `…`, in at most `width` cells.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    cut_to(text, width)
}

/// The beginning of a text that is too long, with `…`.
fn cut_to(text: &str, width: usize) -> String {
    if width == 0 {
        return String::new();
    }
    let mut kept = String::new();
    let mut used = 0;
    for character in text.chars() {
        let cells = character.width().unwrap_or(0);
        if used + cells + 1 > width {
            break;
        }
        used += cells;
        kept.push(character);
    }
    kept.push('…');
    kept
}

/// The text, or its beginning and its end with `…` between them, in at most `width` cells.
pub fn cut_middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let after = width.saturating_sub(1) / 2;
    let before = cut_to(text, width.saturating_sub(after));
    let mut rest: Vec<char> = Vec::new();
    let mut used = 0;
    for character in text.chars().rev() {
        let cells = character.width().unwrap_or(0);
        if used + cells > after {
            break;
        }
        used += cells;
        rest.push(character);
    }
    before + &rest.iter().rev().collect::<String>()
}

/// The text in lines of at most `width` cells, broken between words; words that are too long are broken anywhere.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let options = textwrap::Options::new(width.max(1)).word_splitter(WordSplitter::NoHyphenation);
    textwrap::wrap(text, options)
        .into_iter()
        .map(std::borrow::Cow::into_owned)
        .collect()
}

/// Like [`wrap`], in at most `most` lines; the last one ends in `…` if some of the text is left out.
pub fn wrap_up_to(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines = wrap(text, width);
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            *last = cut_to(&format!("{last}  "), width.min(last.width() + 1));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_in_cells() {
        assert_eq!(cut("häuser", 6), "häuser");
        assert_eq!(cut("häuser", 4), "häu…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("日本語", 0), "");
        assert_eq!(cut_middle("web-0123456.example.org", 15), "web-012…ple.org");
        let line = Line::from("ok")
            .with(" failed 9", Role::Bad)
            .with(" x", Role::Plain);
        assert_eq!(line.clone().cut(8).text(false), "ok fail…");
        assert_eq!(line.cut(8).text(true), "ok\u{1b}[31m fail…\u{1b}[0m");
    }

    #[test]
    fn long_texts_wrap_between_words() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("0123456789", 4), ["0123", "4567", "89"]);
        assert_eq!(wrap_up_to("one two three four", 8, 2), ["one two", "three…"]);
        assert_eq!(
            wrap_up_to("one two threefour five", 9, 2),
            ["one two", "threefou…"]
        );
        assert_eq!(wrap_up_to("one two", 8, 2), ["one two"]);
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_wider_than_its_room(text in r"[a-z 日本語äé…\-]{0,60}", width in 1usize..40) {
            proptest::prop_assert!(cells(&cut(&text, width)) <= width);
            proptest::prop_assert!(cells(&cut_middle(&text, width)) <= width);
            for line in wrap_up_to(&text, width.max(2), 2) {
                proptest::prop_assert!(cells(&line) <= width.max(2), "{line:?}");
            }
        }
    }
}
