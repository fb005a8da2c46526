//! An action: what the agent is about to do, in Tagout's terms. A gate builds it from what it parsed
//! and what a catalog recognised; nobody changes it afterwards. Its digest is what a person approves.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::digest::Digest;
use crate::identity::SessionId;
use crate::json;
use crate::operation::{Operation, ResourceId};
use crate::request::HttpRequest;
use crate::statement::{AnyRequest, Request};

/// The version of the digest's input. It changes whenever what the digest covers changes.
const DIGEST_VERSION: u32 = 1;

/// Header fields that do not change what a request does: a client may send them differently when it
/// tries again. Everything else is under the digest, but for fields whose credential is named there.
const INSIGNIFICANT_HEADERS: &[&str] = &[
    "accept-language",
    "date",
    "priority",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-request-id",
    "x-client-request-id",
    "x-stainless-retry-count",
];

/// A credential that will be attached when the action is permitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialUse {
    /// The credential's name in the manifest.
    pub name: String,
    /// Counts up when the credential's source or value changes.
    pub generation: u64,
    /// The slot that holds its decoy, such as `header authorization`.
    pub slot: String,
}

/// What kind of thing went wrong before anyone could decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Not what the protocol or the pack must be able to read.
    Unparsable,
    /// A content or transfer encoding that the gate does not read.
    UnknownEncoding,
    /// Name server, SNI, `Host` or request line name different authorities.
    AuthorityMismatch,
    /// A credential in a slot that Tagout did not attach.
    ForeignCredential,
    /// A real value that Tagout holds or knows of, in what the agent sent.
    KnownSecret,
    /// A decoy in a slot of a host that its credential is not bound to.
    StrayDecoy,
    /// More than the gate holds before a verdict, where it must hold all of it.
    TooLarge,
    /// Something of Tagout's own failed.
    Internal,
}

impl FaultKind {
    /// The word used in policies and in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unparsable => "unparsable",
            Self::UnknownEncoding => "unknown_encoding",
            Self::AuthorityMismatch => "authority_mismatch",
            Self::ForeignCredential => "foreign_credential",
            Self::KnownSecret => "known_secret",
            Self::StrayDecoy => "stray_decoy",
            Self::TooLarge => "too_large",
            Self::Internal => "internal",
        }
    }
}

/// Something that denies whatever else is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// What happened, to what. Never contains a secret.
    pub reason: String,
    /// What the agent should do instead.
    pub how_to_proceed: String,
}

/// What the agent is about to do. Immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action<R = HttpRequest> {
    request: R,
    operations: Vec<Operation>,
    credentials: Vec<CredentialUse>,
    faults: Vec<Fault>,
    graphql: bool,
}

impl<R: Request> Action<R> {
    /// An action from what a gate parsed and a catalog recognised. An action without an operation
    /// gets a fault: nothing that was not understood is allowed.
    pub fn new(
        request: R,
        operations: Vec<Operation>,
        credentials: Vec<CredentialUse>,
        mut faults: Vec<Fault>,
        graphql: bool,
    ) -> Self {
        if operations.is_empty() && faults.is_empty() {
            faults.push(Fault {
                kind: FaultKind::Unparsable,
                reason: "the request names no operation".to_owned(),
                how_to_proceed: "Send a request that does one named thing.".to_owned(),
            });
        }
        Self {
            request,
            operations,
            credentials,
            faults,
            graphql,
        }
    }

    /// The action as an authority sees it, whatever gate captured it.
    pub fn widen(self) -> Action<AnyRequest> {
        Action {
            request: self.request.widen(),
            operations: self.operations,
            credentials: self.credentials,
            faults: self.faults,
            graphql: self.graphql,
        }
    }

    /// Back again; `None` where another gate captured it.
    pub fn narrow(any: Action<AnyRequest>) -> Option<Self> {
        Some(Self {
            request: R::narrow(any.request)?,
            operations: any.operations,
            credentials: any.credentials,
            faults: any.faults,
            graphql: any.graphql,
        })
    }

    /// The request in the form in which it will be sent, decoys in its slots.
    pub fn request(&self) -> &R {
        &self.request
    }

    /// What the request does.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Which credentials will be attached.
    pub fn credentials(&self) -> &[CredentialUse] {
        &self.credentials
    }

    /// What went wrong before anyone could decide.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Whether refusals should have GraphQL's shape.
    pub fn is_graphql(&self) -> bool {
        self.graphql
    }
}

impl Action<AnyRequest> {
    /// The gate that captured the action.
    pub fn channel(&self) -> &'static str {
        self.request.channel()
    }

    /// The digest that an approval binds: everything that changes what will happen, and nothing that
    /// does not.
    ///
    /// `resources` and `environment` are what the authority resolved.
    pub fn digest(
        &self,
        session: &SessionId,
        policy: Digest,
        resources: &[ResourceId],
        environment: &str,
    ) -> Digest {
        let mut document = json!({
            "version": DIGEST_VERSION,
            "session": session,
            "policy": policy,
            "channel": self.channel(),
            "target": self.request.target(),
            "operations": self.operations,
            "resources": resources,
            "environment": environment,
            "credentials": self.credentials,
        });
        let asked = match &self.request {
            AnyRequest::Http(request) => self.digested_http(request),
            AnyRequest::Database(request) => json!({
                "database": request.database,
                "user": request.user,
                "search_path": request.search_path,
                "text": request.text,
                "parameters": request.parameters,
            }),
            AnyRequest::Files(request) => json!({
                "workspace": request.workspace,
                "gone": request.gone,
                "not_in_git": request.not_in_git,
                "folders": request.folders,
            }),
        };
        if let (Some(document), json::Json::Object(asked)) = (document.as_object_mut(), asked) {
            document.extend(asked);
        }
        Digest::of(json::canonical(&document).as_bytes())
    }

    fn digested_http(&self, request: &HttpRequest) -> json::Json {
        let slots: Vec<&str> = self
            .credentials
            .iter()
            .filter_map(|credential| credential.slot.strip_prefix("header "))
            .collect();
        let mut headers: Vec<_> = request
            .headers
            .iter()
            .filter(|(name, _)| {
                !INSIGNIFICANT_HEADERS.contains(&name.as_str()) && !slots.contains(&name.as_str())
            })
            .collect();
        headers.sort();
        json!({
            "method": request.method,
            "path": request.path,
            "query": request.query.sorted(),
            "headers": headers,
            "body": Digest::of(request.body.bytes()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        CanonicalPath, CanonicalQuery, Effect, Flags, HostName, HttpBody, Method, OperationName,
        Scope, Target, Transport,
    };

    fn action(change: impl FnOnce(&mut HttpRequest)) -> Action {
        let mut request = HttpRequest {
            target: Target {
                transport: Transport::Tls,
                host: HostName::parse("api.example.com").unwrap(),
                port: 443,
            },
            method: Method::parse("DELETE").unwrap(),
            path: CanonicalPath::parse("/v1/things/1").unwrap(),
            query: CanonicalQuery::parse("a=1&b=2").unwrap(),
            headers: vec![
                ("authorization".into(), "Bearer decoy".into()),
                ("user-agent".into(), "curl".into()),
            ],
            body: HttpBody::Empty,
        };
        change(&mut request);
        let operation = Operation {
            name: OperationName::parse("http.DELETE").unwrap(),
            known: true,
            effect: Effect::Destructive,
            flags: Flags::NONE,
            scope: Scope::None,
            resources: vec![],
            unresolved: None,
            arguments: serde_json::Value::Null,
        };
        let credential = CredentialUse {
            name: "example".into(),
            generation: 1,
            slot: "header authorization".into(),
        };
        Action::new(request, vec![operation], vec![credential], vec![], false)
    }

    fn digest(action: &Action) -> Digest {
        let session = "s-0123456789".parse().unwrap();
        let action = action.clone().widen();
        action.digest(&session, Digest::of(b"policy"), &[], "staging")
    }

    #[test]
    fn invariant_7_the_digest_covers_what_changes_the_effect() {
        let original = digest(&action(|_| ()));
        let changes: [fn(&mut HttpRequest); 6] = [
            |r| r.path = CanonicalPath::parse("/v1/things/2").unwrap(),
            |r| r.query = CanonicalQuery::parse("a=1&b=3").unwrap(),
            |r| r.body = HttpBody::Whole(b"{}".to_vec()),
            |r| r.target.port = 8443,
            |r| r.method = Method::parse("POST").unwrap(),
            |r| {
                r.headers
                    .push(("x-http-method-override".into(), "PATCH".into()))
            },
        ];
        for (index, change) in changes.into_iter().enumerate() {
            assert_ne!(digest(&action(change)), original, "change {index}");
        }
    }

    #[test]
    fn the_digest_ignores_what_does_not() {
        let original = digest(&action(|_| ()));
        let same: [fn(&mut HttpRequest); 3] = [
            |r| r.query = CanonicalQuery::parse("b=2&a=1").unwrap(),
            |r| r.headers.reverse(),
            |r| r.headers[1].1 = "wget".into(),
        ];
        for (index, change) in same.into_iter().enumerate() {
            assert_eq!(digest(&action(change)), original, "change {index}");
        }
    }

    #[test]
    fn invariant_5_an_action_without_an_operation_is_a_fault() {
        let request = action(|_| ()).request().clone();
        assert_eq!(
            Action::<HttpRequest>::new(request, vec![], vec![], vec![], false)
                .faults()
                .len(),
            1
        );
    }
}
