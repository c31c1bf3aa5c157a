//! `reveille lint`.

use crate::support::Reveille;

#[test]
fn lint_finds_what_an_inventory_would_fail_with() {
    let reveille = Reveille::new();
    let inventory = reveille.file(
        "hosts.ini",
        "[web]\na ansible_user='{{ x | uper }}'\nb ansible_port='{{ x }}'\nc other='{{ x | of_ansible }}'\n\
         [web:vars]\nx=none\n",
    );
    let lint = |code| reveille.run(&["lint", &inventory]).expect(code);
    let found = lint(2);
    assert!(found.stdout.is_empty(), "{}", found.stdout);
    for words in [
        "`ansible_user`: its template can't be read: there is no filter `uper`; did you mean `upper`?",
        "hosts.ini:2",
        "`ansible_port`: `none` is not a port (1 to 65535)",
        "hosts.ini:3",
        "warning: `other`: its template can't be read: there is no filter `of_ansible`",
    ] {
        assert!(found.stderr.contains(words), "{words}: {}", found.stderr);
    }
    reveille.file("hosts.ini", "a\nc other='{{ x | of_ansible }}'\n");
    assert!(lint(0).stdout.contains("an inventory of 2 hosts, 1 warning\n"));
}

#[test]
fn lint_tells_jobs_from_inventories() {
    let reveille = Reveille::new();
    let job = reveille.file("job.yml", "hosts: all\nsteps:\n  - run: 'true'\n");
    let inventory = reveille.file("inv.yml", "web:\n  hosts:\n    web[1:3]:\n");
    let lint = |file: &str| reveille.run(&["lint", file]).expect(0).stdout;
    assert!(lint(&job).contains("a job of 1 step,"), "{}", lint(&job));
    assert!(
        lint(&inventory).contains("an inventory of 3 hosts"),
        "{}",
        lint(&inventory)
    );
}

#[test]
fn lint_checks_the_pattern_of_a_jobs_hosts() {
    let reveille = Reveille::new();
    reveille.file("hosts.ini", "[web]\nweb[1:3]\n[db]\ndb1\n");
    let mut said = String::new();
    for (hosts, inventory, code) in [
        ("web:!web", false, 2),
        ("'web:!all'", false, 2),
        ("\"~web(\"", false, 2),
        ("'web[1:2'", false, 2),
        ("'web:&'", false, 2),
        ("wbe:&db", false, 0),
        ("'db:wbe'", true, 2),
        ("web:&db", true, 2),
        ("web:!web3", true, 0),
        ("'@last:failed'", true, 0),
    ] {
        let job = format!("name: x\nhosts: {hosts}\nsteps: [{{run: 'true'}}]\n");
        reveille.file("job.yaml", job);
        let mut arguments = vec!["lint", "job.yaml"];
        if inventory {
            arguments.extend(["-i", "hosts.ini"]);
        }
        let ended = reveille.run(&arguments).expect(code);
        if code == 2 {
            said += &format!("{}\n", ended.stderr);
        }
    }
    insta::assert_snapshot!(said);
    // The inventory of the configuration is that of runs; `lint` checks the file alone.
    reveille.file("reveille.toml", "inventory = \"gone.ini\"\n");
    reveille.run(&["lint", "job.yaml"]).expect(0);
    let ended = reveille.run(&["lint", "hosts.ini", "-i", "hosts.ini"]).expect(2);
    assert!(ended.stderr.contains("-i has no effect"), "{}", ended.stderr);
}
