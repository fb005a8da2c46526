//! Every command of Redis 7 and Valkey 8, and what it does. What stands here is what passes: any other command
//! is refused, whatever a server makes of it.

use crate::command::Command;

/// What a command does, as far as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Tells something.
    Read,
    /// Changes the connection only.
    Session,
    /// Changes values by their keys.
    Write,
    /// Keys that it names are gone, or other ones are in their place.
    Removes(Keys),
    /// The same, where the option of that name is among its arguments.
    RemovesWith(&'static str, Keys),
    /// The same, of the key that stands behind an option of one of these names.
    RemovesBehind(&'static [&'static str]),
    /// The same, where the time in that place is over.
    Expires,
    /// All keys of the database, or of all databases.
    Flushes,
    /// Runs a script, whose text is an argument, or that was loaded.
    Script,
    /// Loads one.
    LoadsScript,
    /// Does what nobody can see beforehand, or changes the server.
    Opaque,
    /// Turns the connection into one on which messages arrive.
    Subscribes,
    /// Begins, ends or drops a transaction, logs in, says goodbye.
    Gate,
    /// Settings of the server, those that hold no password.
    Settings,
    /// Names a database.
    Selects,
    /// No approval lets it pass.
    Never(&'static str),
}

use Class::{
    Expires, Flushes, Gate, LoadsScript, Never, Opaque, Read, Removes, RemovesBehind, RemovesWith,
    Script, Selects, Session, Settings, Subscribes, Write,
};

/// Which arguments are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    /// The first.
    First,
    /// The second: what a result is written to.
    Second,
    /// The first two.
    FirstTwo,
    /// All of them.
    All,
}

/// Options of commands that write what they find to a key.
const STORES: &[&str] = &["store", "storedist"];

const ADMIN: &str = "it administers the server";
const STREAM: &str = "its answers never end, or tell what other clients do";
const ELSEWHERE: &str = "it leaves the database that this task was given";
const REPLIES: &str = "it changes which commands are answered";

/// Names with their least number of words (as `COMMAND INFO` has it: negative where more may follow).
/// Commands with subcommands stand as `name subcommand`.
#[rustfmt::skip]
const TABLE: &[(&str, i32, Class)] = &[
    ("acl whoami", 2, Read), ("acl", -2, Never(ADMIN)),
    ("append", 3, Write), ("asking", 1, Never(ELSEWHERE)), ("auth", -2, Gate),
    ("bgrewriteaof", 1, Never(ADMIN)), ("bgsave", -1, Never(ADMIN)),
    ("bitcount", -2, Read), ("bitfield", -2, Write), ("bitfield_ro", -2, Read), ("bitop", -4, Removes(Keys::Second)), ("bitpos", -3, Read),
    ("blmove", 6, Write), ("blmpop", -5, Write), ("blpop", -3, Write), ("brpop", -3, Write), ("brpoplpush", 4, Write),
    ("bzmpop", -5, Write), ("bzpopmax", -3, Write), ("bzpopmin", -3, Write),
    ("client getname", 2, Read), ("client id", 2, Read), ("client info", 2, Read), ("client list", -2, Read), ("client help", 2, Read),
    ("client setname", 3, Session), ("client setinfo", 4, Session), ("client no-evict", 3, Session), ("client no-touch", 3, Session),
    ("client reply", 3, Never(REPLIES)), ("client tracking", -3, Never(REPLIES)), ("client caching", 3, Never(REPLIES)),
    ("client", -2, Never(ADMIN)),
    ("cluster info", 2, Read), ("cluster keyslot", 3, Read), ("cluster nodes", 2, Read), ("cluster shards", 2, Read),
    ("cluster slots", 2, Read), ("cluster myid", 2, Read), ("cluster", -2, Never(ADMIN)),
    ("command", -1, Read),
    ("config get", -3, Settings), ("config help", 2, Read), ("config", -2, Never(ADMIN)),
    ("copy", -3, RemovesWith("replace", Keys::Second)),
    ("dbsize", 1, Read), ("debug", -2, Never(ADMIN)), ("decr", 2, Write), ("decrby", 3, Write),
    ("del", -2, Removes(Keys::All)), ("discard", 1, Gate), ("dump", 2, Read), ("echo", 2, Read),
    ("eval", -3, Script), ("eval_ro", -3, Script), ("evalsha", -3, Script), ("evalsha_ro", -3, Script), ("exec", 1, Gate),
    ("exists", -2, Read), ("expire", -3, Expires), ("expireat", -3, Expires), ("expiretime", 2, Read),
    ("failover", -1, Never(ADMIN)), ("fcall", -3, Opaque), ("fcall_ro", -3, Opaque), ("flushall", -1, Flushes), ("flushdb", -1, Flushes),
    ("function list", -2, Read), ("function dump", 2, Read), ("function stats", 2, Read), ("function help", 2, Read),
    ("function load", -3, Opaque), ("function delete", 3, Opaque), ("function flush", -2, Opaque), ("function restore", -3, Opaque),
    ("function kill", 2, Never(ADMIN)), ("function", -2, Never(ADMIN)),
    ("geoadd", -5, Write), ("geodist", -4, Read), ("geohash", -2, Read), ("geopos", -2, Read),
    ("georadius", -6, RemovesBehind(STORES)), ("georadius_ro", -6, Read), ("georadiusbymember", -5, RemovesBehind(STORES)), ("georadiusbymember_ro", -5, Read),
    ("geosearch", -7, Read), ("geosearchstore", -8, Removes(Keys::First)),
    ("get", 2, Read), ("getbit", 3, Read), ("getdel", 2, Removes(Keys::First)), ("getex", -2, Expires), ("getrange", 4, Read), ("getset", 3, Write),
    ("hdel", -3, Write), ("hello", -1, Gate), ("hexists", 3, Read), ("hget", 3, Read), ("hgetall", 2, Read), ("hincrby", 4, Write),
    ("hincrbyfloat", 4, Write), ("hkeys", 2, Read), ("hlen", 2, Read), ("hmget", -3, Read), ("hmset", -4, Write), ("hrandfield", -2, Read),
    ("hscan", -3, Read), ("hset", -4, Write), ("hsetnx", 4, Write), ("hstrlen", 3, Read), ("hvals", 2, Read),
    ("incr", 2, Write), ("incrby", 3, Write), ("incrbyfloat", 3, Write), ("info", -1, Read), ("keys", 2, Read), ("lastsave", 1, Read),
    ("latency reset", -2, Never(ADMIN)), ("latency", -2, Read), ("lcs", -3, Read), ("lindex", 3, Read), ("linsert", 5, Write), ("llen", 2, Read),
    ("lmove", 5, Write), ("lmpop", -4, Write), ("lolwut", -1, Read), ("lpop", -2, Write), ("lpos", -3, Read), ("lpush", -3, Write), ("lpushx", -3, Write),
    ("lrange", 4, Read), ("lrem", 4, Write), ("lset", 4, Write), ("ltrim", 4, Removes(Keys::First)),
    ("memory purge", 2, Never(ADMIN)), ("memory", -2, Read), ("mget", -2, Read), ("migrate", -6, Never(ELSEWHERE)),
    ("module list", 2, Read), ("module", -2, Never(ADMIN)), ("monitor", 1, Never(STREAM)), ("move", 3, Never(ELSEWHERE)),
    ("mset", -3, Write), ("msetnx", -3, Write), ("multi", 1, Gate), ("object", -2, Read), ("persist", 2, Write),
    ("pexpire", -3, Expires), ("pexpireat", -3, Expires), ("pexpiretime", 2, Read), ("pfadd", -2, Write), ("pfcount", -2, Read),
    ("pfdebug", 3, Never(ADMIN)), ("pfmerge", -2, Write), ("pfselftest", 1, Never(ADMIN)), ("ping", -1, Read), ("psetex", 4, Write),
    ("psubscribe", -2, Subscribes), ("psync", -3, Never(STREAM)), ("pttl", 2, Read), ("publish", 3, Write), ("pubsub", -2, Read), ("punsubscribe", -1, Subscribes),
    ("quit", -1, Gate), ("randomkey", 1, Read), ("readonly", 1, Never(ELSEWHERE)), ("readwrite", 1, Never(ELSEWHERE)),
    ("rename", 3, Removes(Keys::FirstTwo)), ("renamenx", 3, Removes(Keys::First)), ("replconf", -1, Never(STREAM)), ("replicaof", 3, Never(ADMIN)),
    ("reset", 1, Never(REPLIES)), ("restore", -4, RemovesWith("replace", Keys::First)), ("restore-asking", -4, Never(ELSEWHERE)), ("role", 1, Read),
    ("rpop", -2, Write), ("rpoplpush", 3, Write), ("rpush", -3, Write), ("rpushx", -3, Write),
    ("sadd", -3, Write), ("save", 1, Never(ADMIN)), ("scan", -2, Read), ("scard", 2, Read),
    ("script exists", -3, Read), ("script help", 2, Read), ("script load", 3, LoadsScript), ("script", -2, Never(ADMIN)),
    ("sdiff", -2, Read), ("sdiffstore", -3, Removes(Keys::First)), ("select", 2, Selects),
    ("set", -3, Write), ("setbit", 4, Write), ("setex", 4, Write), ("setnx", 3, Write), ("setrange", 4, Write), ("shutdown", -1, Never(ADMIN)),
    ("sinter", -2, Read), ("sintercard", -3, Read), ("sinterstore", -3, Removes(Keys::First)), ("sismember", 3, Read), ("slaveof", 3, Never(ADMIN)),
    ("slowlog reset", 2, Never(ADMIN)), ("slowlog", -2, Read), ("smembers", 2, Read), ("smismember", -3, Read), ("smove", 4, Write),
    ("sort", -2, RemovesBehind(STORES)), ("sort_ro", -2, Read), ("spop", -2, Write), ("spublish", 3, Write), ("srandmember", -2, Read), ("srem", -3, Write),
    ("sscan", -3, Read), ("ssubscribe", -2, Subscribes), ("strlen", 2, Read), ("subscribe", -2, Subscribes), ("substr", 4, Read),
    ("sunion", -2, Read), ("sunionstore", -3, Removes(Keys::First)), ("sunsubscribe", -1, Subscribes), ("swapdb", 3, Never(ELSEWHERE)), ("sync", 1, Never(STREAM)),
    ("time", 1, Read), ("touch", -2, Read), ("ttl", 2, Read), ("type", 2, Read), ("unlink", -2, Removes(Keys::All)), ("unsubscribe", -1, Subscribes),
    ("unwatch", 1, Session), ("wait", 3, Read), ("waitaof", 4, Read), ("watch", -2, Session),
    ("xack", -4, Write), ("xadd", -5, Write), ("xautoclaim", -6, Write), ("xclaim", -6, Write), ("xdel", -3, Write),
    ("xgroup", -2, Write), ("xinfo", -2, Read), ("xlen", 2, Read), ("xpending", -3, Read), ("xrange", -4, Read), ("xread", -4, Read),
    ("xreadgroup", -7, Write), ("xrevrange", -4, Read), ("xsetid", -3, Write), ("xtrim", -4, Removes(Keys::First)),
    ("zadd", -4, Write), ("zcard", 2, Read), ("zcount", 4, Read), ("zdiff", -3, Read), ("zdiffstore", -4, Removes(Keys::First)), ("zincrby", 4, Write),
    ("zinter", -3, Read), ("zintercard", -3, Read), ("zinterstore", -4, Removes(Keys::First)), ("zlexcount", 4, Read), ("zmpop", -4, Write), ("zmscore", -3, Read),
    ("zpopmax", -2, Write), ("zpopmin", -2, Write), ("zrandmember", -2, Read), ("zrange", -4, Read), ("zrangebylex", -4, Read), ("zrangebyscore", -4, Read),
    ("zrangestore", -5, Removes(Keys::First)), ("zrank", -3, Read), ("zrem", -3, Write), ("zremrangebylex", 4, Removes(Keys::First)),
    ("zremrangebyrank", 4, Removes(Keys::First)), ("zremrangebyscore", 4, Removes(Keys::First)),
    ("zrevrange", -4, Read), ("zrevrangebylex", -4, Read), ("zrevrangebyscore", -4, Read), ("zrevrank", -3, Read), ("zscan", -3, Read), ("zscore", 3, Read),
    ("zunion", -3, Read), ("zunionstore", -4, Removes(Keys::First)),
];

/// Settings that a client may read: none holds a password or a path.
const SETTINGS: &[&str] = &[
    "appendonly",
    "databases",
    "maxmemory",
    "maxmemory-policy",
    "notify-keyspace-events",
    "save",
    "timeout",
];

/// What one command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing, but tells something.
    Read,
    /// Nothing but to this connection.
    Session,
    /// Changes values by their keys.
    Write,
    /// These keys may be gone afterwards, or others in their place.
    Removes(Vec<Vec<u8>>),
    /// All keys of the database.
    Empties,
    /// All keys of every database of the server.
    EmptiesAll,
    /// Runs a script.
    Script,
    /// Loads a script for later.
    LoadsScript,
    /// Nobody can say.
    Opaque,
    /// Waits for messages from now on.
    Subscribes,
    /// What the gate does itself.
    Gate,
    /// Names this database.
    Selects(Vec<u8>),
}

/// Why a command is refused without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmeant {
    /// It stands in no table.
    #[error("it is no command that Tagout knows")]
    Unknown,
    /// It has too few words, or too many.
    #[error("it has a wrong number of arguments")]
    Arguments,
    /// No approval lets it pass.
    #[error("{0}")]
    Never(&'static str),
    /// A setting that may hold a password.
    #[error("only these settings are told: {}", SETTINGS.join(", "))]
    Settings,
}

/// What `command` does.
///
/// # Errors
/// See [`Unmeant`].
pub fn meaning(command: &Command) -> Result<Meaning, Unmeant> {
    let words = command.words();
    let name = command.word(0).ok_or(Unmeant::Unknown)?;
    let full = command.word(1).map(|second| format!("{name} {second}"));
    let found = full.and_then(|full| entry(&full)).or_else(|| entry(&name));
    let (_, arity, class) = found.ok_or(Unmeant::Unknown)?;
    let least = usize::try_from(arity.unsigned_abs()).unwrap_or(usize::MAX);
    let fits = match *arity < 0 {
        true => words.len() >= least,
        false => words.len() == least,
    };
    match class {
        Never(why) => return Err(Unmeant::Never(why)),
        _ if !fits => return Err(Unmeant::Arguments),
        _ => {}
    }
    let keys = |keys: Keys| match keys {
        Keys::First => words.get(1..2),
        Keys::Second => words.get(2..3),
        Keys::FirstTwo => words.get(1..3),
        Keys::All => words.get(1..),
    };
    let keys = |which: Keys| Meaning::Removes(keys(which).unwrap_or_default().to_vec());
    let has = |option: &str| {
        let mut rest = words.iter().skip(3);
        rest.any(|word| word.eq_ignore_ascii_case(option.as_bytes()))
    };
    Ok(match class {
        Read => Meaning::Read,
        Session => Meaning::Session,
        Write => Meaning::Write,
        Removes(which) => keys(*which),
        // `DB n` stands behind the two keys.
        RemovesWith(..) if name == "copy" && has("db") => return Err(Unmeant::Never(ELSEWHERE)),
        RemovesWith(option, which) if has(option) => keys(*which),
        RemovesWith(..) => Meaning::Write,
        RemovesBehind(options) => {
            let is_option = |word: &Vec<u8>| {
                let mut options = options.iter();
                options.any(|option| word.eq_ignore_ascii_case(option.as_bytes()))
            };
            // A word that only looks like the option counts as one: another key is counted as well then.
            let behind = words.windows(2).skip(2).filter(|pair| is_option(&pair[0]));
            match behind.map(|pair| pair[1].clone()).collect::<Vec<_>>() {
                keys if keys.is_empty() => Meaning::Write,
                keys => Meaning::Removes(keys),
            }
        }
        // It may take any time, in any form.
        Expires if name == "getex" && words.len() == 2 => Meaning::Read,
        Expires if name == "getex" => keys(Keys::First),
        Expires if is_over(&name, words.get(2)) => keys(Keys::First),
        Expires => Meaning::Write,
        Flushes if name == "flushdb" => Meaning::Empties,
        Flushes => Meaning::EmptiesAll,
        Script => Meaning::Script,
        LoadsScript => Meaning::LoadsScript,
        Opaque => Meaning::Opaque,
        Subscribes => Meaning::Subscribes,
        Gate => Meaning::Gate,
        Settings => {
            let is_plain = |word: &Vec<u8>| {
                let mut known = SETTINGS.iter();
                known.any(|setting| word.eq_ignore_ascii_case(setting.as_bytes()))
            };
            match words.iter().skip(2).all(is_plain) {
                true => Meaning::Read,
                false => return Err(Unmeant::Settings),
            }
        }
        Selects => Meaning::Selects(words.get(1).cloned().unwrap_or_default()),
        Never(why) => return Err(Unmeant::Never(why)),
    })
}

fn entry(name: &str) -> Option<&'static (&'static str, i32, Class)> {
    TABLE.iter().find(|(known, ..)| *known == name)
}

/// Whether a time is over at once, or so soon that it may be: an absolute one is taken for that, unless it is
/// far ahead by the clock of this machine.
fn is_over(name: &str, time: Option<&Vec<u8>>) -> bool {
    let time = time.and_then(|word| std::str::from_utf8(word).ok());
    // What is no number is an error of the server's.
    let Some(time) = time.and_then(|text| text.parse::<i64>().ok()) else {
        return true;
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.ok().and_then(|now| i64::try_from(now.as_secs()).ok());
    let now = now.unwrap_or(i64::MAX);
    match name {
        "expire" => time <= 0,
        "pexpire" => time <= 1000,
        "expireat" => time <= now.saturating_add(1),
        _ => time / 1000 <= now.saturating_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Meaning, Unmeant> {
        meaning(&Command::of(&text.split(' ').collect::<Vec<_>>()))
    }

    fn removes(keys: &[&str]) -> Result<Meaning, Unmeant> {
        let keys = keys.iter().map(|key| key.as_bytes().to_vec());
        Ok(Meaning::Removes(keys.collect()))
    }

    #[test]
    fn what_commands_do() {
        for (text, meant) in [
            ("get a", Ok(Meaning::Read)),
            ("GeT a", Ok(Meaning::Read)),
            ("get a b", Err(Unmeant::Arguments)),
            ("SET a b", Ok(Meaning::Write)),
            ("DEL a b", removes(&["a", "b"])),
            ("RENAME a b", removes(&["a", "b"])),
            ("RENAMENX a b", removes(&["a"])),
            ("SORT a BY x", Ok(Meaning::Write)),
            ("SORT a STORE b", removes(&["b"])),
            ("sort a by store store b", removes(&["store", "b"])),
            ("GEORADIUS a 0 0 1 m storedist b", removes(&["b"])),
            ("COPY a b", Ok(Meaning::Write)),
            ("COPY a b REPLACE", removes(&["b"])),
            ("COPY a b db 2 replace", Err(Unmeant::Never(ELSEWHERE))),
            ("RESTORE a 0 x replace", removes(&["a"])),
            ("EXPIRE a 60", Ok(Meaning::Write)),
            ("EXPIRE a 0", removes(&["a"])),
            ("PEXPIRE a -1", removes(&["a"])),
            ("EXPIREAT a 1", removes(&["a"])),
            ("PEXPIREAT a 99999999999999", Ok(Meaning::Write)),
            ("FLUSHDB async", Ok(Meaning::Empties)),
            ("flushall", Ok(Meaning::EmptiesAll)),
            ("config get maxmemory-policy", Ok(Meaning::Read)),
            ("config get *", Err(Unmeant::Settings)),
            ("config get maxmemory requirepass", Err(Unmeant::Settings)),
            ("config set a b", Err(Unmeant::Never(ADMIN))),
            ("client list", Ok(Meaning::Read)),
            ("client kill 1", Err(Unmeant::Never(ADMIN))),
            ("eval x 0", Ok(Meaning::Script)),
            ("json.del a", Err(Unmeant::Unknown)),
            ("nothing", Err(Unmeant::Unknown)),
        ] {
            assert_eq!(of(text), meant, "{text}");
        }
    }

    #[test]
    fn names_stand_once() {
        for (at, (name, ..)) in TABLE.iter().enumerate() {
            let first = TABLE.iter().position(|(other, ..)| other == name);
            assert_eq!(first, Some(at), "{name}");
        }
    }
}
