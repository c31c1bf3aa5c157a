//! `users` and `kernel-upgrade`, on Debian machines: with the real useradd, visudo and install.

use std::path::PathBuf;

use reveille_testbed::machines::Machines;

use super::{changes, examples, message};
use crate::support::{Ended, Reveille};

/// Machines `m1` and so on, with names of their own in the inventory.
struct Fleet {
    reveille: Reveille,
    machines: Machines,
    job: String,
    _directory: tempfile::TempDir,
}

impl Fleet {
    fn new(example: &str, count: usize, prepare: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let shared = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("machines");
        let machines = Machines::up(&shared, &directory.path().join("m"), count, &|_| ()).unwrap();
        for machine in machines.machines() {
            machines.shell(machine, prepare).unwrap();
        }
        let job = examples().join(example).join("job.yaml");
        Self {
            reveille: Reveille::new(),
            machines,
            job: job.to_str().unwrap().to_owned(),
            _directory: directory,
        }
    }

    fn run(&self, more: &[&str]) -> Ended {
        let inventory = self.machines.inventory();
        let arguments = [
            "run",
            &self.job,
            "-i",
            inventory.to_str().unwrap(),
            "--format",
            "json",
        ];
        self.reveille.run(&[&arguments, more].concat())
    }

    fn root(&self, machine: usize, script: &str) -> String {
        self.machines
            .shell(&self.machines.machines()[machine], script)
            .unwrap()
    }
}

#[test]
fn accounts_are_made_keys_set_leavers_locked_and_a_broken_sudoers_file_is_never_used() {
    let fleet = Fleet::new(
        "users",
        2,
        "useradd -m carol; mkdir -p /home/carol/.ssh; echo key >/home/carol/.ssh/authorized_keys",
    );
    let checked = fleet.run(&["--check", "--diff"]).expect(0);
    assert!(
        changes(&checked)
            .iter()
            .all(|change| change.contains("keys") || change.contains("draft"))
    );
    assert_eq!(fleet.root(0, "id -u ann 2>/dev/null || echo none"), "none\n");

    let first = fleet.run(&[]).expect(0);
    assert!(
        changes(&first).contains("m1 account (ann)"),
        "{:?}",
        changes(&first)
    );
    let state = "id -u ann bob; stat -c '%a %U %G' /home/ann/.ssh /home/ann/.ssh/authorized_keys /etc/sudoers.d/people
        cat /etc/sudoers.d/people; getent shadow carol | cut -d: -f8; ls /home/carol/.ssh; ls -A /etc/sudoers.d | grep -c people";
    assert_eq!(
        fleet.root(1, state),
        "2001\n2002\n700 ann ann\n600 ann ann\n440 root root\n# Written by Reveille.\n\
         ann ALL=(ALL:ALL) NOPASSWD: ALL\n1\n1\n"
    );
    let second = fleet.run(&[]).expect(0);
    assert!(changes(&second).is_empty(), "{:?}", changes(&second));

    // visudo refuses a broken file: the old one stays.
    let broken = r#"{"people": [{"name": "ann", "uid": 2001, "sudo": true, "keys": []}, {"name": "bob", "uid": 2002, "sudo": true, "keys": ["new key"]}, {"name": "a,, b", "uid": 2003, "sudo": true, "keys": []}]}"#;
    let failed = fleet
        .run(&["-e", broken, "--start-at", "draft of sudoers"])
        .expect(3);
    assert_eq!(failed.json()["account"]["failed"], 2);
    assert!(!message(&failed, "m1").is_empty());
    assert!(
        fleet
            .root(0, "cat /etc/sudoers.d/people")
            .ends_with("ann ALL=(ALL:ALL) NOPASSWD: ALL\n")
    );
    fleet.root(0, "visudo -cq");
}

/// As in the tests of reboots: a file that stands for the boot id, and package tools that know of one new kernel.
const FAKE: &str = r#"
echo 11111111-0000-0000-0000-000000000000 >/root/boot
mount --bind /root/boot /proc/sys/kernel/random/boot_id
cat >/usr/local/sbin/reboot <<'END'
#!/bin/sh
echo reboot >>/root/reboots
rm -f /run/reboot-required
pkill -f 'sshd: .*@' ; sleep 1
echo 22222222-0000-0000-0000-00000000000$(wc -l </root/reboots) >/root/boot
END
cat >/usr/local/sbin/apt-get <<'END'
#!/bin/sh
echo "$*" >>/root/apt
[ -e /root/locked ] && { echo 'E: Could not get lock' >&2; exit 100; }
case $* in
    '-s dist-upgrade') [ -e /root/newest ] || echo 'Inst linux-image-amd64 [6.1.1] (6.1.2 Debian)' ;;
    '-y dist-upgrade') touch /root/newest /run/reboot-required ;;
esac
END
printf '#!/bin/sh\n[ "$*" = "is-active --quiet ssh" ]\n' >/usr/local/sbin/systemctl
chmod 755 /usr/local/sbin/*
"#;

#[test]
fn kernels_are_upgraded_with_one_reboot_and_a_failed_package_tool_means_neither() {
    let fleet = Fleet::new("kernel-upgrade", 2, FAKE);
    fleet.run(&["--check"]).expect(0);
    assert_eq!(
        fleet.root(0, "cat /root/reboots 2>/dev/null || echo none"),
        "none\n"
    );
    // A host whose package tool fails is neither "up to date" nor rebooted.
    fleet.root(1, "touch /root/locked");
    let first = fleet.run(&[]).expect(3);
    assert_eq!(first.json()["account"]["success"], 1, "{}", first.stdout);
    assert_eq!(
        fleet.root(1, "cat /root/reboots 2>/dev/null || echo none"),
        "none\n"
    );
    fleet.root(1, "rm /root/locked");
    fleet.reveille.run(&["retry", "--format", "json"]).expect(0);
    assert_eq!(fleet.root(0, "cat /root/reboots"), "reboot\n");
    assert_eq!(fleet.root(1, "cat /root/reboots"), "reboot\n");
    let second = fleet.run(&[]).expect(0);
    let changed = changes(&second);
    assert!(
        changed.iter().all(|change| change.ends_with("package lists")),
        "{changed:?}"
    );
}
