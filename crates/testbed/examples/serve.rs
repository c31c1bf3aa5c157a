//! Serves real sshd addresses until standard input ends: `cargo run -p reveille-testbed --example serve -- 512`.

use std::io::Read as _;

fn main() -> std::io::Result<()> {
    let hosts = std::env::args()
        .nth(1)
        .and_then(|count| count.parse().ok())
        .unwrap_or(16);
    let testbed = reveille_testbed::Testbed::start(hosts, "")?;
    println!("{}", testbed.write_inventory()?.display());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
