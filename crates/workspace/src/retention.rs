//! How long what sessions changed can be undone: the folders of the newest sessions, as long as they are young and small enough together.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What is kept is kept for so long at least that a person comes back from a holiday.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Bytes of all sessions together. The newest session's are kept in any case.
const MOST: u64 = 20 << 30;

/// Removes what is too old, or too much, from `folder`, which has a folder for each session. Those for which `keep` says so stay.
pub fn prune(folder: &Path, keep: impl Fn(&Path) -> bool) {
    prune_to(folder, SystemTime::now(), MOST, keep);
}

fn prune_to(folder: &Path, now: SystemTime, most: u64, keep: impl Fn(&Path) -> bool) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut sessions: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let journal = path.join(crate::journal::NAME);
            let changed = fs::metadata(&journal).or_else(|_| fs::metadata(&path));
            Some((changed.ok()?.modified().ok()?, path))
        })
        .collect();
    sessions.sort();
    let mut together = 0;
    for (index, (changed, path)) in sessions.iter().rev().enumerate() {
        let bytes = size(path);
        let old = now.duration_since(*changed).is_ok_and(|age| age > LONGEST);
        let too_much = index > 0 && together + bytes > most;
        if (old || too_much) && !keep(path) {
            let _ = fs::remove_dir_all(path);
        } else {
            together += bytes;
        }
    }
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_the_old_and_the_many_go() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (name, days, bytes) in [("a", 40, 10), ("b", 3, 600), ("c", 2, 600), ("d", 1, 2000)] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            let journal = fs::File::create(path.join("journal")).unwrap();
            journal.set_len(bytes).unwrap();
            let age = Duration::from_secs(days * 24 * 60 * 60);
            journal.set_modified(now - age).unwrap();
        }
        prune_to(folder.path(), now, 2700, |path| path.ends_with("a"));
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["a", "c", "d"]);
    }
}
