//! What each kind of statement does: queries, changes of rows, transactions, sessions, files. What
//! defines or removes objects is in [`super::definitions`].

use std::collections::HashMap;

use tagout_core::Flag;

use super::rows::{constant_text, fills_in, is_listed, meets_by_key, where_kind};
use super::tree::{Message, Value};
use super::{Walk, definitions, is_system, names, object, relation_of};
use crate::statement::{Act, Class, Object, Unreadable, WhereKind};

/// Whether a node is a statement, so that [`Walk::statement`] says what it does.
pub(super) fn is_statement(kind: &str) -> bool {
    (kind.ends_with("Stmt") && kind != "ReplicaIdentityStmt") || kind == "RawStmt"
}

impl Walk<'_> {
    pub(super) fn statement(&mut self, message: &Message) -> Result<(), Unreadable> {
        match message.kind {
            "SelectStmt" => self.select(message),
            "PlAssignStmt" | "ReturnStmt" => self.fields(message, &[]),
            "InsertStmt" => self.insert(message),
            "UpdateStmt" => self.update(message),
            "DeleteStmt" => self.delete(message),
            "MergeStmt" => self.merge(message),
            "TruncateStmt" => self.truncate(message),
            "CopyStmt" => self.copy(message),
            "ExplainStmt" => self.explain(message),
            "PrepareStmt" => self.prepare(message),
            "ExecuteStmt" => self.execute(message),
            "DeclareCursorStmt" => {
                self.act(Act::new("declare_cursor", Class::Session));
                self.visit(message.get("query"))
            }
            // The cursor's query was judged when it was declared.
            "FetchStmt" | "ClosePortalStmt" => self.plain(message, "fetch", Class::Session),
            "DeallocateStmt" => {
                let name = message.text("name");
                match name {
                    "" => self.prepared.clear(),
                    name => drop(self.prepared.remove(name)),
                }
                // Without an object it is all of them.
                let one = (!name.is_empty()).then(|| prepared(name));
                self.act(Act::new("deallocate", Class::Session).on(one));
                self.fields(message, &[])
            }
            "CallStmt" => {
                self.act(Act::new("call_procedure", Class::Session));
                self.fields(message, &[])
            }
            "DoStmt" => self.do_block(message),
            "TransactionStmt" => self.transaction(message),
            "VariableSetStmt" => self.set_statement(message),
            "VariableShowStmt" => self.plain(message, "show", Class::Read),
            "ConstraintsSetStmt" => self.plain(message, "set_constraints", Class::Session),
            "DiscardStmt" => {
                self.prepared.clear();
                self.plain(message, "discard", Class::Session)
            }
            "ListenStmt" | "UnlistenStmt" => self.plain(message, "listen", Class::Session),
            "NotifyStmt" => self.plain(message, "notify", Class::Write),
            "LockStmt" => {
                let tables = relations(message.list("relations"), "table");
                self.act(Act::new("lock", Class::Write).on(tables));
                Ok(())
            }
            "VacuumStmt" => self.vacuum(message),
            "LoadStmt" => {
                let library = Act::new("load", Class::Irreversible).flag(Flag::Exec);
                self.act(library.because("loads code into the server"));
                Ok(())
            }
            _ => self.definition(message),
        }
    }

    /// A statement of which only its parts may be more than its name says.
    pub(super) fn plain(
        &mut self,
        message: &Message,
        name: &str,
        class: Class,
    ) -> Result<(), Unreadable> {
        self.act(Act::new(name, class));
        self.fields(message, &[])
    }

    fn select(&mut self, select: &Message) -> Result<(), Unreadable> {
        if let Some(into) = select.message("into_clause") {
            let tables = into.message("rel").map(|rel| relation_of(rel, "table"));
            self.act(Act::new("create_table", Class::Write).on(tables));
        }
        self.with_names(select, &["into_clause"])
    }

    fn insert(&mut self, insert: &Message) -> Result<(), Unreadable> {
        use pg_query::protobuf::OnConflictAction;
        let mut act = Act::new("insert", Class::Write);
        let overwrites = insert.message("on_conflict_clause").is_some_and(|clause| {
            clause.number("action") == OnConflictAction::OnconflictUpdate as i32
        });
        if overwrites {
            act.rows = Some(match is_listed(insert.message("select_stmt")) {
                true => WhereKind::Key,
                false => WhereKind::Other,
            });
            if act.rows == Some(WhereKind::Other) {
                act.class = Class::Destructive;
                act = act.because("overwrites whatever rows a query finds");
            }
        }
        self.change(insert, act);
        self.with_names(insert, &["relation"])
    }

    fn update(&mut self, update: &Message) -> Result<(), Unreadable> {
        let condition = update.get("where_clause");
        let joined = !update.list("from_clause").is_empty();
        let rows = self.rows(update, condition, joined);
        let class = match rows {
            WhereKind::Key => Class::Write,
            _ if fills_in(condition, update.list("target_list")) => Class::Write,
            _ => Class::Destructive,
        };
        let mut act = Act::new("update", class);
        act.rows = Some(rows);
        act.because = overwrites(class, rows, "overwrites");
        self.change(update, act);
        self.with_names(update, &["relation"])
    }

    fn delete(&mut self, delete: &Message) -> Result<(), Unreadable> {
        let joined = !delete.list("using_clause").is_empty();
        let rows = self.rows(delete, delete.get("where_clause"), joined);
        let class = match rows {
            WhereKind::Key => Class::Write,
            _ => Class::Destructive,
        };
        let mut act = Act::new("delete", class);
        act.rows = Some(rows);
        act.because = overwrites(class, rows, "removes");
        self.change(delete, act);
        self.with_names(delete, &["relation"])
    }

    fn merge(&mut self, merge: &Message) -> Result<(), Unreadable> {
        use pg_query::protobuf::{CmdType, MergeMatchKind};
        let mut class = Class::Write;
        let mut because = None;
        let by_key = is_listed(merge.message("source_relation"))
            && merge
                .message("relation")
                .is_some_and(|target| meets_by_key(merge.get("join_condition"), target));
        for when in merge
            .list("merge_when_clauses")
            .iter()
            .filter_map(Value::as_message)
        {
            let command = when.number("command_type");
            let by_target = when.number("match_kind") == MergeMatchKind::MergeWhenMatched as i32;
            if command == CmdType::CmdDelete as i32 {
                (class, because) = (Class::Destructive, Some("MERGE removes rows"));
            } else if command == CmdType::CmdUpdate as i32 && !(by_target && by_key) {
                (class, because) = (Class::Destructive, Some("MERGE overwrites rows"));
            }
        }
        let mut act = Act::new("merge", class);
        act.rows = Some(match by_key {
            true => WhereKind::Key,
            false => WhereKind::Other,
        });
        act.because = because.map(ToOwned::to_owned);
        self.change(merge, act);
        // MergeWhenClause holds expressions only.
        let outer = self.ctes.len();
        self.with_names(merge, &["relation", "merge_when_clauses"])?;
        self.ctes.truncate(outer);
        for when in merge.list("merge_when_clauses") {
            if let Some(when) = when.kind("MergeWhenClause") {
                self.fields(when, &[])?;
            }
        }
        Ok(())
    }

    fn truncate(&mut self, truncate: &Message) -> Result<(), Unreadable> {
        let tables = relations(truncate.list("relations"), "table");
        let act = Act::new("truncate", Class::Destructive).on(tables);
        self.act(act.cascading(definitions::cascades(truncate)));
        Ok(())
    }

    fn rows(&self, statement: &Message, condition: &Value, joined: bool) -> WhereKind {
        match statement.message("relation") {
            // In a body a loop moves the cursor, and nobody counts the rows.
            _ if self.depth > 0 && condition.kind("CurrentOfExpr").is_some() => WhereKind::Other,
            Some(target) => where_kind(condition, target, joined),
            None => WhereKind::None,
        }
    }

    /// A change of rows of the statement's `relation`.
    fn change(&mut self, statement: &Message, act: Act) {
        let table = statement
            .message("relation")
            .map(|relation| relation_of(relation, "table"));
        let system = table.as_ref().is_none_or(is_system);
        let mut act = act.on(table);
        if system {
            act.class = Class::Irreversible;
            act = act
                .flag(Flag::PermissionChange)
                .because("changes the system's own tables");
        }
        self.act(act);
    }

    fn copy(&mut self, copy: &Message) -> Result<(), Unreadable> {
        let relation = copy.message("relation");
        let from = copy.truth("is_from");
        let table = relation.map(|relation| relation_of(relation, "table"));
        let file = copy.text("filename");
        let act = match (from, copy.truth("is_program"), file) {
            (_, true, _) => Act::new("copy_program", Class::Irreversible)
                .flag(Flag::Exec)
                .because("runs a program on the server"),
            (true, false, "") => Act::new("copy_from", Class::Write),
            (true, false, _) => Act::new("copy_from_file", Class::Write)
                .flag(Flag::SecretRead)
                .because("reads a file of the server into the database"),
            (false, false, "") => Act::new("copy_to", Class::Read),
            (false, false, _) => Act::new("copy_to_file", Class::Irreversible)
                .flag(Flag::Exec)
                .because("writes a file on the server"),
        };
        if from {
            let system = table.as_ref().is_none_or(is_system);
            let mut act = act.on(table);
            if system {
                act.class = Class::Irreversible;
                act = act.flag(Flag::PermissionChange);
            }
            self.act(act);
        } else {
            self.act(act.on(table.clone()));
            self.reads.extend(table);
        }
        self.fields(copy, &["relation"])
    }

    fn explain(&mut self, explain: &Message) -> Result<(), Unreadable> {
        let runs = explain.list("options").iter().any(|option| {
            option.kind("DefElem").is_some_and(|option| {
                option.text("defname") == "analyze" && !is_off(option.get("arg"))
            })
        });
        self.act(Act::new("explain", Class::Read));
        if runs {
            return self.visit(explain.get("query"));
        }
        // A plan is made, which runs functions of constants and changes nothing else.
        let mut inner = Walk::new(self.text, self.depth, self.prepared);
        inner.visit(explain.get("query"))?;
        let statement = inner.finish();
        // Planning may call what is declared IMMUTABLE.
        self.calls.extend(statement.calls);
        for mut act in statement.acts {
            if !act.known || act.name == "execute_text" || act.name == "select" {
                self.act(act);
            } else if act.flags.contains(Flag::SecretRead) {
                act.class = Class::Read;
                self.act(act);
            }
        }
        Ok(())
    }

    fn prepare(&mut self, prepare: &Message) -> Result<(), Unreadable> {
        let mut inner = HashMap::new();
        let mut walk = Walk::new(self.text, self.depth, &mut inner);
        walk.visit(prepare.get("query"))?;
        let statement = walk.finish();
        let name = prepare.text("name").to_owned();
        self.act(Act::new("prepare", Class::Session).on([prepared(&name)]));
        self.prepared.insert(name, statement.acts.clone());
        // Judged here, since whoever allows it will see only a name later.
        self.acts.extend(statement.acts);
        self.calls.extend(statement.calls);
        self.transactional &= statement.transactional;
        self.fields(prepare, &["query"])
    }

    fn execute(&mut self, execute: &Message) -> Result<(), Unreadable> {
        let name = execute.text("name");
        match self.prepared.get(name).cloned() {
            Some(acts) => self.acts.extend(acts),
            None => {
                let act = Act::new("execute", Class::Destructive)
                    .flag(Flag::Exec)
                    .on([prepared(name)])
                    .unknown();
                self.act(act.because(format!("what {name} stands for was prepared elsewhere")));
            }
        }
        self.fields(execute, &[])
    }

    fn transaction(&mut self, transaction: &Message) -> Result<(), Unreadable> {
        use pg_query::protobuf::TransactionStmtKind as Kind;
        let kind = Kind::try_from(transaction.number("kind"));
        let name = match kind {
            Ok(Kind::TransStmtBegin | Kind::TransStmtStart) => "begin",
            Ok(Kind::TransStmtCommit) => "commit",
            Ok(Kind::TransStmtRollback | Kind::TransStmtRollbackTo) => "rollback",
            Ok(Kind::TransStmtSavepoint | Kind::TransStmtRelease) => "savepoint",
            Ok(
                Kind::TransStmtPrepare
                | Kind::TransStmtCommitPrepared
                | Kind::TransStmtRollbackPrepared,
            ) => {
                self.transactional = false;
                let act = Act::new("prepare_transaction", Class::Admin);
                self.act(act.flag(Flag::PermissionChange).because(
                    "a prepared transaction outlives its session and is finished by any other",
                ));
                return Ok(());
            }
            _ => {
                return Err(Unreadable::UnknownNode(
                    "a transaction statement".to_owned(),
                ));
            }
        };
        self.act(Act::new(name, Class::Session));
        self.modes(transaction.list("options"));
        Ok(())
    }

    /// Transaction modes; READ WRITE takes back a protection.
    fn modes(&mut self, modes: &[Value]) {
        for mode in modes.iter().filter_map(|mode| mode.kind("DefElem")) {
            if mode.text("defname") == "transaction_read_only" && is_off(mode.get("arg")) {
                self.setting("transaction_read_only", Some(vec!["off"]));
            }
        }
    }

    fn set_statement(&mut self, set: &Message) -> Result<(), Unreadable> {
        use pg_query::protobuf::VariableSetKind as Kind;
        let name = set.text("name");
        match Kind::try_from(set.number("kind")) {
            Ok(Kind::VarSetValue) if matches!(name, "role" | "session_authorization") => {
                self.identity(name);
            }
            Ok(Kind::VarSetValue) => {
                let values: Vec<String> = set.list("args").iter().map(written).collect();
                self.setting(name, Some(values.iter().map(String::as_str).collect()));
            }
            Ok(Kind::VarSetMulti) if name == "TRANSACTION SNAPSHOT" => {
                self.act(Act::new("set", Class::Session));
            }
            Ok(Kind::VarSetMulti) => {
                self.act(Act::new("set", Class::Session));
                self.modes(set.list("args"));
            }
            Ok(Kind::VarSetDefault | Kind::VarReset)
                if matches!(name, "role" | "session_authorization") =>
            {
                self.identity(name);
            }
            Ok(Kind::VarSetDefault | Kind::VarReset) => self.reset(name),
            // As DISCARD does: a role's own settings come back.
            Ok(Kind::VarSetCurrent | Kind::VarResetAll) => {
                self.act(Act::new("set", Class::Session));
            }
            _ => return Err(Unreadable::UnknownNode("a SET".to_owned())),
        }
        self.fields(set, &[])
    }

    fn identity(&mut self, name: &str) {
        self.act(
            Act::new("set_role", Class::Admin)
                .flag(Flag::PermissionChange)
                .because(format!("SET {name} acts as somebody else")),
        );
    }

    fn vacuum(&mut self, vacuum: &Message) -> Result<(), Unreadable> {
        let tables: Vec<Object> = vacuum
            .list("rels")
            .iter()
            .filter_map(|relation| relation.kind("VacuumRelation")?.message("relation"))
            .map(|relation| relation_of(relation, "table"))
            .collect();
        if !vacuum.truth("is_vacuumcmd") {
            self.act(Act::new("analyze", Class::Write).on(tables));
            return Ok(());
        }
        self.transactional = false;
        let full = vacuum.list("options").iter().any(|option| {
            option.kind("DefElem").is_some_and(|option| {
                option.text("defname") == "full" && !is_off(option.get("arg"))
            })
        });
        let act = match full {
            true => Act::new("vacuum_full", Class::Destructive)
                .because("locks the table until every row is rewritten"),
            false => Act::new("vacuum", Class::Write),
        };
        self.act(act.on(tables));
        Ok(())
    }
}

/// The tables of a list of RangeVars.
pub(super) fn relations(list: &[Value], kind: &'static str) -> Vec<Object> {
    let relations = list.iter().filter_map(|value| value.kind("RangeVar"));
    relations
        .map(|relation| relation_of(relation, kind))
        .collect()
}

/// A value of SET as it is written.
fn prepared(name: &str) -> Object {
    Object {
        kind: "prepared_statement",
        schema: None,
        name: name.to_owned(),
    }
}

fn written(value: &Value) -> String {
    if let Some(text) = constant_text(value) {
        return text;
    }
    let constant = match value.kind("TypeCast") {
        Some(cast) => cast.get("arg"),
        None => value,
    };
    let Some(constant) = constant.kind("AConst") else {
        return String::new();
    };
    let inner = constant.message("val");
    match inner.map(|inner| (inner.kind, inner)) {
        Some(("Integer", number)) => number.number("ival").to_string(),
        Some(("Float", number)) => number.text("fval").to_owned(),
        Some(("Boolean", truth)) => truth.truth("boolval").to_string(),
        _ => String::new(),
    }
}

/// Whether an option is switched off; standing alone it is on.
fn is_off(value: &Value) -> bool {
    let text = match value {
        Value::Nothing => return false,
        Value::Message(message) => match message.kind {
            "String" => message.text("sval").to_lowercase(),
            "Integer" => message.number("ival").to_string(),
            "Boolean" => message.truth("boolval").to_string(),
            "AConst" => written(value).to_lowercase(),
            _ => return false,
        },
        _ => return false,
    };
    matches!(text.as_str(), "off" | "false" | "0" | "no")
}

fn overwrites(class: Class, rows: WhereKind, verb: &str) -> Option<String> {
    (class == Class::Destructive).then(|| match rows {
        WhereKind::None => format!("without WHERE it {verb} every row"),
        WhereKind::Tautology => format!("its WHERE holds for every row: it {verb} all of them"),
        _ => format!("its WHERE names no rows by a key: it {verb} as many as fit"),
    })
}

/// For a name list as DROP and others have it.
pub(super) fn object_of(kind: &'static str, value: &Value) -> Object {
    match value.as_message() {
        Some(message) if message.kind == "List" => object(kind, &names(message.list("items"))),
        Some(message) if message.kind == "ObjectWithArgs" => {
            object(kind, &names(message.list("objname")))
        }
        Some(message) if message.kind == "TypeName" => object(kind, &names(message.list("names"))),
        Some(message) if message.kind == "RangeVar" => relation_of(message, kind),
        Some(message) if message.kind == "String" => {
            object(kind, &[message.text("sval").to_owned()])
        }
        _ => object(kind, &[]),
    }
}
