//! A controller dies at every crossing of a seam, in each of the kept scenarios.

use reveille_simulate::at_every_crossing;

use crate::kept::scenarios;

#[test]
fn a_controller_may_die_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    let mut plays = 0;
    for (file, scenario) in scenarios() {
        let (more, deadly) = at_every_crossing(&scenario, directory.path(), |_| {}).unwrap();
        assert!(deadly.is_empty(), "{}: {deadly:#?}", file.display());
        plays += more;
    }
    assert!(plays > 2000, "{plays} plays");
}

/// Its machine loses power, too: recorded output must be synced.
#[test]
fn its_power_may_fail_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    for (file, scenario) in scenarios() {
        let small = file
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("small-"));
        if !small {
            continue;
        }
        let (_, deadly) =
            at_every_crossing(&scenario, directory.path(), |life| life.loses_power = true).unwrap();
        assert!(deadly.is_empty(), "{}: {deadly:#?}", file.display());
    }
}
