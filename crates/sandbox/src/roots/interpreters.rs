//! What Python needs beside its program: a `bin` folder alone does not work.
//!
//! A virtual environment has its packages beside `bin`, and its `python` is a link to an interpreter that was installed somewhere else,
//! mostly below home (pyenv, uv, conda). Nothing of this is said by `PATH`. Links and environments may have been written by an agent in an
//! earlier session, so they never decide *what* is shown: a link counts only when it leads into a tool's folder that the table of roots
//! knows, and then that row is shown; folders beside `bin` count only when they really lie beside it.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Names of interpreters in a `bin` folder.
const PYTHONS: &[&str] = &["python", "python3"];

/// What lies beside `bin` in a virtual environment or an installation of Python.
const BESIDE: &[&str] = &["pyvenv.cfg", "lib", "lib64", "include", "share", "ssl"];

/// Folders of a workspace that are looked into for virtual environments.
const MOST_FOLDERS: usize = 256;

/// The interpreters of the virtual environments in a workspace, at its top and one folder below it (`.venv`, `backend/.venv`).
pub(super) fn of_workspace(workspace: &Path) -> Vec<PathBuf> {
    let below: Vec<PathBuf> = fs::read_dir(workspace)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .take(MOST_FOLDERS)
        .collect();
    let deeper = below
        .iter()
        .flat_map(|folder| [".venv", "venv"].map(|name| folder.join(name)));
    below
        .iter()
        .cloned()
        .chain(deeper)
        .filter(|folder| folder.join("pyvenv.cfg").is_file())
        .flat_map(|folder| of_folder(&folder.join("bin")))
        .collect()
}

/// The interpreters in a `bin` folder.
pub(super) fn of_folder(bin: &Path) -> Vec<PathBuf> {
    PYTHONS
        .iter()
        .map(|name| bin.join(name))
        .filter(|program| fs::symlink_metadata(program).is_ok())
        .collect()
}

/// Where a program's links lead, each place on the way, the real one last.
pub(super) fn led_to(program: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    let mut at = program.to_path_buf();
    while let Ok(target) = fs::read_link(&at) {
        if places.len() >= 40 {
            return Vec::new();
        }
        at = plain(&at.parent().unwrap_or(Path::new("/")).join(target));
        places.push(at.clone());
    }
    places.extend(program.canonicalize());
    places
}

/// What is to be shown beside a `bin` folder of `PATH`, so that the Python in it works; nothing for other folders.
pub(super) fn beside(bin: &Path) -> Vec<PathBuf> {
    let Some(prefix) = bin
        .parent()
        .filter(|_| bin.file_name().is_some_and(|name| name == "bin"))
    else {
        return Vec::new();
    };
    let own_library = || {
        let entries = fs::read_dir(prefix.join("lib")).into_iter().flatten();
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with("python3") && entry.path().join("os.py").is_file()
        })
    };
    if of_folder(bin).is_empty() || !(prefix.join("pyvenv.cfg").is_file() || own_library()) {
        return Vec::new();
    }
    let Ok(real) = prefix.canonicalize() else {
        return Vec::new();
    };
    BESIDE
        .iter()
        .map(|name| prefix.join(name))
        .filter(|path| {
            path.canonicalize()
                .is_ok_and(|place| place.starts_with(&real) && place != real)
        })
        .collect()
}

/// A path without `..`, as it is spelled: what it names is only compared with the table, never shown.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}
