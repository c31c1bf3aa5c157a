//! The reasons for a host's settings.

use std::fmt;

use reveille_account::{Given, Origin};

/// The reason for the value of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The setting, such as `port`.
    pub what: &'static str,
    /// The value in use.
    pub value: String,
    /// Its source.
    pub origin: Origin,
    /// Overridden values, the strongest first.
    pub over: Vec<(String, Origin)>,
}

/// The reasons for one way, if they are wanted.
#[derive(Debug, Clone, Default)]
pub struct Reasons(Option<Vec<Reason>>);

// === impl Reasons ===

impl Reasons {
    /// Discards reasons at no cost.
    pub fn unasked() -> Self {
        Self(None)
    }

    /// Keeps reasons.
    pub fn kept() -> Self {
        Self(Some(Vec::new()))
    }

    /// Whether reasons are kept.
    pub(crate) fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// The reasons, in the order in which the values were decided.
    pub fn all(&self) -> &[Reason] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Returns the first value that is set, and records the others as overridden.
    pub(crate) fn first<T>(
        &mut self,
        what: &'static str,
        candidates: impl IntoIterator<Item = Option<Given<T>>>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let mut candidates = candidates.into_iter().flatten();
        let winner = candidates.next()?;
        if let Some(reasons) = &mut self.0 {
            let value = show(&winner.value);
            let over = candidates
                .map(|given| (show(&given.value), given.origin))
                // Overridden defaults are not worth reporting, and neither are equal values.
                .filter(|(loser, origin)| *loser != value && !matches!(origin, Origin::Default(_)));
            reasons.push(Reason {
                what,
                over: over.collect(),
                value,
                origin: winner.origin,
            });
        }
        Some(winner.value)
    }

    /// Removes the reasons for all other settings.
    pub(crate) fn keep_only(&mut self, what: &str) {
        if let Some(reasons) = &mut self.0 {
            reasons.retain(|reason| reason.what == what);
        }
    }

    /// Records an overridden value, if it differs from the one in use.
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

    /// Records a value that has only one source.
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
    /// One line per setting, in columns: setting, value, source, and what it overrides.
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
