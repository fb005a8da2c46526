//! Functions and operators that somebody made in the database. A text calls them by name, and which one a
//! name means depends on types, `search_path` and the hour; so the gate looks none up as the server would.
//! Whatever has the name, in whatever schema, with whatever arguments, may be meant: a call is understood
//! when every one of them is, and then it does what their bodies do. That holds for the names of
//! PostgreSQL's own functions as well, in whose place one of these may be called.
//!
//! What must stay true: a body is read as the server keeps it, on the connection that will call it, within
//! the transaction that will, and not while anything that may have changed it has not been looked at since;
//! what is in another language than SQL and PL/pgSQL, composes SQL, changes rows that its caller does not
//! name, or is called by such a body without being understood, is as unknown as before. What extensions
//! brought is known by its name or not at all.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tagout_catalog_sql::{Act, Called, Class, Object, Statement, is_steady};
use tagout_core::{Flag, Flags};
use tagout_database::{Reader, Reading};

use crate::{Ask, ServerError};

/// How long what was looked up is believed, where nothing that passed here changed it.
pub(crate) const BELIEVED: Duration = Duration::from_secs(30);
/// Functions that one call may lead to.
const MOST_REACHED: usize = 64;
/// The longest body that is read, in bytes.
const LONGEST_BODY: usize = 64 << 10;
/// Bodies beyond this sum, in bytes, are not read; the names still count.
const MOST_BODIES: u64 = 8 << 20;

/// The operators that a statement may call without writing them: `IN`, `BETWEEN`, `USING`, `DISTINCT`,
/// `ORDER BY`.
const UNWRITTEN: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];

/// What the database has besides what PostgreSQL and extensions brought.
#[derive(Debug)]
pub(crate) struct Routines {
    by_oid: HashMap<u32, Routine>,
    named: HashMap<Called, Vec<u32>>,
    /// Names that functions and operators of extensions have.
    of_extensions: HashSet<Called>,
    pub(crate) asked: Instant,
}

/// What connections of a session share: what one of them looked up outside of any transaction.
#[derive(Debug, Default)]
pub(crate) struct LookedUp {
    /// Counts up whenever a statement that may have changed functions is over.
    epoch: AtomicU64,
    by_database: Mutex<HashMap<String, (u64, Arc<Routines>)>>,
}

impl LookedUp {
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    pub(crate) fn moved(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// What was looked up in `epoch`, and is still believed.
    pub(crate) fn get(&self, database: &str, epoch: u64) -> Option<Arc<Routines>> {
        let known = self
            .by_database
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (then, routines) = known.get(database)?;
        (*then == epoch && routines.asked.elapsed() < BELIEVED).then(|| Arc::clone(routines))
    }

    pub(crate) fn put(&self, database: &str, epoch: u64, routines: &Arc<Routines>) {
        let mut known = self
            .by_database
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.insert(database.to_owned(), (epoch, Arc::clone(routines)));
    }
}

#[derive(Debug)]
struct Routine {
    name: String,
    /// As `pg_get_functiondef` writes it; nothing where nobody here reads its language.
    definition: Option<String>,
}

/// What may be called by a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Candidate {
    Kept(u32),
    /// Made by this statement of the same text, before.
    Made(usize),
}

/// Every name is written with its schema, operators too: it is asked where the client looks up names.
fn question(with_bodies: bool) -> String {
    let made = |oid: &str| format!("{oid} OPERATOR(pg_catalog.>=) '16384'::pg_catalog.oid");
    let of_an_extension = |class: &str, oid: &str| {
        format!(
            "EXISTS (SELECT FROM pg_catalog.pg_depend d \
             WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.{class}'::pg_catalog.regclass::pg_catalog.oid \
             AND d.objid OPERATOR(pg_catalog.=) {oid} AND d.deptype OPERATOR(pg_catalog.=) 'e'::pg_catalog.\"char\")"
        )
    };
    let of_function = of_an_extension("pg_proc", "p.oid");
    let of_operator = of_an_extension("pg_operator", "o.oid");
    let body = match with_bodies {
        true => format!(
            "CASE WHEN NOT {of_function} AND (p.prokind OPERATOR(pg_catalog.=) 'f'::pg_catalog.\"char\" \
               OR p.prokind OPERATOR(pg_catalog.=) 'p'::pg_catalog.\"char\") \
               AND (l.lanname OPERATOR(pg_catalog.=) 'sql'::pg_catalog.name \
                 OR l.lanname OPERATOR(pg_catalog.=) 'plpgsql'::pg_catalog.name) \
               AND pg_catalog.length(p.prosrc) OPERATOR(pg_catalog.<=) {LONGEST_BODY}::pg_catalog.int4 \
             THEN pg_catalog.pg_get_functiondef(p.oid) END"
        ),
        false => "NULL::pg_catalog.text".to_owned(),
    };
    format!(
        "SELECT 'function', p.oid::pg_catalog.text, p.proname::pg_catalog.text, {of_function}::pg_catalog.text, \
           EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.oid OPERATOR(pg_catalog.=) p.proargtypes[0] \
             AND t.typtype OPERATOR(pg_catalog.<>) 'b'::pg_catalog.\"char\")::pg_catalog.text, {body} \
         FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang \
         WHERE {function} \
         UNION ALL SELECT 'operator', o.oprcode::pg_catalog.oid::pg_catalog.text, o.oprname::pg_catalog.text, \
           {of_operator}::pg_catalog.text, p.proname::pg_catalog.text, NULL::pg_catalog.text \
         FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) o.oprcode::pg_catalog.oid \
         WHERE {operator}",
        function = made("p.oid"),
        operator = made("o.oid"),
    )
}

/// How much there is to read, in bytes.
const SIZE: &str = "SELECT COALESCE(pg_catalog.sum(pg_catalog.length(p.prosrc)), 0)::pg_catalog.text \
    FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.>=) '16384'::pg_catalog.oid";

impl Routines {
    /// What the database has now, asked on a connection that waits for its next statement.
    ///
    /// # Errors
    /// As [`ServerError`].
    pub(crate) async fn ask(ask: &mut impl Ask) -> Result<Self, ServerError> {
        let asked = Instant::now();
        let size = ask.ask(SIZE).await?;
        let size: u64 = size
            .single()
            .and_then(|size| size.parse().ok())
            .unwrap_or(u64::MAX);
        let rows = ask.ask(&question(size <= MOST_BODIES)).await?;
        let mut routines = Self {
            by_oid: HashMap::new(),
            named: HashMap::new(),
            of_extensions: HashSet::new(),
            asked,
        };
        for row in rows.rows {
            let columns = <[_; 6]>::try_from(row);
            let Ok(
                [
                    Some(kind),
                    Some(oid),
                    Some(name),
                    Some(of_extension),
                    Some(more),
                    definition,
                ],
            ) = columns
            else {
                return Err(ServerError::Protocol("functions without their columns"));
            };
            let oid = oid
                .parse()
                .map_err(|_| ServerError::Protocol("a function without an OID"))?;
            let called = match kind.as_str() {
                "function" => Called::Function(name.clone()),
                _ => Called::Operator(name.clone()),
            };
            if of_extension == "true" {
                routines.of_extensions.insert(called);
                continue;
            }
            let routine = match kind.as_str() {
                "function" => {
                    if more == "true" {
                        routines.is_called(Called::Attribute(name.clone()), oid);
                    }
                    Routine { name, definition }
                }
                // Its function, which may be PostgreSQL's own or an extension's.
                _ => Routine {
                    name: more,
                    definition: None,
                },
            };
            routines.is_called(called, oid);
            match routine.definition {
                Some(_) => drop(routines.by_oid.insert(oid, routine)),
                None => drop(routines.by_oid.entry(oid).or_insert(routine)),
            }
        }
        Ok(routines)
    }

    fn is_called(&mut self, called: Called, oid: u32) {
        self.named.entry(called).or_default().push(oid);
    }

    /// `reading` with what its calls do, as far as that is known; nothing where that changes nothing.
    pub(crate) async fn understand(
        &self,
        reader: &Arc<Reader>,
        reading: &Reading,
    ) -> Option<Reading> {
        let mut statements = Vec::new();
        let mut is_other = false;
        for (at, statement) in reading.statements.iter().enumerate() {
            let seen = View {
                routines: self,
                reader,
                made: &reading.statements[..at],
            };
            match seen.statement(statement).await {
                Some(understood) => {
                    is_other = true;
                    statements.push(understood);
                }
                None => statements.push(statement.clone()),
            }
        }
        is_other.then_some(Reading { statements })
    }
}

/// What is there for one statement: what the database has, and what was made in front of it.
struct View<'a> {
    routines: &'a Routines,
    reader: &'a Arc<Reader>,
    made: &'a [Statement],
}

impl View<'_> {
    fn candidates(&self, called: &Called) -> Vec<Candidate> {
        let kept = self.routines.named.get(called).into_iter().flatten();
        let mut candidates: Vec<_> = kept.copied().map(Candidate::Kept).collect();
        if let Called::Function(name) | Called::Attribute(name) = called {
            let made = self
                .made
                .iter()
                .enumerate()
                .filter(|(_, statement)| makes(statement, name));
            candidates.extend(made.map(|(at, _)| Candidate::Made(at)));
        }
        candidates
    }

    async fn statement(&self, statement: &Statement) -> Option<Statement> {
        let mut acts = statement.acts.clone();
        let unwritten = UNWRITTEN
            .iter()
            .map(|name| Called::Operator((*name).to_owned()));
        let calls: BTreeSet<_> = statement.calls.iter().cloned().chain(unwritten).collect();
        for called in &calls {
            let candidates = self.candidates(called);
            if candidates.is_empty() {
                continue;
            }
            let is_asked_about = acts.iter().any(|act| is_call_of(act, called));
            if is_asked_about && self.routines.of_extensions.contains(called) {
                continue;
            }
            match self.what_they_do(candidates).await {
                Ok(done) => {
                    acts.retain(|act| !is_call_of(act, called));
                    for act in done {
                        if !acts.contains(&act) {
                            acts.push(act);
                        }
                    }
                }
                Err(why) => {
                    acts.retain(|act| !is_call_of(act, called));
                    acts.push(unknown(called, &why, is_asked_about));
                }
            }
        }
        if acts == statement.acts {
            return None;
        }
        if acts.is_empty() {
            acts.push(understood());
        }
        Some(Statement {
            acts,
            ..statement.clone()
        })
    }

    /// What calling any of `candidates` does, with whatever they call.
    async fn what_they_do(&self, candidates: Vec<Candidate>) -> Result<Vec<Act>, String> {
        let mut done = Vec::new();
        let mut reached: HashSet<Candidate> = candidates.iter().copied().collect();
        let mut left = candidates;
        while let Some(candidate) = left.pop() {
            if reached.len() > MOST_REACHED {
                return Err("it leads to more functions than are looked at".to_owned());
            }
            let Some((name, statement)) = self.body(candidate).await? else {
                continue;
            };
            let (making, body) = statement
                .acts
                .split_first()
                .ok_or_else(|| format!("{name} has no body that is read"))?;
            for act in body {
                if is_unknown_call(act) {
                    let called = called_by(act);
                    let is_foreign = self.routines.of_extensions.contains(&called);
                    if is_foreign || self.candidates(&called).is_empty() {
                        return Err(format!("{name} calls what is not known: {}", reason(act)));
                    }
                } else if !act.known || act.flags != Flags::NONE || act.class > Class::Write {
                    return Err(format!(
                        "{name} does more than read and add: {}",
                        reason(act)
                    ));
                } else if act.class == Class::Write {
                    if act.rows.is_some() {
                        return Err(format!(
                            "{name} changes rows that are there: {}",
                            reason(act)
                        ));
                    }
                    if making.flags != Flags::NONE {
                        return Err(format!("{name} writes as its owner: {}", reason(act)));
                    }
                    if !done.contains(act) {
                        done.push(act.clone());
                    }
                }
            }
            let unwritten = UNWRITTEN
                .iter()
                .map(|name| Called::Operator((*name).to_owned()));
            for called in statement.calls.iter().cloned().chain(unwritten) {
                for next in self.candidates(&called) {
                    if reached.insert(next) {
                        left.push(next);
                    }
                }
            }
        }
        Ok(done)
    }

    /// The statement that makes a candidate; nothing where it is PostgreSQL's own and only computes.
    async fn body(&self, candidate: Candidate) -> Result<Option<(String, Statement)>, String> {
        match candidate {
            Candidate::Made(at) => {
                let statement = &self.made[at];
                let object = statement.acts.first().and_then(|act| act.objects.first());
                let name = object.map(|object| object.name.clone()).unwrap_or_default();
                Ok(Some((format!("{name}()"), statement.clone())))
            }
            Candidate::Kept(oid) => {
                let Some(routine) = self.routines.by_oid.get(&oid) else {
                    return Err("it is gone".to_owned());
                };
                let name = format!("{}()", routine.name);
                if oid < 16_384 {
                    return match is_steady(&routine.name) {
                        true => Ok(None),
                        false => Err(format!("it stands for {name}")),
                    };
                }
                let Some(definition) = &routine.definition else {
                    return Err(format!("{name} is not of SQL or PL/pgSQL"));
                };
                let reading = self.reader.read(definition).await;
                let reading = reading.map_err(|why| format!("{name} is not read: {why}"))?;
                match reading.statements.as_slice() {
                    [one] if matches!(one.acts.first(), Some(act) if act.name.starts_with("create_")) => {
                        Ok(Some((name, one.clone())))
                    }
                    _ => Err(format!("{name} is not read")),
                }
            }
        }
    }
}

/// Whether a statement makes a function of this name.
fn makes(statement: &Statement, name: &str) -> bool {
    statement.acts.first().is_some_and(|act| {
        matches!(act.name.as_str(), "create_function" | "create_procedure")
            && act
                .objects
                .first()
                .is_some_and(|object| object.name == name)
    })
}

fn is_unknown_call(act: &Act) -> bool {
    act.name == "call" && !act.known
}

/// What an unknown call calls.
fn called_by(act: &Act) -> Called {
    let object = act.objects.first();
    let name = object.map(|object| object.name.clone()).unwrap_or_default();
    match object.map(|object| object.kind) {
        Some("operator") => Called::Operator(name),
        _ => Called::Function(name),
    }
}

fn is_call_of(act: &Act, called: &Called) -> bool {
    is_unknown_call(act) && called_by(act) == *called
}

fn reason(act: &Act) -> String {
    match &act.because {
        Some(why) => format!("sql.{}: {why}", act.name),
        None => format!("sql.{}", act.name),
    }
}

fn unknown(called: &Called, why: &str, is_asked_about: bool) -> Act {
    let (kind, name) = match called {
        Called::Function(name) | Called::Attribute(name) => ("function", name),
        Called::Operator(name) => ("operator", name),
    };
    let because = match is_asked_about {
        true => format!("{name}: {why}"),
        false => format!("{name} may call what somebody made in this database: {why}"),
    };
    Act {
        name: "call".to_owned(),
        known: false,
        class: Class::Destructive,
        flags: Flags::NONE.with(Flag::Exec),
        objects: vec![Object {
            kind,
            schema: None,
            name: name.clone(),
        }],
        rows: None,
        cascade: false,
        because: Some(because),
    }
}

/// A statement that did nothing but call what only reads.
fn understood() -> Act {
    Act {
        name: "select".to_owned(),
        known: true,
        class: Class::Read,
        flags: Flags::NONE,
        objects: Vec::new(),
        rows: None,
        cascade: false,
        because: None,
    }
}

/// `reading` where nobody can look up what its calls mean.
pub(crate) fn unforeseen(reading: &Reading) -> Reading {
    let statements = reading.statements.iter().cloned().map(|mut statement| {
        if let Some(called) = statement.calls.iter().next() {
            let why = "its functions and operators cannot be looked up at this place of the conversation; send it by itself";
            statement.acts.push(unknown(called, why, true));
        }
        statement
    });
    Reading {
        statements: statements.collect(),
    }
}
