//! The mount calls that the view is built of, on descriptors instead of paths (open_tree(2), move_mount(2), mount_setattr(2), fsopen(2)).
//!
//! A detached tree is finished (read-only, no set-id, no devices, private) before anybody can see it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

/// Attributes of a mount, as `mount_setattr(2)` takes them.
pub(crate) const READ_ONLY: u64 = 0x1;
/// Set-id bits and file capabilities have no effect.
pub(crate) const NO_SET_ID: u64 = 0x2;
/// Device nodes cannot be opened.
pub(crate) const NO_DEVICES: u64 = 0x4;
/// Nothing can be executed.
pub(crate) const NO_EXECUTION: u64 = 0x8;
/// Owners are mapped through a user namespace.
const ID_MAP: u64 = 0x0010_0000;

/// `struct mount_attr`.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// A detached copy of the mounts at and below `path`; a symbolic link at its end is not followed.
pub(crate) fn clone_path(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    Ok(open_tree(CWD, path, flags)?)
}

/// A detached copy of the mounts at and below an open file.
pub(crate) fn clone_descriptor(file: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(file, "", flags)?)
}

/// Sets attributes on a mount and all below it, and cuts them off from any propagation.
pub(crate) fn restrict(mount: impl AsFd, attributes: u64) -> io::Result<()> {
    set_attributes(mount.as_fd(), attributes, None, true)
}

/// As [`restrict`], with owners mapped through `user_namespace`.
pub(crate) fn restrict_mapped(
    mount: impl AsFd,
    attributes: u64,
    user_namespace: BorrowedFd<'_>,
) -> io::Result<()> {
    set_attributes(
        mount.as_fd(),
        attributes | ID_MAP,
        Some(user_namespace),
        true,
    )
}

/// Sets attributes on the mount at `path` alone.
pub(crate) fn restrict_one(path: &Path, attributes: u64) -> io::Result<()> {
    let flags =
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NOFOLLOW;
    let mount = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    set_attributes(mount.as_fd(), attributes, None, false)
}

fn set_attributes(
    mount: BorrowedFd<'_>,
    attributes: u64,
    user_namespace: Option<BorrowedFd<'_>>,
    recursive: bool,
) -> io::Result<()> {
    let request = MountAttributes {
        set: attributes,
        clear: 0,
        propagation: libc::MS_PRIVATE,
        user_namespace: user_namespace.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated literal, `request` is a live `struct mount_attr` of the size given, and the kernel only reads
    // both; the descriptors are open for the whole call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const request,
            size_of::<MountAttributes>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Puts a detached tree at `target`.
pub(crate) fn attach(mount: impl AsFd, target: &Path) -> io::Result<()> {
    Ok(move_mount(
        mount,
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?)
}

/// Puts a detached tree onto an open file or folder, wherever that is by now.
pub(crate) fn attach_onto(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

/// A detached, read-only overlay of folders, the first on top.
pub(crate) fn read_only_layers(folders: &[BorrowedFd<'_>]) -> io::Result<OwnedFd> {
    // Descriptors instead of names, since a name may contain what separates layers.
    let layers: Vec<String> = folders
        .iter()
        .map(|folder| format!("/proc/self/fd/{}", folder.as_raw_fd()))
        .collect();
    new_file_system(
        "overlay",
        &[("lowerdir", &layers.join(":"))],
        READ_ONLY | NO_SET_ID | NO_DEVICES,
    )
}

/// Whether anything is mounted in `folder`. A folder with a name that the kernel would escape counts as one with mounts.
pub(crate) fn any_below(folder: &Path) -> io::Result<bool> {
    let Some(folder) = folder.to_str() else {
        return Ok(true);
    };
    if folder.contains(|c: char| c.is_whitespace() || c == '\\' || c == '#') {
        return Ok(true);
    }
    let below = format!("{}/", folder.trim_end_matches('/'));
    let mounted = std::fs::read_to_string("/proc/self/mountinfo")?;
    // proc_pid_mountinfo(5): the fifth field is where it is mounted.
    Ok(mounted
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .any(|place| place.starts_with(&below)))
}

/// A new, detached file system of this kind.
pub(crate) fn new_file_system(
    kind: &str,
    options: &[(&str, &str)],
    attributes: u64,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&context, *key, *value)?;
    }
    fsconfig_create(&context)?;
    // `fsmount` takes the same numbers as `mount_setattr` for these four.
    let attributes = MountAttrFlags::from_bits_retain(attributes as _);
    Ok(fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}
