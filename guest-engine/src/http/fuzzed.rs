//! What clients send, made up by the thousand: nothing that reads a request panics, and what is written on
//! the wire reads the same. The seed is fixed, so that a failure repeats.

use super::{
    containers::moment, filters::Filters, frames::Framing, json_body, query::Query, timestamp, version,
};
use axum::http::Uri;
use bollard_stubs::models::{ContainerCreateBody, ExecConfig, NetworkCreateRequest};
use bytes::Bytes;
use engine::ports::{OutputFrame, StreamKind};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

fn each<S: Strategy>(strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng).run(&strategy, test).unwrap();
}

const KEYS: [&str; 20] = [
    "Image",
    "Cmd",
    "Env",
    "HostConfig",
    "Memory",
    "Binds",
    "Mounts",
    "Type",
    "PortBindings",
    "80/tcp",
    "label",
    "status",
    "Labels",
    "Healthcheck",
    "Test",
    "NetworkingConfig",
    "EndpointsConfig",
    "IPAM",
    "Config",
    "name",
];

/// JSON with keys that the API has, and values that it mostly has not.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        Just("1e400".to_owned()),
        Just("99999999999999999999".to_owned()),
        any::<String>().prop_map(|text| serde_json::Value::String(text).to_string()),
        "[\\[\\]{},:\"0-9]{1,4}",
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            vec((proptest::sample::select(&KEYS[..]), inner), 0..5).prop_map(|fields| {
                let fields: Vec<String> =
                    fields.into_iter().map(|(key, value)| format!("{key:?}:{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

#[test]
fn bodies_are_read_or_refused() {
    each(json(), |text| {
        drop(json_body::decode::<ContainerCreateBody>(text.as_bytes()));
        drop(json_body::decode::<NetworkCreateRequest>(text.as_bytes()));
        drop(json_body::decode::<ExecConfig>(text.as_bytes()));
        if let Err(error) = Filters::parse(&text) {
            prop_assert_eq!(error.message(), "invalid filter");
        }
        Ok(())
    });
}

#[test]
fn deep_bodies_are_refused() {
    for nest in ["[", "{\"HostConfig\":", "{\"a\":["] {
        assert!(json_body::decode::<ContainerCreateBody>(nest.repeat(100_000).as_bytes()).is_err());
        assert!(Filters::parse(&nest.repeat(100_000)).is_err());
    }
}

#[test]
fn filters_read_in_both_spellings() {
    each(proptest::collection::btree_map("[a-z]{1,8}", vec("[ -~]{0,9}", 1..4), 0..4), |wanted| {
        let list = serde_json::to_string(&wanted).unwrap();
        let set: std::collections::BTreeMap<_, std::collections::BTreeMap<_, _>> = wanted
            .iter()
            .map(|(key, values)| (key, values.iter().map(|value| (value, true)).collect()))
            .collect();
        let (list, set) =
            (Filters::parse(&list).unwrap(), Filters::parse(&serde_json::to_string(&set).unwrap()).unwrap());
        for (key, values) in &wanted {
            prop_assert_eq!(list.values(key), &values[..]);
            let mut sorted = values.clone();
            sorted.sort();
            sorted.dedup();
            prop_assert_eq!(set.values(key), &sorted[..]);
        }
        Ok(())
    });
}

#[test]
fn queries_times_and_versions_never_panic() {
    let part =
        prop_oneof!["[0-9]{1,25}", "[hms.:TZ+-]{1,3}", "v1\\.4[0-9]/", "[%&=/a-z]{1,6}", any::<String>()];
    each(vec(part, 0..8), |parts| {
        let text = parts.concat();
        drop(moment(&text));
        drop(timestamp::parse(&text));
        if let Ok(uri) = format!("/x?{text}").parse::<Uri>()
            && let Ok(query) = Query::of(&uri)
        {
            drop((query.number::<u16>("h"), query.flag("all"), Filters::from_query_lenient(&query)));
        }
        if let Ok(mut uri) = format!("/{text}").parse::<Uri>() {
            drop(version::strip_prefix(&mut uri));
        }
        Ok(())
    });
}

#[test]
fn frames_read_as_they_are_written() {
    let stream = prop_oneof![Just(StreamKind::Stdout), Just(StreamKind::Stderr)];
    each(vec((stream, vec(any::<u8>(), 0..300)), 0..6), |pieces| {
        let frames: Vec<OutputFrame> = pieces
            .iter()
            .map(|(stream, data)| OutputFrame { stream: *stream, data: Bytes::from(data.clone()) })
            .collect();
        let wire = Framing::Multiplexed.encode_all(&frames);
        let (mut rest, mut read) = (&wire[..], Vec::new());
        while let [kind, 0, 0, 0, a, b, c, d, behind @ ..] = rest {
            let (data, behind) = behind.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
            read.push((if *kind == 1 { StreamKind::Stdout } else { StreamKind::Stderr }, data.to_vec()));
            rest = behind;
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(read, pieces);
        Ok(())
    });
}
