//! A real terminal to run things in: tmux, which is asked what its screen shows.

use crate::{World, eventually, finish};
use std::path::PathBuf;

/// A terminal with a shell in the world's workspace, until it is dropped.
pub struct Terminal<'a> {
    world: &'a World,
    socket: PathBuf,
}

impl<'a> Terminal<'a> {
    /// Opens a terminal of 100 columns and 30 lines. Its shell's prompt is `outside> `.
    pub fn open(world: &'a World) -> Terminal<'a> {
        let terminal = Terminal {
            world,
            socket: world.home().join("terminal"),
        };
        let shell = "env PS1='outside> ' bash --norc --noprofile -i";
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "30",
            shell,
        ]);
        terminal.shows("outside>");
        terminal
    }

    /// Types a line and presses Enter.
    pub fn line(&self, line: &str) -> &Self {
        self.tmux(&["send-keys", "-l", line]);
        self.key("Enter")
    }

    /// Presses a key by tmux's name for it, such as `C-c`.
    pub fn key(&self, key: &str) -> &Self {
        self.tmux(&["send-keys", key]);
        self
    }

    /// Presses a key in one of the window's panes.
    pub fn key_in(&self, pane: &str, key: &str) -> &Self {
        self.tmux(&["send-keys", "-t", pane, key]);
        self
    }

    /// The window's panes, from the top, by tmux's ids.
    pub fn panes(&self) -> Vec<String> {
        let listed = self.tmux(&["list-panes", "-F", "#{pane_id}"]);
        listed.lines().map(str::to_owned).collect()
    }

    /// What one of the panes shows now.
    pub fn screen_of(&self, pane: &str) -> String {
        self.tmux(&["capture-pane", "-p", "-t", pane])
    }

    /// Gives the window another size.
    pub fn resize(&self, columns: u16, lines: u16) -> &Self {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &lines]);
        self
    }

    /// Waits until the screen has a text.
    #[track_caller]
    pub fn shows(&self, text: &str) -> &Self {
        self.shows_times(text, 1)
    }

    /// Waits until the screen has a text so many times.
    #[track_caller]
    pub fn shows_times(&self, text: &str, times: usize) -> &Self {
        let mut screen = String::new();
        let shown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(&format!("{text:?} on the screen"), || {
                screen = self.screen();
                screen.matches(text).count() >= times
            });
        }));
        assert!(
            shown.is_ok(),
            "{text:?} is not {times} times on the screen:\n{screen}"
        );
        self
    }

    /// What the screen shows now.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut tmux = self.world.outside("tmux");
        tmux.arg("-S").arg(&self.socket).args(arguments);
        finish(&mut tmux).success().stdout
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        // The server ends its shell with it; a test that failed leaves nothing behind either way.
        let mut tmux = self.world.outside("tmux");
        let _ = tmux.arg("-S").arg(&self.socket).arg("kill-server").output();
    }
}
