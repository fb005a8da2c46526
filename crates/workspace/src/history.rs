//! What became of everything that was there at the start, worked out from the journal.
//!
//! The journal is played through on a tree that is known only where the journal speaks of it: a folder from before has, under every name
//! that no record mentions, what it always had there. So a folder that was renamed takes its contents with it, unread.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::journal::{Attributes, Kept, Lost, Record, Was};

/// Everything that the journal speaks of.
pub(crate) struct History {
    nodes: Vec<Node>,
    /// Absolute paths of the trees.
    pub(crate) trees: Vec<PathBuf>,
    /// Places where a change was refused, since what it would lose could not be kept.
    pub(crate) refused: Vec<PathBuf>,
}

/// A file or folder, through all its names.
#[derive(Default)]
struct Node {
    /// Where it was at the start. None: it came in the session.
    original: Option<PathBuf>,
    /// What it holds by now: `None` under a name says that nothing is there.
    children: BTreeMap<OsString, Option<usize>>,
    kept: Option<Kept>,
    attributes: Option<Attributes>,
    was: Option<Was>,
}

/// One file or folder that the session changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Where it was at the start. None: it came in the session.
    pub(crate) original: Option<PathBuf>,
    /// Where it is at the end. None: it is gone.
    pub(crate) last: Option<PathBuf>,
    /// What has to be put back in its place, if it is gone.
    pub(crate) was: Option<Was>,
    /// What has to be put back into it.
    pub(crate) kept: Option<Kept>,
    /// What its mode and time were.
    pub(crate) attributes: Option<Attributes>,
}

impl History {
    pub(crate) fn of(records: &[Record]) -> History {
        let mut history = History {
            nodes: vec![Node {
                original: Some(PathBuf::from("/")),
                ..Node::default()
            }],
            trees: Vec::new(),
            refused: Vec::new(),
        };
        for record in records {
            history.play(record);
        }
        history
    }

    fn play(&mut self, record: &Record) {
        match record {
            Record::Began { trees, .. } => {
                self.trees = trees.iter().map(|tree| tree.0.clone()).collect();
            }
            Record::Created { path } => {
                let node = self.add(Node::default());
                self.put(&path.0, Some(node));
            }
            Record::Kept { path, file } => {
                let node = self.find(&path.0);
                self.keep(node, file);
            }
            Record::KeptOf { original, file } => {
                let node = self.find_original(&original.0);
                // What went was kept when it went, and what stands there now is another.
                if self.nodes[node].was.is_none() {
                    self.keep(node, file);
                }
            }
            Record::Attributes { path, attributes } => {
                let node = self.find(&path.0);
                self.nodes[node].attributes.get_or_insert(*attributes);
            }
            Record::Removed { path, was } => self.lose(&path.0, was.as_ref()),
            Record::Renamed { from, to, replaced } => {
                if let Some(Lost { was }) = replaced {
                    self.lose(&to.0, was.as_ref());
                }
                let node = self.find(&from.0);
                self.put(&from.0, None);
                self.put(&to.0, Some(node));
            }
            Record::Exchanged { one, other } => {
                let (first, second) = (self.find(&one.0), self.find(&other.0));
                self.put(&one.0, Some(second));
                self.put(&other.0, Some(first));
            }
            Record::Refused { path } => self.refused.push(path.0.clone()),
            Record::Failed | Record::Ended | Record::Final { .. } => {}
        }
    }

    fn keep(&mut self, node: usize, file: &Kept) {
        let node = &mut self.nodes[node];
        if node.original.is_some() {
            node.kept.get_or_insert_with(|| file.clone());
            node.attributes.get_or_insert(file.attributes);
        }
    }

    fn lose(&mut self, path: &Path, was: Option<&Was>) {
        let node = self.find(path);
        self.put(path, None);
        let node = &mut self.nodes[node];
        node.was = node.was.take().or_else(|| was.cloned());
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// What is at `path` by now.
    fn find(&mut self, path: &Path) -> usize {
        let mut at = 0;
        for name in names(path) {
            at = match self.nodes[at].children.get(&name) {
                Some(Some(child)) => *child,
                // Something that came from outside, after what was there had gone.
                Some(None) => self.adopt(at, name, None),
                None => {
                    let original = self.nodes[at]
                        .original
                        .as_ref()
                        .map(|path| path.join(&name));
                    self.adopt(at, name, original)
                }
            };
        }
        at
    }

    /// What was at `path` at the start. Whatever a record mentioned since has a node; what none did is still in the folder in which it was.
    fn find_original(&mut self, path: &Path) -> usize {
        let known = |path: &Path| {
            self.nodes
                .iter()
                .position(|node| node.original.as_deref() == Some(path))
        };
        let nearest = path
            .ancestors()
            .find_map(|above| Some((known(above)?, above)));
        let (mut at, above) = nearest.unwrap_or((0, Path::new("/")));
        let mut original = above.to_path_buf();
        for name in names(path.strip_prefix(above).unwrap_or(path)) {
            original.push(&name);
            at = self.adopt(at, name, Some(original.clone()));
        }
        at
    }

    fn adopt(&mut self, parent: usize, name: OsString, original: Option<PathBuf>) -> usize {
        let child = self.add(Node {
            original,
            ..Node::default()
        });
        self.nodes[parent].children.insert(name, Some(child));
        child
    }

    fn put(&mut self, path: &Path, node: Option<usize>) {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return;
        };
        let parent = self.find(parent);
        self.nodes[parent].children.insert(name.to_owned(), node);
    }

    /// Everything that is not as it was, in no particular order.
    pub(crate) fn changed(&self) -> Vec<Changed> {
        let mut last: Vec<Option<PathBuf>> = vec![None; self.nodes.len()];
        let mut open = vec![(0, PathBuf::from("/"))];
        while let Some((node, path)) = open.pop() {
            for (name, child) in &self.nodes[node].children {
                if let Some(child) = child {
                    open.push((*child, path.join(name)));
                }
            }
            last[node] = Some(path);
        }
        self.nodes
            .iter()
            .zip(last)
            .filter(|(node, last)| {
                node.original != *last || node.kept.is_some() || node.attributes.is_some()
            })
            .map(|(node, last)| Changed {
                original: node.original.clone(),
                last,
                was: node.was.clone(),
                kept: node.kept.clone(),
                attributes: node.attributes,
            })
            .collect()
    }
}

fn names(path: &Path) -> Vec<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Name;

    fn name(path: &str) -> Name {
        Name(PathBuf::from(path))
    }

    fn created(path: &str) -> Record {
        Record::Created { path: name(path) }
    }

    fn renamed(from: &str, to: &str) -> Record {
        Record::Renamed {
            from: name(from),
            to: name(to),
            replaced: None,
        }
    }

    fn kept(copy: &str) -> Kept {
        Kept {
            copy: copy.to_owned(),
            attributes: Attributes {
                mode: 0o644,
                seconds: 1,
                nanoseconds: 2,
            },
        }
    }

    fn places(records: &[Record]) -> Vec<(Option<String>, Option<String>)> {
        let text = |path: Option<PathBuf>| path.map(|path| path.display().to_string());
        let mut places: Vec<_> = History::of(records)
            .changed()
            .into_iter()
            .map(|changed| (text(changed.original), text(changed.last)))
            .collect();
        places.sort();
        places
    }

    fn place(original: &str, last: &str) -> (Option<String>, Option<String>) {
        let text = |path: &str| (!path.is_empty()).then(|| path.to_owned());
        (text(original), text(last))
    }

    #[test]
    fn what_comes_and_goes_in_the_session_is_nothing() {
        let removed = Record::Removed {
            path: name("/w/a"),
            was: None,
        };
        assert_eq!(places(&[created("/w/a"), removed.clone()]), []);
        assert_eq!(places(&[removed]), [place("/w/a", "")]);
    }

    #[test]
    fn a_folder_takes_along_what_nobody_looked_at() {
        let records = [
            renamed("/w/d", "/w/e"),
            Record::Kept {
                path: name("/w/e/f"),
                file: kept("1"),
            },
            created("/w/d"),
        ];
        assert_eq!(
            places(&records),
            [
                place("", "/w/d"),
                place("/w/d", "/w/e"),
                place("/w/d/f", "/w/e/f"),
            ]
        );
    }

    #[test]
    fn what_is_kept_from_outside_is_kept_wherever_its_file_went() {
        let kept_of = |path: &str| Record::KeptOf {
            original: name(path),
            file: kept("1"),
        };
        let removed = Record::Removed {
            path: name("/w/e/g"),
            was: None,
        };
        let records = [
            renamed("/w/d", "/w/e"),
            renamed("/w/e/f", "/w/f"),
            created("/w/d"),
            kept_of("/w/d/f"),
            removed,
            kept_of("/w/d/g"),
            kept_of("/w/d/h"),
        ];
        let kept: Vec<_> = History::of(&records)
            .changed()
            .into_iter()
            .filter(|changed| changed.kept.is_some())
            .map(|changed| (changed.original.unwrap(), changed.last))
            .collect();
        let path = |path: &str| PathBuf::from(path);
        assert_eq!(
            kept,
            [
                (path("/w/d/f"), Some(path("/w/f"))),
                (path("/w/d/g"), None),
                (path("/w/d/h"), Some(path("/w/e/h"))),
            ]
        );
    }

    #[test]
    fn names_that_change_places_keep_their_files() {
        let records = [
            renamed("/w/a", "/w/x"),
            renamed("/w/b", "/w/a"),
            renamed("/w/x", "/w/b"),
        ];
        assert_eq!(
            places(&records),
            [place("/w/a", "/w/b"), place("/w/b", "/w/a")]
        );
        let records = [Record::Exchanged {
            one: name("/w/a"),
            other: name("/w/b"),
        }];
        assert_eq!(
            places(&records),
            [place("/w/a", "/w/b"), place("/w/b", "/w/a")]
        );
    }

    #[test]
    fn what_is_replaced_is_what_was_there_at_the_start() {
        let records = [
            created("/w/new"),
            Record::Renamed {
                from: name("/w/new"),
                to: name("/w/a"),
                replaced: Some(Lost {
                    was: Some(Was::File(kept("1"))),
                }),
            },
            created("/w/new"),
            Record::Renamed {
                from: name("/w/new"),
                to: name("/w/a"),
                replaced: Some(Lost { was: None }),
            },
        ];
        let changed = History::of(&records).changed();
        let lost: Vec<_> = changed
            .iter()
            .filter(|changed| changed.original.is_some())
            .collect();
        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].was, Some(Was::File(kept("1"))));
        assert_eq!(lost[0].last, None);
    }
}
