//! What the agent sees: the workspace with twins and guards, and the few files of `/etc` through
//! which programs find names.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use ignore::{WalkBuilder, WalkState};
use rustix::fs::Access;
use tagout_policy::Task;
use tagout_sandbox::{Guard, OverlayFile, Placeholder, Tree, Twin};

use crate::control_files::{self, Protection};
use crate::git_programs::{self, Repository};
use crate::scan::FoundFile;
use crate::twins::Editable;
use crate::walk::each_entry;
use crate::workspace::{Git, Workspace};

/// Beside the workspace's own, as many repositories have folders that can be neither renamed nor removed. In further ones that works, and
/// the report says what became of them.
const MOST_PINNED: usize = 32;
/// The largest set-id program that is shown as a copy; a larger one is shown empty.
const LARGEST_COPY: u64 = 16 * 1024 * 1024;

/// Files of the manifest's folder that nobody inside may change, present or absent.
const CONTROL_FILES: &[&str] = &["tagout.toml", "policy.cedar"];

/// The twins that the agent may edit: those of files that nothing else protects.
pub(crate) fn editable(
    workspace: &Workspace,
    looked: &Looked,
    found: &[FoundFile],
) -> io::Result<Editable> {
    let (tree, _) = guarded_trees(workspace, looked)?;
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
    looked: &Looked,
    found: &[FoundFile],
    editable: &Editable,
) -> io::Result<(Tree, Vec<Tree>)> {
    let (mut tree, extra) = guarded_trees(workspace, looked)?;
    let mut twins: Vec<Twin> = found
        .iter()
        .map(|file| Twin {
            path: file.path.clone(),
            bytes: file.twin.clone(),
            editable: editable.contains(&file.path),
        })
        .collect();
    for twin in looked.covered.iter().cloned() {
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

/// Globs of the manifest's `[workspace]`.
#[derive(Default)]
struct Globs {
    whole: GlobSet,
}

impl Globs {
    /// What is no glob was refused with the manifest.
    fn of(globs: &[String]) -> Self {
        let mut whole = GlobSetBuilder::new();
        for glob in globs {
            // All in a folder is the folder: what appears in it later is in it too.
            let glob = glob.trim_end_matches('/');
            let glob = glob.strip_suffix("/**").unwrap_or(glob);
            if let Ok(glob) = GlobBuilder::new(glob).literal_separator(true).build() {
                whole.add(glob);
            }
        }
        Self {
            whole: whole.build().unwrap_or_default(),
        }
    }

    /// Whether a glob matches this very path.
    fn match_here(&self, path: &Path) -> bool {
        !self.whole.is_empty() && !path.as_os_str().is_empty() && self.whole.is_match(path)
    }
}

/// The trees with their guards alone.
fn guarded_trees(workspace: &Workspace, looked: &Looked) -> io::Result<(Tree, Vec<Tree>)> {
    let mut tree = Tree::open(&workspace.path)?;
    tree.hidden.clone_from(&looked.hidden);
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
    for guard in looked
        .git
        .iter()
        .cloned()
        .chain(control_files::guards(&looked.control))
    {
        let known = tree.guards.iter().any(|known| known.path == guard.path);
        if !known && !looked.is_hidden(&guard.path) {
            tree.guards.push(guard);
        }
    }
    for path in &looked.read_only {
        tree.guards.push(Guard::folder(path).loose());
    }
    Ok((tree, extra))
}

/// What lies in a workspace that is not shown as it is, found in one walk.
#[derive(Default)]
pub(crate) struct Looked {
    covered: Vec<Twin>,
    /// Control files.
    control: Vec<PathBuf>,
    /// Further repositories: `.git`, or a bare one.
    repositories: Vec<PathBuf>,
    /// What git outside would run or believe of those, and what their configuration and the workspace's own names.
    git: Vec<Guard>,
    /// What the manifest hides, and what it keeps as it is.
    hidden: Vec<PathBuf>,
    read_only: Vec<PathBuf>,
    /// What the person owns and cannot read, which is hidden too: nobody looked at it, and inside its owner could open it.
    unreadable: Vec<PathBuf>,
    /// What the manifest hides, where it is not there yet.
    hides: Globs,
}

impl Looked {
    /// Looks through a workspace once, before the command runs.
    pub(crate) fn at(workspace: &Workspace, task: &Task) -> Self {
        let (hidden, read_only) = (Globs::of(&task.hidden), Globs::of(&task.read_only));
        let mut looked = look(&workspace.path, &hidden, &read_only);
        looked.hides = hidden;
        for paths in [
            &mut looked.control,
            &mut looked.repositories,
            &mut looked.hidden,
            &mut looked.read_only,
            &mut looked.unreadable,
        ] {
            paths.sort();
        }
        looked.git = looked.git_guards_in(workspace);
        looked
    }

    /// Guards for the repositories that are not the workspace's own, and for what the configuration of any names in the workspace.
    fn git_guards_in(&self, workspace: &Workspace) -> Vec<Guard> {
        let further = self.repositories.iter().enumerate();
        let mut guards: Vec<Guard> = further
            .flat_map(|(number, folder)| {
                let guards = match workspace.path.join(folder).is_dir() {
                    true => git_guards(&workspace.path, folder),
                    // It names a folder elsewhere.
                    false => vec![Guard::file(folder, *b"")],
                };
                let pinned = number < MOST_PINNED;
                guards.into_iter().map(move |guard| match pinned {
                    true => guard,
                    false => guard.loose(),
                })
            })
            .collect();
        let own = workspace.git.as_ref().map(|_| Path::new(".git"));
        let repositories: Vec<Repository> = own
            .into_iter()
            .chain(self.repositories.iter().map(PathBuf::as_path))
            .map(|path| {
                let folder = workspace.path.join(path);
                let top = match path.ends_with(".git") {
                    true => folder.parent().map(Path::to_owned),
                    false => None,
                };
                Repository {
                    top: top.unwrap_or_else(|| folder.clone()),
                    folder,
                }
            })
            .collect();
        guards.extend(git_programs::guards(&workspace.path, &repositories));
        guards
    }

    /// What a person should know before the command runs: sentences.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let [first, more @ ..] = self.unreadable.as_slice() else {
            return Vec::new();
        };
        let more = match more.len() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        vec![format!(
            "{}{more} could not be read, and so is hidden; `chmod u+rwX` it for the next session, if the agent needs it",
            first.display()
        )]
    }

    /// Whether the manifest hides `path`, relative to the workspace, were it there before or not.
    pub(crate) fn hides(&self, path: &Path) -> bool {
        self.is_hidden(path) || path.ancestors().any(|folder| self.hides.match_here(folder))
    }

    /// Whether `path`, relative to the workspace, was there, and the manifest hid it.
    pub(crate) fn is_hidden(&self, path: &Path) -> bool {
        self.hidden.iter().any(|hidden| path.starts_with(hidden))
    }
}

/// What in a workspace reaches further than a file: sockets and pipes, behind which a program of the
/// host may listen whatever network the inside is in, are covered by an empty file; programs with set-id
/// bits, which writing through a mapping would not clear, by a copy that cannot be written.
///
/// Control files and what the manifest's globs match are noted on the way.
fn look(workspace: &Path, hidden: &Globs, read_only: &Globs) -> Looked {
    let found = Mutex::new(Looked::default());
    let mut walk = WalkBuilder::new(workspace);
    walk.standard_filters(false)
        .hidden(false)
        .follow_links(false);
    each_entry(&mut walk, |entry| {
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
        let Ok(path) = entry.path().strip_prefix(workspace) else {
            return WalkState::Continue;
        };
        let link = entry.file_type().is_none_or(|kind| kind.is_symlink());
        let top = path.as_os_str().is_empty();
        let unreadable = (!top).then(|| unreadable(&entry)).flatten();
        let hides = hidden.match_here(path) || unreadable.is_some();
        let keeps = read_only.match_here(path);
        let controls =
            !top && matches!(
                control_files::protection(path),
                Some(Protection::Held | Protection::Kept)
            ) && control_files::is_looked_into(path);
        let repository = (!link).then(|| repository_at(workspace, path)).flatten();
        if let Ok(mut found) = found.lock() {
            // Nothing is mounted over a link, and what it names has a name of its own.
            if let Some(bytes) = bytes {
                let (path, editable) = (path.to_owned(), false);
                found.covered.push(Twin {
                    path,
                    bytes,
                    editable,
                });
            }
            if !link && hides {
                found.hidden.push(path.to_owned());
            }
            if unreadable == Some(Unreadable::Own) {
                found.unreadable.push(path.to_owned());
            }
            if !link && keeps {
                found.read_only.push(path.to_owned());
            }
            if !link && controls {
                found.control.push(path.to_owned());
            }
            found.repositories.extend(repository);
        }
        if !link && hides {
            return WalkState::Skip;
        }
        WalkState::Continue
    });
    found
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whose a file or folder is that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unreadable {
    /// The person's, who could open it all the same, by changing its mode.
    Own,
    /// A folder of somebody else's, in which something can be opened by its name perhaps.
    Foreign,
}

/// Whether nobody could look at an entry, though it can be opened inside.
fn unreadable(entry: &ignore::DirEntry) -> Option<Unreadable> {
    let kind = entry.file_type()?;
    let person = rustix::process::geteuid();
    // Root, outside, reads everything.
    if person.is_root() || !(kind.is_dir() || kind.is_file()) {
        return None;
    }
    let is_own = |found: &fs::Metadata| found.uid() == person.as_raw();
    if kind.is_file() {
        let found = entry.metadata().ok()?;
        return (is_own(&found) && found.mode() & 0o400 == 0).then_some(Unreadable::Own);
    }
    if rustix::fs::access(entry.path(), Access::READ_OK | Access::EXEC_OK).is_ok() {
        return None;
    }
    Some(match entry.metadata().is_ok_and(|found| is_own(&found)) {
        true => Unreadable::Own,
        false => Unreadable::Foreign,
    })
}

/// The repository that an entry shows: `.git`, or the folder around a `HEAD`; not the workspace's own, nor what is within another's.
fn repository_at(workspace: &Path, path: &Path) -> Option<PathBuf> {
    let folder = match path.file_name()?.as_encoded_bytes() {
        b".git" => path,
        b"HEAD" => path.parent()?,
        _ => return None,
    };
    let within = |folder: &Path| folder.components().any(|part| part.as_os_str() == ".git");
    let counts = match folder.ends_with(".git") {
        true => path == folder && folder != Path::new(".git") && !within(folder.parent()?),
        false => !within(folder) && control_files::is_bare(&workspace.join(folder)),
    };
    (counts && control_files::is_looked_into(folder)).then(|| folder.to_owned())
}

/// The places of a session's trees that cannot be changed, absolute, with what stands there when nothing does.
pub(crate) fn guards(
    workspace: &Workspace,
    looked: &Looked,
) -> io::Result<HashMap<PathBuf, Placeholder>> {
    let (tree, extra) = guarded_trees(workspace, looked)?;
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
