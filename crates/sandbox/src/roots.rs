//! Installation roots: where tools live under a home directory, and which files there are credentials.
//!
//! One table. Whatever `PATH` or the command's own location names below home decides which rows apply: the row's folders are shown
//! read-only, its credential files empty. Nothing else of the home exists inside.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

mod interpreters;

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
        marker: "miniconda3",
        shown: &["miniconda3"],
        masked: &["miniconda3/.condarc"],
    },
    Row {
        marker: "anaconda3",
        shown: &["anaconda3"],
        masked: &["anaconda3/.condarc"],
    },
    Row {
        marker: "miniforge3",
        shown: &["miniforge3"],
        masked: &["miniforge3/.condarc"],
    },
    Row {
        marker: "mambaforge",
        shown: &["mambaforge"],
        masked: &["mambaforge/.condarc"],
    },
    Row {
        marker: ".conda/envs",
        shown: &[".conda/envs"],
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

/// What must be visible for `program` (absolute, outside), every entry of `search_path` and the virtual environments of `workspace` to work.
pub(crate) fn installation_roots(
    home: &Path,
    search_path: &str,
    program: Option<&Path>,
    workspace: &Path,
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
    let pythons: Vec<PathBuf> = wanted
        .iter()
        .flat_map(|entry| interpreters::of_folder(entry))
        .chain(wanted.iter().filter(|entry| entry.is_file()).cloned())
        .chain(interpreters::of_workspace(workspace))
        .collect();
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
        let beside: Vec<PathBuf> = interpreters::beside(&path)
            .into_iter()
            .filter(|beside| !shows_too_much(beside, home))
            .collect();
        let Ok(below_home) = path.strip_prefix(home) else {
            if !shows_too_much(&path, home) {
                add(path, Vec::new());
                beside.into_iter().for_each(|path| add(path, Vec::new()));
            }
            continue;
        };
        let known = rows(below_home);
        for (shown, masked) in shown_by(&known, home) {
            add(shown, masked);
        }
        // A folder that no row knows is shown by itself, unless it is so high up that it would show other things too.
        if known.is_empty() && below_home.components().count() > 0 {
            // What lies beside `~/bin` is the home.
            let own = below_home.components().count() > 1;
            add(path, Vec::new());
            beside
                .into_iter()
                .filter(|_| own)
                .for_each(|path| add(path, Vec::new()));
        }
    }
    let real_home = home.canonicalize().unwrap_or_else(|_| home.to_path_buf());
    for place in pythons
        .iter()
        .flat_map(|python| interpreters::led_to(python))
    {
        let below = place
            .strip_prefix(home)
            .or_else(|_| place.strip_prefix(&real_home));
        if let Ok(below) = below {
            for (shown, masked) in shown_by(&rows(below), home) {
                add(shown, masked);
            }
        }
    }
    roots
}

/// The rows that a path below home belongs to.
fn rows(below_home: &Path) -> Vec<&'static Row> {
    ROWS.iter()
        .filter(|row| below_home.starts_with(row.marker))
        .collect()
}

/// What rows show of a home, and what of it is empty.
fn shown_by(rows: &[&Row], home: &Path) -> Vec<(PathBuf, Vec<PathBuf>)> {
    rows.iter()
        .flat_map(|row| {
            row.shown.iter().map(|shown| {
                let masked = row.masked.iter().map(|masked| home.join(masked));
                (home.join(shown), masked.collect())
            })
        })
        .collect()
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
        installation_roots(
            Path::new("/home/u"),
            search_path,
            program,
            Path::new("/home/u/no-workspace"),
        )
        .into_iter()
        .map(|root| root.path)
        .collect()
    }

    #[test]
    fn a_path_entry_brings_its_tool_and_hides_its_credentials() {
        let roots = installation_roots(
            Path::new("/home/u"),
            "/home/u/.cargo/bin:/usr/bin",
            None,
            Path::new("/w"),
        );
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
            Path::new("/w"),
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
            installation_roots(&home, link.to_str().unwrap(), None, Path::new("/w")).len()
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

    /// A home with an interpreter of uv's and a workspace whose environment leads there by two links.
    fn python_world() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (home, workspace) = (folder.path().join("home"), folder.path().join("work"));
        let real = home.join(".local/share/uv/python/cpython/bin");
        let bin = workspace.join("backend/.venv/bin");
        for path in [&real, &home.join(".local/bin"), &bin, &home.join(".ssh")] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(real.join("python3.12"), "").unwrap();
        let link = home.join(".local/bin/python3.12");
        std::os::unix::fs::symlink(real.join("python3.12"), &link).unwrap();
        std::os::unix::fs::symlink(&link, bin.join("python")).unwrap();
        std::fs::write(workspace.join("backend/.venv/pyvenv.cfg"), "").unwrap();
        (folder, home, workspace)
    }

    #[test]
    fn an_environment_of_the_workspace_brings_its_interpreter() {
        let (_folder, home, workspace) = python_world();
        let shown: Vec<PathBuf> = installation_roots(&home, "", None, &workspace)
            .into_iter()
            .map(|root| root.path)
            .collect();
        assert!(shown.contains(&home.join(".local/share/uv")), "{shown:?}");
        assert!(shown.contains(&home.join(".local/bin")), "{shown:?}");
    }

    #[test]
    fn invariant_3_an_environment_that_an_agent_wrote_brings_nothing_but_tools() {
        let (folder, home, workspace) = python_world();
        let python = workspace.join("backend/.venv/bin/python");
        std::fs::create_dir_all(home.join("secret")).unwrap();
        for target in [
            home.join(".ssh"),
            home.join(".ssh/id_ed25519"),
            home.join("secret"),
            home.clone(),
            PathBuf::from("/proc/1/root"),
            python.clone(),
        ] {
            std::fs::remove_file(&python).unwrap();
            std::os::unix::fs::symlink(&target, &python).unwrap();
            let roots = installation_roots(&home, "", None, &workspace);
            assert_eq!(roots.len(), 0, "{}", target.display());
        }
        // A tool's folder named on a way that leaves it again shows the tool, and not where the way leads.
        std::fs::remove_file(&python).unwrap();
        let way = home.join(".local/share/uv/../../../.ssh/x");
        std::os::unix::fs::symlink(way, &python).unwrap();
        assert_eq!(installation_roots(&home, "", None, &workspace).len(), 0);
        drop(folder);
    }

    #[test]
    fn an_environment_on_path_is_shown_with_its_packages_and_nothing_that_only_seems_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let (home, venv) = (folder.path().join("home"), folder.path().join("venv"));
        for path in [
            home.join(".ssh"),
            home.join("bin"),
            home.join("lib/python3.12"),
            venv.join("bin"),
            venv.join("lib/python3.12"),
            venv.join("src"),
        ] {
            std::fs::create_dir_all(path).unwrap();
        }
        for file in [
            venv.join("pyvenv.cfg"),
            venv.join("bin/python"),
            home.join("pyvenv.cfg"),
            home.join("bin/python"),
        ] {
            std::fs::write(file, "").unwrap();
        }
        std::os::unix::fs::symlink("lib", venv.join("lib64")).unwrap();
        std::os::unix::fs::symlink(home.join(".ssh"), venv.join("share")).unwrap();
        std::os::unix::fs::symlink("..", venv.join("include")).unwrap();
        let shown = |search_path: PathBuf| -> Vec<PathBuf> {
            let search_path = search_path.display().to_string();
            let roots = installation_roots(&home, &search_path, None, Path::new("/w"));
            roots.into_iter().map(|root| root.path).collect()
        };
        let wanted = ["bin", "pyvenv.cfg", "lib", "lib64"].map(|name| venv.join(name));
        assert_eq!(shown(venv.join("bin")), wanted);
        // Beside `~/bin` lies the home.
        assert_eq!(shown(home.join("bin")), [home.join("bin")]);
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
