//! Every entry below a folder, by as many threads as there is work for.
//!
//! The parallel walk's idle threads sleep for a millisecond before they look again, and a launch walks
//! the workspace more than once. A small workspace is walked by this thread alone.

use std::path::PathBuf;

use ignore::{DirEntry, WalkBuilder, WalkState};

/// Entries up to which a tree is small.
const SMALL: usize = 256;

/// Calls `visit` with every entry that `builder` finds and that could be read, each once, a folder before
/// what is in it. `visit` says whether the walk goes on into a folder.
pub(crate) fn each_entry(builder: &mut WalkBuilder, visit: impl Fn(DirEntry) -> WalkState + Sync) {
    let mut few = Vec::new();
    let mut walk = builder.build();
    loop {
        match walk.next() {
            Some(Ok(entry)) => few.push(entry),
            Some(Err(_)) => {}
            None => return visit_in_order(few, visit),
        }
        if few.len() > SMALL {
            break;
        }
    }
    drop((few, walk));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    builder.threads(threads.min(8)).build_parallel().run(|| {
        Box::new(|entry| match entry {
            Ok(entry) => visit(entry),
            Err(_) => WalkState::Continue,
        })
    });
}

/// Visits entries of which each folder is followed by what is in it.
fn visit_in_order(entries: Vec<DirEntry>, visit: impl Fn(DirEntry) -> WalkState) {
    let mut skipped: Option<PathBuf> = None;
    for entry in entries {
        let path = entry.path();
        if skipped
            .as_ref()
            .is_some_and(|folder| path.starts_with(folder))
        {
            continue;
        }
        let path = path.to_owned();
        match visit(entry) {
            WalkState::Continue => {}
            WalkState::Skip => skipped = Some(path),
            WalkState::Quit => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_entry_of_a_small_and_of_a_large_tree_is_visited_once() {
        for files in [0, 1, SMALL - 3, SMALL - 2, SMALL - 1, SMALL, 3 * SMALL] {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("inner")).unwrap();
            for number in 0..files {
                let place = ["", "inner"][number % 2];
                fs::write(folder.path().join(place).join(number.to_string()), "").unwrap();
            }
            let visited = Mutex::new(BTreeMap::new());
            let mut builder = WalkBuilder::new(folder.path());
            each_entry(builder.standard_filters(false), |entry| {
                let mut visited = visited.lock().unwrap();
                *visited.entry(entry.into_path()).or_insert(0) += 1;
                WalkState::Continue
            });
            let visited = visited.into_inner().unwrap();
            assert_eq!(visited.len(), files + 2, "{files} files");
            assert!(visited.values().all(|times| *times == 1));

            let seen = Mutex::new(0);
            each_entry(&mut builder, |entry| {
                *seen.lock().unwrap() += 1;
                match entry.path().ends_with("inner") {
                    true => WalkState::Skip,
                    false => WalkState::Continue,
                }
            });
            let outside = files.div_ceil(2) + 2;
            assert_eq!(seen.into_inner().unwrap(), outside, "{files} files");
        }
    }
}
