//! The plain specification of one sandbox: what the command is, what it sees, what it may change.
//!
//! It is data only and knows no policy: whoever builds it has decided already. Nothing in it is secret (decoys, not values, stand in
//! `environment`, `twins` and `overlays`), since all of it is sent to the stage process that becomes the inside.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What [`crate::launch`] is asked to build. Every path is absolute unless its own documentation says otherwise.
#[derive(Clone, Serialize, Deserialize)]
pub struct Spec {
    /// Program and arguments. The program is looked up in `search_path` as a shell would.
    pub command: Vec<String>,
    /// The whole environment of the command; nothing is inherited.
    pub environment: Vec<(String, String)>,
    /// Where the command starts; must exist inside.
    #[serde(with = "crate::path_octets")]
    pub working_directory: PathBuf,
    /// The folder that the command works on: writable, at the same path inside.
    pub workspace: Tree,
    /// Further writable trees, such as the common git folder of a linked worktree.
    pub extra_trees: Vec<Tree>,
    /// Further read-only paths, shown at the same path inside. Absent ones are skipped and reported.
    #[serde(with = "crate::path_octets::list")]
    pub readable: Vec<PathBuf>,
    /// Files of our own laid over what the host has, read-only.
    pub overlays: Vec<OverlayFile>,
    /// Files of our own in private folders, such as the home: the command may change, replace and remove them.
    pub copies: Vec<OverlayFile>,
    /// Folders of the host that are shown writable under other paths: what the command keeps beyond its end.
    pub private_folders: Vec<PrivateFolder>,
    /// The home directory: a private tmpfs at the same path, with the installation roots of tools in it.
    #[serde(with = "crate::path_octets")]
    pub home: PathBuf,
    /// `PATH` as the command will have it, colon separated; its entries outside system folders become visible read-only.
    pub search_path: String,
    /// TCP ports that the gates listen on, each on every synthetic address.
    pub ports: Vec<u16>,
    /// TCP ports of the command's own loopback on which the supervisor listens, so that `localhost` leads to it there.
    pub loopback_ports: Vec<u16>,
    /// Host name inside.
    pub hostname: String,
    /// File mode creation mask of the command.
    pub umask: u32,
    /// What the command's standard streams are.
    pub streams: Streams,
    /// Whether the trees are changed through a keeper ([`crate::Keeper`]). `None`: the command writes them itself.
    #[serde(default)]
    pub mediation: Option<Mediation>,
    /// Where placeholders are written down before they are made, so that [`crate::sweep_placeholders`] finds what a killed supervisor
    /// left. `None`: nothing is written down.
    #[serde(with = "crate::path_octets::maybe")]
    pub placeholder_journal: Option<PathBuf>,
    /// Executable that calls [`crate::stage_main`] when its first argument is [`crate::STAGE_ARGUMENT`]. `None`: `/proc/self/exe`.
    #[serde(with = "crate::path_octets::maybe")]
    pub stage_executable: Option<PathBuf>,
}

/// How the trees are changed: by a process of ours, after a keeper was asked. Needs Linux 5.19.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mediation {
    /// The folder of the host that the keeper gets. Started as root, it and everything in it is given to the id under which the command
    /// runs.
    #[serde(with = "crate::path_octets")]
    pub folder: PathBuf,
    /// Bytes that the keeper may write there.
    pub budget: u64,
    /// Names of folders, at any depth, whose contents need not be kept.
    pub bulk: Vec<String>,
}

/// A folder of the host shown writable at the same path, with the places in it that stay as they are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tree {
    /// Real path, without symbolic links.
    #[serde(with = "crate::path_octets")]
    pub path: PathBuf,
    /// `st_dev` of the folder that was judged; another one at `path` is refused.
    pub device: u64,
    /// `st_ino` of the folder that was judged.
    pub inode: u64,
    /// Places that cannot be changed from inside, whether they exist or not.
    pub guards: Vec<Guard>,
    /// Files shown with other contents.
    pub twins: Vec<Twin>,
    /// Files and folders that are shown empty and closed, relative to the tree. Absent ones need nothing.
    #[serde(with = "crate::path_octets::list")]
    pub hidden: Vec<PathBuf>,
}

impl Tree {
    /// The tree at `path`, as it is now; symbolic links in `path` are resolved. No guards, no twins.
    pub fn open(path: &Path) -> io::Result<Tree> {
        let path = path.canonicalize()?;
        let metadata = path.metadata()?;
        if !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Tree {
            path,
            device: metadata.dev(),
            inode: metadata.ino(),
            guards: Vec::new(),
            twins: Vec::new(),
            hidden: Vec::new(),
        })
    }
}

/// A folder of the host made for this sandbox, shown writable at another path. Started as root, it and everything in it is given to the
/// id under which the command runs, so nothing in it may be anybody else's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PrivateFolder {
    /// Where it is shown; absolute, without `..`. Folders on the way are made.
    #[serde(with = "crate::path_octets")]
    pub inside: PathBuf,
    /// Real path on the host, without symbolic links.
    #[serde(with = "crate::path_octets")]
    pub outside: PathBuf,
    /// `st_dev` of the folder that was meant; another one at `outside` is refused.
    pub device: u64,
    /// `st_ino` of the folder that was meant.
    pub inode: u64,
}

impl PrivateFolder {
    /// Shows the folder that is now at `outside` as `inside`; symbolic links in `outside` are resolved.
    pub fn open(outside: &Path, inside: PathBuf) -> io::Result<PrivateFolder> {
        let tree = Tree::open(outside)?;
        Ok(PrivateFolder {
            inside,
            outside: tree.path,
            device: tree.device,
            inode: tree.inode,
        })
    }
}

/// A place that cannot be changed from inside. Present: read-only. Absent: a placeholder is made on the host, held read-only for as long
/// as the session runs, and removed afterwards. The folders on the way to it are pinned: they can be neither renamed nor removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// Relative to the tree; no `..`, no symbolic link on the way.
    #[serde(with = "crate::path_octets")]
    pub path: PathBuf,
    /// What is put there when nothing is.
    pub absent: Placeholder,
    /// Whether the folders on the way are pinned. A pinned folder is a mount of its own: nothing can be renamed or linked across it, which
    /// tools notice, so this is for places whose absence matters.
    pub pinned: bool,
}

impl Guard {
    /// The same without pinning the folders on the way: they can be renamed, and the place goes with them.
    #[must_use]
    pub fn loose(self) -> Guard {
        Guard {
            pinned: false,
            ..self
        }
    }

    /// A guard whose placeholder is an empty folder. Git neither lists nor commits empty folders, so this is also right for files such
    /// as `tagout.toml` that must not appear in the work tree.
    pub fn folder(path: impl Into<PathBuf>) -> Guard {
        Guard {
            path: path.into(),
            absent: Placeholder::Folder,
            pinned: true,
        }
    }

    /// A guard whose placeholder is a file with these bytes.
    pub fn file(path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) -> Guard {
        Guard {
            path: path.into(),
            absent: Placeholder::File(bytes.into()),
            pinned: true,
        }
    }

    /// The places in a git folder from which git runs programs: hooks, and the configuration under each of its names.
    ///
    /// `git_folder` is relative to the tree: `.git` in a plain repository, empty where the tree is itself a git folder (the common
    /// folder of linked worktrees). An absent `commondir` must not become an empty file, on which git dies; its placeholder says `.`,
    /// which names the folder that git would have used anyway.
    pub fn git_folder(git_folder: &Path) -> Vec<Guard> {
        vec![
            Guard::folder(git_folder.join("hooks")),
            Guard::file(git_folder.join("config"), *b""),
            Guard::file(git_folder.join("config.worktree"), *b""),
            Guard::file(git_folder.join("commondir"), *b".\n"),
        ]
    }
}

/// What stands on the host where a guarded place is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placeholder {
    /// An empty folder.
    Folder,
    /// A file with these bytes.
    File(#[serde(with = "octets")] Vec<u8>),
}

/// A file of a tree that is shown with other contents.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Twin {
    /// Relative to the tree; no `..`, no symbolic link on the way.
    #[serde(with = "crate::path_octets")]
    pub path: PathBuf,
    /// What is read inside.
    #[serde(with = "octets")]
    pub bytes: Vec<u8>,
    /// Whether the command may write to what it sees. The file behind it stays as it is: the supervisor reads what was written through
    /// [`crate::Control::open_twin`].
    pub editable: bool,
}

/// A file of ours at a path inside. Laid over another, a symbolic link there is followed, inside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OverlayFile {
    /// Absolute path inside.
    #[serde(with = "crate::path_octets")]
    pub path: PathBuf,
    /// What is read there.
    #[serde(with = "octets")]
    pub bytes: Vec<u8>,
    /// Permission bits, such as `0o644`.
    pub mode: u32,
}

/// What each standard stream of the command is. A stream that is a terminal outside is the sandbox's own terminal inside; any other is a
/// pipe that the supervisor relays, since a descriptor of the host could be reopened through `/proc/self/fd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// Standard input.
    pub input: Stream,
    /// Standard output.
    pub output: Stream,
    /// Standard error.
    pub error: Stream,
}

/// One standard stream of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// The sandbox's own terminal.
    Terminal,
    /// A pipe to the supervisor.
    Pipe,
}

impl Streams {
    /// All three are pipes.
    pub const PIPES: Streams = Streams {
        input: Stream::Pipe,
        output: Stream::Pipe,
        error: Stream::Pipe,
    };

    /// The streams that mirror this process's own.
    pub fn of_this_process() -> Streams {
        use std::io::IsTerminal;
        let kind = |terminal: bool| {
            if terminal {
                Stream::Terminal
            } else {
                Stream::Pipe
            }
        };
        Streams {
            input: kind(io::stdin().is_terminal()),
            output: kind(io::stdout().is_terminal()),
            error: kind(io::stderr().is_terminal()),
        }
    }

    /// Whether any stream is a terminal, so that the command gets a controlling one.
    pub(crate) fn any_terminal(self) -> bool {
        [self.input, self.output, self.error].contains(&Stream::Terminal)
    }
}

/// Bytes in one piece: a certificate bundle travels at the cost of a copy. serde by itself takes a `Vec<u8>` for a list of numbers.
pub(crate) mod octets {
    use std::fmt;

    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_byte_buf(Octets)
    }

    struct Octets;

    impl<'de> Visitor<'de> for Octets {
        type Value = Vec<u8>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }

        /// How JSON has them, in the journal of placeholders.
        fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Vec<u8>, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = numbers.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_of_any_kind_survive_the_wire(bytes: Vec<u8>) {
            let twin = Twin { path: PathBuf::from("a"), bytes: bytes.clone(), editable: false };
            let sent = postcard::to_stdvec(&twin).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Twin>(&sent).unwrap().bytes, bytes.clone());
            let written = serde_json::to_string(&Placeholder::File(bytes.clone())).unwrap();
            prop_assert_eq!(serde_json::from_str::<Placeholder>(&written).unwrap(), Placeholder::File(bytes));
        }
    }
}
