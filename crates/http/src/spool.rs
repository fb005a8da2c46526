//! A push that is too large to be held in memory, kept in a file that has no name until it was judged.
//! Its commands are judged as those of any push, its pack is read from the file, and what is sent is the
//! file: the action knows it by its digest, so an approval is for this content and no other.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tagout_catalog::git::pack::Octets;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::client::{Asking, ClientError};
use crate::upload::{OutgoingBody, Piece};

/// The most of a push.
pub(crate) const LARGEST: u64 = 512 << 20;
/// What of an unreadable push is judged, and refused.
const LONGEST_HEAD: usize = 64 * 1024;
/// Written and read at a time.
const PIECE: usize = 256 * 1024;
/// Read at a time where a small object may be all that is wanted.
const LOOK: usize = 4 * 1024;
/// Pushes that are kept so at one time in this process.
static TURNS: Semaphore = Semaphore::const_new(2);

/// The content of a push, in a file.
pub(crate) struct Spooled {
    file: Arc<File>,
    octets: u64,
    head: Vec<u8>,
    digest: String,
    _turn: SemaphorePermit<'static>,
}

/// Why a push was not kept.
pub(crate) enum Unkept {
    Client(ClientError),
    TooLarge,
    NoRoom,
    Disk(std::io::Error),
}

impl Spooled {
    /// Keeps `beginning` and everything that follows it.
    pub(crate) async fn keep(asking: &mut impl Asking, beginning: Vec<u8>) -> Result<Self, Unkept> {
        let turn = TURNS.try_acquire().map_err(|_| Unkept::NoRoom)?;
        let end = match tagout_catalog::git::pack_of(&beginning) {
            // The mark of the pack stands for it.
            Some((start, _)) => start + 4,
            None => beginning.len().min(LONGEST_HEAD),
        };
        let head = beginning[..end].to_vec();
        let mut writing = Writing {
            // What lies in /tmp may be memory.
            file: tempfile::tempfile_in("/var/tmp")
                .or_else(|_| tempfile::tempfile())
                .map_err(Unkept::Disk)?,
            hasher: Sha256::new(),
            octets: 0,
        };
        let mut waiting = beginning;
        loop {
            let next = asking.content().await.map_err(Unkept::Client)?;
            if waiting.len() >= PIECE || next.is_none() {
                writing = writing.write(std::mem::take(&mut waiting)).await?;
            }
            let Some(data) = next else {
                break;
            };
            waiting.extend_from_slice(&data);
        }
        Ok(Self {
            file: Arc::new(writing.file),
            octets: writing.octets,
            head,
            digest: format!("{:x}", writing.hasher.finalize()),
            _turn: turn,
        })
    }

    /// Its commands, and the mark of the pack.
    pub(crate) fn head(&self) -> Vec<u8> {
        self.head.clone()
    }

    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    /// SHA-256 of all of it.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// All of it, for whoever reads the pack.
    pub(crate) fn content(&self) -> Kept {
        Kept {
            file: Arc::clone(&self.file),
            octets: self.octets,
        }
    }

    /// All of it, on its way to a server.
    pub(crate) fn body(&self) -> OutgoingBody {
        let (sender, body) = OutgoingBody::streamed(Some(self.octets));
        let (file, octets) = (Arc::clone(&self.file), self.octets);
        tokio::spawn(async move {
            let mut at = 0;
            while at < octets {
                let file = Arc::clone(&file);
                let read = move || {
                    let left = usize::try_from(octets - at).unwrap_or(PIECE);
                    let mut piece = vec![0; left.min(PIECE)];
                    file.read_exact_at(&mut piece, at).map(|()| piece)
                };
                // Without the end the server gets no whole body.
                let Ok(Ok(piece)) = tokio::task::spawn_blocking(read).await else {
                    return;
                };
                at += piece.len() as u64;
                if sender.send(Piece::Data(piece.into())).await.is_err() {
                    return;
                }
            }
            // A server that no longer listens has answered.
            let _ = sender.send(Piece::End).await;
        });
        body
    }
}

struct Writing {
    file: File,
    hasher: Sha256,
    octets: u64,
}

impl Writing {
    async fn write(mut self, data: Vec<u8>) -> Result<Self, Unkept> {
        self.octets += data.len() as u64;
        if self.octets > LARGEST {
            return Err(Unkept::TooLarge);
        }
        let written = tokio::task::spawn_blocking(move || {
            self.hasher.update(&data);
            self.file.write_all(&data).map(|()| self)
        });
        match written.await {
            Ok(written) => written.map_err(Unkept::Disk),
            Err(_) => Err(Unkept::Disk(std::io::ErrorKind::Other.into())),
        }
    }
}

/// A kept push as its pack is read.
pub(crate) struct Kept {
    file: Arc<File>,
    octets: u64,
}

impl Octets for Kept {
    fn from(&self, offset: u64) -> Box<dyn BufRead + '_> {
        let at = At {
            file: &self.file,
            offset,
        };
        Box::new(BufReader::with_capacity(LOOK, at))
    }

    fn length(&self) -> u64 {
        self.octets
    }
}

struct At<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read_at(into, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
