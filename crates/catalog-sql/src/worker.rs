//! Threads that parse. A parse tree is as deep as its text is nested, and reading, walking and freeing
//! it recurse; the parsers' own limits bound the depth, and these stacks hold it.

use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::{
    Dialect, LONGEST_TEXT, MysqlRows, RowQuery, Statements, Uncountable, Unreadable, mysql_text,
    postgres, sqlparser_dialects,
};

/// Bytes of address space for a thread's stack; memory is taken as it is touched. libpg_query gives
/// trees of up to 10,000 levels, of which an unoptimised build uses some 20 KiB each.
const STACK: usize = 512 << 20;

/// Bytes of a text that may be read where it is asked about; see [`classify_short`].
const SHORT: usize = 256;

/// Classifies texts on threads of its own. Cheap to share; its threads end with it.
pub struct Classifier {
    jobs: Sender<Job>,
}

struct Job {
    dialect: Dialect,
    text: String,
    answer: SyncSender<Result<Statements, Unreadable>>,
}

impl Classifier {
    /// Starts `threads` threads, at least one.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads.max(1) {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name("sql".to_owned())
                .stack_size(STACK)
                .spawn(move || work(&queue))?;
        }
        Ok(Self { jobs })
    }

    /// What the statements of a text would do.
    ///
    /// # Errors
    /// When nobody can say: see [`Unreadable`].
    pub fn classify(&self, dialect: Dialect, text: &str) -> Result<Statements, Unreadable> {
        if text.len() > LONGEST_TEXT {
            return Err(Unreadable::TooLong(text.len()));
        }
        if text.contains('\0') {
            return Err(Unreadable::Nul);
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let job = Job {
            dialect,
            text: text.to_owned(),
            answer,
        };
        self.jobs.send(job).map_err(|_| Unreadable::NotExamined)?;
        // A thread that panicked dropped its end.
        answered.recv().map_err(|_| Unreadable::NotExamined)?
    }
}

/// What the statements of a short text would do, found out on the caller's own thread, which needs a stack of
/// 16 MiB: handing a text over costs more than reading a short one. `None` where the text is longer, and
/// [`Classifier::classify`] has to be asked.
pub fn classify_short(dialect: Dialect, text: &str) -> Option<Result<Statements, Unreadable>> {
    (text.len() <= SHORT).then(|| match text.contains('\0') {
        true => Err(Unreadable::Nul),
        false => read(dialect, text),
    })
}

/// For each statement of a PostgreSQL text the query that lists the rows which it removes or changes, or
/// why there is none. On a thread of its own: it is asked for when somebody is about to be asked, not for
/// every text.
///
/// # Errors
/// When the text cannot be read: see [`Unreadable`].
pub fn row_queries(text: &str) -> Result<Vec<Result<RowQuery, Uncountable>>, Unreadable> {
    aside(text, postgres::row_queries)?
}

/// Which rows the single DELETE or UPDATE of a MySQL text is about, whose values are in their places. On a
/// thread of its own, as [`row_queries`].
///
/// # Errors
/// When the text cannot be read: see [`Unreadable`]. The inner error is for one whose rows no query finds.
pub fn mysql_rows(text: &str) -> Result<Result<MysqlRows, Uncountable>, Unreadable> {
    aside(text, mysql_text::mysql_rows)
}

fn aside<T: Send + 'static>(
    text: &str,
    read: impl FnOnce(&str) -> T + Send + 'static,
) -> Result<T, Unreadable> {
    if text.len() > LONGEST_TEXT {
        return Err(Unreadable::TooLong(text.len()));
    }
    if text.contains('\0') {
        return Err(Unreadable::Nul);
    }
    let text = text.to_owned();
    let thread = thread::Builder::new()
        .name("rows".to_owned())
        .stack_size(STACK)
        .spawn(move || read(&text));
    // A panic in the parser is this text's failure.
    thread
        .map_err(|_| Unreadable::NotExamined)?
        .join()
        .map_err(|_| Unreadable::NotExamined)
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let Ok(Ok(job)) = queue.lock().map(|queue| queue.recv()) else {
            return;
        };
        let Job {
            dialect,
            text,
            answer,
        } = job;
        // Nobody waits any more: nothing to tell.
        let _ = answer.send(read(dialect, &text));
    }
}

fn read(dialect: Dialect, text: &str) -> Result<Statements, Unreadable> {
    // A panic in a parser is one text's failure, not the thread's.
    let result = std::panic::catch_unwind(|| match dialect {
        Dialect::Postgres => postgres::classify(text),
        Dialect::Mysql | Dialect::Sqlite => sqlparser_dialects::classify(dialect, text),
    });
    result.unwrap_or(Err(Unreadable::NotExamined))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_fits_a_small_stack_however_deep_it_is() {
        let deep = [
            ("SELECT ", "(", "1", ")"),
            ("SELECT ", "-", "1", ""),
            ("SELECT ", "- ", "1", ""),
            ("SELECT ", "NOT ", "a", ""),
            ("SELECT ", "@", "1", ""),
            ("SELECT ", "f(", "1", ")"),
            ("SELECT ", "ARRAY[", "1", "]"),
            ("", "(", "SELECT 1", ")"),
            ("SELECT a", "[1", "", "]"),
            ("SELECT a", ".a", "", ""),
            ("SELECT a", "::a", "", ""),
            ("SELECT 1", "+1", "", ""),
            ("SELECT * FROM ", "(a JOIN ", "b", ")"),
            ("DO '", "if a then ", "", "'"),
            ("", "explain ", "select 1", ""),
        ];
        let thread = thread::Builder::new().stack_size(16 << 20);
        let reading = thread.spawn(move || {
            for (before, open, within, close) in deep {
                let room = SHORT - before.len() - within.len();
                let levels = room / (open.len() + close.len());
                let text = [before, &open.repeat(levels), within, &close.repeat(levels)].concat();
                for dialect in [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite] {
                    // What it says is another test's; here it comes back at all.
                    assert!(classify_short(dialect, &text).is_some(), "{text}");
                }
            }
            assert!(classify_short(Dialect::Postgres, &"x".repeat(SHORT + 1)).is_none());
        });
        reading
            .expect("a thread")
            .join()
            .expect("nothing overflows");
    }
}
