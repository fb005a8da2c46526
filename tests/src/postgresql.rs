//! A real PostgreSQL in a folder of its own, reached through a socket file, so that no port is taken.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use tagout_postgres::{Ask, Login, Rows, Server, Trust};
use tokio::net::UnixStream;

use crate::Person;

/// A server that runs until this is dropped. Whoever reaches its socket is let in as any role.
pub struct Postgresql {
    server: Child,
    programs: PathBuf,
    folder: tempfile::TempDir,
}

impl Postgresql {
    /// Makes a cluster and waits until it serves.
    pub fn start() -> Self {
        let person = Person::ordinary();
        let versions = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten();
        let programs = versions
            .flatten()
            .map(|version| version.path().join("bin"))
            .find(|programs| programs.join("initdb").exists())
            .expect("no PostgreSQL here: apt-get install postgresql, as `cargo xtask test` does");
        let folder = tempfile::tempdir().expect("a folder");
        person.own(folder.path());
        let data = folder.path().join("data");
        let made = person
            .command(programs.join("initdb"))
            .args(["--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8"])
            .args(["--username=postgres", "--pgdata"])
            .arg(&data)
            .current_dir(folder.path())
            .output()
            .expect("initdb starts");
        assert!(made.status.success(), "{made:?}");
        let mut server = person
            .command(programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "autovacuum=off",
            ])
            .env("LC_ALL", "C")
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("postgres starts");
        let mut lines = BufReader::new(server.stderr.take().expect("its log")).lines();
        let mut said = Vec::new();
        loop {
            let line = lines.next().and_then(Result::ok);
            let line = line.unwrap_or_else(|| panic!("postgres ended: {said:#?}"));
            if line.contains("ready to accept connections") {
                break;
            }
            said.push(line);
        }
        // A full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            server,
            programs,
            folder,
        }
    }

    /// A connection as `role` to `database`.
    pub async fn connect(&self, role: &str, database: &str) -> Server<UnixStream> {
        let socket = self.folder.path().join(".s.PGSQL.5432");
        let stream = UnixStream::connect(&socket).await.expect("it listens");
        let mut startup = 196_608_u32.to_be_bytes().to_vec();
        for text in [
            "user",
            role,
            "database",
            database,
            "client_encoding",
            "UTF8",
            "",
        ] {
            startup.extend_from_slice(text.as_bytes());
            startup.push(0);
        }
        let length = u32::try_from(startup.len() + 4).expect("short");
        startup.splice(..0, length.to_be_bytes());
        let login = Login {
            startup: &startup,
            user: role,
            password: b"",
            trust: Trust::Verified,
            end_point: None,
        };
        Server::start(stream, &login)
            .await
            .expect("it lets everybody in")
    }

    /// The folder of its socket, as libpq's `host` takes it.
    pub fn host(&self) -> &Path {
        self.folder.path()
    }

    /// What `pg_dump` says of a database, without what differs between two runs.
    pub fn dump(&self, database: &str, options: &[&str]) -> String {
        let dumped = Person::ordinary()
            .command(self.programs.join("pg_dump"))
            .args(["-U", "postgres", "-h"])
            .arg(self.folder.path())
            .args(options)
            .arg(database)
            .output()
            .expect("pg_dump starts");
        assert!(dumped.status.success(), "{dumped:?}");
        let text = String::from_utf8(dumped.stdout).expect("a dump is text");
        // Newer ones fence a dump with a random word.
        let lines = text.lines().filter(|line| !line.starts_with('\\'));
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Postgresql {
    fn drop(&mut self) {
        // Its children end when it does: the first among them notices.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Asks, and fails the test where the server says no.
pub async fn must(ask: &mut impl Ask, sql: &str) -> Rows {
    ask.ask(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}
