//! A real MariaDB from Debian, run by an ordinary user on a free port, with a user that has a password.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Finished, Person, finish};

/// The user that a session's URL names, and the database that it may do everything in.
pub const USER: &str = "app";
/// Its password: what must not be found inside.
pub const PASSWORD: &str = "kS9-real-password-7Qx2vLm4Zt";

/// A server with a database `app`.
pub struct Mysql {
    running: Option<Child>,
    folder: TempDir,
    port: u16,
}

impl Drop for Mysql {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Mysql {
    /// Starts one and runs `schema` in it as the user.
    pub fn start(schema: &str) -> Mysql {
        Self::with(schema, &[], &[])
    }

    /// The same with options for `mariadbd`, and files that lie beside it. `{files}` in an option is where.
    pub fn with(schema: &str, options: &[&str], files: &[(&str, &str)]) -> Mysql {
        let folder = TempDir::new().expect("a folder");
        let person = Person::ordinary();
        person.own(folder.path());
        let data = folder.path().join("data");
        let made = finish(
            person
                .command("/usr/bin/mariadb-install-db")
                .args(["--no-defaults", "--auth-root-authentication-method=normal"])
                .args(["--skip-test-db", "--skip-name-resolve"])
                .arg(format!("--datadir={}", data.display()))
                // Others' temporary files have the same names.
                .env("TMPDIR", folder.path())
                .current_dir(folder.path()),
        );
        assert_eq!(made.status, 0, "{made}");
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::write(&path, content).expect("a file of the server's");
            person.own(&path);
        }
        let mut mysql = Mysql {
            running: None,
            folder,
            port: 0,
        };
        // Between finding a free port and using it somebody else may take it.
        let answers = (0..5).any(|_| {
            mysql.port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .and_then(|listener| listener.local_addr())
                .expect("a free port")
                .port();
            mysql.launch(options)
        });
        assert!(answers, "{}", mysql.log());
        mysql
            .admin(&format!(
                "CREATE DATABASE {USER} CHARACTER SET utf8mb4; CREATE DATABASE other; CREATE TABLE other.secrets (a int);
                 CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}';
                 GRANT ALL ON {USER}.* TO {USER}@'%'; GRANT ALL ON other.* TO {USER}@'%'"
            ))
            .success();
        mysql.outside(schema).success();
        mysql
    }

    /// Whether it came up.
    fn launch(&mut self, options: &[&str]) -> bool {
        let log = fs::File::create(self.folder.path().join("log")).expect("a log");
        let mut command = Person::ordinary().command("/usr/sbin/mariadbd");
        command
            .arg("--no-defaults")
            .arg(format!(
                "--datadir={}",
                self.folder.path().join("data").display()
            ))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!(
                "--pid-file={}",
                self.folder.path().join("pid").display()
            ))
            .args([&format!("--port={}", self.port), "--bind-address=127.0.0.1"])
            .args(["--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0"])
            .args(["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M"])
            .args(["--max-allowed-packet=64M", "--general-log=1"])
            .arg(format!(
                "--general-log-file={}",
                self.folder.path().join("asked").display()
            ))
            .args(
                options.iter().map(|option| {
                    option.replace("{files}", &self.folder.path().display().to_string())
                }),
            )
            .env("TMPDIR", self.folder.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut running = command.spawn().expect("mariadbd starts");
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

    /// Ends it.
    fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = Command::new("kill").arg(running.id().to_string()).status();
            let _ = running.wait();
        }
    }

    /// Its socket, which lets anybody in as root.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
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
        format!("mysql://{USER}:{PASSWORD}@{host}:{}/{USER}", self.port)
    }

    /// Why it did not start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What was asked of it, by anybody.
    pub fn asked(&self) -> String {
        let bytes = fs::read(self.folder.path().join("asked")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs SQL in the database, outside of any session; answers have tabs and no headers.
    pub fn outside(&self, sql: &str) -> Finished {
        finish(&mut self.client(Some(USER), sql))
    }

    /// Runs SQL as root, in no database.
    pub fn admin(&self, sql: &str) -> Finished {
        finish(&mut self.client(None, sql))
    }

    /// The single value of a query, asked outside.
    pub fn value(&self, sql: &str) -> String {
        self.outside(sql).success().stdout.trim().to_owned()
    }

    fn client(&self, database: Option<&str>, sql: &str) -> Command {
        let mut command = Person::ordinary().command("/usr/bin/mariadb");
        command
            .args([
                "--no-defaults",
                "--batch",
                "--skip-column-names",
                "--user=root",
            ])
            .arg(format!("--socket={}", self.socket().display()))
            .args(["--execute", sql])
            .args(database)
            .current_dir(Path::new("/"));
        command
    }
}
