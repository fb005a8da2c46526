//! `tagout run`.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use tagout_sandbox::Stage;
use tagout_session::report::Report;
use tagout_session::task::Review;
use tagout_session::{Options, Screen};
use zeroize::Zeroizing;

use crate::arguments::RunArguments;
use crate::command::trust;
use crate::screen;

pub(crate) fn run(arguments: RunArguments, stage: Option<Stage>) -> anyhow::Result<u8> {
    let options = Options {
        manifest: arguments.manifest,
        workspace: arguments.workspace,
        environment: arguments.environment,
        agent: arguments.agent,
        allow_hosts: arguments.allow_hosts,
        publish: arguments.publish,
        hold_wait: Duration::from_secs(arguments.hold_wait),
        pane: arguments.pane,
        command: arguments.command,
    };
    let terminal = TerminalScreen::default();
    Ok(tagout_session::run(&options, stage, &terminal)?)
}

/// Standard error, with one line that is overwritten while something takes long.
#[derive(Default)]
struct TerminalScreen {
    progress: Mutex<Cell<bool>>,
}

impl Screen for TerminalScreen {
    fn say(&self, text: &str) {
        self.clear();
        screen::say(text);
    }

    fn columns(&self) -> Option<usize> {
        Some(screen::width_of(std::io::stderr())?.saturating_sub("tagout: ".len()))
    }

    fn progress(&self, text: &str) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        if let Ok(shown) = self.progress.lock() {
            shown.set(true);
            let _ = write!(std::io::stderr(), "\r\u{1b}[Ktagout: {text}");
        }
    }

    fn accept(&self, review: &Review<'_>) -> bool {
        self.clear();
        if !screen::has_terminal() {
            return false;
        }
        trust::show(review);
        screen::confirm("Accept this file as it is now?")
    }

    fn passphrase(&self, prompt: &str) -> Option<Zeroizing<String>> {
        self.clear();
        screen::passphrase(prompt).ok().map(Zeroizing::new)
    }

    fn report(&self, report: &Report) {
        self.clear();
        screen::report(report);
    }
}

impl TerminalScreen {
    fn clear(&self) {
        if let Ok(shown) = self.progress.lock()
            && shown.replace(false)
        {
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
        }
    }
}
