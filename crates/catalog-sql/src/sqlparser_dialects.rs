//! MySQL, MariaDB and SQLite, read by `sqlparser`. That parser is not the servers' own, so it is believed
//! only where it cannot have read something else than a server would: comments and quotings that only
//! one of the two knows are refused before anything is judged, and a statement that no arm here names
//! makes the text unreadable.
//!
//! In MySQL whatever defines or removes objects commits by itself, so what is removed there is gone.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AlterTableOperation, AssignmentTarget, BinaryOperator, Expr, FromTable, Function, ObjectName,
    ObjectNamePart, ObjectType, OnInsert, Query, RenameTableNameKind, SchemaName, Select, SetExpr,
    Statement as Parsed, TableFactor, TableObject, TableWithJoins, UnaryOperator, Value, Visit,
    Visitor,
};
use sqlparser::dialect::{Dialect as Grammar, MySqlDialect, SQLiteDialect};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer, Whitespace};
use tagout_core::Flag;

use crate::Dialect;
use crate::mysql_settings::setting;
use crate::mysql_text::{Simple, expanded, simple};
use crate::postgres::names_a_row;
use crate::statement::{Act, Class, Object, Statement, Statements, Unreadable, WhereKind};

/// How many operators and keywords may follow one another in one expression: each may make the tree a
/// level deeper, and an unoptimised build uses some 30 KiB of stack for each.
const LONGEST_CHAIN: usize = 4_000;

/// How many brackets and queries may stand in one another.
const DEEPEST: usize = 100;

/// The longest list that still names rows one by one.
const LONGEST_LIST: usize = 100;

/// Functions that only compute, of both, and of each.
const COMPUTE: &str = include_str!("computing_functions.txt");

/// What the statements of a text would do.
pub(crate) fn classify(dialect: Dialect, text: &str) -> Result<Statements, Unreadable> {
    let grammar: &dyn Grammar = match dialect {
        Dialect::Sqlite => &SQLiteDialect {},
        _ => &MySqlDialect {},
    };
    let text = &*match dialect {
        Dialect::Mysql => expanded(text)?,
        _ => text.into(),
    };
    if dialect == Dialect::Mysql
        && let Some(simple) = simple(text)?
    {
        return Ok(vec![simply(simple)]);
    }
    let refuse = |message: String| Unreadable::Grammar {
        dialect: match dialect {
            Dialect::Sqlite => "SQLite",
            _ => "MySQL",
        },
        message,
    };
    let tokens = Tokenizer::new(grammar, text)
        .tokenize()
        .map_err(|error| refuse(error.to_string()))?;
    agree(dialect, &tokens).map_err(refuse)?;
    if longest_chain(&tokens) > LONGEST_CHAIN {
        return Err(Unreadable::TooDeep);
    }
    let mut parser = Parser::new(grammar)
        .with_recursion_limit(DEEPEST)
        .with_tokens(tokens);
    let parsed = parser
        .parse_statements()
        .map_err(|error| refuse(error.to_string()))?;
    // The parser stops at END without a word about what follows.
    if parser.peek_token().token != Token::EOF {
        return Err(refuse("the text goes on after END".to_owned()));
    }
    let is_alone = parsed.len() == 1;
    parsed
        .iter()
        .map(|statement| judge(dialect, statement, is_alone))
        .collect()
}

/// A statement that is known by its first words.
fn simply(simple: Simple) -> Statement {
    let act = match simple {
        Simple::Show {
            tells_secrets,
            databases,
        } => {
            let names = databases.into_iter().map(|name| Object {
                kind: "database",
                schema: None,
                name,
            });
            let act = Act::new("show", Class::Read).on(names);
            match tells_secrets {
                false => act,
                true => act
                    .flag(Flag::SecretRead)
                    .because("shows password hashes or what others wrote"),
            }
        }
        Simple::Use(name) => Act::new("use", Class::Admin)
            .flag(Flag::PermissionChange)
            .on([Object {
                kind: "database",
                schema: None,
                name,
            }])
            .because("another database than the one that was granted"),
        Simple::Snapshot => Act::new("begin", Class::Session),
        Simple::Keys(name) => Act::new("alter_table", Class::Write).on([Object {
            kind: "table",
            schema: None,
            name,
        }]),
        Simple::Kill(connection) => Act::new("kill", Class::Destructive).on([Object {
            kind: "connection",
            schema: None,
            name: connection,
        }]),
    };
    Statement {
        acts: vec![act],
        transactional: true,
        row_count: None,
        calls: std::collections::BTreeSet::new(),
    }
}

/// Refuses what the tokenizer and a server may read differently.
fn agree(dialect: Dialect, tokens: &[Token]) -> Result<(), String> {
    for token in tokens {
        match token {
            Token::DollarQuotedString(_)
            | Token::TripleSingleQuotedString(_)
            | Token::TripleDoubleQuotedString(_)
            | Token::TripleSingleQuotedByteStringLiteral(_)
            | Token::TripleDoubleQuotedByteStringLiteral(_)
            | Token::SingleQuotedRawStringLiteral(_)
            | Token::DoubleQuotedRawStringLiteral(_)
            | Token::TripleSingleQuotedRawStringLiteral(_)
            | Token::TripleDoubleQuotedRawStringLiteral(_)
            | Token::QuoteDelimitedStringLiteral(_)
            | Token::NationalQuoteDelimitedStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_) => {
                return Err("a quoting of another dialect".to_owned());
            }
            // `||` is OR to MySQL, and the parser binds it and XOR closer than AND.
            Token::StringConcat if dialect == Dialect::Mysql => {
                return Err("||: write OR, or CONCAT()".to_owned());
            }
            Token::Word(word)
                if dialect == Dialect::Mysql
                    && word.quote_style.is_none()
                    && word.keyword == Keyword::XOR =>
            {
                return Err("XOR: write it with AND, OR and NOT".to_owned());
            }
            // They were taken out, as MySQL sees them.
            Token::Whitespace(
                Whitespace::MultiLineComment(_) | Whitespace::SingleLineComment { .. },
            ) if dialect == Dialect::Mysql => {
                return Err("a comment that MySQL does not take for one".to_owned());
            }
            // A comment in a comment: where it ends is read differently.
            Token::Whitespace(Whitespace::MultiLineComment(comment)) if comment.contains("/*") => {
                return Err("a comment in a comment".to_owned());
            }
            Token::Whitespace(Whitespace::SingleLineComment { prefix, .. })
                if dialect == Dialect::Sqlite && prefix != "--" =>
            {
                return Err("a comment of another dialect".to_owned());
            }
            // Other line ends than a newline end a comment for some.
            Token::Whitespace(Whitespace::SingleLineComment { comment, .. })
                if comment.trim_end_matches(['\r', '\n']).contains('\r') =>
            {
                return Err("a carriage return in a comment".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

/// The most tokens that may stand over one another in a tree. What a comma separates stands side by side;
/// what a bracket holds stands over what is in it.
fn longest_chain(tokens: &[Token]) -> usize {
    let mut open = vec![0_usize];
    let (mut sum, mut longest) = (0, 0);
    for token in tokens {
        match token {
            Token::LParen => open.push(0),
            Token::RParen if open.len() > 1 => sum -= open.pop().unwrap_or_default(),
            Token::Comma | Token::SemiColon => {
                if let Some(chain) = open.last_mut() {
                    sum -= std::mem::take(chain);
                }
            }
            token if deepens(token) => {
                if let Some(chain) = open.last_mut() {
                    *chain += 1;
                    sum += 1;
                    longest = longest.max(sum);
                }
            }
            _ => {}
        }
    }
    longest
}

/// Whether a token may make a tree one level deeper without a bracket.
fn deepens(token: &Token) -> bool {
    match token {
        Token::Word(word) => !matches!(
            word.keyword,
            Keyword::NoKeyword | Keyword::NULL | Keyword::TRUE | Keyword::FALSE | Keyword::DEFAULT
        ),
        Token::Whitespace(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::HexStringLiteral(_)
        | Token::Comma
        | Token::LParen
        | Token::RParen
        | Token::Period
        | Token::Placeholder(_)
        | Token::SemiColon => false,
        _ => true,
    }
}

fn judge(dialect: Dialect, statement: &Parsed, is_alone: bool) -> Result<Statement, Unreadable> {
    let mut judge = Judge {
        dialect,
        is_alone,
        acts: Vec::new(),
        reads: Vec::new(),
        transactional: true,
        only_plans: false,
    };
    if let ControlFlow::Break(unreadable) = statement.visit(&mut judge) {
        return Err(unreadable);
    }
    judge.reads.sort();
    judge.reads.dedup();
    let acts = &judge.acts;
    let is_named = |table: &Object| acts.iter().any(|act| act.objects.contains(table));
    judge
        .reads
        .retain(|table| acts.is_empty() || !is_named(table));
    if judge.acts.is_empty() || !judge.reads.is_empty() {
        judge
            .acts
            .push(Act::new("select", Class::Read).on(judge.reads));
    }
    Ok(Statement {
        acts: judge.acts,
        transactional: judge.transactional,
        row_count: None,
        calls: std::collections::BTreeSet::new(),
    })
}

struct Judge {
    dialect: Dialect,
    /// No other statement stands in the text.
    is_alone: bool,
    acts: Vec<Act>,
    reads: Vec<Object>,
    transactional: bool,
    /// Inside an EXPLAIN that runs nothing.
    only_plans: bool,
}

impl Visitor for Judge {
    type Break = Unreadable;

    fn pre_visit_statement(&mut self, statement: &Parsed) -> ControlFlow<Unreadable> {
        match self.statement(statement) {
            Ok(()) => ControlFlow::Continue(()),
            Err(unreadable) => ControlFlow::Break(unreadable),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Unreadable> {
        let odd = query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty();
        match odd {
            true => unknown("a clause of another dialect"),
            false => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Unreadable> {
        match select.into.is_some() {
            true => unknown("SELECT … INTO"),
            false => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Unreadable> {
        let table = object("table", relation);
        let secret = match (self.dialect, table.schema.as_deref()) {
            (Dialect::Mysql, schema) => {
                matches!(
                    table.name.to_lowercase().as_str(),
                    "user" | "global_priv" | "authentication_string"
                ) && schema.is_some_and(|schema| schema.eq_ignore_ascii_case("mysql"))
            }
            _ => false,
        };
        if secret {
            let act = Act::new("select", Class::Read).flag(Flag::SecretRead);
            self.acts
                .push(act.on([table.clone()]).because("holds password hashes"));
        }
        self.reads.push(table);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Unreadable> {
        match factor {
            TableFactor::Table {
                name,
                args: Some(_),
                ..
            }
            | TableFactor::Function { name, .. } => {
                self.call(name);
                ControlFlow::Continue(())
            }
            TableFactor::Table { .. }
            | TableFactor::Derived { .. }
            | TableFactor::JsonTable { .. }
            | TableFactor::NestedJoin { .. } => ControlFlow::Continue(()),
            _ => unknown("a FROM of another dialect"),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Unreadable> {
        if let Expr::Function(Function { name, .. }) = expr {
            self.call(name);
        }
        ControlFlow::Continue(())
    }
}

fn unknown(what: &str) -> ControlFlow<Unreadable> {
    ControlFlow::Break(Unreadable::UnknownNode(what.to_owned()))
}

impl Judge {
    fn statement(&mut self, statement: &Parsed) -> Result<(), Unreadable> {
        let act = match statement {
            Parsed::Query(_) => return Ok(()),
            Parsed::Explain { analyze, .. } => {
                self.only_plans = !analyze;
                Act::new("explain", Class::Read)
            }
            Parsed::ExplainTable { .. } => Act::new("explain", Class::Read),
            _ if self.only_plans => return Ok(()),
            Parsed::ShowVariable { .. }
            | Parsed::ShowVariables { .. }
            | Parsed::ShowStatus { .. }
            | Parsed::ShowTables { .. }
            | Parsed::ShowColumns { .. }
            | Parsed::ShowDatabases { .. }
            | Parsed::ShowSchemas { .. }
            | Parsed::ShowCreate { .. }
            | Parsed::ShowCollation { .. }
            | Parsed::ShowProcessList { .. }
            | Parsed::ShowViews { .. } => Act::new("show", Class::Read),
            Parsed::StartTransaction {
                statements,
                exception,
                ..
            } if statements.is_empty() && exception.is_none() => match writes_anyway(statement) {
                false => Act::new("begin", Class::Session),
                true => Act::new("begin", Class::Admin)
                    .flag(Flag::PermissionChange)
                    .because("it writes even where the session only reads"),
            },
            Parsed::Commit { .. } => Act::new("commit", Class::Session),
            Parsed::Rollback { .. } => Act::new("rollback", Class::Session),
            Parsed::Savepoint { .. } | Parsed::ReleaseSavepoint { .. } => {
                Act::new("savepoint", Class::Session)
            }
            Parsed::LockTables { .. } | Parsed::UnlockTables => Act::new("lock", Class::Write),
            // MariaDB's `ANALYZE` without TABLE runs the statement behind it.
            Parsed::Analyze(analyze)
                if self.dialect == Dialect::Sqlite || analyze.has_table_keyword =>
            {
                Act::new("analyze", Class::Write)
            }
            Parsed::Insert(insert) => {
                let TableObject::TableName(table) = &insert.table else {
                    return Err(Unreadable::UnknownNode("INSERT into a function".to_owned()));
                };
                let replaces = insert.replace_into
                    || insert.overwrite
                    || insert.or == Some(sqlparser::ast::SqliteOnConflict::Replace);
                let overwrites =
                    replaces || matches!(insert.on, Some(OnInsert::DuplicateKeyUpdate(_)));
                let is_listed = insert
                    .source
                    .as_ref()
                    .is_none_or(|source| matches!(*source.body, SetExpr::Values(_)));
                let mut act = match replaces {
                    true => Act::new("replace", Class::Write),
                    false => Act::new("insert", Class::Write),
                };
                // Rows that a query finds, as an UPDATE of them would.
                if overwrites && !is_listed && self.dialect == Dialect::Mysql {
                    act.class = Class::Destructive;
                    act = act.because("overwrites whatever rows a query finds");
                }
                act.on([object("table", table)])
            }
            Parsed::Update(update) => {
                let table = target(&update.table);
                let joined = !update.table.joins.is_empty() || update.from.is_some();
                let rows = self.rows(update.selection.as_ref(), table.as_ref(), joined);
                let fills = update.selection.as_ref().is_some_and(|condition| {
                    !update.assignments.is_empty()
                        && update.assignments.iter().all(|set| match &set.target {
                            AssignmentTarget::ColumnName(name) => {
                                conjuncts(condition).iter().any(|part| {
                                    matches!(part,
                                    Expr::IsNull(column) if column_name(column).as_deref()
                                        == name.0.last().and_then(part_name).as_deref())
                                })
                            }
                            AssignmentTarget::Tuple(_) => false,
                        })
                });
                let class = match rows {
                    WhereKind::Key => Class::Write,
                    _ if fills && !joined => Class::Write,
                    _ => Class::Destructive,
                };
                let mut act = Act::new("update", class).on(table);
                act.rows = Some(rows);
                act
            }
            Parsed::Delete(delete) => {
                let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) =
                    &delete.from;
                let joined = from.len() != 1
                    || !from[0].joins.is_empty()
                    || delete.using.is_some()
                    || !delete.tables.is_empty();
                let table = from.first().and_then(target);
                let rows = self.rows(delete.selection.as_ref(), table.as_ref(), joined);
                let class = match rows {
                    WhereKind::Key => Class::Write,
                    _ => Class::Destructive,
                };
                let mut act = Act::new("delete", class).on(from.iter().filter_map(target));
                act.rows = Some(rows);
                act
            }
            Parsed::Truncate(truncate) => {
                let tables = truncate
                    .table_names
                    .iter()
                    .map(|table| object("table", &table.name));
                self.removed("truncate").on(tables)
            }
            Parsed::Drop {
                object_type,
                names,
                cascade,
                ..
            } => {
                let kind = match object_type {
                    ObjectType::Table => "table",
                    ObjectType::View | ObjectType::MaterializedView => "view",
                    ObjectType::Index => "index",
                    ObjectType::Schema | ObjectType::Database => "database",
                    ObjectType::Role | ObjectType::User => "user",
                    ObjectType::Sequence => "sequence",
                    _ => {
                        return Err(Unreadable::UnknownNode(
                            "a DROP of another dialect".to_owned(),
                        ));
                    }
                };
                let names = names.iter().map(|name| object(kind, name));
                self.removed(&format!("drop_{kind}"))
                    .on(names)
                    .cascading(*cascade)
            }
            Parsed::DropFunction(_) => self.removed("drop_function"),
            Parsed::DropProcedure { .. } => self.removed("drop_procedure"),
            Parsed::DropTrigger(_) => self.removed("drop_trigger"),
            Parsed::CreateTable(table) => {
                self.defined();
                match table.or_replace {
                    true => self.removed("replace_table"),
                    false => Act::new("create_table", Class::Write),
                }
                .on([object("table", &table.name)])
            }
            Parsed::CreateIndex(index) => {
                self.defined();
                Act::new("create_index", Class::Write).on([object("table", &index.table_name)])
            }
            Parsed::CreateView(view) => {
                self.defined();
                Act::new("create_view", Class::Write).on([object("view", &view.name)])
            }
            Parsed::CreateDatabase { db_name, .. } => {
                self.defined();
                Act::new("create_database", Class::Write).on([object("database", db_name)])
            }
            Parsed::CreateSchema {
                schema_name: SchemaName::Simple(name),
                ..
            } => {
                self.defined();
                Act::new("create_database", Class::Write).on([object("database", name)])
            }
            Parsed::AlterTable(alter) => {
                self.defined();
                for operation in &alter.operations {
                    let act = self.altered(operation)?.on([object("table", &alter.name)]);
                    self.acts.push(act);
                }
                return Ok(());
            }
            Parsed::RenameTable(renames) => {
                self.defined();
                let names = renames
                    .iter()
                    .flat_map(|one| [&one.old_name, &one.new_name]);
                Act::new("rename", Class::Write).on(names.map(|name| object("table", name)))
            }
            Parsed::Grant(_) | Parsed::Revoke(_) => {
                Act::new("grant", Class::Admin).flag(Flag::PermissionChange)
            }
            Parsed::CreateUser(_) | Parsed::AlterUser(_) | Parsed::CreateRole(_) => {
                Act::new("create_user", Class::Admin)
                    .flag(Flag::PermissionChange)
                    .flag(Flag::CredentialMint)
            }
            Parsed::Kill { .. } => Act::new("kill", Class::Destructive),
            Parsed::Flush { .. } => Act::new("flush", Class::Admin).flag(Flag::PermissionChange),
            Parsed::OptimizeTable { .. } => Act::new("optimize", Class::Write),
            Parsed::Use(_) => Act::new("use", Class::Admin)
                .flag(Flag::PermissionChange)
                .because("another database than the one that was granted"),
            Parsed::Vacuum(_) if self.dialect == Dialect::Sqlite => {
                Act::new("vacuum", Class::Write)
            }
            Parsed::Pragma { name, value, .. } => pragma(name, value.is_some()),
            Parsed::AttachDatabase { .. } => Act::new("attach", Class::Admin)
                .flag(Flag::PermissionChange)
                .because("opens another file as a database"),
            Parsed::Set(set) => setting(set, self.is_alone),
            Parsed::Call(function) => {
                self.call(&function.name);
                return Ok(());
            }
            Parsed::Prepare { .. } | Parsed::Execute { .. } => {
                Act::new("execute_text", Class::Irreversible)
                    .flag(Flag::Exec)
                    .unknown()
                    .because("it runs a text that is known only when it runs")
            }
            Parsed::LoadData { .. } => Act::new("load_data", Class::Write)
                .flag(Flag::SecretRead)
                .because("reads a file"),
            // Bodies are not looked into here.
            Parsed::CreateTrigger(_)
            | Parsed::CreateFunction(_)
            | Parsed::CreateProcedure { .. } => {
                self.defined();
                Act::new("create_routine", Class::Destructive)
                    .flag(Flag::Exec)
                    .unknown()
                    .because("what its body does later is not read")
            }
            other => {
                let shown = other.to_string();
                let words: Vec<&str> = shown.split_whitespace().take(2).collect();
                return Err(Unreadable::UnknownNode(words.join(" ")));
            }
        };
        self.acts.push(act);
        Ok(())
    }

    /// Something is removed: for good where definitions commit by themselves.
    fn removed(&mut self, name: &str) -> Act {
        self.defined();
        match self.dialect {
            Dialect::Mysql => Act::new(name, Class::Irreversible)
                .because("MySQL commits it at once: nothing takes it back"),
            _ => Act::new(name, Class::Destructive),
        }
    }

    /// Something is defined: in MySQL that ends the transaction.
    fn defined(&mut self) {
        self.transactional &= self.dialect != Dialect::Mysql;
    }

    fn altered(&mut self, operation: &AlterTableOperation) -> Result<Act, Unreadable> {
        use AlterTableOperation as Alter;
        Ok(match operation {
            Alter::AddColumn { .. }
            | Alter::AddConstraint { .. }
            | Alter::AddPartitions { .. }
            | Alter::RenameColumn { .. }
            | Alter::RenameConstraint { .. }
            | Alter::Algorithm { .. }
            | Alter::Lock { .. }
            | Alter::DropConstraint { .. }
            | Alter::DropForeignKey { .. }
            | Alter::AutoIncrement { .. } => Act::new("alter_table", Class::Write),
            Alter::RenameTable {
                table_name: RenameTableNameKind::As(name) | RenameTableNameKind::To(name),
            } => Act::new("alter_table", Class::Write).on([object("table", name)]),
            Alter::DropColumn { .. } => self.removed("drop_column"),
            Alter::DropPartitions { .. } => self.removed("drop_partition"),
            Alter::DropIndex { .. } | Alter::DropPrimaryKey { .. } => self.removed("drop_index"),
            Alter::ChangeColumn { .. } | Alter::ModifyColumn { .. } | Alter::AlterColumn { .. } => {
                self.removed("alter_column_type")
            }
            other => return Err(Unreadable::UnknownNode(format!("ALTER TABLE … {other}"))),
        })
    }

    fn call(&mut self, name: &ObjectName) {
        let called = object("function", name);
        let lower = called.name.to_lowercase();
        let own = called.schema.is_none();
        let act = match lower.as_str() {
            _ if !own => Act::new("call", Class::Destructive)
                .flag(Flag::Exec)
                .unknown(),
            "load_file" => Act::new("call", Class::Read).flag(Flag::SecretRead),
            "load_extension" => Act::new("call", Class::Irreversible).flag(Flag::Exec),
            _ if COMPUTE.lines().any(|line| line == lower) => return,
            _ => Act::new("call", Class::Destructive)
                .flag(Flag::Exec)
                .unknown(),
        };
        let because = match act.known {
            true => format!("{lower}() reaches outside of the database"),
            false => format!(
                "{lower}() is not a function of {}'s own",
                self.dialect.as_str()
            ),
        };
        self.acts.push(act.on([called]).because(because));
    }

    fn rows(&self, condition: Option<&Expr>, table: Option<&Object>, joined: bool) -> WhereKind {
        let (Some(condition), Some(table)) = (condition, table) else {
            return WhereKind::None;
        };
        let key = |part: &&Expr| !joined && self.is_key(part, &table.name);
        if conjuncts(condition).iter().any(key) {
            return WhereKind::Key;
        }
        match has_column(condition) {
            true => WhereKind::Other,
            false => WhereKind::Tautology,
        }
    }

    fn is_key(&self, condition: &Expr, table: &str) -> bool {
        match condition {
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq,
                right,
            } => {
                let pair = |column: &Expr, value: &Expr| {
                    column_name(column).is_some_and(|name| {
                        names_a_row(&name, table) && self.is_one_value(&name, value)
                    })
                };
                pair(left, right) || pair(right, left)
            }
            Expr::InList {
                expr,
                list,
                negated: false,
            } => column_name(expr).is_some_and(|name| {
                names_a_row(&name, table)
                    && (1..=LONGEST_LIST).contains(&list.len())
                    && list.iter().all(|value| self.is_one_value(&name, value))
            }),
            _ => false,
        }
    }

    /// A constant or parameter. In MySQL a number compared with a text makes the text a number, so that 0
    /// is nearly every text: numbers name rows by columns that are called ids only, and 0 never.
    fn is_one_value(&self, column: &str, value: &Expr) -> bool {
        let mysql = self.dialect == Dialect::Mysql;
        let id = column.eq_ignore_ascii_case("id") || column.to_lowercase().ends_with("id");
        match value {
            Expr::Value(value) => match &value.value {
                Value::Number(number, _) => {
                    !mysql || (id && number.parse::<u64>().is_ok_and(|number| number > 0))
                }
                Value::SingleQuotedString(text) => {
                    !mysql
                        || !id
                        || text.parse::<u64>().is_ok_and(|number| number > 0)
                        || text
                            .bytes()
                            .next()
                            .is_some_and(|byte| byte.is_ascii_alphanumeric())
                }
                Value::HexStringLiteral(_) => !mysql,
                Value::Placeholder(_) => !mysql || id,
                _ => false,
            },
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr,
            } if !mysql => self.is_one_value(column, expr),
            _ => false,
        }
    }
}

/// `START TRANSACTION READ WRITE`, which MySQL heeds in a session that is read-only.
fn writes_anyway(statement: &Parsed) -> bool {
    use sqlparser::ast::{TransactionAccessMode, TransactionMode};
    let writes = TransactionMode::AccessMode(TransactionAccessMode::ReadWrite);
    matches!(statement, Parsed::StartTransaction { modes, .. } if modes.contains(&writes))
}

/// Pragmas that only tell, and those that change how the session works.
fn pragma(name: &ObjectName, has_value: bool) -> Act {
    const TELL: &[&str] = &[
        "collation_list",
        "compile_options",
        "database_list",
        "foreign_key_check",
        "foreign_key_list",
        "freelist_count",
        "function_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "page_count",
        "page_size",
        "pragma_list",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
        "user_version",
        "journal_mode",
        "encoding",
        "foreign_keys",
        "application_id",
    ];
    const SET: &[&str] = &[
        "analysis_limit",
        "busy_timeout",
        "cache_size",
        "foreign_keys",
        "mmap_size",
        "optimize",
        "temp_store",
        "threads",
        "user_version",
        "wal_autocheckpoint",
        "wal_checkpoint",
    ];
    const TAKE_A_NAME: &[&str] = &[
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
    ];
    let pragma = object("pragma", name);
    let lower = pragma.name.to_lowercase();
    let lower = lower.as_str();
    let act = match has_value {
        false if TELL.contains(&lower) => Act::new("pragma", Class::Read),
        true if TAKE_A_NAME.contains(&lower) => Act::new("pragma", Class::Read),
        _ if SET.contains(&lower) => Act::new("pragma", Class::Session),
        _ => Act::new("pragma", Class::Admin)
            .flag(Flag::PermissionChange)
            .because("the pragma changes how the file is read, written or checked"),
    };
    act.on([pragma])
}

fn target(table: &TableWithJoins) -> Option<Object> {
    match &table.relation {
        TableFactor::Table { name, .. } => Some(object("table", name)),
        _ => None,
    }
}

fn object(kind: &'static str, name: &ObjectName) -> Object {
    let mut parts = name.0.iter().rev().filter_map(part_name);
    Object {
        kind,
        name: parts.next().unwrap_or_default(),
        schema: parts.next(),
    }
}

fn part_name(part: &ObjectNamePart) -> Option<String> {
    part.as_ident().map(|ident| ident.value.clone())
}

/// The parts of a condition that all have to hold.
fn conjuncts(condition: &Expr) -> Vec<&Expr> {
    let mut parts = Vec::new();
    let mut open = vec![condition];
    while let Some(expr) = open.pop() {
        match expr {
            Expr::BinaryOp {
                left,
                op: BinaryOperator::And,
                right,
            } => open.extend([&**left, &**right]),
            Expr::Nested(inner) => open.push(inner),
            part => parts.push(part),
        }
    }
    parts
}

fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(ident.value.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|ident| ident.value.clone()),
        _ => None,
    }
}

fn has_column(condition: &Expr) -> bool {
    let found = sqlparser::ast::visit_expressions(condition, |expr| match expr {
        Expr::Identifier(_)
        | Expr::CompoundIdentifier(_)
        | Expr::Subquery(_)
        | Expr::Exists { .. }
        | Expr::InSubquery { .. } => ControlFlow::Break(()),
        Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

#[cfg(test)]
mod tests;
