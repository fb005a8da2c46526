//! The desktop's keyring, by its own client: `secret-tool` (libsecret) speaks the Secret Service to
//! whatever keeps the secrets of this desktop. A D-Bus client of our own would be forty crates for two
//! calls. The key goes to it on standard input, never on a command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use crate::program::find_program;
use crate::vault::VaultError;

/// A keyring that can be asked.
#[derive(Clone, Debug)]
pub struct Keyring {
    program: PathBuf,
}

impl Keyring {
    /// The keyring of this desktop: where there is a session bus, and `secret-tool` on `PATH` outside
    /// `workspace`.
    pub fn find(environment: impl Fn(&str) -> Option<String>, workspace: &Path) -> Option<Self> {
        environment("DBUS_SESSION_BUS_ADDRESS").filter(|address| !address.is_empty())?;
        let path = environment("PATH")?;
        let program = find_program("secret-tool", Some(path.as_ref()), workspace)?;
        Some(Self { program })
    }

    /// Stores a key under an id.
    pub(crate) fn store(&self, id: &str, key: &str) -> Result<(), VaultError> {
        let failed = |reason: String| VaultError::Keyring(reason);
        let mut child = self
            .command("store")
            .arg("--label=Tagout vault")
            .args(attributes(id))
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let written = child
            .stdin
            .take()
            .map_or(Ok(()), |mut input| input.write_all(key.as_bytes()));
        let status = child.wait().map_err(|error| failed(error.to_string()))?;
        if written.is_err() || !status.success() {
            return Err(failed(
                "secret-tool could not store the key; is the keyring unlocked?".to_owned(),
            ));
        }
        Ok(())
    }

    /// The key under an id, if there is one.
    pub(crate) fn lookup(&self, id: &str) -> Result<Option<Zeroizing<String>>, VaultError> {
        let output = self
            .command("lookup")
            .args(attributes(id))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| VaultError::Keyring(error.to_string()))?;
        let text = Zeroizing::new(output.stdout);
        // It ends with 1 and prints nothing when there is no such entry.
        if !output.status.success() || text.is_empty() {
            return Ok(None);
        }
        Ok(String::from_utf8(text.to_vec()).ok().map(Zeroizing::new))
    }

    fn command(&self, word: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(word).current_dir("/").stdout(Stdio::piped());
        command
    }
}

fn attributes(id: &str) -> [&str; 4] {
    ["application", "tagout", "vault", id]
}
