//! Files and directories in both directions.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use reveille_testbed::Testbed;
use reveille_transport::transfer::{Destination, Original, TransferError, compare, download, upload};

use crate::{run, session};

fn to(path: &Path) -> Destination {
    Destination {
        path: path.display().to_string(),
        name: String::new(),
        mode: None,
        owner: None,
        group: None,
    }
}

fn content() -> Vec<u8> {
    (0..200_000u32).flat_map(u32::to_le_bytes).collect()
}

/// Everything below a directory: path, mode, and content or target.
fn state(root: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let mut unread = vec![root.to_owned()];
    while let Some(directory) = unread.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_symlink() {
                fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes()
            } else if metadata.is_dir() {
                unread.push(path.clone());
                Vec::new()
            } else if metadata.file_type().is_fifo() {
                b"a pipe".to_vec()
            } else {
                fs::read(&path).unwrap()
            };
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.push((name, metadata.mode() & 0o7777, content));
        }
    }
    found.sort();
    found
}

fn make_tree(root: &Path) {
    for directory in ["", "empty", "etc/deep/er", "it's \"odd\" $(x) *"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for (name, content, mode) in [
        ("run.sh", "#!/bin/sh\n", 0o755),
        ("etc/secret", "s3", 0o600),
        ("etc/deep/er/-rf", "x", 0o644),
        ("it's \"odd\" $(x) */ä ö", "y", 0o640),
        ("nothing", "", 0o644),
    ] {
        fs::write(root.join(name), content).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(root.join("etc/large"), content()).unwrap();
    let long = "l".repeat(120);
    fs::write(root.join(format!("etc/{long}")), "long").unwrap();
    symlink("../run.sh", root.join("etc/link")).unwrap();
    symlink("/nowhere", root.join("dangling")).unwrap();
    fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o700)).unwrap();
}

fn left_over(directory: &Path) -> usize {
    state(directory)
        .iter()
        .filter(|(name, ..)| name.contains("reveille-"))
        .count()
}

#[tokio::test]
async fn files_there_and_back() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    for (name, content) in [
        ("large", content()),
        ("small", b"few".to_vec()),
        ("empty", Vec::new()),
    ] {
        let here = tempfile::tempdir().unwrap();
        let there = here.path().join("there");
        fs::create_dir(&there).unwrap();
        let source = here.path().join("source");
        fs::write(&source, &content).unwrap();
        let original = Original::at(&source).unwrap();
        let path = there.join("it's a copy");
        let destination = Destination {
            mode: Some("0640".into()),
            ..to(&path)
        };
        let sent = async |destination| upload(&session, None, &original, destination).await;
        assert!(sent(&destination).await.unwrap().changed, "{name}");
        assert!(!sent(&destination).await.unwrap().changed, "{name}");
        let looser = Destination {
            mode: Some("0644".into()),
            ..destination.clone()
        };
        assert!(sent(&looser).await.unwrap().changed, "{name}");
        let back = here.path().join("back");
        for _ in 0..2 {
            download(&session, None, &destination.path, &back, 1 << 30)
                .await
                .unwrap();
            assert!(fs::read(&back).unwrap() == content, "{name}");
        }
        let nowhere = to(Path::new("/nowhere/x"));
        let error = sent(&nowhere).await.unwrap_err();
        assert_eq!(error.to_string(), "there is no directory /nowhere");
        let error = download(&session, None, "/nowhere/x", &back, 9)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "there is no file /nowhere/x");
        // As root, it could be replaced.
        let pipe = there.join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let kept = format!(
            "{} is a device, a pipe or a socket, and is not replaced",
            pipe.display()
        );
        let error = sent(&to(&pipe)).await.unwrap_err();
        assert_eq!(error.to_string(), kept);
        let error = download(&session, None, &destination.path, &pipe, 1 << 30)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(&kept), "{error}");
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        fs::remove_file(&pipe).unwrap();
        assert_eq!(left_over(&there), 0);
        assert_eq!(left_over(here.path()), 0);
    }
    let target = testbed.path().join("x");
    let text = Original::text("0123456789".into());
    upload(&session, None, &text, &to(&target)).await.unwrap();
    let error = download(&session, None, &to(&target).path, &testbed.path().join("y"), 9)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("more than the 9 allowed"), "{error}");
}

/// Starts a copy, and cuts its connection once `begun` is true.
async fn break_off(
    testbed: &Testbed,
    original: &Original,
    destination: &Destination,
    begun: impl Fn() -> bool,
) {
    let session = session(testbed).await;
    let watching = async {
        while !begun() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        copied = upload(&session, None, original, destination) => panic!("too fast to be broken off: {copied:?}"),
        () = watching => {}
    }
    session.close().await;
}

/// The remains of an interrupted copy in a directory.
fn partial(directory: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?;
    entries
        .map(|entry| entry.unwrap().path())
        .find(|path| path.display().to_string().contains("reveille-"))
}

#[tokio::test]
async fn what_is_there_is_not_sent_again() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let here = testbed.path().join("here");
    let content: Vec<u8> = (0..16_000_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&here, &content).unwrap();
    let there = testbed.path().join("there");
    fs::create_dir(&there).unwrap();
    let path = there.join("file");
    let original = Original::at(&here).unwrap();
    for spoilt in [false, true] {
        let size = || partial(&there).map_or(0, |path| fs::metadata(path).unwrap().len());
        break_off(&testbed, &original, &to(&path), || size() > 2 << 20).await;
        let left = partial(&there).unwrap();
        if spoilt {
            let mut bytes = fs::read(&left).unwrap();
            bytes[600_000] ^= 1;
            fs::write(&left, bytes).unwrap();
        }
        let inode = fs::metadata(&left).unwrap().ino();
        let copied = upload(&session, None, &original, &to(&path)).await;
        assert!(copied.unwrap().changed);
        assert!(fs::read(&path).unwrap() == content, "{spoilt}");
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(left_over(&there), 0);
        fs::remove_file(&path).unwrap();
    }
    // A file that others could have prepared is not written to.
    let size = || partial(&there).map_or(0, |path| fs::metadata(path).unwrap().len());
    break_off(&testbed, &original, &to(&path), || size() > 2 << 20).await;
    let left = partial(&there).unwrap();
    fs::remove_file(&left).unwrap();
    let elsewhere = testbed.path().join("elsewhere");
    fs::write(&elsewhere, "theirs").unwrap();
    symlink(&elsewhere, &left).unwrap();
    upload(&session, None, &original, &to(&path)).await.unwrap();
    assert!(fs::read(&path).unwrap() == content);
    assert!(fs::read(&elsewhere).unwrap() == b"theirs");
}

#[tokio::test]
async fn a_fetch_goes_on_where_it_stopped() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let there = testbed.path().join("there");
    fs::write(&there, content()).unwrap();
    for spoilt in [false, true] {
        let here = tempfile::tempdir().unwrap();
        let mut partial = content();
        partial.truncate(400_000);
        partial[10] ^= u8::from(spoilt);
        fs::write(here.path().join("back.reveille-partial"), partial).unwrap();
        let back = here.path().join("back");
        download(&session, None, &there.display().to_string(), &back, 1 << 30)
            .await
            .unwrap();
        assert!(fs::read(&back).unwrap() == content(), "{spoilt}");
        assert_eq!(left_over(here.path()), 0);
    }
}

#[tokio::test]
async fn directories_there_and_back() {
    directories(&Testbed::start(1, "").unwrap()).await;
}

#[tokio::test]
async fn directories_with_the_tools_of_busybox() {
    let (_tools, testbed) = busybox();
    let session = session(&testbed).await;
    let (tar, ..) = run(&session, "tar --version 2>&1").await;
    assert!(String::from_utf8_lossy(&tar).contains("busybox"));
    directories(&testbed).await;
}

/// A server whose sessions find BusyBox's tools, and those that keep ACLs.
fn busybox() -> (tempfile::TempDir, Testbed) {
    let tools = tempfile::tempdir().unwrap();
    let installed = Command::new("busybox")
        .args(["--install", "-s"])
        .arg(tools.path())
        .status()
        .unwrap();
    assert!(installed.success());
    for name in ["getfacl", "setfacl"] {
        symlink(Path::new("/usr/bin").join(name), tools.path().join(name)).unwrap();
    }
    let testbed = Testbed::start(1, &format!("SetEnv PATH={}", tools.path().display())).unwrap();
    (tools, testbed)
}

async fn directories(testbed: &Testbed) {
    let session = session(testbed).await;
    let here = testbed.path().join("site");
    make_tree(&here);
    let original = Original::at(&here).unwrap();
    let there = testbed.path().join("there");
    fs::create_dir(&there).unwrap();
    let destination = Destination {
        name: "site".into(),
        ..to(&there)
    };
    let sent = upload(&session, None, &original, &destination).await.unwrap();
    assert_eq!((sent.changed, sent.files, sent.had), (true, 7, 0));
    let copy = there.join("site");
    assert_eq!(state(&copy), state(&here));
    // Nothing to do.
    let sent = upload(&session, None, &original, &destination).await.unwrap();
    assert_eq!((sent.changed, sent.files, sent.had), (false, 0, 7));
    // Only differences are sent, and other files stay.
    fs::write(copy.join("run.sh"), "#!/bin/SH\n").unwrap();
    fs::set_permissions(copy.join("nothing"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_dir_all(copy.join("etc/deep")).unwrap();
    fs::remove_file(copy.join("etc/link")).unwrap();
    symlink("/etc/passwd", copy.join("etc/link")).unwrap();
    fs::write(copy.join("theirs"), "stays").unwrap();
    let sent = upload(&session, None, &original, &destination).await.unwrap();
    assert_eq!((sent.changed, sent.files, sent.had), (true, 2, 5));
    fs::remove_file(copy.join("theirs")).unwrap();
    assert_eq!(state(&copy), state(&here));
    // The contents of a directory into an existing one.
    let contents = to(&there.join("other"));
    fs::create_dir(there.join("other")).unwrap();
    let modes = Destination {
        mode: Some("0604".into()),
        ..contents
    };
    assert_eq!(upload(&session, None, &original, &modes).await.unwrap().files, 7);
    let mode = fs::metadata(there.join("other/run.sh")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o604);
    assert_eq!(left_over(&there), 0);
    // Back, twice; then after one remote file changed and one was removed.
    let back = testbed.path().join("back/site");
    let path = copy.display().to_string();
    let fetched = download(&session, None, &path, &back, 1 << 30).await.unwrap();
    assert_eq!((fetched.files, fetched.had), (7, 0));
    assert_eq!(fetched.left_out.len(), 1, "{fetched:?}");
    fs::remove_file(copy.join("dangling")).unwrap();
    fs::write(copy.join("run.sh"), "changed").unwrap();
    let fetched = download(&session, None, &path, &back, 1 << 30).await.unwrap();
    assert_eq!((fetched.files, fetched.had), (1, 6), "{fetched:?}");
    assert_eq!(state(&back), state(&copy));
    let modified = |path: &Path| fs::symlink_metadata(path).unwrap().mtime();
    // BusyBox does not date links.
    assert_eq!(modified(&copy.join("empty")), modified(&here.join("empty")));
    assert_eq!(left_over(&testbed.path().join("back")), 0);
}

#[tokio::test]
async fn what_can_not_be_copied_is_said_before_anything_is_changed() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let here = testbed.path().join("here");
    make_tree(&here);
    let original = Original::at(&here).unwrap();
    let there = testbed.path().join("there");
    fs::create_dir(&there).unwrap();
    for (name, make, message) in [
        (
            "run.sh",
            "directory",
            "run.sh is a directory on the host, but not here",
        ),
        ("etc", "file", "etc is not a directory on the host, but one here"),
        ("etc", "link", "etc is a link on the host, but a directory here"),
        (
            "run.sh",
            "pipe",
            "run.sh is a device, a pipe or a socket on the host",
        ),
    ] {
        let path = there.join(name);
        match make {
            "directory" => fs::create_dir(&path).unwrap(),
            "file" => fs::write(&path, "").unwrap(),
            "pipe" => {
                let made = Command::new("mkfifo").arg(&path).status();
                assert!(made.unwrap().success());
            }
            _ => symlink("/tmp", &path).unwrap(),
        }
        let before = state(&there);
        let error = upload(&session, None, &original, &to(&there)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{}/{message}", there.display()));
        assert_eq!(state(&there), before);
        if make == "directory" {
            fs::remove_dir(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
    }
    let error = upload(&session, None, &original, &to(Path::new("/nowhere/x")))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "there is no directory /nowhere");
    let fifo = here.join("pipe");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let error = Original::at(&here).unwrap_err();
    assert!(error.to_string().ends_with("can't be copied"), "{error}");
    fs::remove_file(&fifo).unwrap();
    // A file that changed since it was read is not sent half old, half new.
    fs::write(here.join("etc/large"), "short").unwrap();
    let error = upload(&session, None, &original, &to(&there)).await.unwrap_err();
    assert!(matches!(error, TransferError::Local(_)), "{error:?}");
    assert!(error.to_string().contains("etc/large: it has changed"), "{error}");
    assert!(state(&there).is_empty(), "{:?}", state(&there));
}

#[tokio::test]
async fn a_directory_goes_on_where_it_stopped() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let here = testbed.path().join("here");
    make_tree(&here);
    let large = fs::File::create(here.join("etc/large")).unwrap();
    large.set_len(64 << 20).unwrap();
    let original = Original::at(&here).unwrap();
    let outer = testbed.path().join("outer");
    let there = outer.join("there");
    for present in [false, true] {
        let beside = if present { there.clone() } else { outer.clone() };
        fs::create_dir_all(&beside).unwrap();
        let begun = || partial(&beside).is_some_and(|place| place.join("etc/large").exists());
        break_off(&testbed, &original, &to(&there), begun).await;
        let sent = upload(&session, None, &original, &to(&there)).await.unwrap();
        assert!(sent.changed);
        assert!(sent.files < 7, "{sent:?}");
        assert_eq!(state(&there), state(&here), "{present}");
        assert_eq!(left_over(&outer), 0);
        fs::remove_dir_all(&there).unwrap();
    }
}

#[tokio::test]
async fn a_replaced_file_keeps_owner_group_mode_and_acl() {
    attributes_are_kept(&Testbed::start(1, "").unwrap(), true).await;
}

#[tokio::test]
async fn a_replaced_file_keeps_owner_group_mode_and_acl_with_the_tools_of_busybox() {
    let (_tools, testbed) = busybox();
    // BusyBox ls shows no ACL, so copies of directories do not find any.
    attributes_are_kept(&testbed, false).await;
}

/// The mode, owner, group and ACL of a file.
fn attributes(path: &Path) -> (u32, u32, u32, String) {
    let metadata = fs::metadata(path).unwrap();
    let acl = Command::new("getfacl").arg("-cpn").arg(path).output().unwrap();
    let acl = String::from_utf8(acl.stdout).unwrap();
    (metadata.mode() & 0o7777, metadata.uid(), metadata.gid(), acl)
}

fn set_acl(arguments: &[&str], path: &Path) {
    let set = Command::new("setfacl").args(arguments).arg(path).status();
    assert!(set.unwrap().success());
}

async fn attributes_are_kept(testbed: &Testbed, acl_of_directories: bool) {
    let session = session(testbed).await;
    let here = testbed.path().join("here");
    fs::create_dir(&here).unwrap();
    for copied_as in ["text", "large", "directory"] {
        let content = if copied_as == "large" {
            content()
        } else {
            b"new".to_vec()
        };
        fs::write(here.join("file"), &content).unwrap();
        let acls = copied_as != "directory" || acl_of_directories;
        for (mode, acl) in [(0o600, ""), (0o4751, ""), (0o666, ""), (0o640, "u:13:r,g::-")] {
            if !acl.is_empty() && !acls {
                continue;
            }
            let there = testbed.path().join("there");
            fs::create_dir(&there).unwrap();
            let path = there.join("file");
            fs::write(&path, "old").unwrap();
            // Only root can give files away.
            let _ = chown(&path, Some(12), Some(34));
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            if !acl.is_empty() {
                set_acl(&["-m", acl], &path);
            }
            if acls {
                // New files are readable by another user.
                set_acl(&["-d", "-m", "u:1:r"], &there);
            }
            let mut expected = attributes(&path);
            let (original, destination) = match copied_as {
                "text" => (Original::text(content.clone().into()), to(&path)),
                "large" => (Original::at(&here.join("file")).unwrap(), to(&path)),
                _ => {
                    // The files of a directory keep the modes of their source.
                    let own = fs::Permissions::from_mode(mode & 0o777);
                    fs::set_permissions(here.join("file"), own).unwrap();
                    expected.0 &= 0o777;
                    expected.3 = expected.3.replace("# flags: s--\n", "");
                    (Original::at(&here).unwrap(), to(&there))
                }
            };
            let sent = upload(&session, None, &original, &destination).await;
            assert!(sent.unwrap().changed);
            assert!(fs::read(&path).unwrap() == content);
            assert_eq!(attributes(&path), expected, "{copied_as} {mode:o}");
            assert_eq!(left_over(&there), 0);
            fs::remove_dir_all(&there).unwrap();
        }
    }
}

#[tokio::test]
async fn a_file_whose_owner_can_not_be_kept_is_not_replaced() {
    // As for a user who can't give files away.
    let tools = tempfile::tempdir().unwrap();
    symlink("/bin/false", tools.path().join("chown")).unwrap();
    let path = format!("SetEnv PATH={}:/usr/bin:/bin", tools.path().display());
    let testbed = Testbed::start(1, &path).unwrap();
    let session = session(&testbed).await;
    let there = testbed.path().join("there");
    fs::create_dir(&there).unwrap();
    let path = there.join("file");
    fs::write(&path, "old").unwrap();
    if chown(&path, Some(12), Some(34)).is_err() {
        return;
    }
    let here = testbed.path().join("here");
    fs::create_dir(&here).unwrap();
    fs::write(here.join("file"), "new").unwrap();
    for (original, destination) in [
        (Original::text("new".into()), to(&path)),
        (Original::at(&here).unwrap(), to(&there)),
    ] {
        let error = upload(&session, None, &original, &destination).await.unwrap_err();
        assert!(error.to_string().contains("owner and group"), "{error}");
        assert!(error.to_string().contains("become root"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
    assert_eq!(left_over(&there), 0);
}

#[tokio::test]
async fn a_fetched_file_keeps_the_mode_of_the_file_that_it_replaces() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let there = testbed.path().join("there");
    fs::create_dir(&there).unwrap();
    fs::write(there.join("file"), "new").unwrap();
    let back = testbed.path().join("back");
    fs::create_dir(&back).unwrap();
    let path = back.join("file");
    for (from, target) in [(there.join("file"), &path), (there.clone(), &back)] {
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        download(&session, None, &from.display().to_string(), target, 1 << 30)
            .await
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_fetched_file_is_no_more_readable_than_on_the_host() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let there = testbed.path().join("there");
    fs::write(&there, "secret").unwrap();
    for mode in [0o600, 0o700, 0o640] {
        fs::set_permissions(&there, fs::Permissions::from_mode(mode)).unwrap();
        let back = testbed.path().join(format!("back-{mode:o}"));
        download(&session, None, &there.display().to_string(), &back, 1 << 20)
            .await
            .unwrap();
        assert_eq!(fs::metadata(&back).unwrap().mode() & 0o777, mode);
        // Also if it replaces a file that everybody may read.
        fs::set_permissions(&back, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&there, format!("secret {mode}")).unwrap();
        download(&session, None, &there.display().to_string(), &back, 1 << 20)
            .await
            .unwrap();
        assert_eq!(fs::metadata(&back).unwrap().mode() & 0o077 & !mode, 0);
    }
}

#[tokio::test]
async fn a_link_is_replaced_by_the_file_whatever_it_leads_to() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let (other, link) = (testbed.path().join("other"), testbed.path().join("link"));
    for content in [content(), b"few".to_vec()] {
        let source = testbed.path().join("source");
        fs::write(&source, &content).unwrap();
        let original = Original::at(&source).unwrap();
        for there in [Some(content.clone()), Some(b"different".to_vec()), None] {
            match &there {
                Some(bytes) => fs::write(&other, bytes).unwrap(),
                None => fs::remove_file(&other).unwrap(),
            }
            let _ = fs::remove_file(&link);
            symlink(&other, &link).unwrap();
            let found = compare(&session, None, &original, &to(&link)).await.unwrap();
            assert!(found.changes[0].contains("link"), "{:?}", found.changes);
            let sent = upload(&session, None, &original, &to(&link)).await.unwrap();
            assert!(sent.changed);
            assert!(fs::symlink_metadata(&link).unwrap().is_file());
            assert!(fs::read(&link).unwrap() == content);
            assert_eq!(fs::read(&other).ok(), there);
            let sent = upload(&session, None, &original, &to(&link)).await.unwrap();
            assert!(!sent.changed);
        }
    }
}

/// Needs the right to mount a small filesystem.
#[tokio::test]
async fn a_full_disk_on_the_host_is_reported_at_once() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let small = testbed.path().join("small");
    fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "reveille-test"])
        .arg(&small)
        .status();
    assert!(
        mounted.unwrap().success(),
        "this test mounts a tmpfs and needs root"
    );
    // More than the connection holds, so that the host stops reading in the middle.
    let source = testbed.path().join("source");
    fs::write(&source, vec![b'x'; 24 << 20]).unwrap();
    let original = Original::at(&source).unwrap();
    let sent = upload(&session, None, &original, &to(&small.join("file"))).await;
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
    let error = sent.unwrap_err();
    assert!(
        error.to_string().ends_with(": No space left on device"),
        "{error}"
    );
}

#[tokio::test]
async fn files_that_the_kernel_makes_are_copied_whole() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let back = testbed.path().join("back");
    let version = fs::read("/proc/version").unwrap();
    assert!(!version.is_empty());
    download(&session, None, "/proc/version", &back, 1 << 20)
        .await
        .unwrap();
    assert_eq!(fs::read(&back).unwrap(), version);
    let error = download(&session, None, "/proc/version", &back, 9)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("more than the 9 bytes"), "{error}");
    let original = Original::at(Path::new("/proc/version")).unwrap();
    let there = testbed.path().join("there");
    upload(&session, None, &original, &to(&there)).await.unwrap();
    assert_eq!(fs::read(&there).unwrap(), version);
}
