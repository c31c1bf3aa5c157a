//! `docs/classes.md`, from the table that `reveille explain` prints.

use std::fmt::Write as _;

use reveille_account::{Class, Status};

use super::{NOTICE, cell};

/// In the order of the page, each with its heading.
const STATUSES: &[(Status, &str)] = &[
    (Status::Success, "Success"),
    (Status::Failed, "Failed"),
    (Status::Quarantined, "Quarantined"),
    (Status::Cancelled, "Cancelled"),
    (Status::Ghost, "Ghost"),
];

const INTRODUCTION: &str = "\
Every outcome has one class, and the class decides the status. `reveille explain CLASS` prints a row of these tables.
What statuses mean for the exit code, and which classes are never tried again, is in
[exit-codes-and-classes.md](exit-codes-and-classes.md).
";

/// The whole page.
pub(super) fn page() -> String {
    let mut page = format!("# Classes\n{NOTICE}\n\n{INTRODUCTION}");
    for (status, heading) in STATUSES {
        let _ = write!(
            page,
            "\n## {heading}\n\n| class | meaning | usual causes | next |\n|---|---|---|---|\n"
        );
        for class in Class::ALL.iter().filter(|class| class.status() == *status) {
            let _ = writeln!(
                page,
                "| `{class}` | {} | {} | {} |",
                cell(class.meaning()),
                cell(class.causes()),
                cell(class.next())
            );
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_class_is_left_out() {
        let page = page();
        for class in Class::ALL {
            assert!(page.contains(&format!("| `{class}` |")), "{class}");
        }
    }
}
