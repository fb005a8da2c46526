//! What a program is told when it tries to change what a session keeps as it is: the error number alone says nothing of why.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// How long nothing more is said about a path.
const SAME: Duration = Duration::from_secs(60);
/// How long nothing is said about another: who removes a whole tree meets all that is kept in it.
const ANOTHER: Duration = Duration::from_millis(500);
/// Paths that are remembered.
const MOST: usize = 1000;

/// What was said lately.
#[derive(Default)]
pub(super) struct Kept {
    told: Mutex<HashMap<Box<Path>, Instant>>,
}

impl Kept {
    /// What to say to whoever could not change `path` and got `error`; nothing where it was said just now, or where something else is
    /// the reason. In a mediated tree only what is mounted there on purpose is busy or read-only.
    pub(super) fn why(&self, error: Errno, path: &Path) -> Option<String> {
        if !matches!(error, Errno::BUSY | Errno::ROFS) {
            return None;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        told.retain(|_, at| now.duration_since(*at) < SAME);
        let soon = told.values().any(|at| now.duration_since(*at) < ANOTHER);
        if soon || told.contains_key(path) || told.len() >= MOST {
            return None;
        }
        told.insert(path.into(), now);
        let path = path.display().to_string();
        Some(format!(
            "tagout: {} stays as it is while a session runs: programs outside act on it, or the manifest says so. Go on without changing \
             it, and tell the person what should be changed there.",
            path.escape_debug()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_and_never_about_anything_else() {
        let kept = Kept::default();
        assert_eq!(kept.why(Errno::ACCESS, Path::new("/w/a")), None);
        let line = kept.why(Errno::BUSY, Path::new("/w/\u{1b}[2J"));
        assert!(line.is_some_and(|line| line.starts_with("tagout: /w/\\u{1b}[2J stays")));
        assert_eq!(kept.why(Errno::ROFS, Path::new("/w/b")), None);
        std::thread::sleep(ANOTHER);
        assert!(kept.why(Errno::ROFS, Path::new("/w/b")).is_some());
        std::thread::sleep(ANOTHER);
        assert_eq!(kept.why(Errno::ROFS, Path::new("/w/b")), None);
    }
}
