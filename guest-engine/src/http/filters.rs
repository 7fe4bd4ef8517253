//! The `filters` parameter: `{"key":["value"]}`, or `{"key":{"value":true}}` as CLI 28 still sends it.
//! Keys are ANDed, values of one key ORed.

use super::{
    error::{ApiError, Result},
    query::Query,
};
use std::collections::BTreeMap;

/// Parsed filters; empty when the parameter is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads `filters` from the query and refuses keys that are not `accepted`, in dockerd's words.
    pub fn from_query(query: &Query, accepted: &[&str]) -> Result<Self> {
        let filters = Self::from_query_lenient(query)?;
        match filters.0.keys().find(|key| !accepted.contains(&key.as_str())) {
            Some(unknown) => Err(ApiError::bad_request(format!("invalid filter '{unknown}'"))),
            None => Ok(filters),
        }
    }

    /// Reads `filters` from the query; keys that nobody asks for are ignored.
    pub fn from_query_lenient(query: &Query) -> Result<Self> {
        Self::parse(query.text("filters"))
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Values {
            List(Vec<String>),
            Set(BTreeMap<String, bool>),
            Nothing,
        }
        if text.is_empty() {
            return Ok(Self::default());
        }
        let parsed: Option<BTreeMap<String, Values>> =
            serde_json::from_str(text).map_err(|_| ApiError::bad_request("invalid filter"))?;
        let keys = parsed.unwrap_or_default().into_iter().filter_map(|(key, values)| match values {
            Values::List(list) => Some((key, list)),
            Values::Set(set) => {
                Some((key, set.into_iter().filter(|(_, on)| *on).map(|(value, _)| value).collect()))
            }
            Values::Nothing => None,
        });
        Ok(Self(keys.collect()))
    }

    /// Every value of `key`; empty when it is not filtered by.
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// What is filtered by, also without a value.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The only value of `key`; `None` when it is not filtered by, 400 when there are several.
    pub fn single(&self, key: &str) -> Result<Option<&str>> {
        match self.values(key) {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            many => Err(invalid_value(key, many)),
        }
    }

    /// A yes-or-no filter such as `dangling`.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        let values = self.values(key);
        let is =
            |words: &[&str]| values.iter().any(|value| words.contains(&value.to_ascii_lowercase().as_str()));
        match (values.is_empty(), is(&["1", "true"]), is(&["0", "false"])) {
            (true, ..) => Ok(None),
            (_, true, false) => Ok(Some(true)),
            (_, false, true) => Ok(Some(false)),
            _ => Err(invalid_value(key, values)),
        }
    }

    /// Whether no filter is set at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn invalid_value(key: &str, values: &[String]) -> ApiError {
    ApiError::bad_request(format!("invalid filter '{key}=[{}]'", values.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_mean_the_same() {
        let new = Filters::parse(r#"{"label":["a=b","c"],"dangling":["true"]}"#).unwrap();
        let old = Filters::parse(r#"{"label":{"a=b":true,"c":true},"dangling":{"true":true}}"#).unwrap();
        assert_eq!(new, old);
        assert_eq!(new.values("label"), ["a=b", "c"]);
        assert_eq!(new.flag("dangling").unwrap(), Some(true));
        assert_eq!(Filters::parse("").unwrap(), Filters::default());
        assert_eq!(Filters::parse("{}").unwrap(), Filters::default());
        assert_eq!(Filters::parse("null").unwrap(), Filters::default());
    }

    #[test]
    fn unknown_and_malformed_filters_are_refused() {
        let refuse = |text: &str| {
            let encoded: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
            let query = Query::from(format!("filters={encoded}").as_str());
            Filters::from_query(&query, &["label"]).unwrap_err().message().to_owned()
        };
        assert_eq!(refuse(r#"{"bogus":["x"]}"#), "invalid filter 'bogus'");
        assert!(refuse("[]").starts_with("invalid filter"));
        assert!(refuse(r#"{"label":7}"#).starts_with("invalid filter"));
        assert!(Filters::parse(r#"{"dangling":["maybe"]}"#).unwrap().flag("dangling").is_err());
        assert!(Filters::parse(r#"{"until":["a","b"]}"#).unwrap().single("until").is_err());
    }
}
