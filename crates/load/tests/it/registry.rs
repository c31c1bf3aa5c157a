//! The example scenario against a real Docker registry with a token service, as the registry's documentation describes it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use rcgen::{CertifiedKey, SigningKey as _, generate_simple_self_signed};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const SERVICE: &str = "test registry";
const ISSUER: &str = "test token service";
const REPOSITORY: &str = "library/app";

/// A service that issues tokens to one user, and counts them.
struct Tokens {
    key: CertifiedKey<rcgen::KeyPair>,
    given: AtomicU64,
}

/// A registry that is killed when it is dropped.
struct Registry {
    child: Child,
    address: SocketAddr,
}

impl Tokens {
    fn start(directory: &Path) -> (Arc<Self>, SocketAddr) {
        let key = generate_simple_self_signed(vec!["tokens".to_owned()]).expect("a certificate");
        std::fs::write(directory.join("tokens.pem"), key.cert.pem()).expect("written");
        let this = Arc::new(Self {
            key,
            given: AtomicU64::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let tokens = Arc::clone(&this);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = String::new();
                let mut lines = BufReader::new(stream.try_clone().expect("a handle"));
                while !head.ends_with("\r\n\r\n") && lines.read_line(&mut head).is_ok_and(|count| count > 0) {
                }
                let wanted = format!("authorization: Basic {}", BASE64.encode(b"puller:right"));
                let (status, body) = if head.to_lowercase().contains(&wanted.to_lowercase()) {
                    tokens.given.fetch_add(1, Ordering::SeqCst);
                    (
                        "200 OK",
                        json!({"token": tokens.token("pull"), "expires_in": 60}).to_string(),
                    )
                } else {
                    ("401 Unauthorized", "{}".to_owned())
                };
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        (this, address)
    }

    /// A JSON Web Token for the registry: signed, with the certificate in its head.
    fn token(&self, actions: &str) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let head = json!({"typ": "JWT", "alg": "ES256", "x5c": [BASE64.encode(self.key.cert.der())]});
        let claims = json!({
            "iss": ISSUER, "sub": "puller", "aud": SERVICE, "iat": now, "nbf": now - 10, "exp": now + 300,
            "jti": now.to_string(),
            "access": [{"type": "repository", "name": REPOSITORY, "actions": actions.split(',').collect::<Vec<_>>()}],
        });
        let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let text = format!("{}.{}", encode(&head), encode(&claims));
        let signature = self.key.signing_key.sign(text.as_bytes()).expect("signed");
        format!("{text}.{}", BASE64URL_NOPAD.encode(&flat(&signature)))
    }
}

/// The two numbers of a DER signature, 32 bytes each.
fn flat(der: &[u8]) -> Vec<u8> {
    let mut flat = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        flat.resize(flat.len() + 32 - number.len(), 0);
        flat.extend_from_slice(number);
        rest = &rest[2 + length..];
    }
    flat
}

impl Registry {
    fn start(directory: &Path, tokens: SocketAddr) -> Self {
        let root = directory.display();
        let configuration = format!(
            "version: 0.1
log: {{level: info}}
storage: {{filesystem: {{rootdirectory: {root}/blobs}}}}
http: {{addr: '127.0.0.1:0'}}
auth: {{token: {{realm: 'http://{tokens}/token', service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: {root}/tokens.pem}}}}
"
        );
        let path = directory.join("registry.yml");
        std::fs::write(&path, configuration).expect("written");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the Debian package docker-registry is installed: `cargo xtask test --install`");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let mut all = String::new();
        let address = loop {
            let mut line = String::new();
            let count = log.read_line(&mut line).expect("readable");
            assert!(count > 0, "the registry ended: {all}");
            all.push_str(&line);
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(['"', ',', ' ']).unwrap_or(rest.len());
                break rest[..end].trim().parse().expect("an address");
            }
        };
        // The pipe of the log must not fill up.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address }
    }

    /// Sends a request; returns the head and the body of the answer.
    fn ask(&self, method: &str, path: &str, token: &str, kind: &str, body: &[u8]) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).expect("listening");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body))
            .expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("read");
        let end = answer
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n")
            .expect("a head");
        (
            String::from_utf8_lossy(&answer[..end]).into_owned(),
            answer[end + 4..].to_vec(),
        )
    }

    /// Uploads a blob; returns its digest.
    fn push(&self, token: &str, blob: &[u8]) -> String {
        let digest = format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(blob)));
        let uploads = format!("/v2/{REPOSITORY}/blobs/uploads/");
        let (head, _) = self.ask("POST", &uploads, token, "", b"");
        let location = head
            .lines()
            .find_map(|line| line.strip_prefix("Location: "))
            .unwrap_or_else(|| panic!("{head}"));
        let path = location
            .split_once("://")
            .map_or(location, |(_, rest)| &rest[rest.find('/').expect("a path")..]);
        let (head, _) = self.ask(
            "PUT",
            &format!("{path}&digest={digest}"),
            token,
            "application/octet-stream",
            blob,
        );
        assert!(head.starts_with("HTTP/1.1 201"), "{head}");
        digest
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn pulls_with_one_token_for_40_users_on_2_workers() {
    let directory = tempfile::tempdir().expect("a directory");
    let (tokens, realm) = Tokens::start(directory.path());
    let registry = Registry::start(directory.path(), realm);
    let push = tokens.token("pull,push");
    let (config, layer) = (
        registry.push(&push, b"{}"),
        registry.push(&push, &vec![7; 100_000]),
    );
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 2, "digest": config},
        "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 100_000, "digest": layer}],
    });
    let path = format!("/v2/{REPOSITORY}/manifests/latest");
    let (head, _) = registry.ask("PUT", &path, &push, kind, manifest.to_string().as_bytes());
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");

    // The example, with a threshold that does not depend on the speed of this machine.
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/registry.yaml");
    let example = std::fs::read_to_string(example).expect("the example");
    let patient = example.replace("below: 500ms", "below: 1m");
    assert_ne!(patient, example);
    let scenario = directory.path().join("registry.yaml");
    std::fs::write(&scenario, patient).expect("written");

    let output = Command::new(env!("CARGO_BIN_EXE_reveille-load"))
        .arg(scenario)
        .args([
            "--users",
            "40",
            "--duration",
            "2s",
            "--workers",
            "2",
            "--reset-after",
            "500ms",
        ])
        .args(["--quiet", "--format", "json"])
        .env("REGISTRY_URL", format!("http://{}", registry.address))
        .envs([("REG_USER", "puller"), ("REG_PASS", "right")])
        .output()
        .expect("started");
    let summary: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(output.status.code(), Some(0), "{summary:#}");
    assert_eq!(
        (&summary["requests"]["failed"], &summary["bootstraps"]),
        (&0.into(), &1.into())
    );
    assert!(
        summary["requests"]["bytes"].as_u64() > Some(100_000),
        "{summary:#}"
    );
    assert_eq!(tokens.given.load(Ordering::SeqCst), 1);
}
