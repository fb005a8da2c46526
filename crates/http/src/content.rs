//! A request's content before the verdict. What a pack must read, a model is told, or a person may be
//! asked about, is held whole; on other hosts what is larger streams behind the verdict
//! ([`crate::upload`]). What all connections hold together is bounded.

use std::sync::Arc;

use tagout_core::{Fault, FaultKind, HttpBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::client::{Answering, Asking, ClientError, PAUSE};
use crate::coding::Undecodable;
use crate::head::Framing;
use crate::spool::{LARGEST, Spooled, Unkept};
use crate::understand::{Understood, fault};
use crate::upload::{Pieces, Upload};

/// Content that is held before a verdict.
const MOST_HELD: usize = 8 * 1024 * 1024;
/// The same for model hosts, whose prompts carry pictures (providers' own limits are below this).
const MOST_HELD_FOR_MODELS: usize = 32 * 1024 * 1024;
/// The same for a push, whose pack is part of what is approved; a larger one is kept in a file.
const MOST_HELD_OF_A_PUSH: usize = 32 * 1024 * 1024;
/// Content that all connections of a session hold at one time, in KiB.
const MOST_HELD_TOGETHER: usize = 256 * 1024;

/// How much of a request's content is needed before the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// All of it, up to 8 MiB.
    Whole,
    /// All of it, up to what models take.
    WholePrompt,
    /// All of it, up to what a push may have.
    WholePush,
    /// All of it when it is small, else its beginning.
    Beginning,
    /// Nothing: it is a stream of messages, each of which is looked at on its way.
    Nothing,
}

/// What all connections of a session may hold together.
#[derive(Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MOST_HELD_TOGETHER)))
    }

    /// So many KiB of it, as soon as they are free; `None` when they are not within a while.
    pub(crate) async fn wait_for(&self, kib: u32) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.0).acquire_many_owned(kib);
        timeout(PAUSE, place).await.ok()?.ok()
    }
}

/// Content as it is known before the verdict.
pub(crate) struct Taken {
    pub(crate) body: HttpBody,
    /// Where the rest of a streamed body comes from.
    pub(crate) upload: Option<Upload>,
    /// A push that is too large to be held: its body is what stands before its pack.
    pub(crate) spooled: Option<Spooled>,
    _room: Option<OwnedSemaphorePermit>,
}

/// Why content was not taken in whole.
enum Incomplete {
    TooLong(Held),
    NoRoom,
    Client(ClientError),
}

/// Content that is being collected, and its share of the room.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

/// Reads content as far as it is needed. What is wrong becomes a fault of `understood`.
pub(crate) async fn take(
    asking: &mut impl Asking,
    answering: &mut impl Answering,
    understood: &mut Understood,
    need: Need,
    room: &Room,
) -> Result<Taken, ClientError> {
    let nothing = Taken {
        body: HttpBody::Empty,
        upload: None,
        spooled: None,
        _room: None,
    };
    let length = match understood.framing {
        Framing::Empty => return Ok(nothing),
        Framing::Length(length) => Some(length),
        Framing::Chunked => None,
    };
    if need == Need::Nothing && understood.coding.is_none() {
        return Ok(Taken {
            body: HttpBody::Streamed,
            upload: Some(Upload {
                beginning: Vec::new(),
                length,
                expects_continue: understood.expects_continue,
                pieces: Pieces::Messages(room.clone()),
            }),
            spooled: None,
            _room: None,
        });
    }
    let most = match need {
        Need::Whole | Need::Beginning | Need::Nothing => MOST_HELD,
        Need::WholePrompt => MOST_HELD_FOR_MODELS,
        Need::WholePush => MOST_HELD_OF_A_PUSH,
    };
    // What is announced as too long is not asked for before the verdict.
    let is_kept = need == Need::WholePush && understood.coding.is_none();
    let most_announced = if is_kept { LARGEST } else { most as u64 };
    let is_announced = length.is_some_and(|length| length > most_announced);
    let held = if is_announced {
        Err(Incomplete::TooLong(Held::default()))
    } else {
        if understood.expects_continue {
            answering.go_on().await?;
        }
        hold(asking, most, room).await
    };
    let beginning = match held {
        Ok(mut held) => {
            if let Some(coding) = understood.coding {
                match coding.decode(&held.bytes, most) {
                    Ok(content) => held.bytes = content,
                    Err(why) => understood.faults.push(undecodable(why)),
                }
                if !held.reserve(room) {
                    understood.faults.push(no_room());
                }
            }
            return Ok(Taken {
                body: match held.bytes.len() {
                    0 => HttpBody::Empty,
                    _ => HttpBody::Whole(held.bytes),
                },
                upload: None,
                spooled: None,
                _room: held.room,
            });
        }
        Err(Incomplete::Client(error)) => return Err(error),
        Err(Incomplete::NoRoom) => {
            understood.faults.push(no_room());
            return Ok(nothing);
        }
        Err(Incomplete::TooLong(beginning)) => beginning,
    };
    if is_kept && !is_announced {
        return match Spooled::keep(asking, beginning.bytes).await {
            Ok(spooled) => Ok(Taken {
                body: HttpBody::Whole(spooled.head()),
                upload: None,
                spooled: Some(spooled),
                _room: None,
            }),
            Err(Unkept::Client(error)) => Err(error),
            Err(unkept) => {
                understood.faults.push(match unkept {
                    Unkept::NoRoom | Unkept::Client(_) => no_room(),
                    Unkept::TooLarge => too_large(),
                    Unkept::Disk(error) => fault(
                        FaultKind::Internal,
                        format!("the push could not be kept until it is judged: {error}"),
                        "Push in parts of at most 32 MiB, an earlier commit of the branch first.",
                    ),
                });
                Ok(nothing)
            }
        };
    }
    // What is encoded can only be searched when all of it is there.
    if need != Need::Beginning || understood.coding.is_some() {
        understood.faults.push(too_large());
        return Ok(nothing);
    }
    if is_structured(understood) {
        understood.faults.push(fault(
            FaultKind::TooLarge,
            "a JSON or form body of more than 8 MiB cannot be searched for credential fields",
            "Send it in parts of at most 8 MiB, or as a file upload.",
        ));
        return Ok(nothing);
    }
    Ok(Taken {
        body: HttpBody::Streamed,
        upload: Some(Upload {
            beginning: beginning.bytes,
            length,
            expects_continue: understood.expects_continue && is_announced,
            pieces: Pieces::AsTheyCome,
        }),
        spooled: None,
        _room: beginning.room,
    })
}

async fn hold(asking: &mut impl Asking, most: usize, room: &Room) -> Result<Held, Incomplete> {
    let mut held = Held::default();
    while let Some(data) = asking.content().await.map_err(Incomplete::Client)? {
        held.bytes.extend_from_slice(&data);
        if !held.reserve(room) {
            return Err(Incomplete::NoRoom);
        }
        if held.bytes.len() > most {
            return Err(Incomplete::TooLong(held));
        }
    }
    Ok(held)
}

impl Held {
    /// Takes as much of the room as the bytes need; whether there was so much left.
    pub(crate) fn reserve(&mut self, room: &Room) -> bool {
        let reserved = self
            .room
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let more = self.bytes.len().div_ceil(1024).saturating_sub(reserved);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        match Arc::clone(&room.0).try_acquire_many_owned(more) {
            Err(_) => false,
            Ok(more) => {
                match &mut self.room {
                    Some(room) => room.merge(more),
                    None => self.room = Some(more),
                }
                true
            }
        }
    }
}

fn no_room() -> Fault {
    fault(
        FaultKind::TooLarge,
        "too much content is waiting for a verdict at this moment",
        "Send it again when other requests are done.",
    )
}

fn undecodable(why: Undecodable) -> Fault {
    let kind = match why {
        Undecodable::Broken | Undecodable::Unknown => FaultKind::UnknownEncoding,
        Undecodable::TooLong => FaultKind::TooLarge,
    };
    fault(
        kind,
        why.to_string(),
        "Send the content without Content-Encoding, in smaller parts.",
    )
}

pub(crate) fn too_large() -> Fault {
    fault(
        FaultKind::TooLarge,
        "the content is larger than what is held before a verdict (8 MiB; 32 MiB to models, 512 MiB of a push)",
        "Send it in smaller parts; of git, push an earlier commit of the branch first.",
    )
}

/// Whether credential fields could stand in content of this type.
fn is_structured(understood: &Understood) -> bool {
    understood.request.header("content-type").any(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("json") || value.contains("x-www-form-urlencoded")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::parse_head;
    use crate::http1::Connection;
    use crate::understand::understand;
    use tagout_core::{HostName, Target, Transport};
    use tokio::io::AsyncWriteExt;

    async fn take_of(fields: &str, content: &[u8], need: Need, room: &Room) -> (Understood, Taken) {
        let target = Target {
            transport: Transport::Tls,
            host: HostName::parse("a.example").unwrap(),
            port: 443,
        };
        let head = format!("POST / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n\r\n");
        let head = parse_head(head.as_bytes()).unwrap();
        let mut understood = understand(head.clone(), &target);
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let mut connection = Connection::new(far);
        let send = async {
            // The gate may stop reading at any time.
            let _ = near.write_all(content).await;
        };
        let take = async {
            let (mut asking, mut answering) = connection.exchange(Some(&head));
            let taken = take(&mut asking, &mut answering, &mut understood, need, room).await;
            drop(connection);
            taken
        };
        let (taken, ()) = tokio::join!(take, send);
        (understood, taken.unwrap())
    }

    fn length(octets: usize) -> String {
        format!("Content-Length: {octets}")
    }

    #[tokio::test]
    async fn invariant_5_what_must_be_read_and_is_too_large_is_a_fault() {
        let room = Room::new();
        let content = vec![b'a'; MOST_HELD + 1];
        for (fields, need) in [
            (length(content.len()), Need::Whole),
            (length(MOST_HELD_FOR_MODELS + 1), Need::WholePrompt),
            (
                format!(
                    "{}\r\nContent-Type: application/json",
                    length(content.len())
                ),
                Need::Beginning,
            ),
        ] {
            let (understood, taken) = take_of(&fields, &content, need, &room).await;
            assert_eq!(understood.faults[0].kind, FaultKind::TooLarge, "{fields}");
            assert!(taken.upload.is_none());
        }
        let (understood, taken) =
            take_of(&length(content.len()), &content, Need::WholePrompt, &room).await;
        assert!(understood.faults.is_empty());
        assert_eq!(taken.body.bytes().len(), content.len());
        let (understood, taken) =
            take_of(&length(content.len()), &content, Need::Beginning, &room).await;
        assert!(understood.faults.is_empty());
        assert!(taken.body == HttpBody::Streamed && taken.upload.is_some());
    }

    #[tokio::test]
    async fn a_large_push_is_kept_in_a_file() {
        use http_body_util::BodyExt;
        let room = Room::new();
        let (old, new) = ("1".repeat(40), "2".repeat(40));
        let command = format!("{old} {new} refs/heads/main\0 report-status");
        let head = format!("{:04x}{command}0000PACK", command.len() + 4);
        let mut content = head.clone().into_bytes();
        content.resize(MOST_HELD_OF_A_PUSH + 10, b'.');
        let fields = length(content.len());
        let (understood, taken) = take_of(&fields, &content, Need::WholePush, &room).await;
        assert!(understood.faults.is_empty());
        assert_eq!(taken.body.bytes(), head.as_bytes());
        let spooled = taken.spooled.unwrap();
        assert_eq!(spooled.octets(), content.len() as u64);
        // As often as it is sent.
        for _ in 0..2 {
            let sent = spooled.body().collect().await.unwrap().to_bytes();
            assert!(sent == content);
        }
        let longer = length(usize::try_from(LARGEST).unwrap() + 1);
        let (understood, taken) = take_of(&longer, b"", Need::WholePush, &room).await;
        assert_eq!(understood.faults[0].kind, FaultKind::TooLarge);
        assert!(taken.spooled.is_none());
    }

    #[tokio::test]
    async fn what_is_held_together_is_bounded_and_given_back() {
        let room = Room(Arc::new(Semaphore::new(16)));
        let content = vec![b'a'; 10 * 1024];
        let fields = length(content.len());
        let (_, first) = take_of(&fields, &content, Need::Whole, &room).await;
        assert_eq!(first.body.bytes().len(), content.len());
        let (understood, _) = take_of(&fields, &content, Need::Whole, &room).await;
        assert_eq!(understood.faults[0].kind, FaultKind::TooLarge);
        drop(first);
        let (understood, _) = take_of(&fields, &content, Need::Whole, &room).await;
        assert!(understood.faults.is_empty());
    }
}
