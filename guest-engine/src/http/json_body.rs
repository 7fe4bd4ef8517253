//! JSON request bodies as Go's `encoding/json` reads them for dockerd: an empty body is the zero value,
//! unknown keys are ignored, anything behind the first value is an error, and a key that matches a field
//! only when upper and lower case are the same counts as that field.

use super::error::{ApiError, Result};
use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use serde::{
    de::{
        DeserializeOwned, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
        value::StringDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::{Error, Map, Value};

/// Far above any real request (a large `create` is some 100 KiB), far below what hurts.
const LIMIT: usize = 16 * 1024 * 1024;

/// Fields that may be one string instead of a list.
const WORDS: [&str; 3] = ["Cmd", "Entrypoint", "Shell"];

/// A JSON body; the default of `T` when there is none.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let bytes = read(body).await?;
        check_content_type(&parts.headers, bytes.is_empty())?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        decode(&bytes).map(Self)
    }
}

/// Decodes one JSON value by Go's rules.
pub fn decode<T: DeserializeOwned + Default>(bytes: &[u8]) -> Result<T> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    let value = match values.next() {
        None => {
            return Err(ApiError::bad_request("invalid JSON: got EOF while reading request body"));
        }
        Some(value) => value.map_err(|e| invalid(&e))?,
    };
    if !bytes[values.byte_offset()..].iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::bad_request("unexpected content after JSON"));
    }
    of_value(value)
}

/// Reads one that has been decoded to a [`Value`], which keeps keys as they came.
pub fn of_value<T: DeserializeOwned + Default>(value: Value) -> Result<T> {
    if value.is_null() {
        return Ok(T::default());
    }
    T::deserialize(GoValue(value)).map_err(|e| invalid(&e))
}

async fn read(body: Body) -> Result<bytes::Bytes> {
    axum::body::to_bytes(body, LIMIT).await.map_err(|e| {
        // Either the limit or a connection that broke, whose client will not see the answer.
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("could not read the request body (limit 16 MiB): {e}"),
        )
    })
}

fn check_content_type(headers: &HeaderMap, empty: bool) -> Result<()> {
    let value = headers.get(header::CONTENT_TYPE).map_or(Ok(""), |value| value.to_str());
    let value = value.map_err(|_| ApiError::bad_request("malformed Content-Type header"))?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    match essence {
        "" if empty => Ok(()),
        "" => Err(ApiError::bad_request(format!(
            "malformed Content-Type header ({value}): mime: no media type"
        ))),
        json if json.eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(ApiError::bad_request(format!(
            "unsupported Content-Type header ({value}): must be 'application/json'"
        ))),
    }
}

fn invalid(error: &Error) -> ApiError {
    if error.is_eof() {
        return ApiError::bad_request("invalid JSON: unexpected EOF");
    }
    let text = error.to_string();
    ApiError::bad_request(unknown_name(&text).unwrap_or_else(|| format!("invalid JSON: {text}")))
}

/// dockerd decodes names as text and refuses the unknown ones afterwards, in other words.
fn unknown_name(error: &str) -> Option<String> {
    let (name, known) = error.strip_prefix("unknown variant `")?.split_once("`, expected one of ")?;
    let has = |name: &str| known.contains(&format!("`{name}`"));
    if has("unless-stopped") {
        Some(format!(
            "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or \
             'unless-stopped'"
        ))
    } else if has("hyperv") {
        Some(format!("Invalid isolation: {name:?} - linux only supports 'default'"))
    } else if has("host") && has("private") {
        Some(format!("invalid cgroup namespace mode: {name}"))
    } else if has("tmpfs") {
        Some(format!("invalid mount config for type {name:?}: mount type unknown"))
    } else if has("rprivate") {
        Some(format!("invalid mount config for type \"bind\": invalid propagation mode: {name}"))
    } else {
        None
    }
}

/// Deserializes a value with field names matched as Go does: exactly first, else ignoring case.
struct GoValue(Value);

impl<'de> Deserializer<'de> for GoValue {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Object(map) => visitor.visit_map(Entries::new(map, &[])),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(map) => visitor.visit_map(Entries::new(map, fields)),
            // serde would take its items for the fields, one after the other.
            Value::Array(_) => Err(serde::de::Error::invalid_type(Unexpected::Seq, &"an object")),
            // Structures that need serde_json's own types (raw values, numbers).
            other => other.deserialize_struct(name, fields, visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for GoValue {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

struct Items(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;

    fn next_element_seed<T: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|item| seed.deserialize(GoValue(item))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Entries {
    entries: std::vec::IntoIter<(String, Value)>,
    value: Option<Value>,
}

impl Entries {
    /// With no `fields` (a map) keys stay as they are.
    fn new(map: Map<String, Value>, fields: &'static [&'static str]) -> Self {
        let mut renamed: Vec<(String, Value)> = Vec::with_capacity(map.len());
        for (key, value) in map {
            let exact = fields.contains(&key.as_str());
            let name = match fields.iter().find(|field| !exact && field.eq_ignore_ascii_case(&key)) {
                Some(field) => (*field).to_owned(),
                None => key,
            };
            // Old clients write a command as one word; Docker's `StrSlice` takes it.
            let value = match value {
                Value::String(word) if WORDS.contains(&name.as_str()) && fields.contains(&name.as_str()) => {
                    Value::Array(vec![Value::String(word)])
                }
                other => other,
            };
            match renamed.iter_mut().find(|(present, _)| *present == name) {
                // Two spellings of one field: the exact one wins.
                Some(present) if exact => present.1 = value,
                Some(_) => {}
                None => renamed.push((name, value)),
            }
        }
        Self { entries: renamed.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Error;

    fn next_key_seed<K: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        let key: StringDeserializer<Error> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: serde::de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(GoValue(self.value.take().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_stubs::models::{ContainerCreateBody, HostConfig};

    #[test]
    fn keys_match_whatever_their_case() {
        let body: ContainerCreateBody = decode(
            br#"{"image":"busybox","CMD":["true"],"Env":["a=b"],"labels":{"MixedCase":"kept"},
                "hostconfig":{"memory":7,"restartpolicy":{"name":"on-failure"},"Binds":null},"unknown":1}"#,
        )
        .unwrap();
        assert_eq!(body.image.as_deref(), Some("busybox"));
        assert_eq!(body.cmd.unwrap(), ["true"]);
        assert!(body.labels.unwrap().contains_key("MixedCase"));
        let host: HostConfig = body.host_config.unwrap();
        assert_eq!((host.memory, host.binds), (Some(7), None));
        assert!(host.restart_policy.unwrap().name.is_some());
    }

    #[test]
    fn a_command_may_be_one_word() {
        let body: ContainerCreateBody = decode(br#"{"cmd":"ls","Entrypoint":["a","b"]}"#).unwrap();
        assert_eq!(
            (body.cmd.unwrap(), body.entrypoint.unwrap()),
            (vec!["ls".into()], vec!["a".into(), "b".into()])
        );
        assert!(decode::<ContainerCreateBody>(br#"{"Env":"A=b"}"#).is_err());
    }

    #[test]
    fn the_exact_spelling_wins() {
        for text in [r#"{"Image":"a","image":"b"}"#, r#"{"image":"b","Image":"a"}"#] {
            let body: ContainerCreateBody = decode(text.as_bytes()).unwrap();
            assert_eq!(body.image.as_deref(), Some("a"));
        }
    }

    #[test]
    fn malformed_bodies_are_named() {
        let message = |text: &[u8]| decode::<ContainerCreateBody>(text).unwrap_err().message().to_owned();
        assert_eq!(message(b"{} {}"), "unexpected content after JSON");
        assert_eq!(message(b"  "), "invalid JSON: got EOF while reading request body");
        assert!(message(b"{\"Image\":").starts_with("invalid JSON: "));
        assert!(message(b"[]").starts_with("invalid JSON: "));
        assert!(message(b"{\"HostConfig\":[\"x\"]}").starts_with("invalid JSON: "));
        assert!(message(b"{\"Image\":7}").starts_with("invalid JSON: "));
        assert!(decode::<ContainerCreateBody>(b"null \n").is_ok());
    }

    #[test]
    fn content_type_is_checked_unless_there_is_no_body() {
        let check = |value: &'static str, empty| {
            let mut headers = HeaderMap::new();
            if !value.is_empty() {
                headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            }
            check_content_type(&headers, empty)
        };
        assert!(check("", true).is_ok());
        assert!(check("application/json; charset=utf-8", false).is_ok());
        assert!(check("", false).unwrap_err().message().starts_with("malformed Content-Type header"));
        assert!(check("text/plain", false).unwrap_err().message().starts_with("unsupported Content-Type"));
        assert!(check("text/plain", true).is_err());
    }
}
