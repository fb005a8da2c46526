//! What is looked for in content that is too large to be read whole: credential fields, and whatever
//! would make a server take the request for another one. Each part is read as what it is to a server
//! that reads a part of it.

use std::sync::OnceLock;

use tagout_catalog::recognise;
use tagout_core::{Action, Effect, Fault, FaultKind, HttpBody, HttpRequest};
use tagout_credentials::Broker;

use crate::understand::{bare_request, fault};

/// How much of the beginning must be text before content is taken for JSON or markup, which any
/// binary file begins like now and then.
const TELLING: usize = 64;

/// One request whose content streams.
pub(crate) struct Streaming {
    /// The request without the content.
    request: HttpRequest,
    /// The effect that was judged.
    effect: Effect,
    /// What the content begins as, whatever it is called.
    kind: OnceLock<Kind>,
}

/// What servers may take content for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Markup,
    Multipart,
    Other,
}

impl Kind {
    fn of(beginning: &[u8]) -> Self {
        let text = beginning.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(beginning);
        let text = text.trim_ascii_start();
        let telling = text.get(..TELLING).unwrap_or(text);
        let is_text = |byte: &u8| *byte >= b' ' || byte.is_ascii_whitespace();
        match text.first() {
            _ if text.starts_with(b"--") => Self::Multipart,
            Some(b'{' | b'[') if telling.iter().all(is_text) => Self::Json,
            Some(b'<') if telling.iter().all(is_text) => Self::Markup,
            _ => Self::Other,
        }
    }

    /// A part of such content, so that it is read as one whatever it begins with.
    fn framed(self, part: &[u8]) -> Vec<u8> {
        let front: &[u8] = match self {
            Self::Json => b"{",
            Self::Markup => b"<",
            Self::Multipart => b"--\r\n",
            // No mark of another kind stands in front then.
            Self::Other => b".",
        };
        [front, part].concat()
    }
}

impl Streaming {
    pub(crate) fn of(action: &Action) -> Self {
        let stored = action.request();
        let mut request = bare_request(&stored.target);
        request.method = stored.method.clone();
        request.path = stored.path.clone();
        let kind = stored
            .headers
            .iter()
            .filter(|(name, _)| name == "content-type");
        request.headers = kind.cloned().collect();
        let effects = action.operations().iter().map(|operation| operation.effect);
        Self {
            request,
            effect: effects.max().unwrap_or(Effect::Read),
            kind: OnceLock::new(),
        }
    }

    /// What is wrong with a part of the content; parts come in order.
    pub(crate) fn fault(&self, part: &[u8], broker: &Broker) -> Option<Fault> {
        let is_first = self.kind.get().is_none();
        let kind = *self.kind.get_or_init(|| Kind::of(part));
        let mut alone = self.request.clone();
        alone.body = HttpBody::Whole(match is_first && kind != Kind::Other {
            true => part.to_vec(),
            false => kind.framed(part),
        });
        let examined = broker.examine(&alone, false);
        if let Some(fault) = examined.faults.into_iter().next() {
            return Some(fault);
        }
        // A form's first name must not be hidden behind a mark.
        if is_first {
            alone.body = HttpBody::Whole(part.to_vec());
        }
        let is_other = match recognise(&alone) {
            Err(unrecognised) => return Some(unrecognised.into()),
            Ok(meaning) => meaning
                .operations
                .iter()
                .any(|operation| operation.effect > self.effect),
        };
        (is_other || !examined.uses.is_empty()).then(|| {
            fault(
                FaultKind::Unparsable,
                "a field of the content changes what the request does",
                "Send the request with the method and the fields that are meant, and at most 8 MiB of them.",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_what_it_begins_as() {
        for (kind, beginning) in [
            (Kind::Json, &b"  {\"a\": 1"[..]),
            (Kind::Json, b"\xEF\xBB\xBF[1,"),
            (Kind::Markup, b"<?xml version=\"1.0\"?>"),
            (Kind::Multipart, b"--boundary\r\n"),
            (Kind::Other, b"{\x00\x01\x02"),
            (Kind::Other, b"\x1f\x8b\x08"),
            (Kind::Other, b"a=1&b=2"),
            (Kind::Other, b""),
        ] {
            assert_eq!(Kind::of(beginning), kind, "{beginning:?}");
        }
    }
}
