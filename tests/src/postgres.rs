//! A real PostgreSQL from Debian, run by an ordinary user on a free port, with a role that has a
//! password.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Finished, Person, finish};

/// The role that a session's URL names. It owns the database `app`.
pub const ROLE: &str = "app";
/// Its password: what must not be found inside.
pub const PASSWORD: &str = "kS9-real-password-7Qx2vLm4Zt";

/// A server with a database `app`.
pub struct Postgres {
    running: Option<Child>,
    folder: TempDir,
    port: u16,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Postgres {
    /// Starts one and runs `schema` in it as the role.
    pub fn start(schema: &str) -> Postgres {
        Self::with(schema, &[], &[])
    }

    /// The same with lines for `postgresql.conf`, and files that lie beside it.
    pub fn with(schema: &str, settings: &[&str], files: &[(&str, &str)]) -> Postgres {
        let folder = TempDir::new().expect("a folder");
        let person = Person::ordinary();
        person.own(folder.path());
        let data = folder.path().join("data");
        let made = finish(
            person
                .command(programs().join("initdb"))
                .args([
                    "--auth-local=trust",
                    "--auth-host=scram-sha-256",
                    "--no-sync",
                ])
                .args([
                    "--locale=C",
                    "--encoding=UTF8",
                    "--username=postgres",
                    "--pgdata",
                ])
                .arg(&data)
                .current_dir(folder.path()),
        );
        assert_eq!(made.status, 0, "{made}");
        let mut postgres = Postgres {
            running: None,
            folder,
            port: 0,
        };
        let mut configuration = fs::read_to_string(data.join("postgresql.conf")).expect("it");
        for line in [
            "fsync = off",
            "listen_addresses = '127.0.0.1'",
            "max_connections = 40",
            "log_statement = 'all'",
        ]
        .iter()
        .chain(settings)
        {
            configuration.push_str(line);
            configuration.push('\n');
        }
        fs::write(data.join("postgresql.conf"), configuration).expect("its settings");
        for (name, content) in files {
            let path = data.join(name);
            fs::write(&path, content).expect("a file of the server's");
            // It does not take a key that others may read.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
            person.own(&path);
        }
        // Between finding a free port and using it somebody else may take it.
        let answers = (0..5).any(|_| {
            postgres.port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .and_then(|listener| listener.local_addr())
                .expect("a free port")
                .port();
            postgres.launch()
        });
        assert!(answers, "{}", postgres.log());
        let role = format!("CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'");
        postgres.admin(&role).success();
        let database = format!("CREATE DATABASE {ROLE} OWNER {ROLE}");
        postgres.admin(&database).success();
        postgres.outside(schema).success();
        postgres
    }

    /// Ends it, and starts it again at the same place.
    pub fn restart(&mut self) {
        self.stop();
        assert!(self.launch(), "{}", self.log());
    }

    /// Whether it came up.
    fn launch(&mut self) -> bool {
        let log = fs::File::create(self.folder.path().join("log")).expect("a log");
        let mut command = Person::ordinary().command(programs().join("postgres"));
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-k"])
            .arg(self.folder.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut running = command.spawn().expect("postgres starts");
        loop {
            if self.admin("SELECT 1").status == 0 {
                self.running = Some(running);
                return true;
            }
            if running.try_wait().expect("its state").is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it without waiting for its clients (SIGINT: a fast shutdown).
    fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = Command::new("kill")
                .args(["-INT", &running.id().to_string()])
                .status();
            let _ = running.wait();
        }
    }

    /// The folder of its socket, which lets anybody in as any role.
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where it listens on loopback.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, as an operator has it, at `host`.
    pub fn url(&self, host: &str) -> String {
        format!("postgres://{ROLE}:{PASSWORD}@{host}:{}/{ROLE}", self.port)
    }

    /// What was asked of it, by anybody.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("its log")
    }

    /// Runs SQL as the role, outside of any session; answers are unaligned, without headers.
    pub fn outside(&self, sql: &str) -> Finished {
        finish(&mut self.psql(ROLE, ROLE, sql))
    }

    /// Runs SQL as the superuser.
    pub fn admin(&self, sql: &str) -> Finished {
        finish(&mut self.psql("postgres", "postgres", sql))
    }

    /// The single value of a query, asked as the role outside.
    pub fn value(&self, sql: &str) -> String {
        self.outside(sql).success().stdout.trim().to_owned()
    }

    fn psql(&self, role: &str, database: &str, sql: &str) -> Command {
        let mut command = Person::ordinary().command("psql");
        command
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                role,
                "-d",
                database,
            ])
            .args(["-p", &self.port.to_string(), "-c", sql, "-h"])
            .arg(self.folder.path())
            .current_dir("/");
        command
    }
}

/// Where Debian has the server's programs: the newest version's.
pub fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let mut versions: Vec<_> = versions
        .map(|entry| entry.expect("a folder").path())
        .collect();
    versions.sort();
    let newest = versions.pop().expect("a version of PostgreSQL");
    Path::new(&newest).join("bin")
}
