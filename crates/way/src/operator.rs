//! The person at the terminal, if there is one.

use crate::Error;

/// Takes warnings and answers questions.
pub trait Operator {
    /// Shows a warning.
    fn warn(&self, message: &str);

    /// Asks for a secret; the answer is not echoed. `instead` says what to do where nobody can be asked.
    ///
    /// # Errors
    ///
    /// Nobody can be asked.
    fn secret(&self, question: &str, instead: &str) -> Result<String, Error>;
}

/// No one is there: warnings are dropped, and nothing is answered.
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
