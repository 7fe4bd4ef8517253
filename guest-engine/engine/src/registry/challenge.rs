//! What a registry wants to be convinced with: `WWW-Authenticate`.

use std::collections::HashMap;

/// One scheme and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        /// Where tokens are given out.
        realm: String,
        service: Option<String>,
        /// What the refused request would have needed.
        scope: Option<String>,
    },
}

impl Challenge {
    /// The first scheme we can answer of all header values.
    pub(super) fn of<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for header in headers {
            let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Self::Basic);
            } else if scheme.eq_ignore_ascii_case("bearer") {
                let mut parameters = parameters(rest);
                if let Some(realm) = parameters.remove("realm") {
                    let (service, scope) = (parameters.remove("service"), parameters.remove("scope"));
                    return Some(Self::Bearer { realm, service, scope });
                }
            }
        }
        basic
    }
}

/// What a refusal says beside its challenge: the code and the words of an error.
pub(super) fn refusal<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<(&'static str, String)> {
    headers.into_iter().find_map(|header| {
        let (scheme, rest) = header.trim().split_once(' ')?;
        let mut parameters = parameters(rest);
        let (code, words) = match parameters.remove("error")?.as_str() {
            "invalid_token" => ("UNAUTHORIZED", "authentication required"),
            "insufficient_scope" => ("DENIED", "requested access to the resource is denied"),
            _ => return None,
        };
        let said = parameters.remove("error_description").filter(|said| !said.is_empty());
        scheme.eq_ignore_ascii_case("bearer").then(|| (code, said.unwrap_or_else(|| words.to_owned())))
    })
}

/// `key="value",key=value`, with backslashes in quoted values.
fn parameters(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut rest = text;
    while let Some((key, value)) = rest.split_once('=') {
        let key = key.trim_matches([' ', ',']).to_ascii_lowercase();
        let mut text = String::new();
        if let Some(quoted) = value.strip_prefix('"') {
            let mut characters = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                    other => text.push(other),
                }
            }
            rest = &quoted[end..];
        } else {
            let end = value.find(',').unwrap_or(value.len());
            text.push_str(value[..end].trim());
            rest = &value[end..];
        }
        found.insert(key, text);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_comes_before_basic() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/a:pull,push""#;
        assert_eq!(
            Challenge::of(["Basic realm=\"x\"", hub]),
            Some(Challenge::Bearer {
                realm: "https://auth.docker.io/token".into(),
                service: Some("registry.docker.io".into()),
                scope: Some("repository:library/a:pull,push".into()),
            })
        );
        assert_eq!(Challenge::of(["basic realm=x"]), Some(Challenge::Basic));
        assert_eq!(Challenge::of(["Digest x=y"]), None);
        assert_eq!(refusal([hub]), None);
        let (code, words) = refusal([r#"Bearer realm="r",error="insufficient_scope""#]).unwrap();
        assert_eq!((code, words.as_str()), ("DENIED", "requested access to the resource is denied"));
    }

    #[test]
    fn odd_parameters_are_read() {
        let found = parameters(r#"realm="a\"b" , Service=c,scope="""#);
        assert_eq!(found["realm"], "a\"b");
        assert_eq!(found["service"], "c");
        assert_eq!(found["scope"], "");
    }
}
