//! Query strings by Docker's rules: keys may repeat, booleans are anything that is not a known "no".

use super::error::{ApiError, Result};
use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts},
};
use std::str::FromStr;

/// The request's query parameters in order.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Those of a URI.
    pub(super) fn of(uri: &Uri) -> Result<Self> {
        axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map(|query| Self(query.0))
            .map_err(|e| ApiError::bad_request(format!("invalid query string: {e}")))
    }

    /// The first value of `key`; `None` when it is absent, `Some("")` when it is empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The first value of `key`, the empty string when it is absent.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }

    /// Every value of `key`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Absent, empty, `0`, `no`, `false` and `none` are false; anything else is true.
    pub fn flag(&self, key: &str) -> bool {
        self.flag_or(key, false)
    }

    /// As [`Query::flag`], with another answer when the key is absent.
    pub fn flag_or(&self, key: &str, absent: bool) -> bool {
        self.get(key).map_or(absent, |value| {
            !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
        })
    }

    /// A number; `None` when absent or empty, 400 when it is none.
    pub fn number<T: FromStr>(&self, key: &str) -> Result<Option<T>> {
        match self.text(key) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                ApiError::bad_request(format!("strconv.Atoi: parsing {text:?}: invalid syntax"))
            }),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Self::of(&parts.uri)
    }
}

#[cfg(test)]
impl From<&str> for Query {
    fn from(query: &str) -> Self {
        let uri = format!("/?{query}").parse().unwrap();
        Self(axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_follow_dockers_rules() {
        let query = Query::from("a=1&b=0&c=&d=False&e=none&f=T&g=no&h=whatever&i");
        for (key, expected) in [
            ("a", true),
            ("b", false),
            ("c", false),
            ("d", false),
            ("e", false),
            ("f", true),
            ("g", false),
            ("h", true),
            ("i", false),
            ("absent", false),
        ] {
            assert_eq!(query.flag(key), expected, "{key}");
        }
        assert!(query.flag_or("absent", true));
    }

    #[test]
    fn keys_repeat_and_numbers_are_checked() {
        let query = Query::from("t=a&t=b%2Fc&n=-3&bad=x");
        assert_eq!(query.all("t").collect::<Vec<_>>(), ["a", "b/c"]);
        assert_eq!(query.number::<i64>("n").unwrap(), Some(-3));
        assert_eq!(query.number::<i64>("absent").unwrap(), None);
        assert!(query.number::<u16>("bad").is_err());
    }
}
