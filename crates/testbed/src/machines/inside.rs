//! Actions as root on a machine: users, files, more servers.

use std::io::{self, Write as _};
use std::net::TcpListener;
use std::process::Stdio;

use super::{Machine, Machines};

/// Runs its standard input, and stops at the first failure.
const SHELL: &str = "sh -e";

// === impl Machines ===

impl Machines {
    /// Runs a shell script on a machine as root and returns what it printed.
    ///
    /// # Errors
    ///
    /// The script fails; the error contains its output.
    pub fn shell(&self, machine: &Machine, script: &str) -> io::Result<String> {
        let mut child = self
            .ssh(machine, SHELL)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(script.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(io::Error::other(format!(
            "a script failed on {} ({}): {}",
            machine.name,
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }

    /// Starts another sshd on a machine, with `lines` at the beginning of the machine's usual configuration, which they
    /// override. Returns its port. It ends with the machine.
    ///
    /// # Errors
    ///
    /// sshd refuses the configuration.
    pub fn serve(&self, machine: &Machine, lines: &str) -> io::Result<u16> {
        let port = TcpListener::bind((machine.address, 0))?.local_addr()?.port();
        self.shell(
            machine,
            &format!(
                "config=/etc/ssh/sshd_config.{port}\n\
                 cat >$config <<'END'\n{lines}\nEND\n\
                 cat /etc/ssh/sshd_config >>$config\n\
                 /usr/sbin/sshd -f $config -E /var/log/sshd.{port} -o ListenAddress={address}:{port}\n",
                address = machine.address
            ),
        )?;
        self.wait_until_it_answers(machine, port)?;
        Ok(port)
    }
}
