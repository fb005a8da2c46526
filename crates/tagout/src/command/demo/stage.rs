//! Where an act of the demo plays: a fake provider, a repository with a token in an unrelated
//! script, a `$TAGOUT_HOME` of its own, and the real `tagout` between them.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tagout_fake_railway::{Demo, FakeRailway, Options, RunningFake};

/// How long an act may take.
const LONGEST_ACT: Duration = Duration::from_secs(10);

/// One act's world. Everything of it goes when it is dropped.
pub(super) struct Stage {
    folder: PathBuf,
    fake: RunningFake,
    demo: Demo,
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
    /// A fresh provider with the demo's world and a fresh repository. With a manifest, it is trusted
    /// by its digest, as an operator without a terminal does.
    pub(super) fn build(demo: &Demo, manifest: &str) -> anyhow::Result<Self> {
        let fake = FakeRailway::start(Options {
            world: demo.world.clone(),
            ..Options::default()
        })?;
        let folder = private_folder()?;
        let stage = Self {
            folder,
            fake,
            demo: demo.clone(),
        };
        stage.write("home/config.toml", &stage.config(stage.fake.address))?;
        stage.write("provider-ca.pem", &stage.fake.ca_pem)?;
        stage.write(
            "repository/README.md",
            "# PocketOS\n\nCar rental software.\n",
        )?;
        stage.write(
            "repository/scripts/add-domain.sh",
            &format!(
                "#!/bin/sh\n# Adds a custom domain. Nothing else uses this token.\nexport RAILWAY_API_TOKEN={}\nrailway domain \"$1\"\n",
                demo.account_token
            ),
        )?;
        if !manifest.is_empty() {
            stage.write("repository/tagout.toml", manifest.trim_start())?;
            let file = stage.repository().join("tagout.toml");
            let digest = tagout_core::Digest::of(&fs::read(&file)?).to_string();
            let file = file.to_str().context("a path that is not text")?;
            stage.tagout(&["trust", "--digest", &digest, file])?;
        }
        Ok(stage)
    }

    /// Runs the agent with nothing around it. Only curl is told where the fake provider listens.
    pub(super) fn ungoverned(&self, script: &str) -> anyhow::Result<String> {
        let port = self.fake.address.port();
        self.write(
            "curl/.curlrc",
            &format!(
                "connect-to = \"backboard.railway.app:443:127.0.0.1:{port}\"\nconnect-to = \"backboard.railway.com:443:127.0.0.1:{port}\"\ncacert = \"{}\"\n",
                self.folder.join("provider-ca.pem").display()
            ),
        )?;
        let mut bash = Command::new("bash");
        bash.args(["-c", script])
            .current_dir(self.repository())
            .env("CURL_HOME", self.folder.join("curl"));
        start(bash)?.finish().map(|output| output.text)
    }

    /// Runs the agent under `tagout run` to its end.
    pub(super) fn governed(
        &self,
        script: &str,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Output> {
        self.start(script, environment)?.finish()
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

    /// What exists at the provider, as a person would list it.
    pub(super) fn inventory(&self) -> String {
        let world = self.fake.state();
        let mut lines = Vec::new();
        for volume in &world.volumes {
            for instance in world.instances_of(&volume.id) {
                let environment = world
                    .environments
                    .iter()
                    .find(|environment| environment.id == instance.environment_id)
                    .map_or("?", |environment| environment.name.as_str());
                lines.push(format!(
                    "    provider│ {:8} {environment:10} {} backups, holds {:?}",
                    volume.name,
                    instance.backups.len(),
                    String::from_utf8_lossy(&instance.data).trim_end()
                ));
            }
        }
        lines.join("\n")
    }

    pub(super) fn has_volume(&self, id: &str) -> bool {
        self.fake.state().has_volume(id)
    }

    /// Every `Authorization` that reached the provider.
    pub(super) fn authorizations(&self) -> Vec<String> {
        let requests = self.fake.requests();
        requests
            .into_iter()
            .filter_map(|request| request.authorization)
            .collect()
    }

    /// How many requests with a deletion reached the provider.
    pub(super) fn deletions(&self) -> usize {
        let deletes = |body: &[u8]| String::from_utf8_lossy(body).contains("volumeDelete");
        self.fake
            .requests()
            .iter()
            .filter(|request| deletes(&request.body))
            .count()
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut tagout = Command::new(std::env::current_exe()?);
        tagout
            .current_dir(self.repository())
            .env("TAGOUT_HOME", self.folder.join("home"))
            .env_remove("RAILWAY_API_TOKEN");
        Ok(tagout)
    }

    fn config(&self, address: SocketAddr) -> String {
        format!(
            "[network]\nca_files = [\"{}\"]\n\n[address]\n\"backboard.railway.com:443\" = \"{address}\"\n\"backboard.railway.app:443\" = \"{address}\"\n",
            self.folder.join("provider-ca.pem").display()
        )
    }

    fn repository(&self) -> PathBuf {
        self.folder.join("repository")
    }

    fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = self.folder.join(path);
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
        let _ = &self.demo;
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

fn start(mut command: Command) -> anyhow::Result<Running> {
    let (mut output, writer) = std::io::pipe()?;
    let errors = writer.try_clone()?;
    let child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors)
        .spawn()
        .context("cannot start the agent; the demo needs bash, grep and curl")?;
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
