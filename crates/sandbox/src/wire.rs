//! The one channel between supervisor and inside: a Unix stream socket that carries length-framed messages (postcard's format) and descriptors.
//!
//! What must stay true: everything the inside is told travels here, so its end-of-file means that the supervisor is gone. The supervisor
//! reads the inside's messages as foreign bytes: bounded, parsed, never trusted with more than their type says.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::probe::Finding;
use crate::sandbox::{Exit, LaunchReport};
use crate::spec::Spec;

/// Most descriptors in one message; the kernel's own limit (`SCM_MAX_FD`).
pub(crate) const MAX_DESCRIPTORS: usize = 253;

/// Most bytes in one message.
const MAX_FRAME: usize = 256 << 20;

/// From the supervisor to the inside.
#[derive(Serialize, Deserialize)]
pub(crate) enum Order {
    /// Build the sandbox. Descriptors: the command's ends of the pipes, in the order of the streams that are pipes; then, when
    /// `control_group` says so, the control group's folder and its `cgroup.procs`, open for writing; then, when the trees are mediated, the
    /// folder of what is kept, and the keeper's end of its questions.
    Build {
        spec: Box<Spec>,
        control_group: bool,
    },
    /// Build nothing; try what this machine can do.
    Probe,
    /// Run the command.
    Start,
    /// Send this signal to the foreground process group of the terminal, or to the command's own without one.
    Signal(i32),
    /// Send this signal to every process inside.
    SignalAll(i32),
    /// Stop every process inside until `Thaw`.
    Freeze,
    /// Undo `Freeze`.
    Thaw,
    /// Let the mediator of the trees, if there is one, make no change until `Resume`.
    Pause,
    /// Undo `Pause`.
    Resume,
    /// Say something of where the file at `path` of a tree comes from; an error says no.
    Origin {
        tree: usize,
        #[serde(with = "crate::path_octets")]
        path: PathBuf,
        asked: Asked,
    },
    /// End every process inside that has the file at `path` of a tree open or mapped.
    EndReaders {
        tree: usize,
        #[serde(with = "crate::path_octets")]
        path: PathBuf,
    },
    /// Make a TCP socket in the command's network. Its answer carries the descriptor.
    Socket { ipv6: bool },
    /// Mount anew what the host replaced at `path`, relative to the tree with this index (0 is the workspace).
    MountOver {
        tree: usize,
        #[serde(with = "crate::path_octets")]
        path: PathBuf,
        cover: Cover,
    },
    /// Open what the last [`Cover::Editable`] put over a path of a tree, for reading. The descriptor comes with the answer.
    OpenTwin {
        tree: usize,
        #[serde(with = "crate::path_octets")]
        path: PathBuf,
    },
}

/// What is asked of where a file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Asked {
    /// Did it come into being inside?
    Made,
    /// Was it opened for writing inside since that was forgotten last?
    Written,
    /// Forget that it was, if nobody has it open for writing now.
    Forget,
}

/// What stands over a path of a tree.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Cover {
    /// The path itself, read-only, and the folders on the way pinned.
    Itself,
    /// The path itself, read-only.
    ItselfLoose,
    /// Nothing that can be read: a closed file, or an empty folder.
    Nothing,
    /// These bytes, read-only.
    Bytes(#[serde(with = "crate::spec::octets")] Vec<u8>),
    /// These bytes, which the inside may write over.
    Editable(#[serde(with = "crate::spec::octets")] Vec<u8>),
}

/// From the inside to the supervisor.
#[derive(Serialize, Deserialize)]
pub(crate) enum Event {
    /// The gates' sockets exist. Descriptors: name server UDP, name server TCP, then one listener for each port of the specification, then
    /// one for each port of the command's loopback.
    Listening,
    /// Everything stands; the command waits for `Start`. Descriptors: a pidfd of process 1 inside; the terminal's master side, if
    /// there is a terminal.
    Ready(LaunchReport),
    /// Answer to `Probe`.
    Probed(Vec<Finding>),
    /// The sandbox could not be built.
    Failed(StageFailure),
    /// The command could not be run; `Exited` follows.
    NotExecuted { program: String, errno: i32 },
    /// The command was stopped by this signal.
    Stopped(i32),
    /// The command ended, and with it everything inside.
    Exited(Exit),
    /// Answer to `Freeze`, `Thaw`, `Pause`, `Resume`, `Origin`, `EndReaders`, `MountOver` and `Socket`. Descriptors: the socket, where there is one.
    Done(Result<(), String>),
}

/// Why the stage could not build the sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StageFailure {
    /// What was being done, such as "mount a fresh /proc".
    pub(crate) step: String,
    /// The error number of the kernel, 0 if the cause is not one.
    pub(crate) errno: i32,
    /// The cause where it is not an error number.
    pub(crate) detail: String,
}

/// Sends one message with its descriptors.
pub(crate) fn send<T: Serialize>(
    stream: &UnixStream,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut frame =
        postcard::to_extend(message, vec![0; 4]).map_err(|_| io::ErrorKind::InvalidInput)?;
    let length =
        u32::try_from(frame.len() - 4).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    frame[..4].copy_from_slice(&length.to_le_bytes());

    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many descriptors in one message",
        ));
    }
    let sent = retry(|| {
        rustix::net::sendmsg(
            stream,
            &[IoSlice::new(&frame)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )
    })?;
    (&*stream).write_all(&frame[sent..])
}

/// Receives one message with its descriptors; `None` at end-of-file.
pub(crate) fn receive<T: DeserializeOwned>(
    stream: &UnixStream,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut header = [0; 4];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut descriptors = Vec::new();
    let got = retry(|| {
        rustix::net::recvmsg(
            stream.as_fd(),
            &mut [IoSliceMut::new(&mut header)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?
    .bytes;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    if got == 0 {
        return Ok(None);
    }
    let mut reader = stream;
    reader.read_exact(&mut header[got..])?;
    let length = u32::from_le_bytes(header) as usize;
    if length > MAX_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // What is announced is believed only as far as it costs little.
    let mut body = Vec::with_capacity(length.min(1 << 20));
    reader.take(length as u64).read_to_end(&mut body)?;
    if body.len() != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let message = postcard::from_bytes(&body).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Some((message, descriptors)))
}

/// Repeats a call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_message_arrives_whole_with_its_descriptors(length in 0usize..300_000, byte: u8, descriptors in 0usize..20) {
            let (near, far) = UnixStream::pair().unwrap();
            let null = std::fs::File::open("/dev/null").unwrap();
            let bytes = vec![byte; length];
            let sent = Cover::Bytes(bytes.clone());
            let sender = std::thread::spawn(move || send(&near, &sent, &vec![null.as_fd(); descriptors]));
            let (cover, received) = receive::<Cover>(&far).unwrap().unwrap();
            sender.join().unwrap().unwrap();
            prop_assert!(matches!(cover, Cover::Bytes(b) if b == bytes));
            prop_assert_eq!(received.len(), descriptors);
            prop_assert!(receive::<Cover>(&far).unwrap().is_none());
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            let (near, far) = UnixStream::pair().unwrap();
            (&near).write_all(&bytes).unwrap();
            drop(near);
            let _ = receive::<Event>(&far);
        }
    }
}
