//! Reading a request to a GraphQL provider: every root field that would run is an operation, with
//! the effect, flags, scope and resources that its arguments and its selection give it.

use serde_json::{Map, Value as Json};
use tagout_core::{
    CanonicalQuery, Effect, FaultKind, Flag, Flags, HttpRequest, Operation, OperationName,
    ResourceId, Scope, json,
};

use crate::graphql::document::{Document, DocumentError, Field, Kind, Selected, Selection};
use crate::graphql::envelope::{Envelope, EnvelopeError, Envelopes};
use crate::graphql::print::print;
use crate::graphql::schema::{Schema, TypeKind, named};
use crate::graphql::values::{Variables, arguments};
use crate::meaning::{CanonicalBody, Documents, Meaning, Unrecognised};
use crate::pack::Pack;
use crate::plain;
use crate::reach::{Reached, Walk};
use crate::tables::{Baseline, Tables};

/// Operations in one request.
const MOST_OPERATIONS: usize = 200;

/// Reads a request to one of the pack's hosts.
pub(crate) fn recognise(
    pack: &Pack,
    request: &HttpRequest,
    documents: Documents,
) -> Result<Meaning, Unrecognised> {
    let graphql = pack.is_graphql_endpoint(&request.path);
    let refuse = |kind, reason: &str, how: &str| Unrecognised {
        kind,
        reason: reason.to_owned(),
        how_to_proceed: how.to_owned(),
        graphql,
    };
    if !plain::overrides(request).is_empty() {
        return Err(refuse(
            FaultKind::Unparsable,
            "the request overrides its method",
            "Send the method that is meant, without an override.",
        ));
    }
    if !graphql {
        if pack.resembles_graphql_endpoint(&request.path) {
            return Err(refuse(
                FaultKind::Unparsable,
                "the request's path is almost that of the GraphQL endpoint",
                "Send it to the endpoint's exact path.",
            ));
        }
        return other_path(pack, request);
    }
    if request.method.is_connect() {
        return websocket(pack, request).ok_or_else(|| {
            refuse(
                FaultKind::Unparsable,
                "the WebSocket is not for a subprotocol of GraphQL alone",
                "Offer graphql-transport-ws or graphql-ws, or use POST.",
            )
        });
    }
    if !matches!(request.method.as_str(), "GET" | "POST") {
        return Err(refuse(
            FaultKind::Unparsable,
            "a GraphQL endpoint is asked with GET or POST",
            "Use POST.",
        ));
    }
    let envelopes = Envelopes::read(request)
        .map_err(|EnvelopeError { kind, reason, how }| refuse(kind, reason, how))?;
    let mut operations = Vec::new();
    let mut texts = Vec::new();
    for envelope in envelopes.iter() {
        let reading = read(pack, envelope, documents, &mut operations);
        texts.push(reading.map_err(|reason| {
            refuse(
                FaultKind::Unparsable,
                &reason,
                "Send one well-formed GraphQL document that names what it means.",
            )
        })?);
        if operations.len() > MOST_OPERATIONS {
            return Err(refuse(
                FaultKind::TooLarge,
                "the request has more than 200 operations",
                "Send them in several requests.",
            ));
        }
    }
    let bodies = envelopes
        .iter()
        .zip(&texts)
        .map(|(envelope, text)| envelope.to_json(text));
    let document: Json = match &envelopes {
        Envelopes::Parameters(envelope) => {
            let query = texts.first().and_then(|text| envelope.to_query(text));
            return match query {
                // Printed from the tree, a document begins with its kind.
                Some(query) if texts.iter().all(|text| text.starts_with("query")) => Ok(Meaning {
                    operations,
                    body: None,
                    query: Some(query),
                    graphql,
                }),
                _ => Err(refuse(
                    FaultKind::Unparsable,
                    "a GET that changes something, or is too long",
                    "Use POST.",
                )),
            };
        }
        Envelopes::Single(_) => bodies.last().unwrap_or_default(),
        Envelopes::Batch(_) => bodies.collect(),
    };
    Ok(Meaning {
        operations,
        body: Some(CanonicalBody {
            bytes: json::canonical(&document).into_bytes(),
            content_type: "application/json",
        }),
        query: Some(CanonicalQuery::default()),
        graphql,
    })
}

/// Opening a WebSocket to the endpoint: nothing is asked yet, and every document that is said on it is
/// an action of its own. `None` for a subprotocol in which documents cannot be recognised.
fn websocket(pack: &Pack, request: &HttpRequest) -> Option<Meaning> {
    const SUBPROTOCOLS: [&str; 2] = ["graphql-transport-ws", "graphql-ws"];
    let mut offered = request
        .header("sec-websocket-protocol")
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .peekable();
    offered.peek()?;
    if !offered.all(|name| SUBPROTOCOLS.contains(&name)) {
        return None;
    }
    Some(Meaning {
        operations: vec![Operation {
            name: OperationName::parse(&format!("{}.websocket", pack.name)).ok()?,
            known: true,
            effect: Effect::Read,
            flags: Flags::NONE,
            scope: Scope::Account,
            resources: Vec::new(),
            unresolved: None,
            arguments: Json::Null,
        }],
        body: None,
        query: None,
        graphql: true,
    })
}

/// A path of the provider's host that the pack does not know.
fn other_path(pack: &Pack, request: &HttpRequest) -> Result<Meaning, Unrecognised> {
    let flags = match pack.mints_tokens(&request.path) {
        true => Flags::NONE.with(Flag::CredentialMint),
        false => Flags::NONE,
    };
    let name =
        OperationName::parse(&format!("{}.http.{}", pack.name, request.method)).map_err(|_| {
            Unrecognised {
                kind: FaultKind::Unparsable,
                reason: "the request's method is not one that can be named".to_owned(),
                how_to_proceed: "Use a method of RFC 9110.".to_owned(),
                graphql: false,
            }
        })?;
    let mut arguments = Map::new();
    arguments.insert("path".to_owned(), Json::from(request.path.as_str()));
    Ok(Meaning {
        operations: vec![Operation {
            name,
            known: false,
            effect: plain::effect(&request.method),
            flags,
            scope: Scope::Resources,
            resources: Vec::new(),
            unresolved: None,
            arguments: arguments.into(),
        }],
        body: None,
        query: None,
        graphql: false,
    })
}

/// Adds one request object's operations, and returns the text to send for it.
fn read(
    pack: &Pack,
    envelope: &Envelope,
    documents: Documents,
    into: &mut Vec<Operation>,
) -> Result<String, String> {
    let text = |error: DocumentError| error.to_string();
    let selected = Document::parse(&envelope.query)
        .and_then(|document| document.select(envelope.operation_name.as_deref()))
        .map_err(text)?;
    if selected.operation.kind == Kind::Subscription && documents == Documents::Executed {
        return Err("a subscription is not a request".to_owned());
    }
    let variables = Variables::new(&selected.operation, &envelope.variables);
    let reader = Reader {
        pack,
        schema: pack.schema(),
        tables: pack.tables(),
        selected: &selected,
        variables: &variables,
    };
    let mut fields = Vec::new();
    let mut expanded = Vec::new();
    reader.roots(&selected.operation.selection, &mut expanded, &mut fields);
    for field in fields {
        into.push(reader.operation(field)?);
        if into.len() > MOST_OPERATIONS {
            break;
        }
    }
    Ok(print(&selected))
}

struct Reader<'a> {
    pack: &'a Pack,
    schema: &'a Schema,
    tables: &'a Tables,
    selected: &'a Selected,
    variables: &'a Variables,
}

impl<'a> Reader<'a> {
    /// The root fields, fragments put in whatever their type condition and directives say. A fragment
    /// that is spread twice selects the same fields once.
    fn roots(
        &self,
        selection: &'a [Selection],
        expanded: &mut Vec<&'a str>,
        fields: &mut Vec<&'a Field>,
    ) {
        for it in selection {
            match it {
                Selection::Field(field) => fields.push(field),
                Selection::Inline { selection, .. } => self.roots(selection, expanded, fields),
                Selection::Spread { name, .. } => {
                    if !expanded.contains(&name.as_str())
                        && let Some(fragment) = self.selected.fragments.get(name)
                    {
                        expanded.push(name);
                        self.roots(&fragment.selection, expanded, fields);
                    }
                }
            }
        }
    }

    fn operation(&self, field: &'a Field) -> Result<Operation, String> {
        let kind = self.selected.operation.kind;
        let is_mutation = kind == Kind::Mutation;
        let root = Schema::root(kind);
        let arguments = arguments(
            &field.arguments,
            self.variables,
            self.schema,
            root,
            &field.name,
        );
        let is_introspection = matches!(field.name.as_str(), "__schema" | "__type" | "__typename");
        let reached = match is_introspection {
            true => Reached::default(),
            false => Walk::new(self.schema, self.tables, &self.selected.fragments).root(
                root,
                &field.name,
                &field.selection,
            ),
        };
        let mut named = Named::default();
        self.resources(root, field, &arguments, is_mutation, &mut named)?;
        // One order, whatever order the arguments came in: the digest covers it.
        named.resources.sort_unstable();
        let known = is_introspection || !reached.unknown && !named.unknown;
        let mut operation = Operation {
            name: OperationName::parse(&format!("{}.{}", self.pack.name, field.name))
                .map_err(|_| "a field's name is too long".to_owned())?,
            known,
            effect: Effect::Read,
            flags: Flags::NONE,
            scope: Scope::Resources,
            resources: named.resources,
            unresolved: None,
            arguments: arguments.clone().into(),
        };
        if is_mutation && !is_introspection {
            self.judge_mutation(field, &arguments, reached, &mut operation);
        } else {
            self.judge_query(field, reached, &mut operation);
        }
        if reached.secret || !known && !is_mutation {
            operation.flags = operation.flags.with(Flag::SecretRead);
        }
        // An unknown operation that names nothing is a person's to judge; a known one that names
        // nothing acts on everything that the credential sees.
        if operation.scope == Scope::Resources && known {
            if reached.outside {
                operation.unresolved = Some(
                    "the selection reaches beyond the resource that the request names".to_owned(),
                );
            } else if operation.resources.is_empty() {
                operation.unresolved = Some(
                    "the request names no resource, so it may span several environments".to_owned(),
                );
            }
        }
        Ok(operation)
    }

    fn judge_mutation(
        &self,
        field: &Field,
        arguments: &Map<String, Json>,
        reached: Reached,
        operation: &mut Operation,
    ) {
        match self.tables.judge(&field.name, arguments) {
            Some(judgement) => {
                operation.effect = judgement.effect;
                operation.flags = judgement.flags;
                operation.scope = match reached.placed_state {
                    true => Scope::Resources,
                    false => judgement.scope,
                };
                if !operation.known {
                    operation.effect = operation.effect.max(Effect::Destructive);
                }
            }
            None => {
                operation.known = false;
                operation.effect = Effect::Destructive;
            }
        }
    }

    fn judge_query(&self, field: &Field, reached: Reached, operation: &mut Operation) {
        let is_account = operation.known
            && !reached.secret
            && match self.tables.baseline(&field.name) {
                Baseline::Public => !reached.placed_state,
                Baseline::Names => !reached.state,
                Baseline::Resources => field.name == "__typename",
            };
        if is_account {
            operation.scope = Scope::Account;
        }
    }

    /// What the arguments name, at every depth of declared input types.
    fn resources(
        &self,
        root: &str,
        field: &Field,
        arguments: &Map<String, Json>,
        is_mutation: bool,
        named_things: &mut Named,
    ) -> Result<(), String> {
        let declared = self.schema.field(root, &field.name);
        let id_kind = match declared {
            Some(_) => self.tables.id_kind(&field.name, is_mutation),
            None => Some("unknown"),
        };
        for (name, value) in arguments {
            let ty = declared
                .and_then(|field| field.arguments.iter().find(|it| it.name == name))
                .map(|argument| argument.ty);
            self.argument(name, value, ty, id_kind, 0, named_things)?;
        }
        Ok(())
    }

    fn argument(
        &self,
        name: &str,
        value: &Json,
        ty: Option<&str>,
        id_kind: Option<&'static str>,
        depth: usize,
        into: &mut Named,
    ) -> Result<(), String> {
        if ty.is_none() {
            into.unknown = true;
        }
        let kind = match (name, self.tables.kind(name)) {
            ("id", _) if depth <= 1 => id_kind,
            (_, Some(kind)) => kind,
            // Deeper, an `id` names a part of the request itself.
            ("id", None) => None,
            (_, None) if resembles_id(name) => {
                into.unknown = true;
                Some("unknown")
            }
            (_, None) => None,
        };
        if let Some(kind) = kind {
            return into.add(self.pack.name, kind, name, value);
        }
        // Opaque documents are the provider's own business; what the schema does not know is not.
        let input = ty.and_then(|ty| self.schema.get(named(ty)));
        match value {
            Json::Array(items) => {
                for item in items {
                    // Ids inside of lists of inputs name parts of the request.
                    self.argument(name, item, ty, None, depth + 2, into)?;
                }
            }
            Json::Object(members)
                if input.is_none_or(|input| input.kind == TypeKind::Input) && depth <= 64 =>
            {
                for (name, member) in members {
                    let ty = input.and_then(|input| Some(input.fields.get(name.as_str())?.ty));
                    self.argument(name, member, ty, id_kind, depth + 1, into)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What a root field's arguments name.
#[derive(Default)]
struct Named {
    resources: Vec<ResourceId>,
    /// An argument that the schema does not have.
    unknown: bool,
}

impl Named {
    fn add(&mut self, provider: &str, kind: &str, name: &str, value: &Json) -> Result<(), String> {
        match value {
            Json::Null => Ok(()),
            Json::Array(items) => items
                .iter()
                .try_for_each(|item| self.add(provider, kind, name, item)),
            Json::String(id) => self.add_id(provider, kind, name, id),
            // An ID may be written as an integer (specification section 3.5.5).
            Json::Number(id) if id.is_u64() => self.add_id(provider, kind, name, &id.to_string()),
            _ => Err(format!("the argument `{name}` is no id")),
        }
    }

    fn add_id(&mut self, provider: &str, kind: &str, name: &str, id: &str) -> Result<(), String> {
        let ok = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let error = || format!("the argument `{name}` is not of the form that ids have");
        if id.is_empty() || id.len() > 64 || !id.bytes().all(ok) {
            return Err(error());
        }
        let resource = ResourceId::new(provider, kind, id).map_err(|_| error())?;
        if !self.resources.contains(&resource) {
            self.resources.push(resource);
        }
        Ok(())
    }
}

/// Whether an argument that no row knows looks as if it named something.
fn resembles_id(name: &str) -> bool {
    matches!(name, "id" | "ids")
        || ["Id", "ID", "Ids", "IDs"]
            .iter()
            .any(|ending| name.ends_with(ending))
}
