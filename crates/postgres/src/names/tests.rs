//! A name means what the server means by it, whatever order a client sends things in. The last test
//! plays random sessions against a model of the server.

use proptest::prelude::*;

use super::*;

fn parse(name: &str, text: &str) -> FrontendMessage {
    FrontendMessage::Parse {
        name: name.into(),
        text: text.into(),
        parameter_types: vec![],
    }
}

fn bind(portal: &str, statement: &str) -> FrontendMessage {
    FrontendMessage::Bind {
        portal: portal.into(),
        statement: statement.into(),
        parameter_formats: vec![],
        parameters: vec![],
        result_formats: vec![],
    }
}

fn execute(portal: &str) -> FrontendMessage {
    FrontendMessage::Execute {
        portal: portal.into(),
        most_rows: None,
    }
}

fn close(name: &str) -> FrontendMessage {
    FrontendMessage::Close(Target::Statement(name.into()))
}

fn meaning(names: &mut Names, message: &FrontendMessage) -> Result<String, NamesError> {
    let statement = names.forward(message)?;
    Ok(statement.map_or_else(String::new, |statement| statement.text.clone()))
}

#[test]
fn a_pipeline_uses_names_before_they_are_confirmed() {
    let mut names = Names::default();
    assert_eq!(
        meaning(&mut names, &parse("s", "select 1")).as_deref(),
        Ok("select 1")
    );
    assert_eq!(
        meaning(&mut names, &bind("", "s")).as_deref(),
        Ok("select 1")
    );
    assert_eq!(meaning(&mut names, &execute("")).as_deref(), Ok("select 1"));
    names.forward(&FrontendMessage::Sync).expect("a sync");
    assert_eq!(names.forward(&execute("")), Err(NamesError::NotReady));
    names.confirmed(b'1').expect("parsed");
    names.confirmed(b'2').expect("bound");
    names.ready(Status::Idle).expect("ready");
    assert_eq!(names.forward(&execute("")), Ok(None));
    assert_eq!(
        meaning(&mut names, &bind("", "s")).as_deref(),
        Ok("select 1")
    );
}

#[test]
fn invariant_6_a_name_keeps_its_meaning_when_its_close_was_skipped() {
    let mut names = Names::default();
    names.forward(&parse("s", "delete from t")).expect("parse");
    names.forward(&FrontendMessage::Sync).expect("sync");
    names.confirmed(b'1').expect("parsed");
    names.ready(Status::Idle).expect("ready");
    // The server fails at the first, and skips the others.
    names.forward(&parse("x", "no SQL")).expect("parse");
    names.forward(&close("s")).expect("close");
    names.forward(&parse("s", "select 1")).expect("parse");
    names.forward(&FrontendMessage::Sync).expect("sync");
    names.failed();
    names.ready(Status::Idle).expect("ready");
    assert_eq!(
        meaning(&mut names, &bind("", "s")).as_deref(),
        Ok("delete from t")
    );
}

#[test]
fn what_nobody_made_cannot_be_used() {
    let mut names = Names::default();
    assert_eq!(
        names.forward(&bind("", "by_sql")),
        Err(NamesError::Statement)
    );
    assert_eq!(names.confirmed(b'1'), Err(NamesError::Unasked));
    assert_eq!(names.ready(Status::Idle), Err(NamesError::Unasked));
    names.forward(&parse("s", "select 1")).expect("parse");
    assert_eq!(names.confirmed(b'2'), Err(NamesError::Unasked));
}

#[test]
fn invariant_6_sql_that_takes_a_name_over_leaves_it_unknown() {
    let mut names = Names::default();
    names.forward(&parse("s", "select 1")).expect("parse");
    // In the same segment: DEALLOCATE s, PREPARE s AS DELETE ….
    names.forget_all();
    assert_eq!(names.forward(&bind("", "s")), Err(NamesError::Statement));
    names.forward(&FrontendMessage::Sync).expect("sync");
    names.confirmed(b'1').expect("parsed");
    names.ready(Status::Idle).expect("ready");
    assert_eq!(names.forward(&bind("", "s")), Err(NamesError::Statement));
}

#[test]
fn a_simple_query_does_not_follow_what_the_server_may_have_failed_at() {
    let query = FrontendMessage::Query("select 1".into());
    let mut names = Names::default();
    names.forward(&parse("", "select 1")).expect("parse");
    assert_eq!(names.forward(&query), Err(NamesError::NotReady));
    names.forward(&FrontendMessage::Sync).expect("sync");
    names.confirmed(b'1').expect("parsed");
    names.ready(Status::Idle).expect("ready");
    names.forward(&query).expect("a query");
    names.ready(Status::Idle).expect("ready");
    assert_eq!(names.forward(&bind("", "")), Err(NamesError::Statement));
}

#[test]
fn a_client_cannot_make_the_gate_keep_everything() {
    let mut names = Names::default();
    let long = "x".repeat(1 << 20);
    let refused = (0..=MOST_BYTES >> 20)
        .map(|number| names.forward(&parse(&number.to_string(), &long)))
        .find_map(Result::err);
    assert_eq!(refused, Some(NamesError::TooMany));
    let mut names = Names::default();
    let refused = (0..=MOST_NAMES)
        .map(|_| names.forward(&close("s")))
        .find_map(Result::err);
    assert_eq!(refused, Some(NamesError::TooMany));
}

/// PostgreSQL as far as names go: what `exec_parse_message` and its neighbours do.
#[derive(Default)]
struct Server {
    statements: HashMap<String, String>,
    portals: HashMap<String, String>,
    skipping: bool,
}

enum Answer {
    Confirmed(u8),
    Failed,
    Ran(String),
    Nothing,
}

impl Server {
    fn take(&mut self, message: &FrontendMessage) -> Answer {
        if self.skipping {
            return Answer::Nothing;
        }
        let answer = match message {
            FrontendMessage::Parse { name, text, .. } => {
                let taken = !name.is_empty() && self.statements.contains_key(name);
                if taken || text == "broken" {
                    Answer::Failed
                } else {
                    self.statements.insert(name.clone(), text.clone());
                    Answer::Confirmed(b'1')
                }
            }
            FrontendMessage::Bind {
                portal, statement, ..
            } => {
                let taken = !portal.is_empty() && self.portals.contains_key(portal);
                match self.statements.get(statement) {
                    Some(text) if !taken => {
                        self.portals.insert(portal.clone(), text.clone());
                        Answer::Confirmed(b'2')
                    }
                    _ => Answer::Failed,
                }
            }
            FrontendMessage::Execute { portal, .. } => match self.portals.get(portal) {
                Some(text) => Answer::Ran(text.clone()),
                None => Answer::Failed,
            },
            FrontendMessage::Close(Target::Statement(name)) => {
                self.statements.remove(name);
                Answer::Confirmed(b'3')
            }
            FrontendMessage::Close(Target::Portal(name)) => {
                self.portals.remove(name);
                Answer::Confirmed(b'3')
            }
            _ => Answer::Nothing,
        };
        self.skipping = matches!(answer, Answer::Failed);
        answer
    }
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(""), Just("a"), Just("b")]
}

fn any_message() -> impl Strategy<Value = FrontendMessage> {
    let text = prop_oneof![Just("broken"), Just("read"), Just("write"), Just("drop")];
    prop_oneof![
        (name(), text).prop_map(|(name, text)| parse(name, text)),
        (name(), name()).prop_map(|(portal, statement)| bind(portal, statement)),
        name().prop_map(execute),
        name().prop_map(close),
        name().prop_map(|name| FrontendMessage::Close(Target::Portal(name.into()))),
        Just(FrontendMessage::Sync),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn invariant_6_what_the_server_runs_is_what_was_decided_on(
        messages in proptest::collection::vec(any_message(), 0..40),
        transaction in any::<bool>(),
        late in any::<bool>(),
    ) {
        let mut names = Names::default();
        let mut server = Server::default();
        let mut answers = VecDeque::new();
        for message in &messages {
            let Ok(decided) = names.forward(message) else {
                continue;
            };
            match (server.take(message), message) {
                (Answer::Ran(text), FrontendMessage::Execute { .. }) => {
                    prop_assert_eq!(Some(text), decided.map(|decided| decided.text.clone()));
                }
                (answer, _) => answers.push_back(answer),
            }
            // Answers come at once, or all of a segment's when it is over.
            let sync = *message == FrontendMessage::Sync;
            if late && !sync {
                continue;
            }
            for answer in answers.drain(..) {
                match answer {
                    Answer::Confirmed(kind) => prop_assert_eq!(names.confirmed(kind), Ok(())),
                    Answer::Failed => names.failed(),
                    Answer::Ran(_) | Answer::Nothing => (),
                }
            }
            if sync {
                // What was sent after the error was seen is skipped, and never confirmed.
                if server.skipping {
                    names.failed();
                }
                server.skipping = false;
                let status = if transaction { Status::Transaction } else { Status::Idle };
                if !transaction {
                    server.portals.clear();
                }
                prop_assert_eq!(names.ready(status), Ok(()));
            }
        }
    }
}
