//! Who runs a command: root, or an ordinary user.
//!
//! Tests started by root make the ordinary user `tagout-test` themselves, once a machine; tests
//! started by an ordinary user are that user.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

const ACCOUNT: &str = "tagout-test";

/// A user of this machine who runs commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    uid: u32,
    gid: u32,
}

impl Person {
    /// Root. Only root can act as root: for anybody else this fails the test.
    pub fn root() -> Person {
        assert_eq!(
            own_uid(),
            0,
            "this test runs the binary as root; `cargo xtask test` leaves it out for other users"
        );
        Person { uid: 0, gid: 0 }
    }

    /// An ordinary user: whoever runs the tests, or `tagout-test` when that is root.
    pub fn ordinary() -> Person {
        let me = std::fs::metadata("/proc/self").expect("/proc is mounted");
        if me.uid() != 0 {
            return Person {
                uid: me.uid(),
                gid: me.gid(),
            };
        }
        account().unwrap_or_else(|| {
            // Tests are processes of their own and run at once: one makes the user, the rest wait.
            let lock = File::create("/tmp/tagout-test-account.lock").expect("a lock file in /tmp");
            lock.lock().expect("the lock on the account");
            account().unwrap_or_else(|| {
                let made = Command::new("/usr/sbin/useradd")
                    .args([
                        "--create-home",
                        "--user-group",
                        "--shell",
                        "/bin/bash",
                        ACCOUNT,
                    ])
                    .stdin(Stdio::null())
                    .status()
                    .expect("useradd starts");
                assert!(made.success(), "useradd failed: {made}");
                account().expect("the account that useradd made")
            })
        })
    }

    /// Whether this is root.
    pub fn is_root(self) -> bool {
        self.uid == 0
    }

    /// The user id.
    pub fn uid(self) -> u32 {
        self.uid
    }

    /// A command that runs as this person, with an empty environment and no standard input.
    pub fn command(self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env_clear().stdin(Stdio::null());
        if self.uid != own_uid() {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Gives a file or folder to this person.
    pub fn own(self, path: &Path) {
        if own_uid() == 0 {
            std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))
                .unwrap_or_else(|error| panic!("cannot chown {}: {error}", path.display()));
        }
    }

    /// The name of the account.
    pub fn name(self) -> String {
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        accounts
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.get(2) == Some(&self.uid.to_string().as_str()))
            .map_or_else(|| self.uid.to_string(), |fields| fields[0].to_owned())
    }
}

fn own_uid() -> u32 {
    std::fs::metadata("/proc/self")
        .expect("/proc is mounted")
        .uid()
}

fn account() -> Option<Person> {
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = accounts
        .lines()
        .find(|line| line.split(':').next() == Some(ACCOUNT))?;
    let mut fields = line.split(':').skip(2);
    Some(Person {
        uid: fields.next()?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
    })
}
