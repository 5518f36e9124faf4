//! Typed requests and answers: what a parameter is called, what type it has, what it means.
//!
//! One `request!` or `answer!` block is the only place where the names of an action stand. The parser,
//! the serialiser and the exported action table all come from it.

use jadeseal_auth::params::{Params, Value};
use jadeseal_types::{ApiError, error::Result};
use std::borrow::Cow;

/// Type of a parameter as the action table spells it.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// Text.
    String,
    /// Whole number from 0.
    Uint64,
    /// Whole number from 0 in the table, but any other is taken too: what is wrong with it, the action says in its own words.
    AnyUint64,
    /// Whole number.
    Int64,
    /// True or false.
    Bool,
    /// List of one type.
    List(&'static Type),
    /// Object with fields of its own.
    Object(&'static Object),
}

impl Type {
    /// `string`, `uint64`, `[Tag]` and so on.
    pub fn wire(&self) -> Cow<'static, str> {
        match self {
            Type::String => "string".into(),
            Type::Uint64 | Type::AnyUint64 => "uint64".into(),
            Type::Int64 => "int64".into(),
            Type::Bool => "bool".into(),
            Type::List(item) => format!("[{}]", item.wire()).into(),
            Type::Object(object) => object.name.into(),
        }
    }
}

/// A named object type such as `Tag`.
#[derive(Debug)]
pub struct Object {
    /// Name in the API.
    pub name: &'static str,
    /// Its members.
    pub fields: &'static [Field],
}

/// A short description in English and Chinese.
#[derive(Clone, Copy, Debug)]
pub struct Doc(pub &'static str, pub &'static str);

/// One parameter of a request or one member of an answer.
#[derive(Debug)]
pub struct Field {
    /// Name in the API.
    pub name: &'static str,
    /// Type.
    pub ty: Type,
    /// Must be present in a request.
    pub required: bool,
    /// May be null in an answer.
    pub nullable: bool,
    /// What it means.
    pub doc: Doc,
}

/// A request: parsed whole, in the order of decision 1 (unknown, missing, ill-typed, value).
pub trait Request: Sized {
    /// Its parameters.
    const FIELDS: &'static [Field];
    /// Converts checked parameters; only values can still be wrong.
    fn convert(params: Params<'_>) -> Result<Self>;

    /// Checks names, presence and types, then converts.
    fn parse(params: Params<'_>) -> Result<Self> {
        check(&params, Self::FIELDS, "")?;
        Self::convert(params)
    }
}

/// A value that a parameter can be read as.
pub trait FromValue: Sized {
    /// Its type in the action table.
    const TYPE: Type;
    /// Reads a value whose JSON type has been checked against [`FromValue::TYPE`].
    fn from_value(value: Value<'_>, name: &str) -> Result<Self>;
}

/// A value that an answer can carry.
pub trait ToWire: serde::Serialize {
    /// Its type in the action table.
    const TYPE: Type;
}

/// Refuses what is unknown, missing or ill-typed, in this order.
pub(crate) fn check(params: &Params<'_>, fields: &'static [Field], prefix: &str) -> Result<()> {
    for (name, _) in params.iter() {
        if !fields.iter().any(|f| f.name == name) {
            return Err(ApiError::unknown(&format!("{prefix}{name}")));
        }
    }
    for field in fields {
        if field.required && params.get(field.name).is_none_or(Value::is_null) {
            return Err(ApiError::missing(&format!("{prefix}{}", field.name)));
        }
    }
    for field in fields {
        if let Some(value) = params.get(field.name) {
            check_type(value, &field.ty, params.is_form(), &|| format!("{prefix}{}", field.name))?;
        }
    }
    Ok(())
}

fn check_type(value: &Value<'_>, ty: &'static Type, form: bool, name: &dyn Fn() -> String) -> Result<()> {
    let fits = match (ty, value) {
        (_, Value::Null) => true,
        (Type::String, Value::Str(_)) => true,
        (Type::Uint64, _) => uint(value).is_some(),
        (Type::AnyUint64 | Type::Int64, Value::Int(_)) => true,
        (Type::AnyUint64, Value::Str(s)) => s.parse::<i128>().is_ok(),
        (Type::Int64, Value::Str(s)) => s.parse::<i64>().is_ok(),
        (Type::Bool, Value::Bool(_)) => true,
        (Type::Bool, Value::Str(s)) => form && boolean(s).is_some(),
        (Type::List(item), Value::List(values)) => {
            for (i, v) in values.iter().enumerate() {
                if v.is_null() {
                    return Err(ApiError::invalid(&format!("{}.{i}", name()), "must not be null", "不能为 null"));
                }
                check_type(v, item, form, &|| format!("{}.{i}", name()))?;
            }
            true
        }
        // A form can say an empty list only as an empty value.
        (Type::List(_), Value::Str(s)) => form && s.is_empty(),
        (Type::Object(object), Value::Map(map)) => {
            check(map, object.fields, &format!("{}.", name()))?;
            true
        }
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let wire = ty.wire();
    Err(ApiError::invalid(&name(), &format!("must be of type {wire}"), &format!("类型必须为 {wire}")))
}

/// A whole number: a JSON integer, or its decimal text as the API's own samples and forms send it.
pub(crate) fn uint(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Int(n) => u64::try_from(*n).ok(),
        Value::Str(s) if !s.is_empty() && s.bytes().all(|c| c.is_ascii_digit()) => s.parse().ok(),
        _ => None,
    }
}

pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "1" => Some(true),
        "false" | "False" | "0" | "" => Some(false),
        _ => None,
    }
}

fn mistyped(name: &str) -> ApiError {
    ApiError::invalid(name, "has the wrong type", "类型错误")
}

impl FromValue for String {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        match value {
            Value::Str(s) => Ok(s.into_owned()),
            _ => Err(mistyped(name)),
        }
    }
}

impl FromValue for u64 {
    const TYPE: Type = Type::Uint64;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        uint(&value).ok_or_else(|| mistyped(name))
    }
}

impl FromValue for i64 {
    const TYPE: Type = Type::Int64;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        match value {
            Value::Int(n) => i64::try_from(n).map_err(|_| mistyped(name)),
            Value::Str(s) => s.parse().map_err(|_| mistyped(name)),
            _ => Err(mistyped(name)),
        }
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    const TYPE: Type = Type::List(&T::TYPE);
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        match value {
            Value::List(items) => items.into_iter().map(|item| T::from_value(item, name)).collect(),
            Value::Str(s) if s.is_empty() => Ok(Vec::new()),
            _ => Err(mistyped(name)),
        }
    }
}

macro_rules! to_wire {
    ($($ty:ty => $wire:expr;)+) => { $(impl ToWire for $ty { const TYPE: Type = $wire; })+ };
}

to_wire! {
    String => Type::String;
    &'static str => Type::String;
    u64 => Type::Uint64;
    i64 => Type::Int64;
    bool => Type::Bool;
    jadeseal_types::KeyId => Type::String;
    jadeseal_types::KeyState => Type::String;
    jadeseal_types::DataKeyId => Type::String;
    jadeseal_types::DataKeyState => Type::String;
    jadeseal_types::KeyUsage => Type::String;
    jadeseal_types::Alias => Type::String;
    jadeseal_types::Region => Type::String;
    jadeseal_types::SecretId => Type::String;
}

impl<T: ToWire> ToWire for Option<T> {
    const TYPE: Type = T::TYPE;
}

impl<T: ToWire> ToWire for Vec<T> {
    const TYPE: Type = Type::List(&T::TYPE);
}

/// Declares a request: the struct, its parameters and its parser.
macro_rules! request {
    ($(#[$meta:meta])* $name:ident { $($need:ident $field:ident: $ty:ty = $wire:literal, $doc:expr;)* }) => {
        $(#[$meta])*
        pub struct $name { $(#[doc = $wire] pub $field: crate::schema::request!(@ty $need $ty)),* }

        impl crate::schema::Request for $name {
            const FIELDS: &'static [crate::schema::Field] = &[$(crate::schema::Field {
                name: $wire,
                ty: <$ty as crate::schema::FromValue>::TYPE,
                required: crate::schema::request!(@required $need),
                nullable: false,
                doc: $doc,
            }),*];

            fn convert(params: jadeseal_auth::params::Params<'_>) -> jadeseal_types::error::Result<Self> {
                #[allow(unused_mut, unused_variables)]
                let mut params = params;
                Ok(Self { $($field: crate::schema::request!(@take $need params, $ty, $wire)),* })
            }
        }
    };
    (@ty required $ty:ty) => { $ty };
    (@ty optional $ty:ty) => { Option<$ty> };
    (@required required) => { true };
    (@required optional) => { false };
    (@take required $params:ident, $ty:ty, $wire:literal) => {
        match $params.take($wire) {
            Some(value) => <$ty as crate::schema::FromValue>::from_value(value, $wire)?,
            None => return Err(jadeseal_types::ApiError::missing($wire)),
        }
    };
    (@take optional $params:ident, $ty:ty, $wire:literal) => {
        match $params.take($wire) {
            Some(value) if !value.is_null() => Some(<$ty as crate::schema::FromValue>::from_value(value, $wire)?),
            _ => None,
        }
    };
}
pub(crate) use request;

/// Declares an object that requests carry, by the same rules as [`request!`].
macro_rules! object {
    ($(#[$meta:meta])* $name:ident as $object:literal { $($body:tt)* }) => {
        crate::schema::request! { $(#[$meta])* $name { $($body)* } }

        impl crate::schema::FromValue for $name {
            const TYPE: crate::schema::Type = crate::schema::Type::Object(&crate::schema::Object {
                name: $object,
                fields: <$name as crate::schema::Request>::FIELDS,
            });

            fn from_value(
                value: jadeseal_auth::params::Value<'_>,
                name: &str,
            ) -> jadeseal_types::error::Result<Self> {
                match value {
                    jadeseal_auth::params::Value::Map(map) => <$name as crate::schema::Request>::convert(map),
                    _ => Err(jadeseal_types::ApiError::invalid(name, "has the wrong type", "类型错误")),
                }
            }
        }
    };
}
pub(crate) use object;

/// An answer: its members.
pub trait Response: serde::Serialize + Send {
    /// The members, without `RequestId`.
    const FIELDS: &'static [Field];
}

/// Declares an answer (or an object inside one): the struct, its members and its serialiser.
macro_rules! answer {
    ($(#[$meta:meta])* $name:ident $(as $object:literal)? {
        $($(#[$fmeta:meta])* $field:ident: $ty:ty = $wire:literal $($nullable:ident)?, $doc:expr;)*
    }) => {
        $(#[$meta])*
        pub struct $name { $(#[doc = $wire] pub $field: $ty),* }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct as _;
                let count = <Self as crate::schema::Response>::FIELDS.len();
                #[allow(unused_mut)]
                let mut out = serializer.serialize_struct(stringify!($name), count)?;
                $(out.serialize_field($wire, &self.$field)?;)*
                out.end()
            }
        }

        impl crate::schema::Response for $name {
            const FIELDS: &'static [crate::schema::Field] = &[$(crate::schema::Field {
                name: $wire,
                ty: <$ty as crate::schema::ToWire>::TYPE,
                required: false,
                nullable: crate::schema::answer!(@nullable $($nullable)?),
                doc: $doc,
            }),*];
        }

        $(impl crate::schema::ToWire for $name {
            const TYPE: crate::schema::Type = crate::schema::Type::Object(&crate::schema::Object {
                name: $object,
                fields: <$name as crate::schema::Response>::FIELDS,
            });
        })?
    };
    (@nullable) => { false };
    (@nullable nullable) => { true };
}
pub(crate) use answer;
