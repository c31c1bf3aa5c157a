//! Reboots, on a machine that only pretends: its `reboot` ends all sessions and writes another boot id.

use std::path::PathBuf;

use reveille_testbed::machines::Machines;

use crate::support::Reveille;

/// The kernel's boot id can't be changed; a file mounted over it can.
const FAKE: &str = "
echo 11111111-0000-0000-0000-000000000000 >/root/boot
mount --bind /root/boot /proc/sys/kernel/random/boot_id
cat >/usr/local/sbin/reboot <<'END'
#!/bin/sh
echo reboot >>/root/reboots
[ -e /root/stubborn ] && exit 0
pkill -f 'sshd: .*@' ; sleep 1
echo 22222222-0000-0000-0000-00000000000$(wc -l </root/reboots) >/root/boot
END
chmod 755 /usr/local/sbin/reboot
";

const JOB: &str = "
steps:
  - name: before
    run: echo before {{ boot_id }}
  - name: reboot
    reboot: {within: 60s, only_if: test -e /root/wanted}
    register: booted
  - name: after
    run: echo after {{ boot_id }}
    when: booted.changed
";

#[test]
fn a_reboot_step_waits_for_another_boot() {
    let directory = tempfile::tempdir().unwrap();
    let shared = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("machines");
    let machines = Machines::up(&shared, &directory.path().join("m"), 1, &|_| ()).unwrap();
    let root = |script: &str| machines.shell(&machines.machines()[0], script).unwrap();
    root(FAKE);
    let reveille = Reveille::new();
    let inventory = machines.inventory();
    let inventory = inventory.to_str().unwrap();
    let job = reveille.file("job.yaml", JOB);
    let said = || reveille.run(&["logs", "m1", "--raw"]).expect(0).stdout;

    reveille.run(&["run", &job, "-i", inventory]).expect(0);
    assert_eq!(said(), "before 11111111-0000-0000-0000-000000000000\n");
    root("touch /root/wanted");
    let events = reveille.path().join("events.ndjson");
    reveille
        .run(&["run", &job, "-i", inventory, "--events", events.to_str().unwrap()])
        .expect(0);
    // The registered result is recorded, so that a resumed run can use it.
    let events = std::fs::read_to_string(events).unwrap();
    let rebooted = events.lines().find(|event| {
        event.contains("step_finished")
            && event.contains("\"name\":\"reboot\"")
            && event.contains("registered")
    });
    assert!(rebooted.unwrap().contains(r#"\"changed\":true"#), "{events}");
    assert_eq!(
        said(),
        "before 11111111-0000-0000-0000-000000000000\nafter 22222222-0000-0000-0000-000000000001\n"
    );
    // A host that does not go down is asked once, and its deadline is kept.
    root("touch /root/stubborn");
    let job = reveille.file("job.yaml", JOB.replace("60s", "5s"));
    let ended = reveille.run(&["run", &job, "-i", inventory]).expect(3);
    assert!(
        ended
            .stderr
            .contains("did not come back with another boot within 5 s: its boot id is unchanged"),
        "{}",
        ended.stderr
    );
    assert_eq!(root("cat /root/reboots"), "reboot\nreboot\n");
}
