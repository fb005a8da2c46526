//! A small GraphQL executor (GraphQL specification, October 2021, section 6): aliases, fragments,
//! variables and their defaults, `@skip` and `@include`, `__typename`. No introspection.

use std::collections::{HashMap, HashSet};

use apollo_parser::Parser;
use apollo_parser::cst::{self, CstNode, Definition, Selection, Value};
use serde_json::{Map, Value as Json, json};

use crate::fields;
use crate::mutate::mutate;
use crate::resolve::{Found, Object, View, Viewer};
use crate::world::World;

/// What a client is told went wrong.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    message: String,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }

    /// In the words by which Railway's own command line recognises it.
    pub(crate) fn not_authorized() -> Self {
        Self::new("Not Authorized")
    }

    pub(crate) fn not_found(kind: &str) -> Self {
        Self::new(format!("{kind} not found"))
    }

    pub(crate) fn unknown_field(on: &str, field: &str) -> Self {
        Self::new(format!("Cannot query field \"{field}\" on type \"{on}\"."))
    }

    /// As an entry of `errors`.
    pub(crate) fn to_json(&self, path: Option<&str>) -> Json {
        let mut error = json!({
            "message": self.message,
            "extensions": { "code": "INTERNAL_SERVER_ERROR" },
        });
        if let Some(path) = path {
            error["path"] = json!([path]);
        }
        error
    }
}

/// The arguments of a field, variables put in.
#[derive(Debug, Default)]
pub(crate) struct Arguments(Map<String, Json>);

impl Arguments {
    pub(crate) fn get(&self, name: &str) -> Option<&Json> {
        self.0.get(name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Json::as_str)
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, Fault> {
        self.text(name)
            .ok_or_else(|| Fault::new(format!("Argument \"{name}\" is required.")))
    }

    pub(crate) fn object(&self, name: &str) -> Result<&Map<String, Json>, Fault> {
        self.get(name)
            .and_then(Json::as_object)
            .ok_or_else(|| Fault::new(format!("Argument \"{name}\" is required.")))
    }
}

/// Executes one request object (`query`, `variables`, `operationName`) and returns the response.
pub(crate) fn execute(
    world: &mut World,
    viewer: &Viewer,
    page_size: usize,
    request: &Json,
) -> Json {
    match run(world, viewer, page_size, request) {
        Ok(response) => response,
        Err(fault) => json!({ "errors": [fault.to_json(None)] }),
    }
}

fn run(
    world: &mut World,
    viewer: &Viewer,
    page_size: usize,
    request: &Json,
) -> Result<Json, Fault> {
    let text = request
        .get("query")
        .and_then(Json::as_str)
        .ok_or_else(|| Fault::new("Must provide query string."))?;
    let tree = Parser::new(text)
        .recursion_limit(64)
        .token_limit(20_000)
        .parse();
    if tree.errors().len() > 0 {
        return Err(Fault::new("Syntax Error"));
    }
    let document = tree.document();
    let wanted = request.get("operationName").and_then(Json::as_str);
    let mut fragments = HashMap::new();
    let mut operations = Vec::new();
    for definition in document.definitions() {
        match definition {
            Definition::OperationDefinition(operation) => operations.push(operation),
            Definition::FragmentDefinition(fragment) => {
                if let Some(name) = fragment.fragment_name().and_then(|it| it.name()) {
                    fragments.insert(name.text().to_string(), fragment);
                }
            }
            _ => return Err(Fault::new("Only operations and fragments are executable.")),
        }
    }
    let only = operations.len() == 1;
    let operation = operations
        .into_iter()
        .find(|operation| match wanted {
            None => only,
            Some(wanted) => operation.name().is_some_and(|name| name.text() == wanted),
        })
        .ok_or_else(|| Fault::new("Unknown operation named."))?;
    let is_mutation = match operation.operation_type() {
        None => false,
        Some(kind) if kind.subscription_token().is_some() => {
            return Err(Fault::new("Subscriptions go over WebSocket."));
        }
        Some(kind) => kind.mutation_token().is_some(),
    };
    let context = Context {
        variables: variables(&operation, request.get("variables"))?,
        fragments,
    };
    let root = Object::root(if is_mutation { "Mutation" } else { "Query" });
    let fields = context.collect(operation.selection_set(), root.type_name)?;
    for (_, field) in &fields {
        context.check(root.type_name, field)?;
    }
    let mut data = Map::new();
    let mut errors = Vec::new();
    for (key, field) in &fields {
        let outcome = context.arguments(field).and_then(|arguments| {
            let name = name_of(field);
            let found = if name == "__typename" {
                Found::Leaf(json!(root.type_name))
            } else if is_mutation {
                mutate(world, viewer, &name, &arguments)?
            } else {
                let view = View {
                    world,
                    viewer,
                    page_size,
                };
                view.follow(&root, &name, &arguments)?
            };
            let view = View {
                world,
                viewer,
                page_size,
            };
            context.complete(&view, field, found)
        });
        match outcome {
            Ok(value) => {
                data.insert(key.clone(), value);
            }
            Err(fault) => {
                data.insert(key.clone(), Json::Null);
                errors.push(fault.to_json(Some(key)));
            }
        }
    }
    let mut response = json!({ "data": data });
    if !errors.is_empty() {
        // A field that failed and must not be null takes the whole of the data with it.
        let lost = fields.iter().any(|(key, field)| {
            data_is_null(&response, key)
                && fields::type_of(root.type_name, &name_of(field))
                    .is_some_and(|ty| ty.ends_with('!'))
        });
        if lost {
            response["data"] = Json::Null;
        }
        response["errors"] = Json::Array(errors);
    }
    Ok(response)
}

fn data_is_null(response: &Json, key: &str) -> bool {
    response
        .get("data")
        .and_then(|data| data.get(key))
        .is_some_and(Json::is_null)
}

struct Context {
    variables: Map<String, Json>,
    fragments: HashMap<String, cst::FragmentDefinition>,
}

impl Context {
    /// Fields of a selection by response key, fragments put in.
    fn collect(
        &self,
        selection: Option<cst::SelectionSet>,
        on: &str,
    ) -> Result<Vec<(String, cst::Field)>, Fault> {
        let mut fields = Vec::new();
        self.collect_into(selection, on, &mut HashSet::new(), &mut fields)?;
        Ok(fields)
    }

    fn collect_into(
        &self,
        selection: Option<cst::SelectionSet>,
        on: &str,
        visited: &mut HashSet<String>,
        fields: &mut Vec<(String, cst::Field)>,
    ) -> Result<(), Fault> {
        let applies = |condition: Option<cst::TypeCondition>| {
            condition
                .and_then(|condition| condition.named_type())
                .and_then(|named| named.name())
                .is_none_or(|name| name.text() == on || name.text() == "Node")
        };
        for selection in selection.iter().flat_map(cst::SelectionSet::selections) {
            match selection {
                Selection::Field(field) => {
                    if self.is_included(field.directives())? {
                        let key = field
                            .alias()
                            .and_then(|alias| alias.name())
                            .map_or_else(|| name_of(&field), |name| name.text().to_string());
                        fields.push((key, field));
                    }
                }
                Selection::InlineFragment(fragment) => {
                    if self.is_included(fragment.directives())?
                        && applies(fragment.type_condition())
                    {
                        self.collect_into(fragment.selection_set(), on, visited, fields)?;
                    }
                }
                Selection::FragmentSpread(spread) => {
                    let name = spread
                        .fragment_name()
                        .and_then(|it| it.name())
                        .map(|it| it.text().to_string())
                        .unwrap_or_default();
                    let fragment = self
                        .fragments
                        .get(&name)
                        .ok_or_else(|| Fault::new(format!("Unknown fragment \"{name}\".")))?;
                    if self.is_included(spread.directives())?
                        && applies(fragment.type_condition())
                        && visited.insert(name)
                    {
                        self.collect_into(fragment.selection_set(), on, visited, fields)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Validates a field and everything below it before anything is executed. Arguments that only
    /// the schema knows are not checked.
    fn check(&self, on: &str, field: &cst::Field) -> Result<(), Fault> {
        let name = name_of(field);
        if name == "__typename" {
            return Ok(());
        }
        let ty = fields::type_of(on, &name).ok_or_else(|| Fault::unknown_field(on, &name))?;
        match (fields::is_composite(ty), field.selection_set()) {
            (false, None) => Ok(()),
            (true, Some(selection)) => {
                let on = fields::named(ty);
                for (_, below) in self.collect(Some(selection), on)? {
                    self.check(on, &below)?;
                }
                Ok(())
            }
            (true, None) => Err(Fault::new(format!(
                "Field \"{name}\" of type \"{ty}\" must have a selection of subfields."
            ))),
            (false, Some(_)) => Err(Fault::new(format!(
                "Field \"{name}\" must not have a selection since type \"{ty}\" has no subfields."
            ))),
        }
    }

    fn complete(&self, view: &View<'_>, field: &cst::Field, found: Found) -> Result<Json, Fault> {
        match found {
            Found::Leaf(leaf) => Ok(leaf),
            Found::Nothing => Ok(Json::Null),
            Found::One(object) => self.select(view, field, &object),
            Found::Many(objects) => objects
                .iter()
                .map(|object| self.select(view, field, object))
                .collect::<Result<Vec<_>, _>>()
                .map(Json::Array),
        }
    }

    fn select(&self, view: &View<'_>, field: &cst::Field, object: &Object) -> Result<Json, Fault> {
        let mut data = Map::new();
        for (key, below) in self.collect(field.selection_set(), object.type_name)? {
            let name = name_of(&below);
            let value = if name == "__typename" {
                json!(object.type_name)
            } else {
                let found = view.follow(object, &name, &self.arguments(&below)?)?;
                self.complete(view, &below, found)?
            };
            merge(data.entry(key).or_insert(Json::Null), value);
        }
        Ok(Json::Object(data))
    }

    fn arguments(&self, field: &cst::Field) -> Result<Arguments, Fault> {
        let mut arguments = Map::new();
        for argument in field.arguments().iter().flat_map(cst::Arguments::arguments) {
            let (Some(name), Some(value)) = (argument.name(), argument.value()) else {
                return Err(Fault::new("Syntax Error"));
            };
            if let Some(value) = value_of(&value, Some(&self.variables))? {
                arguments.insert(name.text().to_string(), value);
            }
        }
        Ok(Arguments(arguments))
    }

    fn is_included(&self, directives: Option<cst::Directives>) -> Result<bool, Fault> {
        for directive in directives.iter().flat_map(cst::Directives::directives) {
            let name = directive.name().map(|name| name.text().to_string());
            let mut condition = None;
            for argument in directive
                .arguments()
                .iter()
                .flat_map(cst::Arguments::arguments)
            {
                if let Some(value) = argument.value() {
                    condition = value_of(&value, Some(&self.variables))?;
                }
            }
            match (name.as_deref(), condition) {
                (Some("skip"), Some(Json::Bool(true)))
                | (Some("include"), Some(Json::Bool(false))) => return Ok(false),
                (Some("skip" | "include"), Some(Json::Bool(_))) => {}
                _ => return Err(Fault::new("Unknown directive.")),
            }
        }
        Ok(true)
    }
}

/// Two selections of one key are merged.
fn merge(into: &mut Json, value: Json) {
    match (into, value) {
        (Json::Object(into), Json::Object(value)) => {
            for (key, value) in value {
                merge(into.entry(key).or_insert(Json::Null), value);
            }
        }
        (Json::Array(into), Json::Array(value)) if into.len() == value.len() => {
            for (into, value) in into.iter_mut().zip(value) {
                merge(into, value);
            }
        }
        (into, value) => *into = value,
    }
}

fn name_of(field: &cst::Field) -> String {
    field
        .name()
        .map(|name| name.text().to_string())
        .unwrap_or_default()
}

/// Provided values over defaults (specification section 6.1.2).
fn variables(
    operation: &cst::OperationDefinition,
    provided: Option<&Json>,
) -> Result<Map<String, Json>, Fault> {
    let mut variables = Map::new();
    for definition in operation
        .variable_definitions()
        .iter()
        .flat_map(cst::VariableDefinitions::variable_definitions)
    {
        let Some(name) = definition.variable().and_then(|it| it.name()) else {
            return Err(Fault::new("Syntax Error"));
        };
        let name = name.text().to_string();
        let default = match definition.default_value().and_then(|it| it.value()) {
            Some(value) => value_of(&value, None)?,
            None => None,
        };
        let value = provided.and_then(|it| it.get(&name)).cloned().or(default);
        let is_required = matches!(definition.ty(), Some(cst::Type::NonNullType(_)));
        match value {
            None | Some(Json::Null) if is_required => {
                return Err(Fault::new(format!(
                    "Variable \"${name}\" of required type was not provided."
                )));
            }
            Some(value) => {
                variables.insert(name, value);
            }
            None => {}
        }
    }
    Ok(variables)
}

/// The value of a literal; `None` for a variable that was not provided.
fn value_of(value: &Value, variables: Option<&Map<String, Json>>) -> Result<Option<Json>, Fault> {
    let syntax = || Fault::new("Syntax Error");
    Ok(Some(match value {
        Value::Variable(variable) => {
            let name = variable.name().ok_or_else(syntax)?.text().to_string();
            let variables = variables.ok_or_else(syntax)?;
            return Ok(variables.get(&name).cloned());
        }
        Value::StringValue(text) => json!(String::from(text)),
        Value::IntValue(number) => {
            let text = number.syntax().text().to_string();
            json!(text.trim().parse::<i64>().map_err(|_| syntax())?)
        }
        Value::FloatValue(number) => {
            let text = number.syntax().text().to_string();
            json!(text.trim().parse::<f64>().map_err(|_| syntax())?)
        }
        Value::BooleanValue(boolean) => json!(boolean.true_token().is_some()),
        Value::NullValue(_) => Json::Null,
        Value::EnumValue(word) => json!(word.name().ok_or_else(syntax)?.text().to_string()),
        Value::ListValue(list) => {
            let mut items = Vec::new();
            for item in list.values() {
                items.push(value_of(&item, variables)?.unwrap_or(Json::Null));
            }
            Json::Array(items)
        }
        Value::ObjectValue(object) => {
            let mut members = Map::new();
            for field in object.object_fields() {
                let name = field.name().ok_or_else(syntax)?.text().to_string();
                if let Some(value) = value_of(&field.value().ok_or_else(syntax)?, variables)? {
                    members.insert(name, value);
                }
            }
            Json::Object(members)
        }
    }))
}
