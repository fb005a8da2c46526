//! A held action shows on the person's desktop, by `notify-send`, the client that every desktop of
//! freedesktop.org has. Never on the agent's terminal: there the agent could draw one of its own.
//!
//! What must stay true: text that an agent chose cannot be more than text (no markup, no option, no
//! control character), and an agent that holds without end cannot flood the desktop.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tagout_authority::approval::escape_untrusted;
use tagout_core::{HoldId, SessionId};
use tagout_credentials::find_program;
use tagout_store::{HoldRecord, HoldState, Store};

/// So many notifications in [`WINDOW`], then one that says that there are more.
const MOST: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// The longest text of a notification, in characters.
const LONGEST: usize = 240;

/// Shows the holds of a session, each once.
pub(crate) struct Notifier {
    session: SessionId,
    program: Option<PathBuf>,
    shown: HashSet<HoldId>,
    recent: Vec<Instant>,
}

impl Notifier {
    /// For a session on this desktop; one that shows nothing where there is no desktop.
    pub(crate) fn new(
        session: &SessionId,
        workspace: &Path,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let desktop = ["DBUS_SESSION_BUS_ADDRESS", "WAYLAND_DISPLAY", "DISPLAY"]
            .iter()
            .any(|name| set(name).is_some());
        let path = set("PATH").filter(|_| desktop);
        Self {
            session: session.clone(),
            program: path
                .and_then(|path| find_program("notify-send", Some(path.as_ref()), workspace)),
            shown: HashSet::new(),
            recent: Vec::new(),
        }
    }

    /// Shows what waits and was not shown yet.
    pub(crate) fn look(&mut self, store: &Store) {
        let Some(program) = &self.program else {
            return;
        };
        let Ok(holds) = store.holds(Some(&self.session), &[HoldState::Pending]) else {
            return;
        };
        for hold in &holds {
            if !self.shown.insert(hold.id.clone()) {
                continue;
            }
            self.recent.retain(|at| at.elapsed() < WINDOW);
            self.recent.push(Instant::now());
            match self.recent.len() {
                count if count <= MOST => show(program, &text_of(hold)),
                count if count == MOST + 1 => {
                    show(program, "More actions wait: run tagout holds");
                }
                _ => {}
            }
        }
    }
}

/// What is shown of a hold: what it would do, where, and the command that answers.
fn text_of(hold: &HoldRecord) -> String {
    let summary: String = escape_untrusted(&hold.summary)
        .chars()
        .take(LONGEST)
        .collect();
    let environment = escape_untrusted(&hold.environment);
    let place = match environment.as_str() {
        "" => String::new(),
        environment => format!("\nEnvironment: {}", without_markup(environment)),
    };
    format!(
        "{}{place}\ntagout approve {}",
        without_markup(&summary),
        hold.id
    )
}

/// Notification bodies may have markup (Desktop Notifications Specification, "Markup").
fn without_markup(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Starts the client and does not wait: a bus that hangs holds nothing up.
fn show(program: &Path, body: &str) {
    let started = Command::new(program)
        .args(["--app-name=Tagout", "--urgency=critical", "--"])
        .args(["An agent waits for you", body])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Ok(mut client) = started {
        // Somebody has to take its end, or it stays a zombie as long as the session.
        std::thread::spawn(move || client.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_an_agents_choice_is_only_text() {
        let text = without_markup("<a href=\"x\">Approve</a> & <img src=x>");
        assert!(!text.contains('<') && !text.contains('>'), "{text}");
        assert_eq!(text.matches('&').count(), text.matches(';').count());
    }

    #[test]
    fn without_a_desktop_nothing_is_started() {
        let id = SessionId::random().unwrap();
        let path = |name: &str| (name == "PATH").then(|| "/usr/bin:/bin".to_owned());
        assert!(Notifier::new(&id, Path::new("/w"), path).program.is_none());
    }
}
