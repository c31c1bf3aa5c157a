//! Why a value is what it is.

use std::fmt;

use reveille_account::{Given, Origin};

/// Why one setting of a way has its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The setting, such as `port`.
    pub what: &'static str,
    /// The value that holds.
    pub value: String,
    /// Its source.
    pub origin: Origin,
    /// Values that lost, the strongest first.
    pub over: Vec<(String, Origin)>,
}

/// The reasons of one way, if somebody wants to know them.
#[derive(Debug, Clone, Default)]
pub struct Reasons(Option<Vec<Reason>>);

// === impl Reasons ===

impl Reasons {
    /// Reasons that nobody asks for; they cost nothing.
    pub fn unasked() -> Self {
        Self(None)
    }

    /// Reasons that are kept.
    pub fn kept() -> Self {
        Self(Some(Vec::new()))
    }

    /// Whether somebody wants to know them.
    pub(crate) fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// The reasons in the order in which the values were decided.
    pub fn all(&self) -> &[Reason] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Takes the first value there is, and notes the others as overridden.
    pub(crate) fn first<T>(
        &mut self,
        what: &'static str,
        candidates: impl IntoIterator<Item = Option<Given<T>>>,
        show: impl Fn(&T) -> String,
    ) -> Option<Given<T>> {
        let mut candidates = candidates.into_iter().flatten();
        let winner = candidates.next()?;
        if let Some(reasons) = &mut self.0 {
            let value = show(&winner.value);
            let over = candidates
                .map(|given| (show(&given.value), given.origin))
                // A default that does not hold is no news, and neither is the same value from elsewhere.
                .filter(|(loser, origin)| *loser != value && !matches!(origin, Origin::Default(_)));
            reasons.push(Reason {
                what,
                over: over.collect(),
                value,
                origin: winner.origin.clone(),
            });
        }
        Some(winner)
    }

    /// Notes a value that lost, if it is not the one that holds.
    pub(crate) fn add_overridden<T>(
        &mut self,
        what: &'static str,
        loser: Option<Given<T>>,
        show: impl Fn(&T) -> String,
    ) {
        let mut reasons = self.0.iter_mut().flatten();
        let Some((reason, loser)) = reasons.find(|reason| reason.what == what).zip(loser) else {
            return;
        };
        let value = show(&loser.value);
        if value != reason.value {
            reason.over.push((value, loser.origin));
        }
    }

    /// Notes a value that has no rivals.
    pub(crate) fn note<T>(&mut self, what: &'static str, given: &Given<T>, show: impl Fn(&T) -> String) {
        if let Some(reasons) = &mut self.0 {
            reasons.push(Reason {
                what,
                value: show(&given.value),
                origin: given.origin.clone(),
                over: Vec::new(),
            });
        }
    }
}

impl fmt::Display for Reasons {
    /// A line a setting, in columns: the setting, its value, its source, and what it overrides.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = self.all();
        let width = |text: fn(&Reason) -> &str| {
            let widths = reasons.iter().map(|reason| text(reason).chars().count());
            widths.filter(|width| *width <= 40).max().unwrap_or(0)
        };
        let (name, value) = (width(|reason| reason.what), width(|reason| &reason.value));
        for reason in reasons {
            write!(
                formatter,
                "  {:name$}  {:value$}  {}",
                reason.what, reason.value, reason.origin
            )?;
            for (index, (value, origin)) in reason.over.iter().enumerate() {
                let word = if index == 0 { "; overrides" } else { "," };
                write!(formatter, "{word} {value} ({origin})")?;
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}
