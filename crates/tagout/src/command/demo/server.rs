//! A PostgreSQL of the demo's own: in a temporary folder, on a free port of loopback, gone with the demo.
//! PostgreSQL refuses to run as root; for root it runs as an ordinary user of the machine.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// What to do where there is none.
const INSTALL: &str = "this demo runs on a real PostgreSQL, and none is installed here; `apt install postgresql`, `dnf install postgresql-server` or `pacman -S postgresql` brings one, and nothing of it has to be configured or running";
/// How long a server may take to come up.
const COMES_UP: Duration = Duration::from_secs(30);
/// Users that a server may run as when root starts the demo, the first that exists.
const USERS: &[&str] = &["postgres", "nobody"];
/// The role that owns the database, and its name.
pub(super) const ROLE: &str = "shop";
/// Its password: what must not be found inside.
pub(super) const PASSWORD: &str = "nV4-tq81-real-password-Wz6";

/// A server that runs, with a database.
pub(super) struct Server {
    folder: PathBuf,
    programs: PathBuf,
    user: Option<&'static str>,
    port: u16,
    running: Option<Child>,
}

impl Server {
    /// Makes a server and starts it; `schema` is run in it as the role.
    pub(super) fn start(schema: &str) -> anyhow::Result<Self> {
        let programs = programs().context(INSTALL)?;
        let user = match rustix::process::geteuid().is_root() {
            true => Some(ordinary_user()?),
            false => None,
        };
        let base = std::env::temp_dir();
        let folder = base.join(format!("tagout-demo-database-{}", std::process::id()));
        let mut server = Self {
            folder,
            programs,
            user,
            port: 0,
            running: None,
        };
        // Made by the server's own user, who must be the one that owns it.
        server.finish(
            Command::new("mkdir")
                .args(["-m", "700"])
                .arg(&server.folder),
        )?;
        let password = server.folder.join("password");
        server.finish(
            Command::new("sh")
                .args(["-c", "printf %s \"$2\" > \"$1\"", "sh"])
                .arg(&password)
                .arg(PASSWORD),
        )?;
        server.finish(
            Command::new(server.programs.join("initdb"))
                .args(["--auth=scram-sha-256", "--no-sync", "--locale=C"])
                .args(["--encoding=UTF8", "--username", ROLE, "--pwfile"])
                .arg(&password)
                .arg("--pgdata")
                .arg(server.folder.join("data")),
        )?;
        server.launch()?;
        server.psql("postgres", &format!("CREATE DATABASE {ROLE}"))?;
        server.psql(ROLE, schema)?;
        Ok(server)
    }

    /// Its URL, as the operator has it.
    pub(super) fn url(&self) -> String {
        format!(
            "postgres://{ROLE}:{PASSWORD}@localhost:{}/{ROLE}",
            self.port
        )
    }

    /// Where its programs are.
    pub(super) fn programs(&self) -> &Path {
        &self.programs
    }

    /// Runs SQL as the operator, with nothing between; the answer has no headers.
    pub(super) fn sql(&self, sql: &str) -> anyhow::Result<String> {
        self.psql(ROLE, sql)
    }

    fn psql(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        self.finish(
            Command::new(self.programs.join("psql"))
                .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
                .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
                .args(["-U", ROLE, "-d", database, "-c", sql])
                .env("PGPASSWORD", PASSWORD),
        )
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + COMES_UP;
        let mut why = String::new();
        // Between finding a free port and using it somebody else may take it.
        while Instant::now() < deadline {
            self.port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
                .local_addr()?
                .port();
            let log = fs::File::create(self.folder.join("log")).or_else(|_| {
                // The folder is another user's, and we are not root.
                fs::OpenOptions::new().write(true).open("/dev/null")
            })?;
            let mut postgres = Command::new(self.programs.join("postgres"));
            postgres
                .arg("-D")
                .arg(self.folder.join("data"))
                .args(["-p", &self.port.to_string()])
                .args(["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"])
                .args(["-c", "unix_socket_directories=", "-c", "max_connections=20"]);
            let mut running = self
                .as_user(&postgres)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()?;
            while running.try_wait()?.is_none() {
                match self.psql("postgres", "SELECT 1") {
                    Ok(_) => {
                        self.running = Some(running);
                        return Ok(());
                    }
                    Err(error) => why = error.to_string(),
                }
                if Instant::now() > deadline {
                    let _ = running.kill();
                    let _ = running.wait();
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        bail!(
            "PostgreSQL did not come up: {why} {}",
            fs::read_to_string(self.folder.join("log")).unwrap_or_default()
        )
    }

    /// `command` as the user that the server runs as.
    fn as_user(&self, command: &Command) -> Command {
        let mut whole = match self.user {
            None => Command::new(command.get_program()),
            Some(user) => {
                let mut whole = Command::new("setpriv");
                whole
                    .args(["--reuid", user, "--regid"])
                    .arg(group_of(user))
                    .arg("--clear-groups")
                    .arg("--")
                    .arg(command.get_program());
                whole
            }
        };
        whole.args(command.get_args()).current_dir("/");
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                whole.env(name, value);
            }
        }
        whole
    }

    fn finish(&self, command: &mut Command) -> anyhow::Result<String> {
        let output = self
            .as_user(command)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        ensure!(
            output.status.success(),
            "{:?} failed: {}",
            command.get_program(),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            if let Some(process) = i32::try_from(running.id())
                .ok()
                .and_then(rustix::process::Pid::from_raw)
            {
                // PostgreSQL's fast shutdown.
                let _ = rustix::process::kill_process(process, rustix::process::Signal::INT);
            }
            let _ = running.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where the server's programs are: on the path, or where distributions put them, the newest first.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut versions: Vec<PathBuf> = ["/usr/lib/postgresql", "/usr/lib64/postgresql", "/opt"]
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    versions.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
    folders.extend(versions);
    folders.into_iter().find(|folder| {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|program| folder.join(program).is_file())
    })
}

/// The number in the name of a version's folder.
fn version(programs: &Path) -> Option<u32> {
    programs.parent()?.file_name()?.to_str()?.parse().ok()
}

fn ordinary_user() -> anyhow::Result<&'static str> {
    let known = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let exists = |user: &&str| {
        known
            .lines()
            .any(|line| line.split(':').next() == Some(user))
    };
    let user = USERS.iter().copied().find(exists);
    user.context("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody` here; start the demo as an ordinary user")
}

/// The number of a user's own group, from `/etc/passwd`.
fn group_of(user: &str) -> String {
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut lines = known
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|line| line.first() == Some(&user));
    line.and_then(|line| line.get(3).map(|group| (*group).to_owned()))
        .unwrap_or_else(|| user.to_owned())
}
