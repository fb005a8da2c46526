//! A governed session in which the load generator runs, and the server that it reaches.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::certificate::{self, Files};
use crate::process::Owned;

/// The name by which sessions know the server.
pub(crate) const HOST: &str = "bench.example.com";
/// What each answer holds: a kilobyte.
const CONTENT: usize = 1024;

/// A folder with an nginx that answers `/1k`, the certificates of its, and room for homes.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) files: Files,
    pub(crate) port: u16,
    /// Where it speaks HTTP/2 as well: a proxy must not choose it for clients that do not.
    pub(crate) http2_port: u16,
    _nginx: Owned,
}

impl Place {
    /// Starts the server and waits until it listens.
    pub(crate) fn new() -> Result<Self> {
        // Not below /tmp, which sessions make private.
        let folder = tempfile::Builder::new()
            .prefix("tagout-bench-")
            .tempdir_in("/var/tmp")?;
        let files = certificate::write(folder.path(), &[HOST, "localhost"])?;
        let (port, http2_port) = (free_port()?, free_port()?);
        let configuration = folder.path().join("nginx.conf");
        std::fs::write(
            &configuration,
            nginx(folder.path(), &files, port, http2_port),
        )?;
        let nginx = Owned::start(
            Command::new(program("nginx"))
                .arg("-p")
                .arg(folder.path())
                .arg("-c")
                .arg(&configuration)
                .args(["-g", "daemon off;"]),
        )?;
        await_listening(port).context("nginx does not listen")?;
        Ok(Self {
            folder,
            files,
            port,
            http2_port,
            _nginx: nginx,
        })
    }

    /// A home with a configuration that leads [`HOST`] here, and a workspace with a manifest and the
    /// load generator in it.
    pub(crate) fn home(&self, name: &str, manifest: &str) -> Result<Home> {
        self.home_of(name, manifest, self.port)
    }

    /// The same, with [`HOST`] on another port of the server.
    pub(crate) fn home_of(&self, name: &str, manifest: &str, port: u16) -> Result<Home> {
        let home = self.folder.path().join(name);
        let workspace = home.join("work");
        let state = home.join("state");
        std::fs::create_dir_all(&workspace)?;
        std::fs::create_dir_all(&state)?;
        let mut config = String::from("[address]\n");
        writeln!(config, "\"{HOST}:443\" = \"127.0.0.1:{port}\"")?;
        writeln!(
            config,
            "\n[network]\nca_files = [{:?}]",
            self.files.ca.display().to_string()
        )?;
        std::fs::write(state.join("config.toml"), config)?;
        std::fs::write(workspace.join("tagout.toml"), manifest)?;
        std::fs::copy(std::env::current_exe()?, workspace.join("tagout-bench"))?;
        Ok(Home {
            home,
            state,
            workspace,
        })
    }
}

/// Where a session lives.
pub(crate) struct Home {
    pub(crate) home: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) workspace: PathBuf,
}

impl Home {
    /// `tagout` as this home's person, with the workspace as its current folder.
    pub(crate) fn command(&self, tagout: &Path) -> Command {
        let mut command = Command::new(tagout);
        command
            .current_dir(&self.workspace)
            .env("HOME", &self.home)
            .env("TAGOUT_HOME", &self.state)
            .env("BENCH_TOKEN", "bench-3f9c1e7a5d2b8c4e6f0a9b8c7d6e5f4a");
        command
    }

    /// Accepts the manifest.
    pub(crate) fn trust(&self, tagout: &Path) -> Result<()> {
        // Without a terminal, who accepts it has to name it.
        let manifest = std::fs::read(self.workspace.join("tagout.toml"))?;
        let digest = tagout_core::Digest::of(&manifest).to_string();
        let accepted = self
            .command(tagout)
            .args(["trust", "--digest", &digest, "tagout.toml"])
            .stdin(Stdio::null())
            .output()?;
        if !accepted.status.success() {
            bail!(
                "tagout trust: {}",
                String::from_utf8_lossy(&accepted.stderr)
            );
        }
        Ok(())
    }
}

/// A load generator that was told to wait.
pub(crate) struct Generator {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Generator {
    /// Starts it, and waits until it is connected.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let mut generator = Self {
            input,
            output: BufReader::new(output.context("a pipe from the generator")?),
            child,
        };
        let ready = generator.line()?;
        if ready != "ready" {
            bail!("the load generator says `{ready}`");
        }
        Ok(generator)
    }

    /// The process that was started: `tagout`, where it runs in a session.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it run once; what it measured.
    pub(crate) fn run(&mut self, word: &str) -> Result<serde_json::Value> {
        let input = self.input.as_mut().context("the generator is open")?;
        writeln!(input, "{word}")?;
        self.measured()
    }

    /// What it says next.
    pub(crate) fn measured(&mut self) -> Result<serde_json::Value> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("the load generator says `{line}`"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            bail!("the load generator ended: {}", self.child.wait()?);
        }
        Ok(line.trim().to_owned())
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // It ends at the end of its input; a session needs a moment to end well.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// A port on loopback that nobody has right now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}

/// Waits until somebody accepts connections.
pub(crate) fn await_listening(port: u16) -> Result<()> {
    for _ in 0..600 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    bail!("nobody listens on port {port}")
}

/// Debian keeps servers where an ordinary PATH does not look.
fn program(name: &str) -> PathBuf {
    let system = Path::new("/usr/sbin").join(name);
    if system.exists() { system } else { name.into() }
}

fn nginx(folder: &Path, files: &Files, port: u16, http2_port: u16) -> String {
    let folder = folder.display();
    format!(
        "worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log crit;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096;
    listen 127.0.0.1:{http2_port} ssl http2;
    http2_max_concurrent_streams 256;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    default_type text/plain;
    location /1k {{ return 200 \"{content}\"; }}
    location /held {{ return 200 \"done\"; }}
  }}
}}
",
        certificate = files.certificate.display(),
        key = files.key.display(),
        content = "x".repeat(CONTENT),
    )
}
