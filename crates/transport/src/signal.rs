//! Names of signals.

/// The name, without `SIG`, of a signal that usually ends a command. The numbers are Linux's, which rarely differ
/// elsewhere.
pub fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        11 => "SEGV",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        24 => "XCPU",
        25 => "XFSZ",
        _ => return None,
    })
}

/// The name of a signal, or its number if it has no common name.
pub(crate) fn name_or_number(number: i32) -> String {
    match (number, signal_name(number)) {
        (10, _) => "USR1".to_owned(),
        (_, Some(name)) => name.to_owned(),
        (_, None) => number.to_string(),
    }
}
