//! One call of EC2's query protocol: an action and flat parameters, lists numbered from one.

use super::TagList;
use std::fmt::Display;

const VERSION: &str = "2016-11-15";
/// Entries of a page.
const PER_PAGE: &str = "1000";

/// A call in the making.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) action: &'static str,
    parameters: Vec<(String, String)>,
    filters: usize,
}

impl Query {
    pub(super) fn new(action: &'static str) -> Self {
        let parameters = [("Action", action), ("Version", VERSION)];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { action, parameters, filters: 0 }
    }

    pub(super) fn with(mut self, name: impl Into<String>, value: &(impl Display + ?Sized)) -> Self {
        self.parameters.push((name.into(), value.to_string()));
        self
    }

    /// The same, where there is a value.
    pub(super) fn with_some(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(name, &value),
            None => self,
        }
    }

    /// `name.1`, `name.2`, …
    pub(super) fn with_all<T: Display>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        let numbered = values.into_iter().enumerate();
        numbered.fold(self, |query, (index, value)| query.with(format!("{name}.{}", index + 1), &value))
    }

    /// Only what has one of `values`.
    pub(super) fn filter(mut self, name: &str, values: &[&str]) -> Self {
        self.filters += 1;
        let filter = format!("Filter.{}", self.filters);
        self.with(format!("{filter}.Name"), name).with_all(&format!("{filter}.Value"), values)
    }

    /// `tags` for the `kinds` of things that the call makes.
    pub(super) fn tagged(self, kinds: &[&str], tags: &TagList) -> Self {
        kinds.iter().enumerate().fold(self, |query, (index, kind)| {
            let specification = format!("TagSpecification.{}", index + 1);
            let query = query.with(format!("{specification}.ResourceType"), kind);
            tags.iter().enumerate().fold(query, |query, (index, (key, value))| {
                let tag = format!("{specification}.Tag.{}", index + 1);
                query.with(format!("{tag}.Key"), key).with(format!("{tag}.Value"), value)
            })
        })
    }

    /// The page that `token` stands for.
    pub(super) fn page(self, token: Option<&str>) -> Self {
        // The smallest limit of all listings that have pages is that of instance types.
        let most = if self.action == "DescribeInstanceTypes" { "100" } else { PER_PAGE };
        self.with("MaxResults", most).with_some("NextToken", token)
    }

    pub(super) fn form(&self) -> &[(String, String)] {
        &self.parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_numbered_from_one() {
        let tags = vec![("Name".to_owned(), "ci".to_owned())];
        let query = Query::new("RunInstances")
            .filter("state", &["a", "b"])
            .filter("tag-key", &["c"])
            .tagged(&["instance", "volume"], &tags)
            .with_some("NextToken", None::<&str>);
        let names: Vec<String> = query.form().iter().skip(2).map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            names,
            [
                "Filter.1.Name=state",
                "Filter.1.Value.1=a",
                "Filter.1.Value.2=b",
                "Filter.2.Name=tag-key",
                "Filter.2.Value.1=c",
                "TagSpecification.1.ResourceType=instance",
                "TagSpecification.1.Tag.1.Key=Name",
                "TagSpecification.1.Tag.1.Value=ci",
                "TagSpecification.2.ResourceType=volume",
                "TagSpecification.2.Tag.1.Key=Name",
                "TagSpecification.2.Tag.1.Value=ci",
            ]
        );
    }
}
