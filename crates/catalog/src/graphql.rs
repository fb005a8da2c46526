//! GraphQL as far as it is the same for every provider: a document as a tree that has one reading,
//! the values of its arguments, the ways in which a request carries it, and the schema it is written
//! against.

pub(crate) mod document;
pub(crate) mod envelope;
pub(crate) mod print;
pub(crate) mod schema;
pub(crate) mod values;
