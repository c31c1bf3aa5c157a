//! The person at the terminal, if there is one.

use crate::Error;

/// Shows warnings and asks questions.
pub trait Operator {
    /// Shows a warning.
    fn warn(&self, message: &str);

    /// Asks for a secret without echoing the answer. `instead` is the advice for when nobody can be asked.
    ///
    /// # Errors
    ///
    /// Nobody can be asked.
    fn secret(&self, question: &str, instead: &str) -> Result<String, Error>;
}

/// Nobody: warnings are dropped, and questions fail.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Operator for Nobody {
    fn warn(&self, _: &str) {}

    fn secret(&self, question: &str, instead: &str) -> Result<String, Error> {
        Err(Error::input(format!(
            "there is no terminal to ask for the {question}; {instead}"
        )))
    }
}
