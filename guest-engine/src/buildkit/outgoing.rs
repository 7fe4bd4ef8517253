//! What we stream to a client that serves us.

use futures_util::{Stream, stream};
use tokio::sync::mpsc;
use tonic::{
    Request,
    metadata::{AsciiMetadataKey, AsciiMetadataValue},
};

/// A queue as the stream of a request. Ends when every sender is gone.
pub(super) fn stream_of<T: Send + 'static>(
    receiver: mpsc::Receiver<T>,
) -> impl Stream<Item = T> + Send + 'static {
    stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
}

/// The same without a bound, for what is bounded otherwise.
pub(super) fn unbounded_stream_of<T: Send + 'static>(
    receiver: mpsc::UnboundedReceiver<T>,
) -> impl Stream<Item = T> + Send + 'static {
    stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
}

/// Adds values under a key. What is no plain text is sent as URLs have it, and the client told so.
pub(super) fn add_metadata<T>(request: &mut Request<T>, key: &'static str, values: &[String]) {
    let plain = values.iter().all(|value| value.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    for value in values {
        let value = if plain { value.clone() } else { escaped(value) };
        if let Ok(value) = AsciiMetadataValue::try_from(value) {
            request.metadata_mut().append(AsciiMetadataKey::from_static(key), value);
        }
    }
    if !plain && let Ok(key) = AsciiMetadataKey::from_bytes(format!("{key}-encoded").as_bytes()) {
        request.metadata_mut().append(key, AsciiMetadataValue::from_static("1"));
    }
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_alphabets_reach_the_client() {
        let mut request = Request::new(());
        add_metadata(&mut request, "followpaths", &["a b".into()]);
        add_metadata(&mut request, "exclude-patterns", &["ä/*".into(), "b".into()]);
        let all = |key: &str| -> Vec<String> {
            request.metadata().get_all(key).iter().map(|v| v.to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(all("followpaths"), ["a b"]);
        assert!(all("followpaths-encoded").is_empty());
        assert_eq!(all("exclude-patterns"), ["%C3%A4%2F%2A", "b"]);
        assert_eq!(all("exclude-patterns-encoded"), ["1"]);
    }
}
