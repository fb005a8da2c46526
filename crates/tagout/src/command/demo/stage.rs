//! Where an act of a demo plays: a repository, a `$TAGOUT_HOME` of its own, and the real `tagout` between
//! them.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// How long an act may take.
const LONGEST_ACT: Duration = Duration::from_secs(60);

/// One act's world. Everything of it goes when it is dropped.
pub(super) struct Stage {
    folder: PathBuf,
    /// What the operator's shell has set.
    environment: Vec<(String, String)>,
}

/// What an agent printed.
pub(super) struct Output {
    /// Standard output and standard error, in order.
    pub(super) text: String,
}

/// A governed agent that still runs.
pub(super) struct Running {
    child: Child,
    reader: std::thread::JoinHandle<String>,
}

impl Stage {
    /// An empty repository and an operator's own `$TAGOUT_HOME`.
    pub(super) fn build() -> anyhow::Result<Self> {
        let stage = Self {
            folder: private_folder()?,
            environment: Vec::new(),
        };
        for folder in ["home", "repository"] {
            make(&stage.path(folder))?;
        }
        Ok(stage)
    }

    /// Sets a variable of the operator's shell.
    pub(super) fn export(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The agent with nothing around it.
    pub(super) fn bare(&self, script: &str) -> Command {
        let mut bash = Command::new("bash");
        bash.args(["-c", script])
            .current_dir(self.path("repository"));
        self.set(&mut bash);
        bash
    }

    fn set(&self, command: &mut Command) {
        let environment = self.environment.iter();
        command.envs(environment.map(|(name, value)| (name, value)));
    }

    /// Gives the repository a manifest, which is trusted by its digest, as an operator without a terminal
    /// does.
    pub(super) fn trust(&self, manifest: &str) -> anyhow::Result<()> {
        self.write("repository/tagout.toml", manifest.trim_start())?;
        let file = self.path("repository/tagout.toml");
        let digest = tagout_core::Digest::of(&fs::read(&file)?).to_string();
        let file = file.to_str().context("a path that is not text")?;
        self.tagout(&["trust", "--digest", &digest, file])?;
        Ok(())
    }

    /// Starts the agent under `tagout run`.
    pub(super) fn start(
        &self,
        script: &str,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Running> {
        let mut tagout = self.command()?;
        tagout
            .args(["run", "--", "bash", "-c", script])
            .envs(environment.iter().copied());
        start(tagout)
    }

    /// Runs `tagout` with `arguments` as the operator and gives what it printed.
    pub(super) fn tagout(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command()?.args(arguments).output()?;
        ensure!(
            output.status.success(),
            "tagout {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The id of the first action that waits; `None` when the agent ended without one.
    pub(super) fn wait_for_hold(&self, running: &mut Running) -> anyhow::Result<Option<String>> {
        let deadline = Instant::now() + LONGEST_ACT;
        while Instant::now() < deadline {
            for line in self.tagout(&["holds", "--json"])?.lines() {
                let hold: serde_json::Value = serde_json::from_str(line)?;
                if hold["state"] == "pending"
                    && let Some(id) = hold["id"].as_str()
                {
                    return Ok(Some(id.to_owned()));
                }
            }
            if running.child.try_wait()?.is_some() {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("nothing was held within {} s", LONGEST_ACT.as_secs())
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut tagout = Command::new(std::env::current_exe()?);
        tagout
            .current_dir(self.path("repository"))
            .env("TAGOUT_HOME", self.folder.join("home"))
            .env_remove("RAILWAY_API_TOKEN")
            .env_remove("DATABASE_URL");
        self.set(&mut tagout);
        Ok(tagout)
    }

    /// A path of the stage's.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Writes a file of the stage's.
    pub(super) fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path(path);
        if let Some(parent) = path.parent() {
            make(parent)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn make(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Running {
    /// Waits for the agent's end. An agent that never ends is ended.
    pub(super) fn finish(mut self) -> anyhow::Result<Output> {
        let deadline = Instant::now() + LONGEST_ACT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                bail!("the agent did not end within {} s", LONGEST_ACT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let text = self.reader.join().unwrap_or_default();
        Ok(Output { text })
    }
}

/// Starts an agent, or whatever prints.
pub(super) fn start(mut command: Command) -> anyhow::Result<Running> {
    let (mut output, writer) = std::io::pipe()?;
    let errors = writer.try_clone()?;
    let child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors)
        .spawn()
        .context("cannot start the agent; the demos need bash, grep and curl")?;
    // The command keeps the pipe's writing ends open; without them the reader sees the end.
    drop(command);
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = output.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    Ok(Running { child, reader })
}

/// A fresh folder that only this user can enter.
fn private_folder() -> anyhow::Result<PathBuf> {
    let base = std::env::temp_dir();
    for attempt in 0..100_u32 {
        let path = base.join(format!("tagout-demo-{}-{attempt}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {
                ensure!(owned_by_us(&path)?, "{} is not ours", path.display());
                return Ok(fs::canonicalize(path)?);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).context("cannot make a temporary folder"),
        }
    }
    bail!("cannot make a temporary folder in {}", base.display())
}

fn owned_by_us(path: &Path) -> anyhow::Result<bool> {
    Ok(fs::symlink_metadata(path)?.uid() == rustix::process::geteuid().as_raw())
}
