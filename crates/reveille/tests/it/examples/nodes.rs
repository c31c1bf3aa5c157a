//! `node-drain`.

use super::{Example, changes, message};

/// A cluster of nodes: files say what is cordoned and what is annotated.
const KUBECTL: &str = r#"
[ -z "$SSH_CONNECTION" ] || exit 97
cd "$STANDIN/cluster" || exit 99
echo "$*" >>log
case "$1 $2" in
    'get node')
        [ ! -e down ] || exit 1
        [ ! -e "$3.mark" ] || echo '    example.com/drained-by-reveille: r-1'
        echo 'spec:'
        [ ! -e "$3.cordoned" ] || echo '  unschedulable: true' ;;
    'annotate node')
        case $4 in *-) rm "$3.mark" ;; *) touch "$3.mark" ;; esac ;;
    drain*) touch "$2.cordoned" ;;
    uncordon*) rm "$2.cordoned" ;;
    wait*) node=${3#node/}; [ ! -e "$node.sick" ] || { echo 'error: timed out waiting' >&2; exit 1; } ;;
    *) exit 98 ;;
esac
"#;

const APT_GET: &str = r#"
until [ ! -e gate ]; do sleep 0.05; done
echo "${3#*=}" >version
"#;

fn example() -> Example {
    let example = Example::new(
        "node-drain",
        &["node01", "node02", "node03"],
        &[
            ("kubectl", KUBECTL),
            ("apt-get", APT_GET),
            ("dpkg-query", "cat version"),
            ("systemctl", r#"echo "$*" >>restarts"#),
        ],
    );
    std::fs::create_dir(example.root().join("cluster")).unwrap();
    for host in ["node01", "node02", "node03"] {
        example.write(host, "version", "1.30.0-1.1");
    }
    example
}

#[test]
fn nodes_are_drained_one_after_the_other_and_put_back() {
    let example = example();
    example.run(&["--check"]).expect(0);
    assert!(!example.read("cluster", "log").contains("drain "));
    let first = example.run(&[]).expect(0);
    assert_eq!(changes(&first).len(), 12, "{:?}", changes(&first));
    let log = example.read("cluster", "log");
    let verbs: Vec<_> = log
        .lines()
        .filter_map(|line| line.split_once(" node0"))
        .filter(|(verb, _)| ["drain", "uncordon"].contains(verb))
        .map(|(verb, node)| format!("{verb} {}", &node[..1]))
        .collect();
    assert_eq!(
        verbs,
        [
            "drain 1",
            "uncordon 1",
            "drain 2",
            "uncordon 2",
            "drain 3",
            "uncordon 3"
        ]
    );
    let second = example.run(&[]).expect(0);
    assert!(changes(&second).is_empty(), "{:?}", changes(&second));
}

#[test]
fn a_node_that_is_not_ready_stays_cordoned_and_a_retry_goes_on_with_it() {
    let example = example();
    example.write("cluster", "node01.sick", "");
    let failed = example.run(&[]).expect(3);
    let said = message(&failed, "node01");
    assert!(said.contains("node01 is still cordoned"), "{said}");
    assert_eq!(failed.json()["account"]["cancelled"], 2);
    std::fs::remove_file(example.on("cluster", "node01.sick")).unwrap();
    // A new run, not a retry: the annotation says whose node it is.
    let mended = example.run(&[]).expect(0);
    assert!(!example.on("cluster", "node01.cordoned").exists());
    assert!(
        changes(&mended).contains("node01 uncordon"),
        "{:?}",
        changes(&mended)
    );
}

#[test]
fn a_node_that_somebody_else_cordoned_is_left_alone() {
    let example = example();
    example.write("cluster", "node02.cordoned", "");
    let failed = example.run(&[]).expect(3);
    let said = failed.json()["hosts"][1]["stderr"].as_str().unwrap().to_owned();
    assert!(said.contains("node02 is cordoned, and not by this job"), "{said}");
    assert!(example.on("cluster", "node02.cordoned").exists());
    assert_eq!(example.read("node02", "version"), "1.30.0-1.1");
}

#[test]
fn a_drain_whose_controller_is_killed_is_resumed_to_its_end() {
    let example = example();
    example.write("node01", "gate", "");
    example.killed_in("upgrade", &[]);
    assert!(example.on("cluster", "node01.cordoned").exists());
    std::fs::remove_file(example.on("node01", "gate")).unwrap();
    example.then(&["resume", "--format", "json"]).expect(0);
    for host in ["node01", "node02", "node03"] {
        assert!(!example.on("cluster", &format!("{host}.cordoned")).exists());
        assert_eq!(example.read(host, "restarts"), "restart kubelet\n");
    }
}
