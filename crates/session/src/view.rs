//! What the agent sees: the workspace with twins and guards, and the few files of `/etc` through
//! which programs find names.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ignore::{WalkBuilder, WalkState};
use tagout_sandbox::{Guard, OverlayFile, Placeholder, Tree, Twin};

use crate::scan::FoundFile;
use crate::twins::Editable;
use crate::workspace::{Git, Workspace};

/// The largest set-id program that is shown as a copy; a larger one is shown empty.
const LARGEST_COPY: u64 = 16 * 1024 * 1024;

/// Files of the manifest's folder that nobody inside may change, present or absent.
const CONTROL_FILES: &[&str] = &["tagout.toml", "policy.cedar"];

/// The twins that the agent may edit: those of files that nothing else protects.
pub(crate) fn editable(workspace: &Workspace, found: &[FoundFile]) -> io::Result<Editable> {
    let (tree, _) = guarded_trees(workspace)?;
    let candidates = found.iter().filter(|file| {
        let guarded = tree
            .guards
            .iter()
            .any(|guard| file.path.starts_with(&guard.path));
        !guarded && !file.is_withheld()
    });
    Ok(Editable::of(
        &workspace.path,
        candidates.map(|file| (file.path.as_path(), file.twin.as_slice())),
    ))
}

/// The trees of a session: the workspace, and what a linked worktree shares with others.
pub(crate) fn trees(
    workspace: &Workspace,
    found: &[FoundFile],
    editable: &Editable,
) -> io::Result<(Tree, Vec<Tree>)> {
    let (mut tree, extra) = guarded_trees(workspace)?;
    let mut twins: Vec<Twin> = found
        .iter()
        .map(|file| Twin {
            path: file.path.clone(),
            bytes: file.twin.clone(),
            editable: editable.contains(&file.path),
        })
        .collect();
    for twin in covered(&tree.path) {
        if !twins.iter().any(|known| known.path == twin.path) {
            twins.push(twin);
        }
    }
    // The twin of a guarded file is read-only, so it guards its file as well; what lies in a guarded folder stays as it is.
    tree.guards
        .retain(|guard| !twins.iter().any(|twin| twin.path == guard.path));
    twins.retain(|twin| {
        !tree
            .guards
            .iter()
            .any(|guard| twin.path.starts_with(&guard.path))
    });
    tree.twins = twins;
    Ok((tree, extra))
}

/// The trees with their guards alone.
fn guarded_trees(workspace: &Workspace) -> io::Result<(Tree, Vec<Tree>)> {
    let mut tree = Tree::open(&workspace.path)?;
    tree.guards.extend(CONTROL_FILES.iter().map(Guard::folder));
    let mut extra = Vec::new();
    match &workspace.git {
        None => {}
        Some(Git::Folder) => tree
            .guards
            .extend(git_guards(&tree.path, Path::new(".git"))),
        Some(Git::Linked { common, .. }) => {
            tree.guards.push(Guard::file(".git", *b""));
            if let Ok(below) = common.strip_prefix(&tree.path) {
                tree.guards.extend(git_guards(&tree.path, below));
            } else {
                let mut shared = Tree::open(common)?;
                shared.guards = git_guards(&shared.path, Path::new(""));
                extra.push(shared);
            }
        }
    }
    Ok((tree, extra))
}

/// What in a workspace reaches further than a file: sockets and pipes, behind which a program of the
/// host may listen whatever network the inside is in, are covered by an empty file; programs with set-id
/// bits, which writing through a mapping would not clear, by a copy that cannot be written.
fn covered(workspace: &Path) -> Vec<Twin> {
    let found = Mutex::new(Vec::new());
    WalkBuilder::new(workspace)
        .standard_filters(false)
        .hidden(false)
        .follow_links(false)
        .build_parallel()
        .run(|| {
            Box::new(|entry| {
                let Ok(entry) = entry else {
                    return WalkState::Continue;
                };
                let bytes = match entry.file_type() {
                    Some(kind) if kind.is_socket() || kind.is_fifo() => Some(Vec::new()),
                    Some(kind)
                        if kind.is_file()
                            && entry.metadata().is_ok_and(|file| file.mode() & 0o6000 != 0) =>
                    {
                        let small = entry
                            .metadata()
                            .is_ok_and(|file| file.len() <= LARGEST_COPY);
                        let bytes = small.then(|| fs::read(entry.path()).ok()).flatten();
                        Some(bytes.unwrap_or_default())
                    }
                    _ => None,
                };
                if let (Some(bytes), Ok(path)) = (bytes, entry.path().strip_prefix(workspace))
                    && let Ok(mut found) = found.lock()
                {
                    found.push(Twin {
                        path: path.to_owned(),
                        bytes,
                        editable: false,
                    });
                }
                WalkState::Continue
            })
        });
    found
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The places of a session's trees that cannot be changed, absolute, with what stands there when nothing does.
pub(crate) fn guards(workspace: &Workspace) -> io::Result<HashMap<PathBuf, Placeholder>> {
    let (tree, extra) = guarded_trees(workspace)?;
    Ok(std::iter::once(tree)
        .chain(extra)
        .flat_map(|tree| {
            tree.guards
                .into_iter()
                .map(move |guard| (tree.path.join(guard.path), guard.absent))
        })
        .collect())
}

/// Everything in a git folder from which git, run outside, takes programs or other git folders: its
/// own, that of each submodule, and what says where each linked worktree belongs.
fn git_guards(tree: &Path, folder: &Path) -> Vec<Guard> {
    let mut guards = Guard::git_folder(folder);
    for worktree in folders_in(tree, &folder.join("worktrees")) {
        for name in ["commondir", "gitdir", "config.worktree"] {
            guards.push(Guard::file(worktree.join(name), *b""));
        }
    }
    // A submodule's name may have slashes, and a submodule may have submodules.
    let mut open = folders_in(tree, &folder.join("modules"));
    while let Some(module) = open.pop() {
        if tree.join(&module).join("HEAD").is_file() {
            guards.extend(git_guards(tree, &module));
        } else {
            open.extend(folders_in(tree, &module));
        }
    }
    guards
}

/// The folders in a folder of a tree, relative to the tree; symbolic links are none.
fn folders_in(tree: &Path, folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(tree.join(folder)) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| folder.join(entry.file_name()))
        .collect()
}

/// The files through which programs inside find names.
pub(crate) fn overlays(hostname: &str) -> Vec<OverlayFile> {
    let file = |path: &str, text: String| OverlayFile {
        path: PathBuf::from(path),
        bytes: text.into_bytes(),
        mode: 0o644,
    };
    vec![
        file(
            "/etc/hosts",
            format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 {hostname}\n"),
        ),
        file("/etc/resolv.conf", "nameserver 198.18.0.1\noptions timeout:2 attempts:2\n".to_owned()),
        file(
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\nethers: files\nrpc: files\n"
                .to_owned(),
        ),
    ]
}
