//! Checks a host's certificate once its authority is trusted (PROTOCOL.certkeys of OpenSSH).

use reveille_text::harmless::line_up_to;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg};

use super::table::pattern_fits;

/// Checks whether `certificate` is valid for the host `name` at `now` (seconds since 1970); an error is the end of a
/// sentence.
pub(super) fn judge(certificate: &Certificate, name: &str, now: u64) -> Result<(), String> {
    if certificate.cert_type() != CertType::Host {
        return Err("is a user's, not a host's".to_owned());
    }
    // SHA-1 can be forged, so OpenSSH refuses such signatures of authorities too.
    if certificate.signature().algorithm() == (Algorithm::Rsa { hash: None }) {
        return Err("is signed with SHA-1".to_owned());
    }
    if now < certificate.valid_after() {
        return Err("is not valid yet".to_owned());
    }
    if now >= certificate.valid_before() {
        return Err("has expired".to_owned());
    }
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    if certificate.validate_at(now, [&authority]).is_err() {
        return Err("is not signed by it".to_owned());
    }
    if let Some((option, _)) = certificate.critical_options().iter().next() {
        let option = line_up_to(option, 60);
        return Err(format!("has the unknown critical option {option}"));
    }
    let principals = certificate.valid_principals();
    // No principals means any host.
    if principals.is_empty() || principals.iter().any(|pattern| pattern_fits(pattern, name)) {
        return Ok(());
    }
    let shown = line_up_to(&principals.join(", "), 200);
    Err(format!("is for {shown}, not for {name}"))
}
