//! Installation roots: where tools live under a home directory, and which files there are credentials.
//!
//! One table. Whatever `PATH` or the command's own location names below home decides which rows apply: the row's folders are shown
//! read-only, its credential files empty. Nothing else of the home exists inside.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A row: a tool whose programs lie under `marker`.
struct Row {
    /// A program in or below this folder (relative to home) belongs to the tool.
    marker: &'static str,
    /// What the tool needs, relative to home.
    shown: &'static [&'static str],
    /// Credential files in there, relative to home.
    masked: &'static [&'static str],
}

const ROWS: &[Row] = &[
    Row {
        marker: ".cargo",
        // Not the folder itself: cargo writes there, and its own caches are none of the inside's.
        shown: &[".cargo/bin", ".cargo/env", ".rustup"],
        masked: &[],
    },
    Row {
        marker: ".rustup",
        shown: &[".rustup"],
        masked: &[],
    },
    Row {
        marker: ".pyenv",
        shown: &[".pyenv"],
        masked: &[],
    },
    Row {
        marker: ".rbenv",
        shown: &[".rbenv"],
        masked: &[],
    },
    Row {
        marker: ".nvm",
        shown: &[".nvm"],
        masked: &[],
    },
    Row {
        marker: ".fnm",
        shown: &[".fnm"],
        masked: &[],
    },
    Row {
        marker: ".local/share/fnm",
        shown: &[".local/share/fnm"],
        masked: &[],
    },
    Row {
        marker: ".local/state/fnm_multishells",
        shown: &[".local/state/fnm_multishells", ".local/share/fnm"],
        masked: &[],
    },
    Row {
        marker: ".volta",
        shown: &[".volta"],
        masked: &[],
    },
    Row {
        marker: ".asdf",
        shown: &[".asdf"],
        masked: &[],
    },
    Row {
        marker: ".local/share/mise",
        shown: &[".local/share/mise"],
        masked: &[],
    },
    Row {
        marker: ".npm-global",
        shown: &[".npm-global"],
        masked: &[".npm-global/etc/npmrc"],
    },
    Row {
        marker: ".local/share/pnpm",
        shown: &[".local/share/pnpm"],
        masked: &[],
    },
    Row {
        marker: ".bun",
        shown: &[".bun"],
        masked: &[],
    },
    Row {
        marker: ".deno",
        shown: &[".deno"],
        masked: &[],
    },
    Row {
        marker: "go/bin",
        shown: &["go/bin"],
        masked: &[],
    },
    Row {
        marker: ".go",
        shown: &[".go"],
        masked: &[],
    },
    Row {
        marker: ".sdkman",
        shown: &[".sdkman"],
        masked: &[],
    },
    Row {
        marker: ".nix-profile",
        shown: &[".nix-profile"],
        masked: &[],
    },
    Row {
        marker: ".dotnet",
        shown: &[".dotnet"],
        masked: &[],
    },
    Row {
        marker: ".ghcup",
        shown: &[".ghcup"],
        masked: &[],
    },
    Row {
        marker: ".juliaup",
        shown: &[".juliaup", ".julia/juliaup"],
        masked: &[],
    },
    Row {
        marker: ".opencode",
        shown: &[".opencode"],
        masked: &[],
    },
    Row {
        marker: ".local/share/claude",
        shown: &[".local/share/claude"],
        masked: &[],
    },
    Row {
        marker: ".claude/local",
        shown: &[".claude/local"],
        masked: &[],
    },
    Row {
        marker: ".local/share/uv",
        shown: &[".local/share/uv"],
        masked: &[".local/share/uv/credentials"],
    },
    Row {
        marker: ".local/pipx",
        shown: &[".local/pipx"],
        masked: &[],
    },
    Row {
        marker: ".local/share/pipx",
        shown: &[".local/share/pipx"],
        masked: &[],
    },
    Row {
        marker: ".local/bin",
        // Programs there are mostly links into these.
        shown: &[
            ".local/bin",
            ".local/lib",
            ".local/pipx",
            ".local/share/claude",
            ".local/share/cursor-agent",
            ".local/share/pipx",
            ".local/share/uv",
        ],
        masked: &[".local/share/uv/credentials"],
    },
];

/// One folder to show, and the files in it to show empty.
pub(crate) struct InstallationRoot {
    /// Absolute; may not exist, may be a symbolic link.
    pub(crate) path: PathBuf,
    /// Absolute.
    pub(crate) masked: Vec<PathBuf>,
}

/// What must be visible for `program` (absolute, outside) and every entry of `search_path` to work.
pub(crate) fn installation_roots(
    home: &Path,
    search_path: &str,
    program: Option<&Path>,
) -> Vec<InstallationRoot> {
    let mut wanted: Vec<PathBuf> = search_path
        .split(':')
        .map(PathBuf::from)
        .filter(|entry| entry.is_absolute())
        .collect();
    if let Some(program) = program {
        wanted.push(program.to_path_buf());
        wanted.extend(interpreter(program));
        if let Ok(real) = program.canonicalize() {
            wanted.extend(interpreter(&real));
            wanted.push(real);
        }
    }
    let mut roots: Vec<InstallationRoot> = Vec::new();
    let mut add = |path: PathBuf, masked: Vec<PathBuf>| {
        if !roots.iter().any(|root| root.path == path) {
            roots.push(InstallationRoot { path, masked });
        }
    };
    for path in wanted {
        if leads_to_hidden(&path, home) {
            continue;
        }
        let Ok(below_home) = path.strip_prefix(home) else {
            if !shows_too_much(&path, home) {
                add(path, Vec::new());
            }
            continue;
        };
        let rows: Vec<&Row> = ROWS
            .iter()
            .filter(|row| below_home.starts_with(row.marker))
            .collect();
        for row in &rows {
            for shown in row.shown {
                add(
                    home.join(shown),
                    row.masked.iter().map(|masked| home.join(masked)).collect(),
                );
            }
        }
        // A folder that no row knows is shown by itself, unless it is so high up that it would show other things too.
        if rows.is_empty() && below_home.components().count() > 0 {
            add(path, Vec::new());
        }
    }
    roots
}

/// Whether a path leads, by symbolic links, to home itself or to a hidden folder of home that no row knows (`.ssh`, `.aws`): a link in another
/// project, which an agent may have laid there, must not bring it in.
fn leads_to_hidden(path: &Path, home: &Path) -> bool {
    // What the person spelled out without a link is meant.
    let spelled = path.strip_prefix(home).ok();
    let (Ok(real), Ok(home)) = (path.canonicalize(), home.canonicalize()) else {
        return false;
    };
    let Ok(below) = real.strip_prefix(&home) else {
        return home.starts_with(&real);
    };
    let hidden = below
        .components()
        .next()
        .is_some_and(|first| first.as_os_str().as_bytes().starts_with(b"."));
    let known = ROWS.iter().any(|row| {
        below.starts_with(row.marker) || row.shown.iter().any(|shown| below.starts_with(shown))
    });
    below.as_os_str().is_empty() || (hidden && !known && spelled != Some(below))
}

/// Whether a `PATH` entry is so high up, or of such a kind, that it would show other things than programs.
fn shows_too_much(path: &Path, home: &Path) -> bool {
    home.starts_with(path)
        || path.components().count() <= 2
        || ["/proc", "/sys", "/dev"]
            .iter()
            .any(|kernel| path.starts_with(kernel))
}

/// The program that a script's first line names, and what `env` would find nothing of: only absolute paths count.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let mut start = [0; 256];
    let length = File::open(script).ok()?.read(&mut start).ok()?;
    let line = start.get(..length)?.strip_prefix(b"#!")?;
    let line = line.split(|&byte| byte == b'\n').next()?;
    let path = line
        .split(|byte| byte.is_ascii_whitespace())
        .find(|word| !word.is_empty())?;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(path));
    path.is_absolute().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(search_path: &str, program: Option<&Path>) -> Vec<PathBuf> {
        installation_roots(Path::new("/home/u"), search_path, program)
            .into_iter()
            .map(|root| root.path)
            .collect()
    }

    #[test]
    fn a_path_entry_brings_its_tool_and_hides_its_credentials() {
        let roots = installation_roots(Path::new("/home/u"), "/home/u/.cargo/bin:/usr/bin", None);
        assert_eq!(roots[0].path, Path::new("/home/u/.cargo/bin"));
        assert!(
            roots
                .iter()
                .any(|root| root.path == Path::new("/home/u/.rustup"))
        );
        let roots = installation_roots(
            Path::new("/home/u"),
            "/home/u/.npm-global/bin:/usr/bin",
            None,
        );
        assert!(
            roots[0]
                .masked
                .contains(&PathBuf::from("/home/u/.npm-global/etc/npmrc"))
        );
    }

    #[test]
    fn the_home_itself_is_never_shown() {
        assert!(paths("/home/u:/home/u/", None).is_empty());
    }

    #[test]
    fn invariant_3_a_link_brings_no_hidden_folder_of_home() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        std::fs::create_dir_all(home.join(".ssh")).unwrap();
        std::fs::create_dir_all(home.join(".cargo/bin")).unwrap();
        let link = |name: &str, target: &Path| {
            let link = folder.path().join(name);
            std::os::unix::fs::symlink(target, &link).unwrap();
            installation_roots(&home, link.to_str().unwrap(), None).len()
        };
        assert_eq!(link("a", &home.join(".ssh")), 0);
        assert_eq!(link("b", &home), 0);
        assert_eq!(link("c", folder.path()), 0);
        assert_eq!(link("d", &home.join(".cargo/bin")), 1);
    }

    #[test]
    fn what_is_above_home_is_never_shown() {
        assert!(paths("/home:/:/var:/proc/1/root/usr/bin:relative::", None).is_empty());
    }

    #[test]
    fn an_unknown_folder_shows_only_itself() {
        assert_eq!(
            paths("/home/u/tools/bin", None),
            [PathBuf::from("/home/u/tools/bin")]
        );
        assert_eq!(
            paths("/srv/tools/bin", None),
            [PathBuf::from("/srv/tools/bin")]
        );
    }

    #[test]
    fn a_script_brings_its_interpreter() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("tool");
        std::fs::write(&script, "#! /home/u/.pyenv/bin/python3 -u\n").unwrap();
        assert!(paths("", Some(&script)).contains(&PathBuf::from("/home/u/.pyenv")));
    }

    #[test]
    fn every_masked_file_is_in_a_shown_folder() {
        for row in ROWS {
            for masked in row.masked {
                assert!(
                    row.shown
                        .iter()
                        .any(|shown| Path::new(masked).starts_with(shown)),
                    "{masked}"
                );
            }
        }
    }
}
