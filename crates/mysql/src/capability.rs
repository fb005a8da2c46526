//! What client and server agree on when they meet (MySQL's manual, "Capabilities Flags"). A gate offers
//! what it can read, and asks a server for what it offered and the client took: so both ends of a
//! connection speak the same protocol, and answers pass as they are.

/// The client is no MariaDB that wants MariaDB's own extensions.
pub(crate) const LONG_PASSWORD: u32 = 1;
/// Counts of an UPDATE are of the rows found, not of those that changed.
pub(crate) const FOUND_ROWS: u32 = 1 << 1;
pub(crate) const LONG_FLAG: u32 = 1 << 2;
pub(crate) const CONNECT_WITH_DB: u32 = 1 << 3;
pub(crate) const PROTOCOL_41: u32 = 1 << 9;
pub(crate) const INTERACTIVE: u32 = 1 << 10;
pub(crate) const SSL: u32 = 1 << 11;
pub(crate) const TRANSACTIONS: u32 = 1 << 13;
pub(crate) const SECURE_CONNECTION: u32 = 1 << 15;
pub(crate) const MULTI_STATEMENTS: u32 = 1 << 16;
pub(crate) const MULTI_RESULTS: u32 = 1 << 17;
pub(crate) const PS_MULTI_RESULTS: u32 = 1 << 18;
pub(crate) const PLUGIN_AUTH: u32 = 1 << 19;
pub(crate) const CONNECT_ATTRS: u32 = 1 << 20;
pub(crate) const PLUGIN_AUTH_LENENC: u32 = 1 << 21;

/// What has to be had on both sides.
pub(crate) const NEEDED: u32 = PROTOCOL_41 | SECURE_CONNECTION;

/// What a server is asked for whatever the client took.
const ALWAYS: u32 = LONG_PASSWORD
    | LONG_FLAG
    | CONNECT_WITH_DB
    | PROTOCOL_41
    | TRANSACTIONS
    | SECURE_CONNECTION
    | PLUGIN_AUTH
    | PLUGIN_AUTH_LENENC;

/// What changes how a server answers, so that it is asked for where the client asked.
const PASSED: u32 = FOUND_ROWS | INTERACTIVE | MULTI_RESULTS | PS_MULTI_RESULTS;

/// What a client is offered of a server that can do `server`: no files of the client, no compression, no
/// end of results without EOF, no tracking. Several statements in one text are possible; the gate switches
/// them on at the server for a text that was judged to be several.
pub(crate) fn offered(server: u32) -> u32 {
    (ALWAYS | PASSED) & server
        | SSL
        | MULTI_STATEMENTS
        | PLUGIN_AUTH
        | PLUGIN_AUTH_LENENC
        | CONNECT_ATTRS
}

/// What a server that can do `server` is asked for, for a client that asked for `client`.
pub(crate) fn asked(server: u32, client: u32) -> u32 {
    (ALWAYS | PASSED & client) & server
}
