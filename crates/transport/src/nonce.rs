//! Unpredictable random words.

use reveille_account::Token;

/// Returns 32 random hexadecimal digits.
pub(crate) fn nonce() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system's random source works once a process runs");
    Token::new(bytes).to_string()
}
