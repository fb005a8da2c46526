//! Where secrets stand in a provider's answer. The request says it: an answer of GraphQL has the shape
//! of the selection, under the selection's own aliases, so the places are known before anything is
//! sent. What stands there is replaced on its way in; an answer of another shape is not passed on.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use tagout_core::{Flag, HttpRequest};

use crate::graphql::document::{Document, Field, Fragment, Kind, Selected, Selection};
use crate::graphql::envelope::Envelopes;
use crate::graphql::schema::{Schema, named};
use crate::pack::{Pack, pack_for_host};

/// Fields that are walked through for one request. A few fragments that spread each other can select
/// exponentially many.
const MOST_FIELDS: usize = 50_000;

/// Where the answer to a request holds secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerSecrets {
    /// One for each request object of a batch.
    shapes: Vec<Shape>,
    is_batch: bool,
}

/// What kind of secret stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretPlace {
    /// A document of many values, some of which may be secret: variables, configuration. Each value
    /// comes with its own name.
    Document,
    /// A credential: the whole text is one.
    Credential,
}

/// An answer that does not have the shape of its request, so that nobody knows where its secrets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer does not have the shape that its request gives it")]
pub struct OddAnswer;

/// A place of an answer.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Plain,
    Secret(SecretPlace),
    Object(BTreeMap<String, Shape>),
}

/// Where the answer to `request` (in its canonical form) will hold secrets; `None` where nothing says
/// that it does.
pub fn answer_secrets(request: &HttpRequest) -> Option<AnswerSecrets> {
    let pack = pack_for_host(&request.target.host)?;
    if !pack.is_graphql_endpoint(&request.path) || request.method.is_connect() {
        let minted = pack.mints_tokens(&request.path);
        return minted.then(|| AnswerSecrets {
            shapes: vec![Shape::Secret(SecretPlace::Credential)],
            is_batch: false,
        });
    }
    let everything = Shape::Secret(SecretPlace::Document);
    let Ok(envelopes) = Envelopes::read(request) else {
        // Such a request is refused before it is sent.
        return Some(AnswerSecrets {
            shapes: vec![everything],
            is_batch: false,
        });
    };
    let shapes: Vec<Shape> = envelopes
        .iter()
        .map(|envelope| {
            Document::parse(&envelope.query)
                .and_then(|document| document.select(envelope.operation_name.as_deref()))
                .map_or(everything.clone(), |selected| shape(pack, &selected))
        })
        .collect();
    shapes
        .iter()
        .any(Shape::has_secret)
        .then_some(AnswerSecrets {
            shapes,
            is_batch: matches!(envelopes, Envelopes::Batch(_)),
        })
}

impl AnswerSecrets {
    /// The answer with each value at a secret place replaced by what `decoy` makes of it; it is given
    /// the kind of place, the name under which the value stands, and the value.
    ///
    /// # Errors
    /// [`OddAnswer`] when `answer` is no answer of GraphQL to that request. Nothing of it may be passed on.
    pub fn replaced(
        &self,
        answer: &[u8],
        decoy: &mut dyn FnMut(SecretPlace, &str, &str) -> String,
    ) -> Result<Vec<u8>, OddAnswer> {
        let mut answer: Json = serde_json::from_slice(answer).map_err(|_| OddAnswer)?;
        if let ([Shape::Secret(place)], false) = (self.shapes.as_slice(), self.is_batch)
            && answer.get("data").is_none()
        {
            // Not GraphQL's: a token endpoint's own.
            conceal(&mut answer, *place, "", decoy);
            return Ok(answer.to_string().into_bytes());
        }
        match (&mut answer, self.is_batch) {
            (Json::Array(answers), true) if answers.len() == self.shapes.len() => {
                for (answer, shape) in answers.iter_mut().zip(&self.shapes) {
                    replace_in_answer(answer, shape, decoy)?;
                }
            }
            (Json::Object(_), _) => {
                // To a batch as a whole a server may answer with errors alone.
                let nothing = Shape::Plain;
                let shape = match self.is_batch {
                    true if answer.get("data").is_none_or(Json::is_null) => &nothing,
                    true => return Err(OddAnswer),
                    false => self.shapes.first().ok_or(OddAnswer)?,
                };
                replace_in_answer(&mut answer, shape, decoy)?;
            }
            _ => return Err(OddAnswer),
        }
        Ok(answer.to_string().into_bytes())
    }
}

type Decoys<'a> = &'a mut dyn FnMut(SecretPlace, &str, &str) -> String;

fn replace_in_answer(answer: &mut Json, shape: &Shape, decoy: Decoys<'_>) -> Result<(), OddAnswer> {
    let Json::Object(members) = answer else {
        return Err(OddAnswer);
    };
    // Extensions are the server's own; nobody knows what they repeat.
    members.retain(|name, _| matches!(name.as_str(), "data" | "errors"));
    let failed = members.contains_key("errors");
    match members.get_mut("data") {
        None | Some(Json::Null) if failed => Ok(()),
        Some(data @ Json::Object(_)) => replace(data, shape, "data", decoy),
        _ => Err(OddAnswer),
    }
}

fn replace(
    value: &mut Json,
    shape: &Shape,
    name: &str,
    decoy: Decoys<'_>,
) -> Result<(), OddAnswer> {
    match (shape, value) {
        (Shape::Plain, _) | (_, Json::Null) => Ok(()),
        (Shape::Secret(place), value) => {
            conceal(value, *place, name, decoy);
            Ok(())
        }
        (Shape::Object(_), Json::Array(items)) => items
            .iter_mut()
            .try_for_each(|item| replace(item, shape, name, decoy)),
        (Shape::Object(shapes), Json::Object(members)) => {
            for (name, value) in members.iter_mut() {
                // What was not asked for has no place in an answer.
                let shape = shapes.get(name).ok_or(OddAnswer)?;
                replace(value, shape, name, decoy)?;
            }
            Ok(())
        }
        (Shape::Object(_), _) => Err(OddAnswer),
    }
}

/// Replaces every text below a secret place.
fn conceal(value: &mut Json, place: SecretPlace, name: &str, decoy: Decoys<'_>) {
    match value {
        Json::String(text) => {
            // A document may come as the text of a document.
            let document = match place {
                SecretPlace::Document => serde_json::from_str::<Json>(text).ok(),
                SecretPlace::Credential => None,
            };
            match document.filter(|inner| inner.is_object() || inner.is_array()) {
                Some(mut inner) => {
                    conceal(&mut inner, place, name, decoy);
                    *text = inner.to_string();
                }
                None => *text = decoy(place, name, text),
            }
        }
        Json::Array(items) => {
            for item in items {
                conceal(item, place, name, decoy);
            }
        }
        Json::Object(members) => conceal_members(members, place, name, decoy),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// `{"NAME": {"value": "…"}}`: a value is named by what stands around it.
fn conceal_members(
    members: &mut Map<String, Json>,
    place: SecretPlace,
    around: &str,
    decoy: Decoys<'_>,
) {
    for (name, value) in members {
        let name = if name == "value" && !around.is_empty() {
            around
        } else {
            name
        };
        conceal(value, place, name, decoy);
    }
}

fn shape(pack: &Pack, selected: &Selected) -> Shape {
    let mut walk = Walk {
        pack,
        fragments: &selected.fragments,
        fields: 0,
    };
    let mut members = BTreeMap::new();
    let root = Schema::root(selected.operation.kind);
    let mints = selected.operation.kind == Kind::Mutation;
    walk.selection(root, &selected.operation.selection, mints, &mut members);
    match walk.fields > MOST_FIELDS {
        true => Shape::Secret(SecretPlace::Document),
        false => Shape::Object(members),
    }
}

struct Walk<'a> {
    pack: &'a Pack,
    fragments: &'a BTreeMap<String, Fragment>,
    fields: usize,
}

impl Walk<'_> {
    /// `at_root` says that the fields are mutations.
    fn selection(
        &mut self,
        on: &str,
        selection: &[Selection],
        at_root: bool,
        into: &mut BTreeMap<String, Shape>,
    ) {
        for it in selection {
            if self.fields > MOST_FIELDS {
                return;
            }
            match it {
                Selection::Field(field) => {
                    self.fields += 1;
                    let key = field.alias.as_ref().unwrap_or(&field.name);
                    let mut shape = self.field(on, field);
                    if at_root && self.mints(&field.name) {
                        shape = self.minted(on, field, shape);
                    }
                    let known = into.remove(key).unwrap_or(Shape::Plain);
                    into.insert(key.clone(), known.and(shape));
                }
                Selection::Inline {
                    on: condition,
                    selection,
                    ..
                } => {
                    let on = condition.as_deref().unwrap_or(on);
                    self.selection(on, selection, at_root, into);
                }
                Selection::Spread { name, .. } => {
                    self.fields += 1;
                    if let Some(fragment) = self.fragments.get(name) {
                        self.selection(&fragment.on, &fragment.selection, at_root, into);
                    }
                }
            }
        }
    }

    fn field(&mut self, on: &str, field: &Field) -> Shape {
        if field.name == "__typename" {
            return Shape::Plain;
        }
        let (schema, tables) = (self.pack.schema(), self.pack.tables());
        let (Some(owner), Some(known)) = (schema.get(on), schema.field(on, &field.name)) else {
            let introspection = matches!(field.name.as_str(), "__schema" | "__type");
            return match introspection {
                true => self.below("", field),
                // Nobody knows what it is, so all of it is secret.
                false => Shape::Secret(SecretPlace::Credential),
            };
        };
        let is_secret = tables.is_secret(on, &field.name)
            || owner
                .possible
                .iter()
                .any(|on| tables.is_secret(on, &field.name));
        match (is_secret, named(known.ty)) {
            (true, "String" | "ID") => Shape::Secret(SecretPlace::Credential),
            (true, ty) if self.is_composite(ty) => self.concealed(ty, field),
            (true, _) => Shape::Secret(SecretPlace::Document),
            (false, ty) => self.below(ty, field),
        }
    }

    fn below(&mut self, ty: &str, field: &Field) -> Shape {
        if field.selection.is_empty() {
            return Shape::Plain;
        }
        let mut members = BTreeMap::new();
        if ty.is_empty() {
            // The schema's own description holds no values.
            return Shape::Plain;
        }
        self.selection(ty, &field.selection, false, &mut members);
        Shape::Object(members)
    }

    /// A value all of whose texts are credentials, but for ids and what enumerations name.
    fn concealed(&mut self, ty: &str, field: &Field) -> Shape {
        let Shape::Object(members) = self.below(ty, field) else {
            return Shape::Secret(SecretPlace::Credential);
        };
        let schema = self.pack.schema();
        let concealed = members.into_iter().map(|(key, shape)| {
            let types = leaf_types(schema, ty, &field.selection, &key);
            let is_text = types.is_empty() || types.contains(&"String");
            let shape = match shape {
                Shape::Plain if !is_text => Shape::Plain,
                shape => shape.concealed(),
            };
            (key, shape)
        });
        Shape::Object(concealed.collect())
    }

    fn minted(&mut self, on: &str, field: &Field, shape: Shape) -> Shape {
        let ty = self
            .pack
            .schema()
            .field(on, &field.name)
            .map_or("", |known| named(known.ty));
        match ty {
            "Boolean" | "Int" | "Float" => shape,
            ty if self.is_composite(ty) => shape.and(self.concealed(ty, field)),
            _ => Shape::Secret(SecretPlace::Credential),
        }
    }

    fn mints(&self, mutation: &str) -> bool {
        self.pack
            .tables()
            .mutations
            .get(mutation)
            .is_none_or(|row| row.flags.contains(Flag::CredentialMint))
    }

    fn is_composite(&self, ty: &str) -> bool {
        self.pack
            .schema()
            .get(ty)
            .is_some_and(|ty| ty.kind.is_composite())
    }
}

/// The types of the fields that stand in the answer under `key`, without selections of their own.
fn leaf_types<'a>(
    schema: &'a Schema,
    on: &str,
    selection: &[Selection],
    key: &str,
) -> Vec<&'a str> {
    let mut types = Vec::new();
    for it in selection {
        match it {
            Selection::Field(field) if field.alias.as_deref().unwrap_or(&field.name) == key => {
                let known = schema.field(on, &field.name);
                types.extend(known.map(|known| named(known.ty)));
            }
            Selection::Field(_) => {}
            Selection::Inline {
                on: condition,
                selection,
                ..
            } => {
                let on = condition.as_deref().unwrap_or(on);
                types.extend(leaf_types(schema, on, selection, key));
            }
            // Whatever a fragment says of it, it is text.
            Selection::Spread { .. } => return Vec::new(),
        }
    }
    types
}

impl Shape {
    fn has_secret(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Secret(_) => true,
            Self::Object(members) => members.values().any(Self::has_secret),
        }
    }

    /// The same with every place below it a credential's.
    fn concealed(self) -> Self {
        match self {
            Self::Plain => Self::Secret(SecretPlace::Credential),
            Self::Secret(place) => Self::Secret(place),
            Self::Object(members) => {
                let members = members.into_iter();
                Self::Object(members.map(|(key, it)| (key, it.concealed())).collect())
            }
        }
    }

    /// What two selections of one key make of it: the stricter.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Plain, other) | (other, Self::Plain) => other,
            (Self::Object(mut left), Self::Object(right)) => {
                for (key, shape) in right {
                    let known = left.remove(&key).unwrap_or(Self::Plain);
                    left.insert(key, known.and(shape));
                }
                Self::Object(left)
            }
            (Self::Secret(left), Self::Secret(right)) => Self::Secret(left.max(right)),
            (secret @ Self::Secret(_), Self::Object(_))
            | (Self::Object(_), secret @ Self::Secret(_)) => secret,
        }
    }
}

#[cfg(test)]
mod tests;
