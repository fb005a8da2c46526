//! Who runs a command: root, or an ordinary user.
//!
//! Tests started by root make the ordinary user `tagout-test` themselves, once a machine; tests
//! started by an ordinary user are that user.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
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
        // Tests are processes of their own and run at once: one makes the user, the rest wait.
        let account = || found(ACCOUNT).map(|(person, _)| person);
        account().unwrap_or_else(|| {
            alone(|| {
                account().unwrap_or_else(|| {
                    make(ACCOUNT);
                    account().expect("the account that useradd made")
                })
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

/// An account that nobody used before: made for one test, and gone with the value. Who is not root can
/// make none, and neither needs root one of its own; then the person stays, with a home that is new.
pub struct FreshAccount {
    person: Person,
    made: Option<Made>,
}

/// What was made. The lock is held as long: another run of the tests on this machine waits.
struct Made {
    home: PathBuf,
    _lock: File,
}

impl FreshAccount {
    const NAME: &str = "tagout-evening";

    /// Makes the account, with the home and the files that the machine gives everybody.
    pub fn of(person: Person) -> FreshAccount {
        if person.is_root() || own_uid() != 0 {
            return FreshAccount { person, made: None };
        }
        let lock = File::create("/tmp/tagout-evening-account.lock").expect("a lock file in /tmp");
        lock.lock().expect("the lock on the account");
        // Of a test that was killed.
        remove(Self::NAME);
        alone(|| make(Self::NAME));
        let (person, home) = found(Self::NAME).expect("the account that useradd made");
        FreshAccount {
            person,
            made: Some(Made { home, _lock: lock }),
        }
    }

    /// Who it is.
    pub fn person(&self) -> Person {
        self.person
    }

    /// Its home, where there is one that is its own.
    pub fn home(&self) -> Option<&Path> {
        self.made.as_ref().map(|made| made.home.as_path())
    }
}

impl Drop for FreshAccount {
    fn drop(&mut self) {
        if self.made.is_some() {
            remove(Self::NAME);
        }
    }
}

/// Changes of the table of accounts, one at a time: its tools do not wait for each other.
fn alone<T>(change: impl FnOnce() -> T) -> T {
    let lock = File::create("/tmp/tagout-test-account.lock").expect("a lock file in /tmp");
    lock.lock().expect("the lock on the table of accounts");
    change()
}

fn make(name: &str) {
    let arguments = [
        "--create-home",
        "--user-group",
        "--shell",
        "/bin/bash",
        name,
    ];
    let made = Command::new("/usr/sbin/useradd")
        .args(arguments)
        .stdin(Stdio::null())
        .status();
    let made = made.expect("useradd starts");
    assert!(made.success(), "useradd failed: {made}");
}

fn remove(name: &str) {
    alone(|| {
        if let Some((_, home)) = found(name) {
            // Its mail folder may not exist, which userdel says, and nothing else is said by its status.
            let _ = Command::new("/usr/sbin/userdel")
                .args(["--force", name])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            let _ = std::fs::remove_dir_all(home);
        }
    });
}

fn own_uid() -> u32 {
    std::fs::metadata("/proc/self")
        .expect("/proc is mounted")
        .uid()
}

/// The account of that name, and its home.
fn found(name: &str) -> Option<(Person, PathBuf)> {
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = accounts
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let person = Person {
        uid: fields.next()?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
    };
    Some((person, fields.nth(1)?.into()))
}
