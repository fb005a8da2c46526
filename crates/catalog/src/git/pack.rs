//! What is in a pack (gitformat-pack(5)): every object as it will be, deltas applied, so that somebody
//! can look at its content, and which commits and files those are.
//!
//! What must stay true: the objects that are looked at are those that a server of git will have. So a
//! pack is read to its last octet or not at all; each object has the size that it says; a delta is
//! applied to the object that it names, which is in the pack or hashes to that name. What all of it
//! holds in memory is bounded, whatever the pack says.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io::{BufRead, Read};
use std::rc::Rc;

use flate2::bufread::ZlibDecoder;
use sha1::Digest as _;

/// Objects in one pack.
const MOST_OBJECTS: u32 = 500_000;
/// Octets of one object.
const LARGEST_OBJECT: u64 = 128 << 20;
/// Octets that are unpacked for one pack, deltas and results.
const MOST_UNPACKED: u64 = if cfg!(test) { 16 << 20 } else { 2 << 30 };
/// Octets of objects that are held at one time because deltas build on them.
const MOST_HELD: usize = 256 << 20;
/// Names in trees that are remembered, to say where a file is.
const MOST_NAMES: usize = 200_000;
/// Folders above each other.
const DEEPEST: usize = 64;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A commit.
    Commit,
    /// A folder.
    Tree,
    /// The content of a file.
    Blob,
    /// An annotated tag.
    Tag,
}

/// Why a pack's objects are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// No pack, or one that breaks off.
    #[error("the pack of the push cannot be read: {0}")]
    Broken(&'static str),
    /// A delta builds on an object that is neither in the pack nor at hand.
    #[error("the pack of the push leaves out an object that it builds on ({0})")]
    BaseMissing(String),
    /// More than is looked at.
    #[error("the push unpacks to more than is looked through ({0})")]
    TooLarge(&'static str),
}

/// Octets that can be read from any place.
pub trait Octets {
    /// A reader from `offset` on.
    fn from(&self, offset: u64) -> Box<dyn BufRead + '_>;
    /// How many there are.
    fn length(&self) -> u64;
}

impl Octets for &[u8] {
    fn from(&self, offset: u64) -> Box<dyn BufRead + '_> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        Box::new(self.get(offset..).unwrap_or_default())
    }

    fn length(&self) -> u64 {
        self.len() as u64
    }
}

/// Finds an object outside of the pack by its name. What it gives is hashed.
pub type FindBase<'f> = dyn FnMut(&str) -> Option<(Kind, Vec<u8>)> + 'f;
/// Looks at an object: its name, what it is, its content.
pub type Look<'l> = dyn FnMut(&str, Kind, &[u8]) + 'l;

/// Which commits and files are in a pack.
#[derive(Debug, Default)]
pub struct Contents {
    commits: HashMap<String, Commit>,
    /// Where an object stands: its folder, and its name there.
    names: HashMap<String, (String, String)>,
    blobs: BTreeSet<String>,
    /// Commits by their folder.
    roots: HashMap<String, String>,
}

#[derive(Debug)]
struct Commit {
    parents: Vec<String>,
    subject: String,
}

/// Reads the pack whose first octet is at `start`, of objects whose names have so many `digits`, and
/// has each object looked at.
///
/// # Errors
/// See [`Unreadable`]; some objects may have been looked at.
pub fn read(
    octets: &dyn Octets,
    start: u64,
    digits: usize,
    find_base: &mut FindBase<'_>,
    look: &mut Look<'_>,
) -> Result<Contents, Unreadable> {
    let mut reader = Reader {
        octets,
        digits,
        unpacked: 0,
        entries: Vec::new(),
        on_offset: HashMap::new(),
        on_name: BTreeMap::new(),
        contents: Contents::default(),
        look,
    };
    let wholes = reader.index(start)?;
    for (index, kind) in wholes {
        let content = reader.inflate(index)?;
        reader.resolve(index, kind, content)?;
    }
    // What is left builds on objects outside, or on others that do: those are resolved on the way.
    let names: Vec<String> = reader.on_name.keys().cloned().collect();
    for name in names {
        if reader.on_name.contains_key(&name)
            && let Some((kind, content)) = find_base(&name)
            && hash(kind, &content, digits) == name
        {
            reader.resolve_children_of_name(&name, kind, content)?;
        }
    }
    if let Some(name) = reader.on_name.into_keys().next() {
        return Err(Unreadable::BaseMissing(name));
    }
    if reader.entries.iter().any(|entry| !entry.resolved) {
        return Err(Unreadable::Broken("a delta builds on nothing"));
    }
    Ok(reader.contents)
}

struct Reader<'r> {
    octets: &'r dyn Octets,
    digits: usize,
    unpacked: u64,
    entries: Vec<Entry>,
    /// Deltas by the offset of what they build on.
    on_offset: HashMap<u64, Vec<usize>>,
    /// Deltas by the name of what they build on.
    on_name: BTreeMap<String, Vec<usize>>,
    contents: Contents,
    look: &'r mut Look<'r>,
}

struct Entry {
    /// Where it begins.
    at: u64,
    /// Where its compressed content begins.
    data: u64,
    size: u64,
    resolved: bool,
}

/// Content on which deltas build, counted while it is held.
struct Held {
    content: Vec<u8>,
    total: Rc<Cell<usize>>,
}

impl Held {
    fn new(content: Vec<u8>, total: &Rc<Cell<usize>>) -> Result<Rc<Self>, Unreadable> {
        let held = total.get() + content.len();
        if held > MOST_HELD {
            return Err(Unreadable::TooLarge("256 MiB of deltas at one time"));
        }
        total.set(held);
        Ok(Rc::new(Self {
            content,
            total: Rc::clone(total),
        }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.content.len());
    }
}

impl Reader<'_> {
    /// Finds where each object begins; those that are whole.
    fn index(&mut self, start: u64) -> Result<Vec<(usize, Kind)>, Unreadable> {
        const SHORT: Unreadable = Unreadable::Broken("it is too short");
        let mut head = [0; 12];
        self.octets
            .from(start)
            .read_exact(&mut head)
            .map_err(|_| SHORT)?;
        let word =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if &head[..4] != b"PACK" || !matches!(word(4), 2 | 3) {
            return Err(Unreadable::Broken("it is no pack of version 2 or 3"));
        }
        let count = word(8);
        if count > MOST_OBJECTS {
            return Err(Unreadable::TooLarge("500,000 objects"));
        }
        let mut at = start + 12;
        let mut wholes = Vec::new();
        for index in 0..count as usize {
            let mut octets = self.octets.from(at);
            let mut data = at;
            let mut next = || -> Result<u8, Unreadable> {
                let mut octet = [0];
                octets.read_exact(&mut octet).map_err(|_| SHORT)?;
                data += 1;
                Ok(octet[0])
            };
            let first = next()?;
            let kind = (first >> 4) & 7;
            let (mut size, mut shift, mut octet) = (u64::from(first & 15), 4, first);
            while octet & 0x80 != 0 {
                octet = next()?;
                if shift > 53 {
                    return Err(Unreadable::Broken("an object's size is none"));
                }
                size |= u64::from(octet & 0x7f) << shift;
                shift += 7;
            }
            match kind {
                1..=4 => {
                    let kind = [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag][kind as usize - 1];
                    wholes.push((index, kind));
                }
                6 => {
                    octet = next()?;
                    let mut distance = u64::from(octet & 0x7f);
                    while octet & 0x80 != 0 {
                        octet = next()?;
                        if distance > 1 << 48 {
                            return Err(Unreadable::Broken("a delta's base is none"));
                        }
                        distance = ((distance + 1) << 7) | u64::from(octet & 0x7f);
                    }
                    let base = at.checked_sub(distance).filter(|base| *base < at);
                    let base = base.ok_or(Unreadable::Broken("a delta's base is none"))?;
                    self.on_offset.entry(base).or_default().push(index);
                }
                7 => {
                    let mut name = String::new();
                    for _ in 0..self.digits / 2 {
                        name.push_str(&format!("{:02x}", next()?));
                    }
                    self.on_name.entry(name).or_default().push(index);
                }
                _ => return Err(Unreadable::Broken("an object is of no known type")),
            }
            self.entries.push(Entry {
                at,
                data,
                size,
                resolved: false,
            });
            let (_, length) = self.unpack(data, size, false)?;
            at = data + length;
        }
        // Behind the objects stands the hash of all of it, and nothing else.
        if at + self.digits as u64 / 2 != self.octets.length() {
            return Err(Unreadable::Broken("it does not end where its objects do"));
        }
        Ok(wholes)
    }

    /// The content of an entry as it is stored.
    fn inflate(&mut self, index: usize) -> Result<Vec<u8>, Unreadable> {
        let entry = self
            .entries
            .get(index)
            .ok_or(Unreadable::Broken("an object is missing"))?;
        let (data, size) = (entry.data, entry.size);
        self.unpack(data, size, true).map(|(content, _)| content)
    }

    /// Unpacks what is compressed at `data`, and says how long that is there.
    fn unpack(&mut self, data: u64, size: u64, keep: bool) -> Result<(Vec<u8>, u64), Unreadable> {
        const BROKEN: Unreadable =
            Unreadable::Broken("an object is not compressed as it should be");
        self.spend(size)?;
        let mut decoder = ZlibDecoder::new(self.octets.from(data));
        let mut content = Vec::new();
        let octets = {
            // One more than there should be, so that the end is seen.
            let mut limited = decoder.by_ref().take(size + 1);
            match keep {
                true => limited.read_to_end(&mut content).map(|count| count as u64),
                false => std::io::copy(&mut limited, &mut std::io::sink()),
            }
        };
        if octets.map_err(|_| BROKEN)? != size {
            return Err(BROKEN);
        }
        Ok((content, decoder.total_in()))
    }

    fn spend(&mut self, octets: u64) -> Result<(), Unreadable> {
        self.unpacked = self.unpacked.saturating_add(octets);
        if octets > LARGEST_OBJECT {
            return Err(Unreadable::TooLarge("128 MiB in one file"));
        }
        if self.unpacked > MOST_UNPACKED {
            return Err(Unreadable::TooLarge("2 GiB in all"));
        }
        Ok(())
    }

    /// Looks at an object and at everything that is built on it.
    fn resolve(&mut self, index: usize, kind: Kind, content: Vec<u8>) -> Result<(), Unreadable> {
        let total = Rc::new(Cell::new(0));
        let mut waiting = Vec::new();
        self.tell(index, kind, content, &total, &mut waiting)?;
        self.resolve_all(kind, &total, waiting)
    }

    fn resolve_children_of_name(
        &mut self,
        name: &str,
        kind: Kind,
        content: Vec<u8>,
    ) -> Result<(), Unreadable> {
        let total = Rc::new(Cell::new(0));
        let children = self.on_name.remove(name).unwrap_or_default();
        let held = Held::new(content, &total)?;
        let waiting = children.iter().map(|child| (*child, Rc::clone(&held)));
        let waiting = waiting.collect();
        drop(held);
        self.resolve_all(kind, &total, waiting)
    }

    fn resolve_all(
        &mut self,
        kind: Kind,
        total: &Rc<Cell<usize>>,
        mut waiting: Vec<(usize, Rc<Held>)>,
    ) -> Result<(), Unreadable> {
        while let Some((index, base)) = waiting.pop() {
            let delta = self.inflate(index)?;
            let target = result_size(&delta)?;
            self.spend(target)?;
            let content = apply(&base.content, &delta)?;
            drop(base);
            self.tell(index, kind, content, total, &mut waiting)?;
        }
        Ok(())
    }

    /// Has one object looked at and remembers what it says; what is built on it waits from now on.
    fn tell(
        &mut self,
        index: usize,
        kind: Kind,
        content: Vec<u8>,
        total: &Rc<Cell<usize>>,
        waiting: &mut Vec<(usize, Rc<Held>)>,
    ) -> Result<(), Unreadable> {
        let name = hash(kind, &content, self.digits);
        (self.look)(&name, kind, &content);
        self.contents.remember(&name, kind, &content, self.digits);
        let Some(entry) = self.entries.get_mut(index) else {
            return Err(Unreadable::Broken("an object is missing"));
        };
        entry.resolved = true;
        let at = entry.at;
        let mut children = self.on_offset.remove(&at).unwrap_or_default();
        children.extend(self.on_name.remove(&name).unwrap_or_default());
        if !children.is_empty() {
            let held = Held::new(content, total)?;
            waiting.extend(children.iter().map(|child| (*child, Rc::clone(&held))));
        }
        Ok(())
    }
}

/// The second of the two sizes that a delta begins with.
fn result_size(delta: &[u8]) -> Result<u64, Unreadable> {
    let mut rest = delta;
    size(&mut rest)?;
    size(&mut rest)
}

fn size(rest: &mut &[u8]) -> Result<u64, Unreadable> {
    let (mut size, mut shift) = (0, 0);
    loop {
        let octet = take(rest, 1)?[0];
        if shift > 56 {
            return Err(Unreadable::Broken("a delta's size is none"));
        }
        size |= u64::from(octet & 0x7f) << shift;
        shift += 7;
        if octet & 0x80 == 0 {
            return Ok(size);
        }
    }
}

fn take<'d>(rest: &mut &'d [u8], count: usize) -> Result<&'d [u8], Unreadable> {
    let (taken, behind) = rest
        .split_at_checked(count)
        .ok_or(Unreadable::Broken("a delta breaks off"))?;
    *rest = behind;
    Ok(taken)
}

/// What a delta makes of its base ("Deltified representation"). Its sizes were counted before.
fn apply(base: &[u8], delta: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let mut rest = delta;
    let (from, to) = (size(&mut rest)?, size(&mut rest)?);
    if from != base.len() as u64 {
        return Err(Unreadable::Broken(
            "a delta is for an object of another size",
        ));
    }
    let mut content = Vec::with_capacity(usize::try_from(to).unwrap_or(0).min(1 << 20));
    while !rest.is_empty() {
        let octet = take(&mut rest, 1)?[0];
        let piece = match octet {
            0 => return Err(Unreadable::Broken("a delta has an unknown instruction")),
            1..=0x7f => take(&mut rest, usize::from(octet))?,
            _ => {
                let mut number = |bits: std::ops::Range<u32>| -> Result<usize, Unreadable> {
                    let mut value = 0;
                    for (place, bit) in bits.enumerate() {
                        if octet & (1 << bit) != 0 {
                            value |= usize::from(take(&mut rest, 1)?[0]) << (8 * place);
                        }
                    }
                    Ok(value)
                };
                let (offset, count) = (number(0..4)?, number(4..7)?);
                let count = if count == 0 { 0x10000 } else { count };
                base.get(offset..offset + count)
                    .ok_or(Unreadable::Broken("a delta copies what is not there"))?
            }
        };
        content.extend_from_slice(piece);
        if content.len() as u64 > to {
            break;
        }
    }
    match content.len() as u64 == to {
        true => Ok(content),
        false => Err(Unreadable::Broken(
            "a delta makes an object of another size",
        )),
    }
}

/// The name of an object, in so many digits.
pub fn hash(kind: Kind, content: &[u8], digits: usize) -> String {
    let word = match kind {
        Kind::Commit => "commit",
        Kind::Tree => "tree",
        Kind::Blob => "blob",
        Kind::Tag => "tag",
    };
    let head = format!("{word} {}\0", content.len());
    let bytes = match digits {
        64 => {
            let hasher = sha2::Sha256::new().chain_update(&head);
            hasher.chain_update(content).finalize().to_vec()
        }
        _ => {
            let hasher = sha1::Sha1::new().chain_update(&head);
            hasher.chain_update(content).finalize().to_vec()
        }
    };
    hex(&bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Contents {
    fn remember(&mut self, name: &str, kind: Kind, content: &[u8], digits: usize) {
        match kind {
            Kind::Commit => {
                let text = String::from_utf8_lossy(content);
                let (head, message) = text.split_once("\n\n").unwrap_or((&text, ""));
                let of = |key: &str| {
                    let lines = head.lines().take_while(|line| !line.starts_with("author "));
                    let values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
                    values.map(str::to_owned).collect::<Vec<_>>()
                };
                for tree in of("tree") {
                    self.roots.entry(tree).or_insert_with(|| name.to_owned());
                }
                let commit = Commit {
                    parents: of("parent"),
                    subject: message.trim_start().lines().next().unwrap_or("").to_owned(),
                };
                self.commits.insert(name.to_owned(), commit);
            }
            Kind::Tree => {
                let mut rest = content;
                while let Some(end) = rest.iter().position(|byte| *byte == 0) {
                    let Some((entry, behind)) = rest.split_at_checked(end) else {
                        break;
                    };
                    let Some((child, behind)) = behind[1..].split_at_checked(digits / 2) else {
                        break;
                    };
                    rest = behind;
                    if self.names.len() >= MOST_NAMES {
                        break;
                    }
                    let entry = String::from_utf8_lossy(entry);
                    let named = entry.split_once(' ').map_or("", |(_, named)| named);
                    self.names
                        .entry(hex(child))
                        .or_insert_with(|| (name.to_owned(), named.to_owned()));
                }
            }
            Kind::Blob => {
                if self.blobs.len() < MOST_NAMES {
                    self.blobs.insert(name.to_owned());
                }
            }
            Kind::Tag => {}
        }
    }

    /// How many commits of the pack lead to `tip`, it included, and name and subject of the first
    /// `most`, the newest first.
    pub fn commits_to(&self, tip: &str, most: usize) -> (usize, Vec<(String, String)>) {
        let mut seen = HashSet::from([tip]);
        let mut waiting = VecDeque::from([tip]);
        let (mut count, mut first) = (0, Vec::new());
        while let Some(name) = waiting.pop_front() {
            let Some(commit) = self.commits.get(name) else {
                continue;
            };
            count += 1;
            if first.len() < most {
                first.push((name.to_owned(), commit.subject.clone()));
            }
            for parent in &commit.parents {
                if seen.insert(parent) {
                    waiting.push_back(parent);
                }
            }
        }
        (count, first)
    }

    /// How many files have content that is new, and the paths of the first `most`.
    pub fn files(&self, most: usize) -> (usize, Vec<String>) {
        let paths: BTreeSet<String> = self
            .blobs
            .iter()
            .filter_map(|blob| self.place_of(blob).0)
            .collect();
        (self.blobs.len(), paths.into_iter().take(most).collect())
    }

    /// The path of an object, and a commit that has it there, as far as the pack tells.
    pub fn place_of(&self, name: &str) -> (Option<String>, Option<String>) {
        if self.commits.contains_key(name) {
            return (None, Some(name.to_owned()));
        }
        let mut parts = Vec::new();
        let mut at = name;
        while let Some((folder, named)) = self.names.get(at) {
            parts.push(named.as_str());
            at = folder;
            if parts.len() > DEEPEST {
                break;
            }
        }
        parts.reverse();
        let path = (!parts.is_empty()).then(|| parts.join("/"));
        (path, self.roots.get(at).cloned())
    }
}

#[cfg(test)]
mod tests;
