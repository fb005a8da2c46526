//! `tagout serve` as a test starts it, and the Python clients that talk to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::World;

/// The secret that tokens of [`token`] are signed with.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A running `tagout serve`.
pub struct Serve {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its proxy listens.
    pub proxy: Option<SocketAddr>,
}

impl Serve {
    /// Starts it in a world on ports that are free, and waits until it listens.
    pub fn start(world: &World, with_proxy: bool) -> Serve {
        let mut command = world.tagout_command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("tagout starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its standard error")).lines();
        let mut next = || lines.next().and_then(Result::ok).unwrap_or_default();
        let address = |line: &str| -> SocketAddr {
            let text = line
                .split("http://")
                .nth(1)
                .unwrap_or_else(|| panic!("no address in: {line}"));
            text.split('/')
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or_else(|| panic!("{line}"))
        };
        let main = address(&next());
        let proxy = with_proxy.then(|| address(&next()));
        // It must not stop on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Serve {
            child,
            address: main,
            proxy,
        }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request with a body and these header lines.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &str,
    ) -> (u16, String, String) {
        ask(self.address, method, path, headers, body)
    }

    /// Sends JSON; status and JSON of the answer.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, _, text) = self.ask(
            "POST",
            path,
            &["content-type: application/json"],
            &body.to_string(),
        );
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        (status, value)
    }

    /// The same with a token.
    pub fn post_as(&self, token: &str, path: &str, body: &Value) -> (u16, Value) {
        let authorization = format!("authorization: Bearer {token}");
        let (status, _, text) = self.ask("POST", path, &[&authorization], &body.to_string());
        (
            status,
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
        )
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own: status, head, body.
pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> (u16, String, String) {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    if !headers.iter().any(|line| line.starts_with("host:")) {
        head.push_str(&format!("host: {address}\r\n"));
    }
    for line in headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    raw(address, format!("{head}\r\n{body}").as_bytes())
}

/// Bytes on a connection of their own: status, head and body of the first answer.
pub fn raw(address: SocketAddr, request: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    // A server that refuses a large body may close before it was sent; what it said still counts.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    (status, head.to_lowercase(), body.to_owned())
}

/// A signed token of the issuer that [`settings`] names, good for an hour.
pub fn token(user: &str, groups: &[&str]) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_secs();
    let claims = json!({
        "iss": "https://id.test", "aud": "tagout", "sub": user, "groups": groups, "exp": now + 3600,
    });
    let signed = format!(
        "{}.{}",
        base64url(b"{\"alg\":\"HS256\"}"),
        base64url(claims.to_string().as_bytes())
    );
    format!(
        "{signed}.{}",
        base64url(&hmac_sha256(SECRET.as_bytes(), signed.as_bytes()))
    )
}

/// Writes `retrieval.toml` with the issuer of [`token`], and more of it.
pub fn settings(world: &World, more: &str) {
    let key = world.tagout_home().join("issuer.key");
    world.write_home(".local/state/tagout/issuer.key", SECRET);
    let text = format!(
        "{more}\n[[identity]]\nissuer = \"https://id.test\"\naudience = \"tagout\"\nalgorithm = \"HS256\"\nkey_file = {:?}\n",
        key.display().to_string()
    );
    world.write_home(".local/state/tagout/retrieval.toml", &text);
}

/// The Python of a stack that `cargo xtask test` installed: `a` is langchain 0.3 with community 0.3.17, `b`
/// community 0.4.2.
pub fn python(stack: &str) -> PathBuf {
    let folder = std::env::var_os("TAGOUT_TEST_RETRIEVAL")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools/retrieval")
        });
    let python = folder.join(stack).join("bin/python");
    assert!(
        python.exists(),
        "{} is missing; `cargo xtask test` installs it",
        python.display()
    );
    python
}

/// Puts a stack's environment into a person's home, where everybody's lies and that person can read it: the same packages, and the
/// system's Python. The answer is its `bin` folder.
pub fn environment_of(world: &World, stack: &str) -> PathBuf {
    let from = python(stack);
    let from = from
        .parent()
        .and_then(Path::parent)
        .expect("an environment has a bin folder");
    let to = world.home().join("environments").join(stack);
    world.place_all(&from.join("lib"), &to.join("lib"));
    world.place(&from.join("pyvenv.cfg"), &to.join("pyvenv.cfg"));
    std::fs::create_dir_all(to.join("bin")).expect("a folder of a test");
    for name in ["python", "python3"] {
        std::os::unix::fs::symlink("/usr/bin/python3", to.join("bin").join(name))
            .expect("a link of a test");
    }
    to.join("bin")
}

/// A script of `tests/retrieval`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("retrieval")
        .join(name)
}

/// Runs a script of `tests/retrieval` against a server; the JSON of its last line.
pub fn run_python(stack: &str, name: &str, server: &str, arguments: &[&str]) -> Value {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/retrieval");
    let output = Command::new(python(stack))
        .arg(script(name))
        .env("PYTHONPATH", examples)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(arguments)
        .env("PEBBLO_CLASSIFIER_URL", server)
        // Nothing here may try to reach a cloud.
        .env("PEBBLO_API_KEY", "")
        .env("ANONYMIZED_TELEMETRY", "False")
        .stdin(Stdio::null())
        .output()
        .expect("python starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {text}\n{errors}");
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}\n{errors}"))
}

fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk
            .iter()
            .fold(0_u32, |number, &byte| number << 8 | u32::from(byte))
            << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let index = (number >> (18 - 6 * place)) & 63;
            text.push(char::from(
                LETTERS[usize::try_from(index).expect("six bits")],
            ));
        }
    }
    text
}

/// RFC 2104.
fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    assert!(key.len() <= 64, "a key of a test is short");
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block
            .iter_mut()
            .zip(key)
            .for_each(|(block, key)| *block ^= key);
        block
    };
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(text)
        .finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

/// A file's digest, as `tagout trust` wants it.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
