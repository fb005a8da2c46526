//! What classifying gives: the statements of a text, and for each the acts it consists of.

use std::collections::BTreeSet;

use tagout_core::json::Json;
use tagout_core::{Effect, Flag, Flags, Operation, OperationName, ResourceId, Scope};

/// How far a statement reaches. Ordered: a statement that consists of several acts is of the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Leaves nothing behind.
    Read,
    /// Changes transaction, setting or cursor state of its own session only.
    Session,
    /// Adds or changes a bounded set of rows, or adds an object.
    Write,
    /// Privileges, credentials, configuration, maintenance.
    Admin,
    /// Removes or overwrites data or objects.
    Destructive,
    /// Cannot be rolled back, leaves the database, or cannot be known before it runs.
    Irreversible,
}

impl Class {
    /// What it is on the scale of all channels.
    pub fn effect(self) -> Effect {
        match self {
            Self::Read | Self::Session => Effect::Read,
            Self::Write | Self::Admin => Effect::Write,
            Self::Destructive => Effect::Destructive,
            Self::Irreversible => Effect::Irreversible,
        }
    }
}

/// Which rows an UPDATE or DELETE is about, as far as its text tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhereKind {
    /// There is no WHERE: every row.
    None,
    /// A WHERE that is true whatever the row is.
    Tautology,
    /// One row or a short list, named by a column that tells rows apart.
    Key,
    /// Any other condition: how many rows, only the database knows.
    Other,
}

impl WhereKind {
    /// The word in arguments and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tautology => "tautology",
            Self::Key => "key",
            Self::Other => "other",
        }
    }
}

/// Something of the database that an act names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// `table`, `function`, `schema`, `role`, …: PostgreSQL's word in lower case, with `_`.
    pub kind: &'static str,
    /// The schema, where the text names one.
    pub schema: Option<String>,
    /// The name, as the server reads it: folded, or as quoted.
    pub name: String,
}

/// A name by which a statement may call code, PostgreSQL's own or somebody else's: which it is, only the
/// database knows. Without its schema: whatever has this name may be meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Called {
    /// `name(…)`.
    Function(String),
    /// An operator.
    Operator(String),
    /// `row.name`, which calls a function of one argument where there is no such column.
    Attribute(String),
}

/// One thing that a statement does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// `select`, `delete`, `drop_table`, …; with `sql.` in front the name of the operation.
    pub name: String,
    /// Whether the classifier knows what this does; a function of the user's it does not.
    pub known: bool,
    /// How far it reaches.
    pub class: Class,
    /// What else it does.
    pub flags: Flags,
    /// What it names.
    pub objects: Vec<Object>,
    /// For UPDATE, DELETE and MERGE.
    pub rows: Option<WhereKind>,
    /// Whether it takes what depends on its objects along (`CASCADE`).
    pub cascade: bool,
    /// Why it is classified so, where the name does not tell.
    pub because: Option<String>,
}

impl Act {
    pub(crate) fn new(name: impl Into<String>, class: Class) -> Self {
        Self {
            name: name.into(),
            known: true,
            class,
            flags: Flags::NONE,
            objects: Vec::new(),
            rows: None,
            cascade: false,
            because: None,
        }
    }

    pub(crate) fn flag(mut self, flag: Flag) -> Self {
        self.flags = self.flags.with(flag);
        self
    }

    pub(crate) fn on(mut self, objects: impl IntoIterator<Item = Object>) -> Self {
        self.objects.extend(objects);
        self
    }

    pub(crate) fn because(mut self, why: impl Into<String>) -> Self {
        self.because = Some(why.into());
        self
    }

    pub(crate) fn cascading(mut self, cascade: bool) -> Self {
        self.cascade |= cascade;
        self
    }

    pub(crate) fn unknown(mut self) -> Self {
        self.known = false;
        self
    }

    /// As an operation that policies, holds and ledgers speak of. A name that does not fit the grammar
    /// of resources makes it unresolved, never absent.
    pub fn operation(&self) -> Operation {
        let mut unresolved = None;
        let mut resources = Vec::new();
        for object in &self.objects {
            let id = match &object.schema {
                Some(schema) => format!("{schema}.{}", object.name),
                None => object.name.clone(),
            };
            match ResourceId::new("sql", &object.kind.replace('_', "-"), &id) {
                Ok(resource) => resources.push(resource),
                Err(error) => {
                    unresolved = Some(format!("the name {id:?} is no resource: {error}"));
                }
            }
        }
        let name = OperationName::parse(&format!("sql.{}", self.name)).unwrap_or_else(|_| {
            OperationName::parse("sql.unknown").unwrap_or_else(|_| unreachable!("a constant name"))
        });
        Operation {
            name,
            known: self.known,
            effect: self.class.effect(),
            flags: self.flags,
            scope: Scope::Resources,
            resources,
            unresolved,
            arguments: self.arguments(),
        }
    }

    fn arguments(&self) -> Json {
        let mut arguments = serde_json::Map::new();
        if let Some(rows) = self.rows {
            arguments.insert("where".to_owned(), rows.as_str().into());
        }
        if self.cascade {
            arguments.insert("cascade".to_owned(), true.into());
        }
        if let Some(why) = &self.because {
            arguments.insert("because".to_owned(), why.as_str().into());
        }
        Json::Object(arguments)
    }
}

/// One statement of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What it does, in the order of its text; never empty.
    pub acts: Vec<Act>,
    /// Whether a transaction that is rolled back takes it back.
    pub transactional: bool,
    /// For a PostgreSQL statement that is destructive and updates, deletes or merges: a query that counts
    /// the rows it is about, or why there is none. Rows that cascades, triggers and rules add are not in
    /// that count. Nothing for all other statements, which does not say that they change no rows.
    pub row_count: Option<Result<String, Uncountable>>,
    /// By which names a PostgreSQL statement calls code, in whatever it holds.
    pub calls: BTreeSet<Called>,
}

impl Statement {
    /// How far its worst act reaches.
    pub fn class(&self) -> Class {
        let worst = self.acts.iter().map(|act| act.class).max();
        worst.unwrap_or(Class::Irreversible)
    }

    /// What all of its acts have.
    pub fn flags(&self) -> Flags {
        let flags = self.acts.iter().map(|act| act.flags);
        flags.fold(Flags::NONE, Flags::union)
    }
}

impl Statement {
    /// A text that nobody can read, as a statement that a person may be asked about: the worst there is.
    pub fn unread(why: &Unreadable) -> Self {
        let act = Act::new("unread", Class::Irreversible)
            .unknown()
            .flag(Flag::Exec)
            .because(why.to_string());
        Self {
            acts: vec![act],
            transactional: false,
            row_count: None,
            calls: BTreeSet::new(),
        }
    }
}

/// The statements of a text, in order. None where the text is empty or a comment.
pub type Statements = Vec<Statement>;

/// The query that lists the rows which a DELETE or UPDATE is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowQuery {
    /// A SELECT of `tableoid` and `ctid`, each row once.
    pub query: String,
    /// Which of `$1` and so on it holds.
    pub parameters: Vec<usize>,
    /// The columns that an UPDATE sets; nothing for a DELETE.
    pub sets: Option<Vec<String>>,
}

/// Why no query counts the rows of a statement. Never a sign that there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Uncountable {
    /// It is not one DELETE or UPDATE: it stands in another statement, or is a MERGE.
    #[error("it is not a DELETE or UPDATE by itself")]
    NotOne,
    /// `$1`, whose value comes later.
    #[error("its rows depend on a parameter")]
    Parameter,
    /// `WHERE CURRENT OF`.
    #[error("its row is where a cursor stands")]
    Cursor,
    /// A function whose answer can be another one the next time, or that nobody knows.
    #[error("its rows depend on a function or a sample that may give another answer the next time")]
    Changing,
    /// A subquery or WITH query writes or locks.
    #[error("counting its rows would do more than read")]
    DoesMore,
    /// A WITH query has the target's name, so that a query could not name the target.
    #[error("a WITH query has the name of its table")]
    TwoOfAName,
    /// What was written does not parse to the same tree.
    #[error("the query for it cannot be written")]
    NotWritten,
}

/// A text that is refused because nobody can say what a server would do with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Longer than [`crate::LONGEST_TEXT`].
    #[error("the text has {0} bytes; at most {max} are read: send it in parts", max = crate::LONGEST_TEXT)]
    TooLong(usize),
    /// PostgreSQL ends a text at a NUL, and nobody else does.
    #[error("the text has a NUL byte: remove it")]
    Nul,
    /// Not of the dialect's grammar.
    #[error("the text is not read as {dialect}: {message}")]
    Grammar {
        /// Whose grammar.
        dialect: &'static str,
        /// The parser's words.
        message: String,
    },
    /// Something that no table here names.
    #[error("the classifier does not know `{0}`, so it cannot say what this does")]
    UnknownNode(String),
    /// Comments that one server executes and another skips.
    #[error("the text has a comment that MySQL or MariaDB executes (/*! or /*M!): write it out")]
    ExecutableComment,
    /// The tree is deeper than anybody writes by hand.
    #[error("the text is nested too deeply: split it")]
    TooDeep,
    /// The parser gave up, or its thread did.
    #[error("the text could not be examined")]
    NotExamined,
}
