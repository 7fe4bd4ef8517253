//! Types as a stream defines them, and those that need no definition.

use std::collections::BTreeMap;

/// Number of a type.
pub(super) type TypeId = i64;

pub(super) const BOOL: TypeId = 1;
pub(super) const INT: TypeId = 2;
pub(super) const UINT: TypeId = 3;
pub(super) const FLOAT: TypeId = 4;
pub(super) const BYTES: TypeId = 5;
pub(super) const STRING: TypeId = 6;
pub(super) const COMPLEX: TypeId = 7;
pub(super) const INTERFACE: TypeId = 8;
/// The type of definitions.
pub(super) const DEFINITION: TypeId = 16;

const ARRAY_TYPE: TypeId = 17;
const COMMON_TYPE: TypeId = 18;
const SLICE_TYPE: TypeId = 19;
const STRUCT_TYPE: TypeId = 20;
const FIELD_TYPE: TypeId = 21;
const FIELD_TYPES: TypeId = 22;
const MAP_TYPE: TypeId = 23;
/// Ours: Go's number for it is not on the wire.
const OPAQUE_TYPE: TypeId = 24;

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Int,
    Uint,
    Float,
    Bytes,
    String,
    Complex,
    Interface,
    /// Arrays and slices.
    List(TypeId),
    Map(TypeId, TypeId),
    Struct(Vec<(String, TypeId)>),
    /// What encodes itself, to bytes.
    Opaque,
}

/// The types that every stream knows.
pub(super) fn built_in() -> BTreeMap<TypeId, Type> {
    let of = |fields: &[(&str, TypeId)]| {
        Type::Struct(fields.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect())
    };
    BTreeMap::from([
        (BOOL, Type::Bool),
        (INT, Type::Int),
        (UINT, Type::Uint),
        (FLOAT, Type::Float),
        (BYTES, Type::Bytes),
        (STRING, Type::String),
        (COMPLEX, Type::Complex),
        (INTERFACE, Type::Interface),
        (
            DEFINITION,
            of(&[
                ("Array", ARRAY_TYPE),
                ("Slice", SLICE_TYPE),
                ("Struct", STRUCT_TYPE),
                ("Map", MAP_TYPE),
                ("GobEncoder", OPAQUE_TYPE),
                ("BinaryMarshaler", OPAQUE_TYPE),
                ("TextMarshaler", OPAQUE_TYPE),
            ]),
        ),
        (ARRAY_TYPE, of(&[("Common", COMMON_TYPE), ("Elem", INT), ("Len", INT)])),
        (COMMON_TYPE, of(&[("Name", STRING), ("Id", INT)])),
        (SLICE_TYPE, of(&[("Common", COMMON_TYPE), ("Elem", INT)])),
        (STRUCT_TYPE, of(&[("Common", COMMON_TYPE), ("Field", FIELD_TYPES)])),
        (FIELD_TYPE, of(&[("Name", STRING), ("Id", INT)])),
        (FIELD_TYPES, Type::List(FIELD_TYPE)),
        (MAP_TYPE, of(&[("Common", COMMON_TYPE), ("Key", INT), ("Elem", INT)])),
        (OPAQUE_TYPE, of(&[("Common", COMMON_TYPE)])),
    ])
}
