//! Strict reading of TOML that a person wrote: each key has one type, no key is unknown, and every
//! mistake is collected with its line instead of ending the reading. Values are never quoted in
//! messages, since any of them may be a secret that somebody put in the wrong place.

use tagout_core::HostPattern;
use toml_edit::{Document, Item, TableLike, Value};

use crate::file_errors::{FileError, FileErrors, line_at};

/// Far more than anybody writes by hand.
const LONGEST: usize = 256 * 1024;

/// A TOML file that is being read.
pub(crate) struct TomlFile<'t> {
    name: &'t str,
    text: &'t str,
    document: Document<&'t str>,
}

/// The mistakes found so far.
pub(crate) struct Mistakes<'t> {
    text: &'t str,
    errors: Vec<FileError>,
}

/// One table with the keys that it may have.
pub(crate) struct Section<'d> {
    title: String,
    table: &'d dyn TableLike,
    /// The line of its header, or of its first key.
    pub(crate) line: usize,
}

/// A value and its line.
#[derive(Clone, Debug)]
pub(crate) struct Lined<T> {
    pub(crate) value: T,
    pub(crate) line: usize,
}

impl<'t> TomlFile<'t> {
    /// Parses TOML.
    ///
    /// # Errors
    /// The first place that is not TOML.
    pub(crate) fn parse(name: &'t str, text: &'t str) -> Result<Self, FileErrors> {
        if text.len() > LONGEST {
            return Err(FileErrors::one(name, 1, "the file is longer than 256 KiB"));
        }
        let document = Document::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            FileErrors::one(
                name,
                line_at(text, offset),
                format!("not TOML: {}", error.message()),
            )
        })?;
        Ok(Self {
            name,
            text,
            document,
        })
    }

    /// The outermost table.
    pub(crate) fn root(&self, mistakes: &mut Mistakes<'t>, keys: &[&str]) -> Section<'_> {
        Section::open(
            "the file".to_owned(),
            self.document.as_table(),
            1,
            mistakes,
            keys,
        )
    }

    pub(crate) fn mistakes(&self) -> Mistakes<'t> {
        Mistakes {
            text: self.text,
            errors: Vec::new(),
        }
    }

    /// `Err` with all mistakes, if there are any.
    pub(crate) fn check(&self, mistakes: Mistakes<'_>) -> Result<(), FileErrors> {
        FileErrors::check(self.name, mistakes.errors)
    }
}

impl Mistakes<'_> {
    pub(crate) fn add(&mut self, line: usize, message: impl Into<String>) {
        let message = message.into();
        self.errors.push(FileError { line, message });
    }

    /// The value, or a mistake on `line`.
    pub(crate) fn keep<T>(
        &mut self,
        line: usize,
        what: &str,
        result: Result<T, impl std::fmt::Display>,
    ) -> Option<T> {
        result
            .map_err(|error| self.add(line, format!("{what}: {error}")))
            .ok()
    }

    fn line_of(&self, span: Option<std::ops::Range<usize>>) -> Option<usize> {
        span.map(|span| line_at(self.text, span.start))
    }
}

impl<'d> Section<'d> {
    fn open(
        title: String,
        table: &'d dyn TableLike,
        line: usize,
        mistakes: &mut Mistakes<'_>,
        keys: &[&str],
    ) -> Self {
        for (key, item) in table.iter() {
            if keys.contains(&key) {
                continue;
            }
            let span = table
                .key(key)
                .and_then(|key| key.span())
                .or_else(|| item.span());
            let line = mistakes.line_of(span).unwrap_or(line);
            let known = keys.join(", ");
            let shown = key.escape_default();
            mistakes.add(
                line,
                format!("unknown key `{shown}` in {title}; it may have {known}"),
            );
        }
        Self { title, table, line }
    }

    /// The table under `key`.
    pub(crate) fn section(
        &self,
        key: &str,
        mistakes: &mut Mistakes<'_>,
        keys: &[&str],
    ) -> Option<Section<'d>> {
        let item = self.table.get(key)?;
        let line = self.line_of(key, item, mistakes);
        let Some(table) = item.as_table_like() else {
            mistakes.add(line, format!("`{key}` must be a table: [{key}]"));
            return None;
        };
        Some(Section::open(
            format!("[{key}]"),
            table,
            line,
            mistakes,
            keys,
        ))
    }

    /// The tables under `key`, each `[[key]]`.
    pub(crate) fn sections(
        &self,
        key: &str,
        mistakes: &mut Mistakes<'_>,
        keys: &[&str],
    ) -> Vec<Section<'d>> {
        let Some(item) = self.table.get(key) else {
            return Vec::new();
        };
        let first = self.line_of(key, item, mistakes);
        let mut tables: Vec<(Option<usize>, &'d dyn TableLike)> = Vec::new();
        match item {
            Item::ArrayOfTables(array) => {
                tables.extend(
                    array
                        .iter()
                        .map(|table| (mistakes.line_of(table.span()), table as &'d dyn TableLike)),
                );
            }
            Item::Value(Value::Array(array)) => {
                for value in array {
                    let line = mistakes.line_of(value.span());
                    match value.as_inline_table() {
                        Some(table) => tables.push((line, table)),
                        None => mistakes.add(
                            line.unwrap_or(first),
                            format!("`{key}` must hold tables only: [[{key}]]"),
                        ),
                    }
                }
            }
            _ => mistakes.add(
                first,
                format!("`{key}` must be a list of tables: [[{key}]]"),
            ),
        }
        tables
            .into_iter()
            .map(|(line, table)| {
                let line = line.unwrap_or(first);
                Section::open(format!("[[{key}]]"), table, line, mistakes, keys)
            })
            .collect()
    }

    /// Keys and values of a table whose keys are the user's own, each value a string.
    pub(crate) fn entries(&self, mistakes: &mut Mistakes<'_>) -> Vec<(Lined<String>, String)> {
        let mut entries = Vec::new();
        for (key, item) in self.table.iter() {
            let line = self.line_of(key, item, mistakes);
            match item.as_str() {
                Some(value) => {
                    let key = Lined {
                        value: key.to_owned(),
                        line,
                    };
                    entries.push((key, value.to_owned()));
                }
                None => mistakes.add(line, format!("every value in {} is a string", self.title)),
            }
        }
        entries
    }

    /// The table under `key`, whose keys are the user's own.
    pub(crate) fn free_section(
        &self,
        key: &str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<Section<'d>> {
        let item = self.table.get(key)?;
        let line = self.line_of(key, item, mistakes);
        let Some(table) = item.as_table_like() else {
            mistakes.add(line, format!("`{key}` must be a table: [{key}]"));
            return None;
        };
        Some(Section {
            title: format!("[{key}]"),
            table,
            line,
        })
    }

    pub(crate) fn string(&self, key: &str, mistakes: &mut Mistakes<'_>) -> Option<Lined<String>> {
        self.typed(key, "a string", mistakes, |item| {
            item.as_str().map(str::to_owned)
        })
    }

    /// A string that must be there.
    pub(crate) fn required(&self, key: &str, mistakes: &mut Mistakes<'_>) -> Option<Lined<String>> {
        if self.table.get(key).is_none() {
            mistakes.add(self.line, format!("{} needs `{key}`", self.title));
        }
        self.string(key, mistakes)
    }

    pub(crate) fn boolean(&self, key: &str, mistakes: &mut Mistakes<'_>) -> Option<Lined<bool>> {
        self.typed(key, "true or false", mistakes, Item::as_bool)
    }

    pub(crate) fn port(&self, key: &str, mistakes: &mut Mistakes<'_>) -> Option<Lined<u16>> {
        self.typed(key, PORT, mistakes, |item| item.as_integer().and_then(port))
    }

    pub(crate) fn ports(&self, key: &str, mistakes: &mut Mistakes<'_>) -> Option<Vec<Lined<u16>>> {
        self.list(key, PORT, mistakes, |value| {
            value.as_integer().and_then(port)
        })
    }

    pub(crate) fn strings(
        &self,
        key: &str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<Vec<Lined<String>>> {
        self.list(key, "a string", mistakes, |value| {
            value.as_str().map(str::to_owned)
        })
    }

    /// A list that says something when it is there: an empty one is a mistake.
    pub(crate) fn filled<T>(
        &self,
        key: &str,
        list: Option<Vec<T>>,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<Vec<T>> {
        if list.as_ref().is_some_and(Vec::is_empty) {
            let empty = self
                .table
                .get(key)
                .and_then(Item::as_array)
                .is_some_and(|a| a.is_empty());
            if empty {
                let line = self.line_of_key(key, mistakes);
                mistakes.add(
                    line,
                    format!("`{key}` is empty; leave it out for its default"),
                );
            }
        }
        list
    }

    /// A list of hosts and `*.suffixes`.
    pub(crate) fn hosts(
        &self,
        key: &str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<Vec<Lined<HostPattern>>> {
        let texts = self.strings(key, mistakes);
        let texts = self.filled(key, texts, mistakes)?;
        let mut hosts = Vec::new();
        for Lined { value, line } in texts {
            let pattern = mistakes.keep(line, "not a host or *.suffix", HostPattern::parse(&value));
            hosts.extend(pattern.map(|value| Lined { value, line }));
        }
        Some(hosts)
    }

    /// Whether the table has `key` at all.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(crate) fn line_of_key(&self, key: &str, mistakes: &Mistakes<'_>) -> usize {
        self.table
            .get(key)
            .map_or(self.line, |item| self.line_of(key, item, mistakes))
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        mistakes: &mut Mistakes<'_>,
        read: impl Fn(&Item) -> Option<T>,
    ) -> Option<Lined<T>> {
        let item = self.table.get(key)?;
        let line = self.line_of(key, item, mistakes);
        let value = read(item);
        if value.is_none() {
            mistakes.add(line, format!("`{key}` must be {expected}"));
        }
        value.map(|value| Lined { value, line })
    }

    fn list<T>(
        &self,
        key: &str,
        expected: &str,
        mistakes: &mut Mistakes<'_>,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<Vec<Lined<T>>> {
        let item = self.table.get(key)?;
        let line = self.line_of(key, item, mistakes);
        let Some(array) = item.as_array() else {
            mistakes.add(
                line,
                format!("`{key}` must be a list, each entry {expected}"),
            );
            return None;
        };
        let mut list = Vec::new();
        for value in array {
            let line = mistakes.line_of(value.span()).unwrap_or(line);
            match read(value) {
                Some(value) => list.push(Lined { value, line }),
                None => mistakes.add(line, format!("each entry of `{key}` must be {expected}")),
            }
        }
        Some(list)
    }

    fn line_of(&self, key: &str, item: &Item, mistakes: &Mistakes<'_>) -> usize {
        let key_span = self.table.key(key).and_then(|key| key.span());
        mistakes
            .line_of(key_span)
            .or_else(|| mistakes.line_of(item.span()))
            .unwrap_or(self.line)
    }
}

const PORT: &str = "a port from 1 to 65535";

fn port(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port != 0)
}
