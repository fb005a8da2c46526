//! Code in statements: DO, and the bodies of functions and procedures. A body is judged when it is made,
//! by what it would do when it runs, since nobody can see into it later. SQL in PL/pgSQL is taken out of
//! the tree that libpg_query makes of it and read like any other; SQL that a body composes is the worst
//! there is.

use std::collections::BTreeSet;

use pg_query::ParserOptions;
use pg_query::protobuf::Token;
use tagout_core::Flag;
use tagout_core::json::Json;

use super::tree::{Message, Value};
use super::{Walk, calls, names, object};
use crate::statement::{Act, Class, Unreadable};

impl Walk<'_> {
    pub(super) fn do_block(&mut self, block: &Message) -> Result<(), Unreadable> {
        self.act(Act::new("do", Class::Session).flag(Flag::Exec));
        let options = block.list("args");
        let language = option(options, "language").and_then(Value::string);
        match language.unwrap_or("plpgsql") {
            "plpgsql" => {
                let body = option(options, "as").and_then(Value::string);
                self.plpgsql(self.text, body.unwrap_or_default())
            }
            other => {
                self.dynamic(&format!("nobody here reads {other}"));
                Ok(())
            }
        }
    }

    pub(super) fn create_function(&mut self, function: &Message) -> Result<(), Unreadable> {
        let kind = match function.truth("is_procedure") {
            true => "procedure",
            false => "function",
        };
        let path = names(function.list("funcname"));
        let mut act = Act::new(format!("create_{kind}"), Class::Write).on([object(kind, &path)]);
        if path.last().is_some_and(|name| calls::is_taken(name)) {
            act = Act::new(format!("create_{kind}"), Class::Destructive)
                .flag(Flag::Exec)
                .on([object(kind, &path)])
                .because("it has the name of a function of PostgreSQL's own and may be called in its place");
        }
        let options = function.list("options");
        if option(options, "security")
            .is_some_and(|value| value.kind("Boolean").is_some_and(|b| b.truth("boolval")))
        {
            act = act
                .flag(Flag::PermissionChange)
                .because("SECURITY DEFINER: whoever calls it acts as its owner");
        }
        self.act(act);
        self.fields(function, &["options", "sql_body"])?;
        for setting in options.iter().filter_map(|option| option.kind("DefElem")) {
            if setting.text("defname") == "set" {
                self.visit(setting.get("arg"))?;
            }
        }
        if !function.get("sql_body").is_nothing() {
            return self.visit(function.get("sql_body"));
        }
        let language = option(options, "language")
            .and_then(Value::string)
            .unwrap_or("sql");
        let body = option(options, "as").map(|body| names(body_parts(body)));
        match (language.to_lowercase().as_str(), body.as_deref()) {
            ("sql", Some([text])) => self.nested(text, ParserOptions::DEFAULT),
            ("plpgsql", Some([text])) => match returns_a_trigger(function) {
                true => match in_a_function(text) {
                    Some(function) => self.plpgsql(&function, text),
                    None => {
                        self.dynamic("the body is not read as PL/pgSQL");
                        Ok(())
                    }
                },
                false => self.plpgsql(self.text, text),
            },
            (other, _) => {
                self.dynamic(&format!("nobody here reads {other}"));
                Ok(())
            }
        }
    }

    /// PL/pgSQL: the statement that it stands in, and itself.
    fn plpgsql(&mut self, statement: &str, body: &str) -> Result<(), Unreadable> {
        let Ok(functions) = pg_query::parse_plpgsql(statement) else {
            self.dynamic("the body is not read as PL/pgSQL");
            return Ok(());
        };
        let known = self.plpgsql_tree(&functions)?;
        // The tree and the text must agree on what composes SQL.
        if known < executes(body) {
            self.dynamic("the body composes SQL where it was not expected");
        }
        let mut records = BTreeSet::new();
        names_of_records(&functions, &mut records);
        if !records.is_empty() && gives_values_to(&records, body) {
            self.dynamic("the body declares a record with a value, which is not shown");
        }
        Ok(())
    }

    /// Walks through PL/pgSQL; the answer is how many EXECUTE it accounts for.
    fn plpgsql_tree(&mut self, tree: &Json) -> Result<usize, Unreadable> {
        let mut executes = 0;
        match tree {
            Json::Array(items) => {
                for item in items {
                    executes += self.plpgsql_tree(item)?;
                }
            }
            Json::Object(fields) => {
                for (name, value) in fields {
                    executes += match name.as_str() {
                        "PLpgSQL_expr" => {
                            self.expression(value)?;
                            0
                        }
                        "PLpgSQL_stmt_dynexecute" | "PLpgSQL_stmt_dynfors" => {
                            self.composed(value.get("query"))?;
                            1 + self.plpgsql_rest(value, "query")?
                        }
                        "PLpgSQL_stmt_open" | "PLpgSQL_stmt_return_query"
                            if value.get("dynquery").is_some() =>
                        {
                            self.composed(value.get("dynquery"))?;
                            1 + self.plpgsql_rest(value, "dynquery")?
                        }
                        node if node.starts_with("PLpgSQL_") && !PLPGSQL.contains(&node) => {
                            return Err(Unreadable::UnknownNode(node.to_owned()));
                        }
                        _ => self.plpgsql_tree(value)?,
                    };
                }
            }
            _ => {}
        }
        Ok(executes)
    }

    fn plpgsql_rest(&mut self, node: &Json, except: &str) -> Result<usize, Unreadable> {
        let mut executes = 0;
        for (name, value) in node.as_object().into_iter().flatten() {
            if name != except {
                executes += self.plpgsql_tree(value)?;
            }
        }
        Ok(executes)
    }

    /// A statement or expression of a body, which the tree has as text.
    fn expression(&mut self, expression: &Json) -> Result<(), Unreadable> {
        let Some(text) = expression.get("query").and_then(Json::as_str) else {
            return Err(Unreadable::UnknownNode(
                "an expression without text".to_owned(),
            ));
        };
        // RawParseMode of the server's parser.h.
        let options = match expression.get("parseMode").and_then(Json::as_u64) {
            None | Some(0) => ParserOptions::DEFAULT,
            Some(2) => ParserOptions::PLPGSQL_EXPR,
            Some(3) => ParserOptions::PLPGSQL_ASSIGN1,
            Some(4) => ParserOptions::PLPGSQL_ASSIGN2,
            Some(5) => ParserOptions::PLPGSQL_ASSIGN3,
            Some(_) => return Err(Unreadable::UnknownNode("a kind of expression".to_owned())),
        };
        self.nested(text, options)
    }

    /// The text of an EXECUTE: read where it is one constant, the worst where it is composed.
    fn composed(&mut self, query: Option<&Json>) -> Result<(), Unreadable> {
        let expression = query.and_then(|query| query.get("PLpgSQL_expr"));
        let text = expression
            .and_then(|expression| expression.get("query"))
            .and_then(Json::as_str);
        let constant = match text {
            Some(text) => super::parse(text, ParserOptions::PLPGSQL_EXPR)?
                .first()
                .and_then(|(_, select)| match select.list("target_list") {
                    [one] if select.fields.len() <= 3 => one
                        .kind("ResTarget")
                        .and_then(|target| super::rows::constant_text(target.get("val"))),
                    _ => None,
                }),
            None => None,
        };
        match constant {
            Some(text) => self.nested(&text, ParserOptions::DEFAULT),
            None => {
                self.dynamic("the body runs a text that it composes (EXECUTE)");
                Ok(())
            }
        }
    }
}

/// The parts of PL/pgSQL that only hold others, as libpg_query names them.
const PLPGSQL: &[&str] = &[
    "PLpgSQL_case_when",
    "PLpgSQL_condition",
    "PLpgSQL_diag_item",
    "PLpgSQL_exception",
    "PLpgSQL_exception_block",
    "PLpgSQL_function",
    "PLpgSQL_if_elsif",
    "PLpgSQL_raise_option",
    "PLpgSQL_rec",
    "PLpgSQL_recfield",
    "PLpgSQL_row",
    "PLpgSQL_stmt_assert",
    "PLpgSQL_stmt_assign",
    "PLpgSQL_stmt_block",
    "PLpgSQL_stmt_call",
    "PLpgSQL_stmt_case",
    "PLpgSQL_stmt_close",
    "PLpgSQL_stmt_commit",
    "PLpgSQL_stmt_execsql",
    "PLpgSQL_stmt_exit",
    "PLpgSQL_stmt_fetch",
    "PLpgSQL_stmt_forc",
    "PLpgSQL_stmt_foreach_a",
    "PLpgSQL_stmt_fori",
    "PLpgSQL_stmt_fors",
    "PLpgSQL_stmt_getdiag",
    "PLpgSQL_stmt_if",
    "PLpgSQL_stmt_loop",
    "PLpgSQL_stmt_open",
    "PLpgSQL_stmt_perform",
    "PLpgSQL_stmt_raise",
    "PLpgSQL_stmt_return",
    "PLpgSQL_stmt_return_next",
    "PLpgSQL_stmt_return_query",
    "PLpgSQL_stmt_rollback",
    "PLpgSQL_stmt_while",
    "PLpgSQL_type",
    "PLpgSQL_var",
];

/// How often the word EXECUTE stands in the bodies of a text, other than where a trigger names its
/// function: never fewer than run something.
fn executes(text: &str) -> usize {
    let upper = text.to_ascii_uppercase();
    let mut count = 0;
    let mut rest = upper.as_str();
    while let Some(at) = rest.find("EXECUTE") {
        let before = rest[..at].chars().next_back();
        let after = &rest[at + "EXECUTE".len()..];
        let word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let whole = !before.is_some_and(word) && !after.chars().next().is_some_and(word);
        let next = after.trim_start();
        if whole && !next.starts_with("FUNCTION") && !next.starts_with("PROCEDURE") {
            count += 1;
        }
        rest = after;
    }
    count
}

fn returns_a_trigger(function: &Message) -> bool {
    let returned = function
        .message("return_type")
        .map(|to| names(to.list("names")));
    returned.is_some_and(|path| {
        matches!(
            path.last().map(String::as_str),
            Some("trigger" | "event_trigger")
        )
    })
}

/// A trigger function's body as a block of an ordinary function that declares what a trigger function
/// has by itself: libpg_query's tree of a trigger function cannot be read. `None` where the body has
/// every tag that could hold it.
fn in_a_function(body: &str) -> Option<String> {
    let tag = (0..100)
        .map(|n| format!("$body{n}$"))
        .find(|tag| !body.contains(tag.as_str()))?;
    let body = body.trim_end().trim_end_matches(';');
    Some(format!(
        "CREATE FUNCTION f() RETURNS record LANGUAGE plpgsql AS {tag} DECLARE new record; old record; \
         tg_name text; tg_when text; tg_level text; tg_op text; tg_relid oid; tg_relname text; \
         tg_table_name text; tg_table_schema text; tg_nargs int; tg_argv text[]; tg_event text; \
         tg_tag text; BEGIN\n{body}\n; END {tag}"
    ))
}

/// The records that a body declares. libpg_query's tree does not have what they begin with.
fn names_of_records(tree: &Json, names: &mut BTreeSet<String>) {
    match tree {
        Json::Array(items) => items.iter().for_each(|item| names_of_records(item, names)),
        Json::Object(fields) => {
            for (name, value) in fields {
                if name == "PLpgSQL_rec" {
                    let name = value.get("refname").and_then(Json::as_str);
                    names.extend(name.map(ToOwned::to_owned));
                }
                names_of_records(value, names);
            }
        }
        _ => {}
    }
}

/// Whether a declaration of one of these names gives it a value: `r record := f();`. A body that is not
/// read as tokens does.
fn gives_values_to(records: &BTreeSet<String>, body: &str) -> bool {
    let Ok(scanned) = pg_query::scan(body) else {
        return true;
    };
    let tokens: Vec<(Token, &str)> = scanned
        .tokens
        .iter()
        .filter(|token| !matches!(token.token(), Token::SqlComment | Token::CComment))
        .map(|token| {
            let (start, end) = (usize::try_from(token.start), usize::try_from(token.end));
            let text = match (start, end) {
                (Ok(start), Ok(end)) => body.get(start..end).unwrap_or_default(),
                _ => "",
            };
            (token.token(), text)
        })
        .collect();
    let gives = |text: &str| text == ":=" || text == "=" || text.eq_ignore_ascii_case("default");
    (0..tokens.len()).any(|at| {
        let begins = at == 0 || {
            let before = tokens[at - 1].1;
            before == ";" || before.eq_ignore_ascii_case("declare")
        };
        let (token, text) = tokens[at];
        if !begins {
            return false;
        }
        let name = match token {
            // An escaped name is not looked into.
            Token::Uident => return true,
            _ => match text
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
            {
                Some(quoted) => quoted.replace("\"\"", "\""),
                None => text.to_lowercase(),
            },
        };
        let rest = &tokens[at + 1..];
        // `r := …` and `r.a := …` are statements, which the tree has.
        let statement = rest
            .first()
            .is_none_or(|(_, next)| matches!(*next, ":=" | "=" | "." | "["));
        records.contains(&name)
            && !statement
            && rest
                .iter()
                .map(|(_, text)| *text)
                .take_while(|text| *text != ";")
                .any(gives)
    })
}

/// An option's value by its name.
fn option<'v>(options: &'v [Value], name: &str) -> Option<&'v Value> {
    options.iter().find_map(|option| {
        let option = option.kind("DefElem")?;
        (option.text("defname") == name).then(|| option.get("arg"))
    })
}

/// A body is a list of one text; DO has the text itself.
fn body_parts(body: &Value) -> &[Value] {
    match body {
        Value::Message(list) if list.kind == "List" => list.list("items"),
        value => std::slice::from_ref(value),
    }
}
