//! Builds the file tree that the command sees, and keeps the parts of it that can be asked to change.
//!
//! A private root of empty file systems; on it, read-only, what [`gather`] collected; on that our own files, masks, guards and twins.
//! What must stay true: after [`build`] the old root is gone, every mount is without set-id and devices (but for the device nodes
//! themselves), and only the trees and the private folders can be written.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxAttributes, StatxFlags};

use self::gather::Piece;
pub(crate) use self::gather::{Gathered, gather};
use crate::mediation::{self, Mediator};
use crate::mounts::{self, NO_DEVICES, NO_EXECUTION, NO_SET_ID, READ_ONLY};
use crate::placeholder::open_beneath;
use crate::sandbox::LaunchReport;
use crate::spec::{OverlayFile, Spec, Tree};
use crate::step::{Named, Step};
use crate::wire::Cover;

mod gather;

/// Where the private root stands while it is built; every system has this folder.
const BUILDING: &str = "/tmp";

/// Files of the system that are seen empty: secrets of the machine, which root could read.
const MASKED: &[&str] = &[
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/security/opasswd",
    "/etc/ssh/ssh_host_dsa_key",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssl/private",
    "/etc/pki/tls/private",
    "/etc/kubernetes",
    "/etc/rancher",
    "/etc/docker",
    "/etc/NetworkManager/system-connections",
    "/etc/wpa_supplicant",
    "/etc/wireguard",
    "/etc/krb5.keytab",
    "/etc/machine-id",
];

/// What in /proc names the machine or changes it: read-only, or empty.
const PROC_READ_ONLY: &[&str] = &[
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
];
const PROC_MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/scsi",
    "/proc/sched_debug",
    "/proc/timer_list",
];

/// The finished view, as far as it can be asked to change.
pub(crate) struct View {
    store: Store,
    trees: Vec<OwnedFd>,
    /// Names in the store of what the inside may write over, by tree and path.
    editable: HashMap<(usize, PathBuf), String>,
    /// Who changes the trees, once they are read-only here.
    mediator: Option<Mediator>,
}

/// Builds the view and makes it this process's root. Runs in process 1 of the new pid namespace, whose /proc it mounts.
pub(crate) fn build(spec: &Spec, gathered: Gathered, report: &mut LaunchReport) -> Step<View> {
    let proc = mounts::new_file_system("proc", &[], NO_SET_ID | NO_DEVICES | NO_EXECUTION)
        .step(|| "mount a fresh /proc")?;
    let root = private("0755").step(|| "mount a private root")?;
    mounts::attach(&root, Path::new(BUILDING)).step(|| "mount a private root")?;
    for (path, piece) in &gathered.pieces {
        let placed = place(path, piece);
        // A private folder in one of the host's that is shown read-only, and that has no such folder.
        let no_room = placed
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem);
        if no_room
            && spec
                .private_folders
                .iter()
                .any(|folder| folder.inside == *path)
        {
            report.left_out.push(path.clone());
            continue;
        }
        placed.step(|| format!("show {}", path.display()))?;
    }
    enter(Path::new(BUILDING)).step(|| "make the private root the root")?;

    let mut store = Store::build().step(|| "mount a store for files of our own")?;
    mounts::attach(&proc, Path::new("/proc")).step(|| "mount a fresh /proc")?;
    furnish_dev().step(|| "furnish /dev")?;
    for path in PROC_READ_ONLY {
        make_read_only(Path::new(path)).step(|| format!("make {path} read-only"))?;
    }
    for path in MASKED
        .iter()
        .chain(PROC_MASKED)
        .map(Path::new)
        .chain(gathered.masked.iter().map(PathBuf::as_path))
    {
        store
            .mask(path)
            .step(|| format!("mask {}", path.display()))?;
    }
    report.left_out.extend(gathered.left_out);
    for copy in &spec.copies {
        copy_in(copy).step(|| format!("write {}", copy.path.display()))?;
    }
    for overlay in &spec.overlays {
        if !store
            .overlay(overlay)
            .step(|| format!("lay a file over {}", overlay.path.display()))?
        {
            report.left_out.push(overlay.path.clone());
        }
    }
    let mut view = View {
        store,
        trees: Vec::new(),
        editable: HashMap::new(),
        mediator: None,
    };
    for tree in std::iter::once(&spec.workspace).chain(&spec.extra_trees) {
        view.hold(tree, report)?;
    }
    for path in ["/", "/dev"] {
        mounts::restrict_one(Path::new(path), READ_ONLY | NO_SET_ID)
            .step(|| format!("make {path} read-only"))?;
    }
    Ok(view)
}

/// An empty file system for this sandbox alone.
fn private(mode: &str) -> io::Result<OwnedFd> {
    mounts::new_file_system("tmpfs", &[("mode", mode)], NO_SET_ID | NO_DEVICES)
}

/// Puts a piece where it belongs below [`BUILDING`].
fn place(path: &Path, piece: &Piece) -> io::Result<()> {
    let target = Path::new(BUILDING).join(path.strip_prefix("/").unwrap_or(path));
    let parent = target.parent().unwrap_or(Path::new(BUILDING));
    make_folders(parent)?;
    match piece {
        Piece::Link(destination) => match std::os::unix::fs::symlink(destination, &target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        },
        Piece::Private { mode } => {
            make_folders(&target)?;
            mounts::attach(private(mode)?, &target)
        }
        Piece::Folder(mount) => {
            make_folders(&target)?;
            mounts::attach(mount, &target)
        }
        Piece::File(mount) => {
            make_file(&target)?;
            mounts::attach(mount, &target)
        }
    }
}

/// Writes a file of ours where the inside may change it. What is there already stays; a link is not followed.
fn copy_in(copy: &OverlayFile) -> io::Result<()> {
    make_folders(copy.path.parent().unwrap_or(Path::new("/")))?;
    let opened = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(copy.mode & 0o777)
        .open(&copy.path);
    match opened {
        Ok(mut file) => file.write_all(&copy.bytes),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn make_folders(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        Ok(())
    } else {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
    }
}

fn make_file(path: &Path) -> io::Result<()> {
    match fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
    {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

/// Makes `root` the root of this mount namespace and lets go of the old one.
fn enter(root: &Path) -> io::Result<()> {
    rustix::process::chdir(root)?;
    // With both arguments the same, the old root ends up on top of the new one, from where it is detached: pivot_root(2).
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

fn furnish_dev() -> io::Result<()> {
    let pts = mounts::new_file_system(
        "devpts",
        &[("mode", "0620"), ("ptmxmode", "0666")],
        NO_SET_ID | NO_EXECUTION,
    )?;
    fs::create_dir("/dev/pts")?;
    mounts::attach(&pts, Path::new("/dev/pts"))?;
    for (name, target) in [
        ("/dev/ptmx", "pts/ptmx"),
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        std::os::unix::fs::symlink(target, name)?;
    }
    Ok(())
}

/// Binds a path onto itself, read-only; one that does not exist needs nothing.
fn make_read_only(path: &Path) -> io::Result<()> {
    let mount = match mounts::clone_path(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    mounts::restrict(&mount, READ_ONLY)?;
    mounts::attach(&mount, path)
}

/// Files of our own that are mounted over others. It is a file system that stays mounted beneath /proc, where no path leads to it any
/// more, so that the inside cannot write what it only may read.
struct Store {
    root: OwnedFd,
    count: u32,
}

impl Store {
    /// Mounts the store at /proc; /proc itself has to be mounted over it next.
    fn build() -> io::Result<Store> {
        fs::create_dir("/proc")?;
        // Twins of scripts are executed, as the scripts are outside.
        let mount = mounts::new_file_system("tmpfs", &[("mode", "0700")], NO_SET_ID | NO_DEVICES)?;
        mounts::attach(&mount, Path::new("/proc"))?;
        let root = rustix::fs::open("/proc", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let store = Store { root, count: 0 };
        store.write("empty", b"", 0o444)?;
        store.write("closed", b"", 0)?;
        rustix::fs::mkdirat(&store.root, "nothing", Mode::from_raw_mode(0o555))?;
        Ok(store)
    }

    fn write(&self, name: impl AsRef<Path>, bytes: &[u8], mode: u32) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(
            &self.root,
            name.as_ref(),
            flags,
            Mode::from_raw_mode(0o600),
        )?);
        file.write_all(bytes)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777))?;
        Ok(())
    }

    /// A file of the store, for reading.
    fn open(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.root, name, flags, Mode::empty())?)
    }

    /// A detached mount of a new file that can be written, and its name in the store.
    fn mount_editable(&mut self, bytes: &[u8], mode: u32) -> io::Result<(String, OwnedFd)> {
        self.count += 1;
        let name = self.count.to_string();
        self.write(&name, bytes, mode)?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.root, &*name, flags, Mode::empty())?;
        let mount = mounts::clone_descriptor(&file)?;
        mounts::restrict(&mount, NO_SET_ID | NO_DEVICES)?;
        Ok((name, mount))
    }

    /// A detached, read-only mount of a file or folder in the store.
    fn mount(&self, name: &str) -> io::Result<OwnedFd> {
        let file = rustix::fs::openat(
            &self.root,
            name,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mount = mounts::clone_descriptor(&file)?;
        mounts::restrict(&mount, READ_ONLY | NO_SET_ID | NO_DEVICES)?;
        Ok(mount)
    }

    /// A detached, read-only mount of a new file.
    fn mount_bytes(&mut self, bytes: &[u8], mode: u32) -> io::Result<OwnedFd> {
        self.count += 1;
        let name = self.count.to_string();
        self.write(&name, bytes, mode)?;
        self.mount(&name)
    }

    /// Shows nothing at `path`; one that does not exist needs nothing.
    fn mask(&self, path: &Path) -> io::Result<()> {
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Who may not even look at it may not read it; on the way there a folder is closed to the command as well.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            Err(error) => return Err(error),
        };
        // What a link names is masked under its own name, or is not there.
        if metadata.is_symlink() {
            return Ok(());
        }
        let mount = self.mount(if metadata.is_dir() {
            "nothing"
        } else {
            "empty"
        })?;
        mounts::attach(&mount, path)
    }

    /// Lays a file over `path`; false if there is no place for it.
    fn overlay(&mut self, overlay: &OverlayFile) -> io::Result<bool> {
        let Some(target) = follow(&overlay.path)? else {
            return Ok(false);
        };
        if !target.exists() {
            let parent = target.parent().unwrap_or(Path::new("/"));
            let made = make_folders(parent).and_then(|()| make_file(&target));
            match made {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                    // Its folder is the host's. One that exists is rebuilt from its entries, with room for one more.
                    if !parent.is_dir() {
                        return Ok(false);
                    }
                    if self.add_to_folder(parent, &target, overlay).is_ok() {
                        return Ok(true);
                    }
                    rebuild_folder(parent, &target)?;
                }
                Err(error) => return Err(error),
            }
        }
        mounts::attach(self.mount_bytes(&overlay.bytes, overlay.mode)?, &target)?;
        Ok(true)
    }

    /// Shows `folder` with one file more, as a read-only overlay of it and of a folder in the store. A folder of certificates has hundreds
    /// of entries, and this costs the same for any number of them; but overlayfs shows nothing that is mounted in a layer (a mask would
    /// be gone), is not on every kernel, and can be stacked only twice. An error leaves `folder` as it was.
    fn add_to_folder(
        &mut self,
        folder: &Path,
        added: &Path,
        overlay: &OverlayFile,
    ) -> io::Result<()> {
        if mounts::any_below(folder)? {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let name = added.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        self.count += 1;
        let layer = self.count.to_string();
        rustix::fs::mkdirat(&self.root, &layer, Mode::from_raw_mode(0o755))?;
        self.write(Path::new(&layer).join(name), &overlay.bytes, overlay.mode)?;
        let layer = rustix::fs::openat(
            &self.root,
            &layer,
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = rustix::fs::open(folder, flags, Mode::empty())?;
        let mode = rustix::fs::fstat(&below)?.st_mode & 0o777;
        rustix::fs::fchmod(&layer, Mode::from_raw_mode(mode))?;
        let mount = mounts::read_only_layers(&[layer.as_fd(), below.as_fd()])?;
        mounts::attach(&mount, folder)
    }
}

/// Where symbolic links lead from `path`, to a place that may not exist; `None` if they lead in circles.
fn follow(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut path = path.to_path_buf();
    for _ in 0..40 {
        let parent = match path.parent() {
            Some(parent) => parent
                .canonicalize()
                .unwrap_or_else(|_| parent.to_path_buf()),
            None => return Ok(None),
        };
        let Some(name) = path.file_name() else {
            return Ok(None);
        };
        let place = parent.join(name);
        match fs::read_link(&place) {
            Ok(target) => path = parent.join(target),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
                ) =>
            {
                return Ok(Some(place));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Replaces a read-only folder by a private one with the same entries, each a mount of its own, and an empty file at `added`.
fn rebuild_folder(folder: &Path, added: &Path) -> io::Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let piece = if kind.is_symlink() {
            Piece::Link(fs::read_link(&path)?)
        } else if kind.is_dir() {
            Piece::Folder(mounts::clone_path(&path)?)
        } else {
            Piece::File(mounts::clone_path(&path)?)
        };
        entries.push((path, piece));
    }
    mounts::attach(private("0755")?, folder)?;
    for (path, piece) in entries {
        match piece {
            Piece::Link(target) => std::os::unix::fs::symlink(target, &path)?,
            Piece::Folder(mount) => {
                fs::create_dir(&path)?;
                mounts::attach(mount, &path)?;
            }
            Piece::File(mount) => {
                make_file(&path)?;
                mounts::attach(mount, &path)?;
            }
            Piece::Private { .. } => {}
        }
    }
    make_file(added)?;
    mounts::restrict_one(folder, READ_ONLY | NO_SET_ID | NO_DEVICES)
}

impl View {
    /// Mounts the guards and twins of a tree.
    fn hold(&mut self, tree: &Tree, report: &mut LaunchReport) -> Step<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(&tree.path, flags, Mode::empty())
            .step(|| format!("open {} inside", tree.path.display()))?;
        self.trees.push(root);
        let index = self.trees.len() - 1;
        let guards = tree.guards.iter().map(|guard| match guard.pinned {
            true => (&guard.path, Cover::Itself),
            false => (&guard.path, Cover::ItselfLoose),
        });
        // What is hidden comes last: nothing that lies in it has to be reached any more.
        let hidden = tree.hidden.iter().map(|path| (path, Cover::Nothing));
        let twins = tree.twins.iter().map(|twin| match twin.editable {
            true => (&twin.path, Cover::Editable(twin.bytes.clone())),
            false => (&twin.path, Cover::Bytes(twin.bytes.clone())),
        });
        for (path, cover) in guards.chain(twins).chain(hidden) {
            let absolute = tree.path.join(path);
            let links = self
                .mount_over(index, path, &cover)
                .step(|| format!("mount over {}", absolute.display()))?;
            if links > 1 {
                report.multiply_linked.push(absolute);
            }
        }
        Ok(())
    }

    /// Lets the mediator keep the trees as they are and makes them read-only here.
    pub(crate) fn seal(&mut self, mediator: Mediator) -> io::Result<()> {
        mediator.separate()?;
        for root in &self.trees {
            mediation::seal(root)?;
        }
        self.mediator = Some(mediator);
        Ok(())
    }

    /// Who makes the changes of the trees, where they are mediated.
    pub(crate) fn mediator(&self) -> Option<&Mediator> {
        self.mediator.as_ref()
    }

    /// Mounts over a path of a tree, as [`cover_with`] does, in the mediator's view too.
    pub(crate) fn mount_over(
        &mut self,
        tree: usize,
        path: &Path,
        cover: &Cover,
    ) -> io::Result<u32> {
        let root = self
            .trees
            .get(tree)
            .ok_or(io::ErrorKind::InvalidInput)?
            .try_clone()?;
        let target = open_beneath(&root, path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let status = rustix::fs::fstat(&target)?;
        let mode = status.st_mode & 0o777;
        let is_folder = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
        // In the mediator's view stands a mount of its own; what may be written is written there, never here.
        let mediated = self.mediator.is_some();
        let (mount, theirs) = match cover {
            Cover::Itself => (None, None),
            Cover::ItselfLoose => {
                let held = |target: &OwnedFd| {
                    let mount = mounts::clone_descriptor(target)?;
                    mounts::restrict(&mount, READ_ONLY)?;
                    io::Result::Ok(mount)
                };
                let theirs = match mediated {
                    true => Some(held(&target)?),
                    false => None,
                };
                (Some(held(&target)?), theirs)
            }
            Cover::Nothing => {
                let name = if is_folder { "nothing" } else { "closed" };
                let theirs = match mediated {
                    true => Some(self.store.mount(name)?),
                    false => None,
                };
                (Some(self.store.mount(name)?), theirs)
            }
            Cover::Bytes(bytes) => {
                let theirs = match mediated {
                    true => Some(self.store.mount_bytes(bytes, mode)?),
                    false => None,
                };
                (Some(self.store.mount_bytes(bytes, mode)?), theirs)
            }
            Cover::Editable(bytes) => {
                let (name, mount) = self.store.mount_editable(bytes, mode)?;
                let mounts = match mediated {
                    true => (Some(self.store.mount(&name)?), Some(mount)),
                    false => (Some(mount), None),
                };
                self.editable.insert((tree, path.to_path_buf()), name);
                mounts
            }
        };
        drop(target);
        if let Some(mediator) = &self.mediator {
            mediator.cover(tree, path, theirs.as_ref())?;
        }
        let links = cover_with(&root, path, mount)?;
        if self.mediator.is_some() && matches!(cover, Cover::Itself) {
            // What was pinned on the way.
            mediation::seal(&root)?;
        }
        Ok(links)
    }
}

/// Puts a detached mount over a path beneath `root`, or, without one, the path itself, read-only; then the folders on the way are pinned
/// first: a folder that is a mount point can be neither renamed nor removed. Gives the number of hard links of the file that is covered
/// (1 for a folder).
pub(crate) fn cover_with(root: &OwnedFd, path: &Path, mount: Option<OwnedFd>) -> io::Result<u32> {
    let mut on_the_way: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .filter(|p| !p.as_os_str().is_empty())
        .collect();
    on_the_way.reverse();
    if mount.is_none() {
        for folder in on_the_way {
            let folder = open_beneath(root, folder, OFlags::PATH | OFlags::DIRECTORY)?;
            if !is_mount_point(&folder)? {
                mounts::attach_onto(mounts::clone_descriptor(&folder)?, &folder)?;
            }
        }
    }
    let target = open_beneath(root, path, OFlags::PATH | OFlags::NOFOLLOW)?;
    let status = rustix::fs::fstat(&target)?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Symlink {
        return Err(io::Error::from_raw_os_error(libc::ELOOP));
    }
    let mount = match mount {
        Some(mount) => mount,
        None => {
            let mount = mounts::clone_descriptor(&target)?;
            mounts::restrict(&mount, READ_ONLY)?;
            mount
        }
    };
    mounts::attach_onto(mount, &target)?;
    let is_folder = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
    Ok(if is_folder { 1 } else { status.st_nlink as u32 })
}

impl View {
    /// Device and inode of what is to be seen at a path of a tree.
    pub(crate) fn identify(&self, tree: usize, path: &Path) -> io::Result<(u64, u64)> {
        let root = self.trees.get(tree).ok_or(io::ErrorKind::InvalidInput)?;
        let file = open_beneath(root, path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let status = rustix::fs::fstat(&file)?;
        Ok((status.st_dev, status.st_ino))
    }

    /// What the last [`Cover::Editable`] put over a path of a tree, for reading.
    pub(crate) fn open_twin(&self, tree: usize, path: &Path) -> io::Result<OwnedFd> {
        let name = self
            .editable
            .get(&(tree, path.to_path_buf()))
            .ok_or(io::ErrorKind::NotFound)?;
        self.store.open(name)
    }
}

fn is_mount_point(file: impl AsFd) -> io::Result<bool> {
    let status = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    Ok(status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
