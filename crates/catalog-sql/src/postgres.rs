//! PostgreSQL: a text is parsed with the server's own grammar, made into one tree ([`tree`]) and walked
//! whole. [`statements`] says what each kind of statement does, [`rows`] how many rows, [`calls`] what a
//! function or operator does, [`counting`] which query counts the rows, [`settings`] which settings may change, [`routine`] what a function's body
//! holds. A kind of node that neither of the two tables here names makes the text unreadable.

mod calls;
mod counting;
mod definitions;
mod routine;
mod rows;
mod settings;
mod statements;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::{BTreeSet, HashMap};

use pg_query::ParserOptions;
use tagout_core::Flag;

use crate::statement::{
    Act, Called, Class, Object, RowQuery, Statement, Statements, Uncountable, Unreadable,
};
pub use calls::is_steady;
pub(crate) use rows::names_a_row;
use tree::{Message, Value, tree_of};

/// How many bodies and texts may stand in one another: functions that make functions.
const DEEPEST_BODY: usize = 8;

/// What the statements of a text would do.
pub(crate) fn classify(text: &str) -> Result<Statements, Unreadable> {
    let each = each(text)?.into_iter().map(|(piece, mut statement)| {
        let about_rows = statement.acts.iter().any(|act| act.rows.is_some());
        // What nobody is asked about needs no preview.
        if about_rows && statement.class() >= Class::Destructive {
            statement.row_count = Some(counting::count_query(&piece));
        }
        statement
    });
    Ok(each.collect())
}

/// For each statement of a text the query that lists its rows.
pub(crate) fn row_queries(text: &str) -> Result<Vec<Result<RowQuery, Uncountable>>, Unreadable> {
    let pieces = parse(text, ParserOptions::DEFAULT)?;
    Ok(pieces
        .iter()
        .map(|(piece, _)| counting::row_query(piece))
        .collect())
}

/// The statements of a text, each with its own piece of it, and not yet with a count of rows.
fn each(text: &str) -> Result<Vec<(String, Statement)>, Unreadable> {
    let mut prepared = HashMap::new();
    let mut statements = Vec::new();
    for (piece, message) in parse(text, ParserOptions::DEFAULT)? {
        let mut walk = Walk::new(&piece, 0, &mut prepared);
        walk.whole(&message)?;
        let statement = walk.finish();
        statements.push((piece, statement));
    }
    Ok(statements)
}

/// The statements of a text, each with its own piece of it.
fn parse(text: &str, options: ParserOptions) -> Result<Vec<(String, Message)>, Unreadable> {
    let parsed = pg_query::parse(text, options).map_err(|error| match error {
        // What the parser says when a tree is beyond its limits.
        pg_query::Error::Parse(message)
            if message.contains("depth") || message.contains("deep") =>
        {
            Unreadable::TooDeep
        }
        pg_query::Error::Parse(message) => Unreadable::Grammar {
            dialect: "PostgreSQL",
            message,
        },
        _ => Unreadable::NotExamined,
    })?;
    // A node that the output functions do not know comes out empty, with a warning.
    if let Some(warning) = parsed
        .warnings
        .iter()
        .find(|line| line.contains("unrecognized node"))
    {
        return Err(Unreadable::UnknownNode(warning.clone()));
    }
    let mut statements = Vec::new();
    for raw in &parsed.protobuf.stmts {
        let start = usize::try_from(raw.stmt_location).unwrap_or_default();
        let piece = text.get(start..).unwrap_or_default();
        let length = usize::try_from(raw.stmt_len).unwrap_or_default();
        let piece = match length {
            0 => piece,
            length => piece.get(..length).unwrap_or(piece),
        };
        let tree =
            tree_of(&raw.stmt).map_err(|error| Unreadable::UnknownNode(error.to_string()))?;
        let Value::Message(message) = tree else {
            return Err(Unreadable::UnknownNode("an empty statement".to_owned()));
        };
        statements.push((piece.to_owned(), message));
    }
    Ok(statements)
}

/// The walk through one statement.
struct Walk<'a> {
    /// The statement's own text.
    text: &'a str,
    /// How many bodies it stands in.
    depth: usize,
    acts: Vec<Act>,
    /// What is only read.
    reads: Vec<Object>,
    /// Names of common table expressions that are in scope, which are not tables.
    ctes: Vec<String>,
    /// See [`Statement::calls`].
    calls: BTreeSet<Called>,
    transactional: bool,
    /// What the text has prepared so far, by name.
    prepared: &'a mut HashMap<String, Vec<Act>>,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str, depth: usize, prepared: &'a mut HashMap<String, Vec<Act>>) -> Self {
        Self {
            text,
            depth,
            acts: Vec::new(),
            reads: Vec::new(),
            ctes: Vec::new(),
            calls: BTreeSet::new(),
            transactional: true,
            prepared,
        }
    }

    /// A statement as it stands at the top of a text or of a body.
    fn whole(&mut self, message: &Message) -> Result<(), Unreadable> {
        match statements::is_statement(message.kind) {
            true => self.statement(message),
            false => Err(Unreadable::UnknownNode(message.kind.to_owned())),
        }
    }

    fn finish(mut self) -> Statement {
        self.settle();
        Statement {
            acts: self.acts,
            transactional: self.transactional,
            row_count: None,
            calls: self.calls,
        }
    }

    /// Makes an act of what was only read, and of a statement that did nothing else.
    fn settle(&mut self) {
        if self.reads.is_empty() && !self.acts.is_empty() {
            return;
        }
        let mut seen = BTreeSet::new();
        let mut reads = std::mem::take(&mut self.reads);
        reads.retain(|object| seen.insert(object.clone()));
        let secret = reads.iter().find(|object| is_secret(object)).cloned();
        let secret = secret.filter(|_| !counts_subscriptions(self.text));
        let mut act = Act::new("select", Class::Read).on(reads);
        if let Some(secret) = secret {
            act = act
                .flag(Flag::SecretRead)
                .because(format!("{} holds credentials", secret.name));
        }
        self.acts.push(act);
    }

    /// Classifies a text that stands in this one, and takes over what it does.
    fn nested(&mut self, text: &str, options: ParserOptions) -> Result<(), Unreadable> {
        if self.depth >= DEEPEST_BODY {
            return Err(Unreadable::TooDeep);
        }
        for (text, message) in parse(text, options)? {
            let mut walk = Walk::new(&text, self.depth + 1, self.prepared);
            walk.whole(&message)?;
            let Statement {
                acts,
                transactional,
                row_count: _,
                calls,
            } = walk.finish();
            self.acts.extend(acts);
            self.calls.extend(calls);
            self.transactional &= transactional;
        }
        Ok(())
    }

    /// Walks through a value: every message in it is looked at.
    fn visit(&mut self, value: &Value) -> Result<(), Unreadable> {
        match value {
            Value::List(items) => items.iter().try_for_each(|item| self.visit(item)),
            Value::Message(message) => self.message(message),
            _ => Ok(()),
        }
    }

    fn message(&mut self, message: &Message) -> Result<(), Unreadable> {
        match message.kind {
            kind if statements::is_statement(kind) => self.statement(message),
            "FuncCall" => {
                self.call(message)?;
                self.fields(message, &[])
            }
            "AExpr" => {
                self.operator(message.list("name"));
                self.fields(message, &[])
            }
            "ColumnRef" => {
                if let [_, .., Value::Message(last)] = message.list("fields")
                    && last.kind == "String"
                {
                    let name = last.text("sval").to_owned();
                    self.calls.insert(Called::Attribute(name));
                }
                self.fields(message, &[])
            }
            "AIndirection" => {
                let fields = names(message.list("indirection"));
                self.calls.extend(fields.into_iter().map(Called::Attribute));
                self.fields(message, &[])
            }
            "SubLink" => {
                self.operator(message.list("oper_name"));
                self.fields(message, &[])
            }
            "SortBy" => {
                self.operator(message.list("use_op"));
                self.fields(message, &[])
            }
            "RangeVar" => {
                self.read(message);
                Ok(())
            }
            "RangeTableSample" => {
                let method = names(message.list("method"));
                if !matches!(
                    method.last().map(String::as_str),
                    Some("bernoulli" | "system")
                ) {
                    self.unknown_call(&method);
                }
                self.fields(message, &["method"])
            }
            kind if EXPRESSIONS.contains(&kind) => self.fields(message, &[]),
            kind => Err(Unreadable::UnknownNode(kind.to_owned())),
        }
    }

    /// Walks through a message's fields but these.
    fn fields(&mut self, message: &Message, except: &[&str]) -> Result<(), Unreadable> {
        let fields = message.fields.iter();
        fields
            .filter(|(name, _)| !except.contains(name))
            .try_for_each(|(_, value)| self.visit(value))
    }

    /// Walks through the fields of a message that may begin with WITH, whose names are in scope there.
    fn with_names(&mut self, message: &Message, except: &[&str]) -> Result<(), Unreadable> {
        let outer = self.ctes.len();
        if let Some(with) = message.message("with_clause") {
            let recursive = with.truth("recursive");
            let name = |cte: &Value| {
                let cte = cte.kind("CommonTableExpr");
                cte.map_or_else(String::new, |cte| cte.text("ctename").to_owned())
            };
            if recursive {
                self.ctes.extend(with.list("ctes").iter().map(name));
            }
            for cte in with.list("ctes") {
                self.visit(cte)?;
                if !recursive {
                    self.ctes.push(name(cte));
                }
            }
        }
        let except: Vec<&str> = except.iter().copied().chain(["with_clause"]).collect();
        self.fields(message, &except)?;
        self.ctes.truncate(outer);
        Ok(())
    }

    /// Something that a FROM names.
    fn read(&mut self, relation: &Message) {
        let object = relation_of(relation, "table");
        if object.schema.is_none() && self.ctes.contains(&object.name) {
            return;
        }
        self.reads.push(object);
    }

    fn act(&mut self, act: Act) {
        self.acts.push(act);
    }
}

/// The table, view, index or sequence that a RangeVar names.
fn relation_of(relation: &Message, kind: &'static str) -> Object {
    let schema = relation.text("schemaname");
    Object {
        kind,
        schema: (!schema.is_empty()).then(|| schema.to_owned()),
        name: relation.text("relname").to_owned(),
    }
}

/// The texts of a list of `String` nodes.
fn names(list: &[Value]) -> Vec<String> {
    let strings = list.iter().filter_map(Value::string);
    strings.map(ToOwned::to_owned).collect()
}

/// An object by a possibly qualified name.
fn object(kind: &'static str, names: &[String]) -> Object {
    let schema = names.len().checked_sub(2).and_then(|at| names.get(at));
    Object {
        kind,
        schema: schema.cloned(),
        name: names.last().cloned().unwrap_or_default(),
    }
}

/// What pg_dump asks of the table of subscriptions, whose other columns hold credentials: how many there
/// are.
fn counts_subscriptions(text: &str) -> bool {
    const COUNT: &str = "SELECT count(*) FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database \
         WHERE datname = current_database())";
    text.split_whitespace().eq(COUNT.split_whitespace())
}

/// Relations of the system's catalog whose columns hold passwords, their hashes or the server's files.
fn is_secret(object: &Object) -> bool {
    const SECRET: &[&str] = &[
        "pg_authid",
        "pg_shadow",
        "pg_user_mapping",
        "pg_user_mappings",
        "pg_subscription",
        "pg_hba_file_rules",
        "pg_ident_file_mappings",
        "pg_file_settings",
    ];
    SECRET.contains(&object.name.as_str())
        && object
            .schema
            .as_deref()
            .is_none_or(|schema| schema == "pg_catalog")
}

/// Whether a table is the system's own.
fn is_system(object: &Object) -> bool {
    match object.schema.as_deref() {
        Some(schema) => schema.starts_with("pg_") || schema == "information_schema",
        None => object.name.starts_with("pg_"),
    }
}

/// Nodes that only hold other nodes: what they do is what those do.
const EXPRESSIONS: &[&str] = &[
    "AArrayExpr",
    "AConst",
    "AIndices",
    "AStar",
    "AccessPriv",
    "Alias",
    "BitString",
    "BoolExpr",
    "Boolean",
    "BooleanTest",
    "CaseExpr",
    "CaseWhen",
    "CoalesceExpr",
    "CollateClause",
    "ColumnDef",
    "CommonTableExpr",
    "Constraint",
    "CteCycleClause",
    "CteSearchClause",
    "CurrentOfExpr",
    "DefElem",
    "Float",
    "FunctionParameter",
    "GroupingFunc",
    "GroupingSet",
    "IndexElem",
    "InferClause",
    "Integer",
    "JoinExpr",
    "JsonAggConstructor",
    "JsonArgument",
    "JsonArrayAgg",
    "JsonArrayConstructor",
    "JsonArrayQueryConstructor",
    "JsonBehavior",
    "JsonFormat",
    "JsonFuncExpr",
    "JsonIsPredicate",
    "JsonKeyValue",
    "JsonObjectAgg",
    "JsonObjectConstructor",
    "JsonOutput",
    "JsonParseExpr",
    "JsonReturning",
    "JsonScalarExpr",
    "JsonSerializeExpr",
    "JsonTable",
    "JsonTableColumn",
    "JsonTablePathSpec",
    "JsonValueExpr",
    "List",
    "LockingClause",
    "MergeSupportFunc",
    "MinMaxExpr",
    "MultiAssignRef",
    "NamedArgExpr",
    "NullTest",
    "ObjectWithArgs",
    "OnConflictClause",
    "ParamRef",
    "PartitionBoundSpec",
    "PartitionCmd",
    "PartitionElem",
    "PartitionRangeDatum",
    "PartitionSpec",
    "RangeFunction",
    "RangeSubselect",
    "RangeTableFunc",
    "RangeTableFuncCol",
    "ReplicaIdentityStmt",
    "ResTarget",
    "ReturningClause",
    "ReturningOption",
    "RoleSpec",
    "RowExpr",
    "SetToDefault",
    "SqlValueFunction",
    "StatsElem",
    "String",
    "TableLikeClause",
    "TypeCast",
    "TypeName",
    "WindowDef",
    "WithClause",
    "XmlExpr",
    "XmlSerialize",
];
