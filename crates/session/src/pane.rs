//! `--pane`: `tagout holds --watch` beside the agent, in a pane of the tmux that the session was started
//! in. The agent has no way to that tmux: its socket is not inside.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tagout_credentials::find_program;

use crate::home::Home;

/// The pane's height in lines.
const LINES: &str = "14";

/// A pane that closes when this is dropped.
pub(crate) struct Pane {
    tmux: PathBuf,
    id: String,
}

impl Pane {
    /// Finds tmux, before anything else is done.
    ///
    /// # Errors
    /// A sentence, when this terminal is not in tmux.
    pub(crate) fn tmux(
        workspace: &Path,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<PathBuf, String> {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        if set("TMUX").is_none() {
            return Err(
                "--pane opens a pane of tmux, and this terminal is not in one; start tmux first, or \
                 run `tagout holds --watch` in another terminal"
                    .to_owned(),
            );
        }
        let path = set("PATH").unwrap_or_default();
        find_program("tmux", Some(path.as_ref()), workspace)
            .ok_or_else(|| "--pane needs the program tmux on PATH, and it is not there".to_owned())
    }

    /// Opens the pane below the agent's, which keeps the keyboard.
    ///
    /// # Errors
    /// What tmux said.
    pub(crate) fn open(tmux: PathBuf, home: &Home) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(&tmux);
        command.args(["split-window", "-d", "-v", "-l", LINES, "-P"]);
        command.args(["-F", "#{pane_id}", "-c", "/"]);
        if let Ok(own) = std::env::var("TMUX_PANE") {
            command.args(["-t", &own]);
        }
        let output = command
            .arg("-e")
            .arg(format!("TAGOUT_HOME={}", home.path().display()))
            .arg(program)
            .args(["holds", "--watch"])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("tmux could not be started: {error}"))?;
        let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() || !id.starts_with('%') {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(format!("tmux opened no pane: {said}"));
        }
        Ok(Self { tmux, id })
    }
}

impl Drop for Pane {
    fn drop(&mut self) {
        // The person may have closed it already.
        let _ = Command::new(&self.tmux)
            .args(["kill-pane", "-t", &self.id])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
