//! Go's `encoding/gob`, as much of it as libmachine's plugins speak: all of its decoding, and the encoding of
//! the few types that a host sends. Tested against what Go's own encoder makes.
//!
//! A stream is messages, each a length and a body. A body is the number of a type and a value of it, or the
//! negative number of a type and its definition, which comes before the type's first value. Definitions of
//! types that are met inside an interface stand in the middle of the value, and break it in two messages.

mod decode;
mod encode;
mod types;

pub(crate) use decode::{Decoder, GobError, Value};
pub(crate) use encode::{Encoder, FlagValue};
