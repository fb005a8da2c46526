//! One test's own little world: a person, a home, a workspace with git, and the binary.
//!
//! Everything lies in one temporary folder that goes with the value. The person owns the home and the
//! workspace, so that a test as root and one as an ordinary user differ in nothing else.

use crate::{FreshAccount, Person, Server, TestAuthority};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A place to run `tagout` in.
pub struct World {
    person: Person,
    folder: TempDir,
    home: PathBuf,
    workspace: PathBuf,
    config: String,
}

/// A command that runs. It is killed when the test ends without it, or a failed test would leave a
/// session behind.
pub struct Running {
    child: Option<Child>,
}

impl Running {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Waits for its end.
    pub fn end(mut self) -> Finished {
        let child = self.child.take().expect("it has not ended twice");
        child.wait_with_output().expect("its end").into()
    }

    /// Kills it (SIGKILL) and waits until the kernel is done with it.
    pub fn kill(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A command that ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit status; 128+n after a signal, as a shell counts.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Both outputs, to look for what must be in neither.
    pub fn everything(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }

    /// Fails the test unless the command ended well.
    #[track_caller]
    pub fn success(self) -> Finished {
        assert_eq!(self.status, 0, "the command failed: {self}");
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(formatter, "status {}", self.status)?;
        writeln!(formatter, "--- stdout\n{}", self.stdout)?;
        write!(formatter, "--- stderr\n{}", self.stderr)
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Finished {
        use std::os::unix::process::ExitStatusExt;
        let signal = output.status.signal().map(|signal| 128 + signal);
        Finished {
            status: output.status.code().or(signal).unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl World {
    /// A new world: an empty home, and a workspace that is a git repository.
    pub fn new(person: Person) -> World {
        // Not below /tmp, which sandboxes make private: a mistake there would look like success.
        let folder = tempfile::Builder::new()
            .prefix("tagout-test-")
            .tempdir_in("/var/tmp")
            .expect("a folder in /var/tmp");
        let (home, workspace) = (folder.path().join("home"), folder.path().join("work"));
        World::in_folders(person, folder, home, workspace)
    }

    /// A new world of this manifest, in which `port` of `host` leads to a server at `address`.
    pub fn beside(
        person: Person,
        (host, port): (&str, u16),
        address: &str,
        manifest: &str,
    ) -> World {
        let mut world = World::new(person);
        if host != "localhost" {
            world.route_to(&format!("{host}:{port}"), address);
        }
        world.manifest(manifest);
        world
    }

    /// The world of an account that was just made: its own home, and the workspace in it.
    pub fn of_account(account: &FreshAccount) -> World {
        let Some(home) = account.home() else {
            return World::new(account.person());
        };
        let folder = tempfile::Builder::new()
            .prefix("tagout-test-")
            .tempdir_in("/var/tmp")
            .expect("a folder in /var/tmp");
        let workspace = home.join("app");
        World::in_folders(account.person(), folder, home.to_owned(), workspace)
    }

    fn in_folders(person: Person, folder: TempDir, home: PathBuf, workspace: PathBuf) -> World {
        let world = World {
            person,
            folder,
            home,
            workspace,
            config: String::new(),
        };
        person.own(world.folder.path());
        for folder in [world.home(), world.workspace()] {
            world.folder_at(&folder);
        }
        world.place(tagout_binary(), &world.folder.path().join("bin/tagout"));
        world.write_home(
            ".gitconfig",
            "[user]\nname = Test\nemail = test@example.com\n[init]\ndefaultBranch = main\n",
        );
        world.git(&["init", "--quiet"]);
        world
    }

    /// Who runs things here.
    pub fn person(&self) -> Person {
        self.person
    }

    /// The person's home.
    pub fn home(&self) -> PathBuf {
        self.home.clone()
    }

    /// The workspace, which is the current folder of every command.
    pub fn workspace(&self) -> PathBuf {
        self.workspace.clone()
    }

    /// Makes another workspace beside the first.
    pub fn second_workspace(&self) -> PathBuf {
        let folder = self.second_workspace_path();
        self.folder_at(&folder);
        let mut git = self.outside("git");
        finish(git.args(["init", "--quiet"]).current_dir(&folder)).success();
        folder
    }

    /// Where that is.
    pub fn second_workspace_path(&self) -> PathBuf {
        self.folder.path().join("other")
    }

    /// `$TAGOUT_HOME`, where it is by default.
    pub fn tagout_home(&self) -> PathBuf {
        self.home().join(".local/state/tagout")
    }

    /// Writes a file of the workspace.
    pub fn write(&self, path: &str, text: &str) -> &World {
        self.write_at(&self.workspace().join(path), text);
        self
    }

    /// Writes a file of the home.
    pub fn write_home(&self, path: &str, text: &str) -> &World {
        self.write_at(&self.home().join(path), text);
        self
    }

    /// Reads a file of the workspace as it is outside; `None` where there is none.
    pub fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.workspace().join(path)).ok()
    }

    /// Runs git in the workspace.
    pub fn git(&self, arguments: &[&str]) -> Finished {
        let mut git = self.outside("git");
        git.args(arguments);
        finish(&mut git).success()
    }

    /// Adds everything in the workspace to one commit.
    pub fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
    }

    /// Makes `name:port` lead to a server of the test, and its root trusted, in the operator's
    /// `config.toml`.
    pub fn route(&mut self, name: &str, port: u16, server: &Server) -> &mut World {
        self.route_to(&format!("{name}:{port}"), &server.address().to_string())
    }

    /// Makes `name:port` lead to an address.
    pub fn route_to(&mut self, target: &str, address: &str) -> &mut World {
        writeln!(self.config, "\"{target}\" = \"{address}\"").expect("text grows");
        self.write_config();
        self
    }

    /// Makes the person's Tagout believe certificates of this authority.
    pub fn believe(&self, authority: &TestAuthority) -> &World {
        self.believe_pem(&authority.pem())
    }

    /// Makes the person's Tagout believe certificates below this root.
    pub fn believe_pem(&self, pem: &str) -> &World {
        self.write_at(&self.folder.path().join("root.pem"), pem);
        self.write_config();
        self
    }

    /// Writes a manifest and accepts its digest, as an operator without a terminal does.
    pub fn manifest(&self, text: &str) -> &World {
        self.write("tagout.toml", text);
        let digest = sha256_hex(text.as_bytes());
        self.tagout(&["trust", "--digest", &digest, "tagout.toml"])
            .success();
        self
    }

    /// A command outside the sandbox, as the person, in the workspace.
    pub fn outside(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.person.command(program);
        command
            .current_dir(self.workspace())
            .env("HOME", self.home())
            .env("USER", self.person.name())
            .env("LOGNAME", self.person.name())
            .env("LANG", "C.UTF-8")
            .env("TERM", "xterm-256color")
            .env("PATH", self.search_path());
        command
    }

    /// A `tagout` command that has not started.
    pub fn tagout_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.outside(self.folder.path().join("bin/tagout"));
        command.args(arguments);
        command
    }

    /// Runs `tagout` to its end.
    pub fn tagout(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.tagout_command(arguments))
    }

    /// Runs a line of bash inside a session, with these options of `tagout run`.
    pub fn run(&self, options: &[&str], line: &str) -> Finished {
        finish(&mut self.run_command(options, line))
    }

    /// A line of bash inside a session that has not started.
    pub fn run_command(&self, options: &[&str], line: &str) -> Command {
        let mut command = self.tagout_command(&["run"]);
        command.args(options).args(["--", "bash", "-c", line]);
        command
    }

    /// Starts a command of this world and goes on; its outputs are kept for its end.
    pub fn start(&self, command: &mut Command) -> Running {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Running { child: Some(child) }
    }

    /// What `tagout ARGUMENTS --json` prints, one value a line.
    pub fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        json_lines(&self.tagout(&arguments).success().stdout)
    }

    /// The ids of all sessions, the newest first.
    pub fn sessions(&self) -> Vec<String> {
        let ids = self.json(&["sessions"]);
        ids.iter()
            .map(|session| session["id"].as_str().expect("a session has an id").into())
            .collect()
    }

    /// Fails the test unless the ledger of every session verifies; the answer is how many there are.
    #[track_caller]
    pub fn verify_all(&self) -> usize {
        let sessions = self.sessions();
        for session in &sessions {
            self.tagout(&["verify", session]).success();
        }
        sessions.len()
    }

    /// Waits for a hold in a state; the answer is its record.
    #[track_caller]
    pub fn hold_in(&self, state: &str) -> Value {
        let mut found = None;
        eventually(&format!("a hold that is {state}"), || {
            let mut holds = self.json(&["holds"]).into_iter();
            found = holds.find(|hold| hold["state"] == state);
            found.is_some()
        });
        found.expect("just found")
    }

    /// Fails the test if a process of this world still runs or a mount of it is left (invariant 11).
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
        for mine in [self.folder.path(), &self.home] {
            let mine = mine.to_string_lossy();
            assert!(!mounts.contains(&*mine), "a mount is left:\n{mounts}");
            eventually("every process of the session is gone", || {
                processes_with(&mine).is_empty()
            });
        }
    }

    /// Fails the test if a session still runs, in a world where other programs (a terminal) may.
    #[track_caller]
    pub fn assert_no_session_left(&self) {
        let program = self.folder.path().join("bin/tagout").display().to_string();
        eventually("no process of the binary is left", || {
            processes_with(&program).is_empty()
        });
    }

    /// Puts a program at a place in this world: a second name of the same file where the file system
    /// allows it, else a copy. Build folders may lie where the person cannot enter.
    pub fn place(&self, program: &Path, place: &Path) {
        self.folder_at(place.parent().expect("a place has a folder"));
        if std::fs::hard_link(program, place).is_err() {
            std::fs::copy(program, place)
                .unwrap_or_else(|error| panic!("cannot copy {}: {error}", program.display()));
        }
    }

    /// Puts every file of a folder at a place in this world.
    pub fn place_all(&self, folder: &Path, place: &Path) {
        let entries = std::fs::read_dir(folder)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
        for entry in entries.map(|entry| entry.expect("an entry")) {
            let (path, to) = (entry.path(), place.join(entry.file_name()));
            match path.is_dir() {
                true => self.place_all(&path, &to),
                false => self.place(&path, &to),
            }
        }
    }

    /// PATH with the Rust that builds this test, put where the person can read it: the account that
    /// installed it may keep it in a folder of its own.
    pub fn path_with_rust(&self) -> String {
        let rustc = Command::new("rustc")
            .args(["--print", "sysroot"])
            .output()
            .expect("rustc runs");
        let sysroot = PathBuf::from(String::from_utf8(rustc.stdout).expect("a path").trim());
        let place = self.home().join(".rustup/toolchains/own");
        for folder in ["bin", "lib"] {
            self.place_all(&sysroot.join(folder), &place.join(folder));
        }
        format!("{}:{}", place.join("bin").display(), self.search_path())
    }

    fn search_path(&self) -> String {
        format!(
            "{}:{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            self.home().join(".local/bin").display(),
            self.folder.path().join("bin").display(),
        )
    }

    fn write_config(&self) {
        let root = self.folder.path().join("root.pem");
        let mut text = String::new();
        if root.exists() {
            writeln!(
                text,
                "[network]\nca_files = [{:?}]",
                root.display().to_string()
            )
            .expect("text grows");
        }
        if !self.config.is_empty() {
            write!(text, "[address]\n{}", self.config).expect("text grows");
        }
        self.write_at(&self.tagout_home().join("config.toml"), &text);
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(self.tagout_home(), PermissionsExt::from_mode(0o700))
            .expect("the person's folder");
    }

    fn write_at(&self, path: &Path, text: &str) {
        self.folder_at(path.parent().expect("a file has a folder"));
        std::fs::write(path, text)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        self.person.own(path);
    }

    /// Makes a folder and those above it, each the person's.
    fn folder_at(&self, folder: &Path) {
        if folder.is_dir() {
            return;
        }
        if let Some(above) = folder.parent() {
            self.folder_at(above);
        }
        std::fs::create_dir(folder)
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        self.person.own(folder);
    }
}

/// A manifest with one database on staging, whose URL is in `DATABASE_URL` outside.
pub const WITH_DATABASE: &str = r#"
[task]
name = "shop"
environment = "staging"

[[environment]]
name = "production"
protected = true

[[database]]
name = "app"
url = "env:DATABASE_URL"
"#;

/// The id of a hold's record.
pub fn id(hold: &Value) -> &str {
    hold["id"].as_str().expect("a hold has an id")
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Finished {
    command
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
        .into()
}

/// Reads one JSON value a line.
pub fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Waits for something that another process does; fails the test when it takes longer than any
/// machine needs.
#[track_caller]
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "did not happen within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The binary under test: what `cargo xtask test` built, else built now.
fn tagout_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(binary) = std::env::var_os("TAGOUT_BINARY") {
            return PathBuf::from(binary);
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "tagout"])
            .current_dir(&root)
            .status()
            .expect("cargo starts");
        assert!(built.success(), "the binary does not build");
        root.join("target/debug/tagout")
    })
}

/// The command lines of running processes that mention a text in their arguments or environment.
fn processes_with(text: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("/proc is mounted");
    processes
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
        .filter(|entry| entry.file_name().to_string_lossy() != std::process::id().to_string())
        .filter_map(|entry| {
            let mut seen = std::fs::read(entry.path().join("cmdline")).ok()?;
            let shown = String::from_utf8_lossy(&seen).replace('\0', " ");
            seen.extend(std::fs::read(entry.path().join("environ")).unwrap_or_default());
            for link in ["cwd", "exe"] {
                let target = std::fs::read_link(entry.path().join(link)).unwrap_or_default();
                seen.extend(target.as_os_str().as_encoded_bytes());
            }
            let mentions = String::from_utf8_lossy(&seen).contains(text);
            mentions.then_some(shown)
        })
        .collect()
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("text grows");
    }
    text
}
