//! `database-dump`.

use super::{Example, changes};

/// Writes a dump, slowly if there is a gate.
const PG_DUMP: &str = r#"
[ "$1 $2 $3 $5" = "--format custom --file app" ] || exit 98
echo dump >>dumps.log
echo half >"$4"
until [ ! -e gate ]; do sleep 0.05; done
[ ! -e full ] || { echo 'pg_dump: error: could not write: No space left on device' >&2; exit 1; }
echo whole >>"$4"
"#;

const PG_RESTORE: &str = r#"grep -q whole "$2""#;

fn example() -> (Example, String) {
    let example = Example::new(
        "database-dump",
        &["db01", "db02"],
        &[("pg_dump", PG_DUMP), ("pg_restore", PG_RESTORE)],
    );
    for host in ["db01", "db02"] {
        std::fs::create_dir(example.on(host, "dumps")).unwrap();
    }
    let directory = example.inside("directory", "dumps");
    (example, directory)
}

/// The names of the dumps of a host, here or there.
fn dumps(directory: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn dumps_are_fetched_and_only_the_newest_are_kept() {
    let (example, directory) = example();
    let dump = |more: &[&str]| example.run(&[&["-e", &directory, "-e", "keep=2"][..], more].concat());
    dump(&["--check"]).expect(0);
    assert!(dumps(&example.on("db01", "dumps")).is_empty());
    for run in 1..=3 {
        let ended = dump(&[]).expect(0);
        let expected = if run > 2 { 4 } else { 2 };
        assert_eq!(changes(&ended).len(), expected, "{:?}", changes(&ended));
    }
    assert_eq!(dumps(&example.on("db01", "dumps")).len(), 2);
    assert_eq!(dumps(&example.directory.join("dumps/db02")).len(), 3);

    // A dump that fails leaves neither a broken file nor a good one that is too many.
    example.write("db01", "full", "");
    let failed = dump(&[]).expect(3);
    assert_eq!(failed.json()["account"]["failed"], 1);
    assert_eq!(dumps(&example.on("db01", "dumps")).len(), 2);
    assert_eq!(dumps(&example.directory.join("dumps/db01")).len(), 3);
    let names = dumps(&example.on("db01", "dumps"));
    assert!(!names.iter().any(|name| name.contains(".part")), "{names:?}");
}

#[test]
fn a_dump_whose_controller_is_killed_is_found_and_not_made_twice() {
    let (example, directory) = example();
    example.write("db01", "gate", "");
    example.killed_in("dump", &["-e", &directory, "-l", "db01"]);
    std::fs::remove_file(example.on("db01", "gate")).unwrap();
    example.then(&["resume", "--format", "json"]).expect(0);
    assert_eq!(example.read("db01", "dumps.log"), "dump\n");
    let fetched = example.directory.join("dumps/db01");
    let names = dumps(&fetched);
    assert_eq!(names.len(), 1);
    assert_eq!(
        std::fs::read_to_string(fetched.join(&names[0])).unwrap(),
        "half\nwhole\n"
    );
}
