//! What is looked for in content that is too large to be read whole: credential fields, and whatever
//! would make a server take the request for another one. Each part is read as what it is to a server
//! that reads a part of it.

use std::sync::OnceLock;

use tagout_catalog::recognise;
use tagout_core::{Action, Effect, Fault, FaultKind, HttpBody, HttpRequest};
use tagout_credentials::Broker;

use crate::understand::{bare_request, fault};

/// One request whose content streams.
pub(crate) struct Streaming {
    /// The request without the content.
    request: HttpRequest,
    /// The effect that was judged.
    effect: Effect,
    /// Whether the content begins as JSON does, whatever it is called.
    is_json: OnceLock<bool>,
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
            is_json: OnceLock::new(),
        }
    }

    /// What is wrong with a part of the content; parts come in order.
    pub(crate) fn fault(&self, part: &[u8], broker: &Broker) -> Option<Fault> {
        let is_json = *self.is_json.get_or_init(|| {
            let text = part.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(part);
            matches!(text.trim_ascii_start().first(), Some(b'{' | b'['))
        });
        let mut alone = self.request.clone();
        if is_json {
            alone.headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        }
        alone.body = HttpBody::Whole(part.to_vec());
        let examined = broker.examine(&alone, false);
        if let Some(fault) = examined.faults.into_iter().next() {
            return Some(fault);
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
