//! What a selection reaches by the schema's types: whether it stays with identity, names and ids,
//! whether it returns secrets, whether it leaves the resource that it started from. Every field
//! counts, whatever alias, fragment or directive it stands under.

use std::collections::{BTreeMap, HashSet};

use crate::graphql::document::{Fragment, Selection};
use crate::graphql::schema::{Schema, named};
use crate::tables::Tables;

/// Nesting over all fragments that is followed.
const DEEPEST: usize = 128;

/// What a selection reaches, over all of its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Secret values.
    pub(crate) secret: bool,
    /// State or data of a resource.
    pub(crate) state: bool,
    /// State or data of something that lives in a project, workspace or environment.
    pub(crate) placed_state: bool,
    /// State or data outside of the resource at which the selection starts: from an environment to
    /// its project's others, from a project to its workspace's.
    pub(crate) outside: bool,
    /// Something that the schema does not have.
    pub(crate) unknown: bool,
}

/// Walks one root field's selection.
pub(crate) struct Walk<'a> {
    schema: &'a Schema,
    tables: &'a Tables,
    fragments: &'a BTreeMap<String, Fragment>,
    visited: HashSet<(&'a str, Place)>,
    reached: Reached,
}

/// Where in the provider's tree of containers a selection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    rank: u8,
    outside: bool,
    placed: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        schema: &'a Schema,
        tables: &'a Tables,
        fragments: &'a BTreeMap<String, Fragment>,
    ) -> Self {
        Self {
            schema,
            tables,
            fragments,
            visited: HashSet::new(),
            reached: Reached::default(),
        }
    }

    /// What the root field `field` of type `on` reaches through `selection`.
    pub(crate) fn root(
        mut self,
        on: &'a str,
        field: &'a str,
        selection: &'a [Selection],
    ) -> Reached {
        let top = Place {
            rank: u8::MAX,
            outside: false,
            placed: false,
        };
        self.field(on, field, selection, top, 0);
        self.reached
    }

    fn field(
        &mut self,
        on: &'a str,
        name: &'a str,
        below: &'a [Selection],
        place: Place,
        depth: usize,
    ) {
        if name == "__typename" {
            return;
        }
        let schema = self.schema;
        let (Some(owner), Some(field)) = (schema.get(on), schema.field(on, name)) else {
            self.reached.unknown = true;
            return;
        };
        let secret = self.tables.is_secret(on, name)
            || owner
                .possible
                .iter()
                .any(|on| self.tables.is_secret(on, name));
        if secret {
            self.reached.secret = true;
            self.state(place);
        }
        let Some(ty) = schema.get(named(field.ty)) else {
            self.reached.unknown = true;
            return;
        };
        match (ty.kind.is_composite(), below.is_empty()) {
            (true, false) => {
                let place = place.enter(named(field.ty));
                self.selection(named(field.ty), below, place, depth + 1);
            }
            (false, true) => {
                let is_identity = is_edge(on) || self.tables.is_identity(on, name);
                if !is_identity {
                    self.state(place);
                }
            }
            // A server refuses both; nobody knows what it would have answered.
            _ => self.reached.unknown = true,
        }
    }

    fn selection(&mut self, on: &'a str, selection: &'a [Selection], place: Place, depth: usize) {
        if depth > DEEPEST {
            self.reached.unknown = true;
            return;
        }
        for it in selection {
            match it {
                Selection::Field(field) => {
                    self.field(on, &field.name, &field.selection, place, depth);
                }
                Selection::Inline {
                    on: None,
                    selection,
                    ..
                } => {
                    self.selection(on, selection, place, depth + 1);
                }
                Selection::Inline {
                    on: Some(on),
                    selection,
                    ..
                } => {
                    self.conditional(on, selection, place, depth);
                }
                Selection::Spread { name, .. } => {
                    let Some((name, fragment)) = self.fragments.get_key_value(name) else {
                        self.reached.unknown = true;
                        continue;
                    };
                    if self.visited.insert((name, place)) {
                        self.conditional(&fragment.on, &fragment.selection, place, depth);
                    }
                }
            }
        }
    }

    /// A selection under a type condition: the type that is named is the one whose fields count.
    fn conditional(&mut self, on: &'a str, selection: &'a [Selection], place: Place, depth: usize) {
        match self.schema.get(on) {
            Some(ty) if ty.kind.is_composite() => {
                self.selection(on, selection, place, depth + 1);
            }
            _ => self.reached.unknown = true,
        }
    }

    fn state(&mut self, place: Place) {
        self.reached.state = true;
        self.reached.placed_state |= place.placed;
        self.reached.outside |= place.outside;
    }
}

impl Place {
    /// Containers: a workspace holds projects, a project holds environments, services and volumes,
    /// and those hold everything else. Downwards is inside; upwards and sideways is outside, but for
    /// the environment of something that lives in exactly one.
    fn enter(self, ty: &str) -> Self {
        let rank = match ty {
            "User" => 5,
            "Workspace" | "Team" | "ExternalWorkspace" => 4,
            "Project" => 3,
            "Environment" | "Service" | "Volume" | "Bucket" => 2,
            _ if ty.ends_with("Connection") || is_edge(ty) => return self,
            _ => 1,
        };
        let own_environment = ty == "Environment" && self.rank == 1;
        Self {
            rank,
            outside: self.outside || rank > 1 && rank >= self.rank && !own_environment,
            placed: self.placed || (2..=4).contains(&rank),
        }
    }
}

fn is_edge(ty: &str) -> bool {
    ty.ends_with("Edge")
}
