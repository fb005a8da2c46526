//! A parse tree in one shape: messages with names, fields and values. libpg_query's own types are 270
//! structures, and a walk written over them forgets a field sooner or later. All of them serialise, so
//! this serialiser makes one tree of any of them, and a walk over that tree has seen everything.
//!
//! Fields that are empty, zero or false are left out, as protobuf does.

use std::fmt;

use serde::ser::{self, Serialize};

/// A value of a parse tree.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Nothing,
    Truth(bool),
    Number(i64),
    Text(String),
    Message(Message),
    List(Vec<Value>),
}

/// A node: `SelectStmt`, `RangeVar`, …
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    /// As the structure is called in libpg_query's protobuf definition.
    pub(crate) kind: &'static str,
    /// What is neither empty nor zero.
    pub(crate) fields: Vec<(&'static str, Value)>,
}

const NOTHING: &Value = &Value::Nothing;

impl Message {
    pub(crate) fn get(&self, field: &str) -> &Value {
        let mut fields = self.fields.iter();
        fields
            .find(|(name, _)| *name == field)
            .map_or(NOTHING, |(_, value)| value)
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.get(field).as_text().unwrap_or_default()
    }

    pub(crate) fn number(&self, field: &str) -> i32 {
        match self.get(field) {
            Value::Number(number) => i32::try_from(*number).unwrap_or(-1),
            _ => 0,
        }
    }

    pub(crate) fn truth(&self, field: &str) -> bool {
        matches!(self.get(field), Value::Truth(true))
    }

    pub(crate) fn list(&self, field: &str) -> &[Value] {
        self.get(field).items()
    }

    pub(crate) fn message(&self, field: &str) -> Option<&Message> {
        self.get(field).as_message()
    }
}

impl Value {
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_message(&self) -> Option<&Message> {
        match self {
            Self::Message(message) => Some(message),
            _ => None,
        }
    }

    /// The message, if it is of this kind.
    pub(crate) fn kind(&self, kind: &str) -> Option<&Message> {
        self.as_message().filter(|message| message.kind == kind)
    }

    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    pub(crate) fn items(&self) -> &[Value] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a `String` node.
    pub(crate) fn string(&self) -> Option<&str> {
        self.kind("String").map(|message| message.text("sval"))
    }

    /// Calls `visit` for every message in here, itself first, until it answers true.
    pub(crate) fn any(&self, visit: &mut impl FnMut(&Message) -> bool) -> bool {
        match self {
            Self::Message(message) => {
                visit(message) || message.fields.iter().any(|(_, value)| value.any(visit))
            }
            Self::List(items) => items.iter().any(|item| item.any(visit)),
            _ => false,
        }
    }
}

/// Makes a tree of a structure of libpg_query's.
///
/// # Errors
/// When it has something that a parse tree has not.
pub(crate) fn tree_of<T: Serialize>(value: &T) -> Result<Value, NoTree> {
    value.serialize(Builder)
}

/// What a parse tree does not have.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoTree(String);

impl ser::Error for NoTree {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

fn no(what: &str) -> Result<Value, NoTree> {
    Err(NoTree(format!("a parse tree has no {what}")))
}

struct Builder;

macro_rules! number {
    ($($name:ident: $type:ty,)*) => {
        $(fn $name(self, value: $type) -> Result<Value, NoTree> {
            match i64::try_from(value) {
                Ok(0) => Ok(Value::Nothing),
                Ok(number) => Ok(Value::Number(number)),
                Err(_) => no("number beyond 63 bits"),
            }
        })*
    };
}

impl ser::Serializer for Builder {
    type Ok = Value;
    type Error = NoTree;
    type SerializeSeq = Items;
    type SerializeTuple = ser::Impossible<Value, NoTree>;
    type SerializeTupleStruct = ser::Impossible<Value, NoTree>;
    type SerializeTupleVariant = ser::Impossible<Value, NoTree>;
    type SerializeMap = ser::Impossible<Value, NoTree>;
    type SerializeStruct = Message;
    type SerializeStructVariant = ser::Impossible<Value, NoTree>;

    number! {
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
    }

    fn serialize_bool(self, value: bool) -> Result<Value, NoTree> {
        Ok(match value {
            true => Value::Truth(true),
            false => Value::Nothing,
        })
    }

    /// Costs, which a planner fills in.
    fn serialize_f32(self, value: f32) -> Result<Value, NoTree> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<Value, NoTree> {
        match value == 0.0 {
            true => Ok(Value::Nothing),
            false => no("cost before planning"),
        }
    }

    fn serialize_char(self, _: char) -> Result<Value, NoTree> {
        no("single character")
    }

    fn serialize_str(self, value: &str) -> Result<Value, NoTree> {
        Ok(match value {
            "" => Value::Nothing,
            text => Value::Text(text.to_owned()),
        })
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Value, NoTree> {
        no("bytes")
    }

    fn serialize_none(self) -> Result<Value, NoTree> {
        Ok(Value::Nothing)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, NoTree> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, NoTree> {
        Ok(Value::Nothing)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, NoTree> {
        no("empty structure")
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<Value, NoTree> {
        no("name without a value")
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, NoTree> {
        value.serialize(self)
    }

    /// Which kind of node it is: the structure inside says so too.
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<Value, NoTree> {
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Items, NoTree> {
        Ok(Items(Vec::with_capacity(length.unwrap_or_default())))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, NoTree> {
        Err(NoTree("a parse tree has no tuple".to_owned()))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, NoTree> {
        Err(NoTree("a parse tree has no tuple".to_owned()))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, NoTree> {
        Err(NoTree("a parse tree has no tuple".to_owned()))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, NoTree> {
        Err(NoTree("a parse tree has no map".to_owned()))
    }

    fn serialize_struct(self, kind: &'static str, _: usize) -> Result<Message, NoTree> {
        Ok(Message {
            kind,
            fields: Vec::new(),
        })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, NoTree> {
        Err(NoTree("a parse tree has no variant with fields".to_owned()))
    }
}

pub(crate) struct Items(Vec<Value>);

impl ser::SerializeSeq for Items {
    type Ok = Value;
    type Error = NoTree;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NoTree> {
        self.0.push(value.serialize(Builder)?);
        Ok(())
    }

    fn end(self) -> Result<Value, NoTree> {
        Ok(match self.0.is_empty() {
            true => Value::Nothing,
            false => Value::List(self.0),
        })
    }
}

impl ser::SerializeStruct for Message {
    type Ok = Value;
    type Error = NoTree;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), NoTree> {
        let value = value.serialize(Builder)?;
        if !value.is_nothing() {
            self.fields.push((name, value));
        }
        Ok(())
    }

    /// `Node` is only the box that another message comes in.
    fn end(mut self) -> Result<Value, NoTree> {
        if self.kind != "Node" {
            return Ok(Value::Message(self));
        }
        Ok(self.fields.pop().map_or(Value::Nothing, |(_, value)| value))
    }
}
