//! Facts: a host's report on itself, requested once when a template or a condition needs it.

use std::collections::BTreeMap;

use minijinja::value::Value;

/// The names of facts; a var of the same name wins.
pub(crate) const FACTS: &[&str] = &["os", "arch", "cpus", "mem_mb", "boot_id", "machine_id"];
/// The parts of `os`.
const OS: &[&str] = &["family", "name", "version"];
/// The longest value of a fact, in bytes.
const MAX_VALUE: usize = 200;

/// Reports everything in [`Facts`] from a POSIX `sh`: lines of `name=value`.
pub const FACTS_COMMAND: &str = r#"k=$(uname -s 2>/dev/null)
echo "kernel=$k"
echo "release=$(uname -r 2>/dev/null)"
echo "arch=$(uname -m 2>/dev/null)"
for f in /etc/os-release /usr/lib/os-release; do
  if [ -r "$f" ]; then sed -n 's/^\(ID\|ID_LIKE\|VERSION_ID\)=["'\'']*\([^"'\'']*\)["'\'']*$/\1=\2/p' "$f"; break; fi
done
n=$(getconf _NPROCESSORS_ONLN 2>/dev/null || grep -c '^processor' /proc/cpuinfo 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null)
echo "cpus=$n"
if [ -r /proc/meminfo ]; then sed -n 's/^MemTotal: *\([0-9]*\) kB.*/mem_kb=\1/p' /proc/meminfo
else echo "mem_bytes=$(sysctl -n hw.memsize 2>/dev/null || sysctl -n hw.physmem 2>/dev/null)"; fi
echo "boot_id=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.boottime 2>/dev/null)"
echo "machine_id=$(cat /etc/machine-id 2>/dev/null || cat /var/lib/dbus/machine-id 2>/dev/null || cat /etc/hostid 2>/dev/null)"
"#;

/// A host's report on itself. Facts that are missing are undefined in templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    values: BTreeMap<&'static str, Value>,
}

// === impl Facts ===

impl Facts {
    /// Parses the output of [`FACTS_COMMAND`]; other lines are ignored.
    pub fn parse(answer: &str) -> Self {
        let mut said: BTreeMap<&str, &str> = BTreeMap::new();
        for line in answer.lines() {
            if let Some((name, value)) = line.split_once('=') {
                let value = value.trim();
                if !value.is_empty() && value.len() <= MAX_VALUE && !value.chars().any(char::is_control) {
                    said.entry(name).or_insert(value);
                }
            }
        }
        let text = |name: &str| said.get(name).map(|value| Value::from(*value));
        let number = |name: &str| said.get(name).and_then(|value| value.parse::<u64>().ok());
        let megabytes = number("mem_kb")
            .map(|kilobytes| kilobytes / 1024)
            .or_else(|| number("mem_bytes").map(|bytes| bytes >> 20));
        let kernel = said.get("kernel").copied().unwrap_or_default();
        let id = said.get("ID").copied().unwrap_or_default();
        let like = said.get("ID_LIKE").copied().unwrap_or_default();
        let name = if id.is_empty() {
            kernel.to_lowercase()
        } else {
            id.to_lowercase()
        };
        let found = [
            ("os.family", family(kernel, id, like).map(Value::from)),
            ("os.name", (!name.is_empty()).then(|| name.into())),
            (
                "os.version",
                text("VERSION_ID").or_else(|| text("release").filter(|_| id.is_empty())),
            ),
            ("arch", text("arch")),
            ("cpus", number("cpus").map(Value::from)),
            ("mem_mb", megabytes.map(Value::from)),
            ("boot_id", text("boot_id")),
            ("machine_id", text("machine_id")),
        ];
        Self {
            values: found
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
        }
    }

    /// The value of a fact for templates.
    pub(crate) fn value(&self, name: &str) -> Option<Value> {
        if name == "os" {
            let parts = OS.iter().filter_map(|part| {
                let full = format!("os.{part}");
                Some(((*part).to_owned(), self.values.get(full.as_str())?.clone()))
            });
            return Some(Value::from_pairs(parts));
        }
        self.values.get(name).cloned()
    }

    /// What is wrong with the part of a fact that an expression uses, if anything.
    pub(crate) fn wrong_path(path: &str) -> Option<String> {
        let (root, rest) = path.split_once('.')?;
        let part = rest.split('.').next().unwrap_or_default();
        (root == "os" && !OS.contains(&part)).then(|| format!("`os` has {}", OS.join(", ")))
    }
}

/// The family of an operating system, from the ids in os-release(5): `debian`, `redhat`, `suse`, `arch`, `alpine`, or
/// the system's own id.
fn family(kernel: &str, id: &str, like: &str) -> Option<String> {
    let families = [
        ("debian", &["debian", "ubuntu"][..]),
        (
            "redhat",
            &["rhel", "fedora", "centos", "rocky", "almalinux", "ol", "amzn"],
        ),
        ("suse", &["suse", "opensuse", "sles"]),
        ("arch", &["arch"]),
        ("alpine", &["alpine"]),
        ("gentoo", &["gentoo"]),
    ];
    for word in std::iter::once(id).chain(like.split_whitespace()) {
        for (family, names) in families {
            if names
                .iter()
                .any(|name| word == *name || word.starts_with(&format!("{name}-")))
            {
                return Some(family.to_owned());
            }
        }
    }
    let own = if id.is_empty() { kernel } else { id };
    (!own.is_empty()).then(|| own.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(answer: &str) -> String {
        let facts = Facts::parse(answer);
        let shown = FACTS
            .iter()
            .filter_map(|name| Some(format!("{name}={}", facts.value(name)?)));
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn systems_and_their_families() {
        let debian =
            "kernel=Linux\nrelease=6.1\narch=x86_64\nID=debian\nVERSION_ID=12\ncpus=4\nmem_kb=2048000\n";
        assert_eq!(
            parts(debian),
            "os={'family': 'debian', 'name': 'debian', 'version': '12'} arch=x86_64 cpus=4 mem_mb=2000"
        );
        for (id, like, expected) in [
            ("ubuntu", "debian", "debian"),
            ("rocky", "rhel centos fedora", "redhat"),
            ("amzn", "fedora", "redhat"),
            ("opensuse-leap", "suse opensuse", "suse"),
            ("void", "", "void"),
        ] {
            assert_eq!(family("Linux", id, like).as_deref(), Some(expected));
        }
        assert_eq!(
            parts("kernel=FreeBSD\nrelease=14.1\nmem_bytes=4294967296\n"),
            "os={'family': 'freebsd', 'name': 'freebsd', 'version': '14.1'} mem_mb=4096"
        );
        assert_eq!(parts("garbage\n=x\narch=\u{1b}[31m\n"), "os={}");
    }

    #[test]
    fn the_command_asks_this_machine() {
        let output = std::process::Command::new("sh")
            .args(["-c", FACTS_COMMAND])
            .output()
            .unwrap();
        let facts = Facts::parse(&String::from_utf8_lossy(&output.stdout));
        assert!(facts.value("cpus").unwrap().as_usize().unwrap() > 0, "{facts:?}");
        assert!(facts.value("arch").is_some() && facts.value("mem_mb").is_some());
    }
}
