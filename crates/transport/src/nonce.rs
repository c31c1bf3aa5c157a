//! Random words that nobody can guess.

use reveille_account::Token;

/// A fresh one: 32 hexadecimal digits.
pub(crate) fn nonce() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system's random source works once a process runs");
    Token::new(bytes).to_string()
}
