//! A real Redis from Debian, run by an ordinary user on a free port, with a password.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::{Finished, Person, finish};

/// Its password: what must not be found inside.
pub const PASSWORD: &str = "rD7-real-password-3Wz8kNp5Yt";

/// A server.
pub struct Redis {
    running: Option<Child>,
    folder: TempDir,
    port: u16,
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = Command::new("kill").arg(running.id().to_string()).status();
            let _ = running.wait();
        }
    }
}

impl Redis {
    /// Starts one, and runs `commands` in its database 0, a line each.
    pub fn start(commands: &str) -> Redis {
        let folder = TempDir::new().expect("a folder");
        Person::ordinary().own(folder.path());
        let mut redis = Redis {
            running: None,
            folder,
            port: 0,
        };
        // Between finding a free port and using it somebody else may take it.
        let answers = (0..5).any(|_| {
            redis.port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .and_then(|listener| listener.local_addr())
                .expect("a free port")
                .port();
            redis.launch()
        });
        assert!(answers, "{}", redis.log());
        for command in commands.lines() {
            redis.value(command);
        }
        redis
    }

    /// Whether it came up.
    fn launch(&mut self) -> bool {
        let log = fs::File::create(self.folder.path().join("log")).expect("a log");
        let mut running = Person::ordinary()
            .command("/usr/bin/redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--requirepass", PASSWORD])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        loop {
            if self.outside("PING").stdout.trim() == "PONG" {
                self.running = Some(running);
                return true;
            }
            if running.try_wait().expect("its state").is_some() {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens on loopback.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its URL, as an operator has it, at `host`.
    pub fn url(&self, host: &str) -> String {
        format!("redis://:{PASSWORD}@{host}:{}/0", self.port)
    }

    /// Why it did not start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs one command, outside of any session; words in it are those of a shell.
    pub fn outside(&self, command: &str) -> Finished {
        let mut client = Person::ordinary().command("/usr/bin/redis-cli");
        client
            .args(["-p", &self.port.to_string()])
            .args(command.split(' '))
            .env("REDISCLI_AUTH", PASSWORD)
            .current_dir("/");
        finish(&mut client)
    }

    /// What a command says, asked outside.
    pub fn value(&self, command: &str) -> String {
        self.outside(command).success().stdout.trim().to_owned()
    }
}
