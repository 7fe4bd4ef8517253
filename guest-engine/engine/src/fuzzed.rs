//! What clients send, made up by the thousand: no parser of the domain panics, and what can be written again
//! reads the same. The seed is fixed, so that a failure repeats.

use crate::{
    build::{dockerfile, ignore, instruction},
    container::{DetachKeys, mounts, signal},
    image::Reference,
    network, pax,
    registry::Credentials,
};
use bollard_stubs::models::{HostConfig, Mount, PortBinding};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use std::io::Read;

/// Runs `test` on some hundred inputs, the same ones every time.
fn each<S: Strategy>(strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng).run(&strategy, test).unwrap();
}

/// Text of what means something to the parsers, with anything in between.
fn text(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => proptest::sample::select(words).prop_map(str::to_owned),
        1 => "[a-z0-9]{0,9}",
        1 => any::<char>().prop_map(String::from),
    ];
    vec(word, 0..12).prop_map(|words| words.concat())
}

#[test]
fn references_read_as_they_are_written() {
    let words =
        &["docker.io", "/", ":", "@", "sha256:", "localhost", "a-b", "__", ".", "5000", "library", "A"];
    each(text(words), |text| {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
            prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
        }
        Ok(())
    });
}

#[test]
fn binds_and_mounts_are_mounted_below_the_root_or_refused() {
    let words = &["/", ":", "..", "ro", "rw", "z", ",", "vol", "rslave", "nocopy", "/tmp", "\\", "//", "\0"];
    each((text(words), text(words), text(words)), |(bind, source, target)| {
        let typ = [bollard_stubs::models::MountType::BIND, bollard_stubs::models::MountType::VOLUME];
        for host in [
            HostConfig { binds: Some(vec![bind.clone()]), ..HostConfig::default() },
            HostConfig {
                mounts: Some(
                    typ.map(|typ| Mount {
                        typ: Some(typ),
                        source: Some(source.clone()),
                        target: Some(target.clone()),
                        ..Mount::default()
                    })
                    .to_vec(),
                ),
                ..HostConfig::default()
            },
            HostConfig { tmpfs: Some([(target, bind)].into()), ..HostConfig::default() },
        ] {
            for mount in mounts::requested(&host).unwrap_or_default() {
                prop_assert!(mount.destination.starts_with('/') && mount.destination != "/");
                prop_assert!(mount.destination.split('/').all(|part| part != ".."));
            }
        }
        Ok(())
    });
}

#[test]
fn port_specifications_never_panic() {
    let words =
        &["80", "/", "tcp", "udp", "-", "65535", "65536", ":", "0", "sctp", "127.0.0.1", "::1", "99999"];
    each((text(words), text(words), text(words)), |(port, address, number)| {
        let binding = PortBinding { host_ip: Some(address), host_port: Some(number) };
        let bindings = [(port.clone(), Some(vec![binding]))].into();
        let host = HostConfig {
            port_bindings: Some(bindings),
            publish_all_ports: Some(true),
            ..HostConfig::default()
        };
        drop(network::port_requests(&host, &[port]));
        Ok(())
    });
}

#[test]
fn dockerfiles_never_panic() {
    let words = &[
        "FROM ",
        "RUN ",
        "COPY ",
        "ADD ",
        "ENV ",
        "ARG ",
        "--from=",
        "--mount=type=cache,",
        "\\\n",
        "\n",
        "<<EOF",
        "EOF",
        "# syntax=x\n",
        "[\"",
        "\"]",
        "${",
        "}",
        ":-",
        "$",
        "'",
        "\"",
        "=",
        "HEALTHCHECK ",
        "--interval=",
        "ONBUILD ",
        "LABEL ",
        "SHELL ",
        "#",
        "`",
        "\t",
        "AS ",
        "scratch",
        "\u{feff}",
    ];
    each(vec(text(words), 0..6), |lines| {
        let text = lines.concat();
        if let Ok(file) = dockerfile::Dockerfile::parse(&text) {
            drop(instruction::parse(&file));
        }
        drop(ignore::Ignore::parse(&text));
        Ok(())
    });
}

#[test]
fn extended_headers_read_as_they_are_written() {
    each(vec(("[a-zA-Z.]{1,20}", vec(any::<u8>(), 0..40)), 0..5), |records| {
        let mut header = Vec::new();
        for (key, value) in &records {
            let rest = key.len() + value.len() + 3;
            let digits = (1..).find(|digits| (rest + digits).to_string().len() == *digits).unwrap();
            header.extend(format!("{} {key}=", rest + digits).into_bytes());
            header.extend(value);
            header.push(b'\n');
        }
        prop_assert_eq!(pax::parse(&header).unwrap(), records);
        Ok(())
    });
}

#[test]
fn archives_of_anything_end() {
    let block = prop_oneof![
        vec(any::<u8>(), 512),
        Just(vec![0; 512]),
        (proptest::sample::select(&b"0125xgLKS7\0"[..]), 0..3000_u64, "[a-z/.\n]{0,40}").prop_map(
            |(kind, size, name)| {
                let mut header = tar::Header::new_gnu();
                drop(header.set_path(&name));
                header.set_entry_type(tar::EntryType::new(kind));
                header.set_size(size);
                header.set_cksum();
                header.as_bytes().to_vec()
            }
        ),
        "9 path=a\n|12 path=a\nbc\n|99 size=1\n".prop_map(|text| {
            let mut bytes = text.into_bytes();
            bytes.resize(512, 0);
            bytes
        }),
    ];
    each(vec(block, 0..8), |blocks| {
        let bytes = blocks.concat();
        let reader = pax::PaxReader::new(bytes.as_slice());
        let records = reader.records();
        let mut archive = tar::Archive::new(reader);
        for entry in archive.entries().unwrap().take(20) {
            let Ok(mut entry) = entry else { break };
            drop(records.of_entry());
            drop(std::io::copy(&mut entry.by_ref().take(10_000), &mut std::io::sink()));
        }
        Ok(())
    });
}

#[test]
fn credentials_keys_and_signals_never_panic() {
    let words = &["ctrl-", "a", ",", "SIG", "KILL", "RTMIN", "+", "-", "15", "e30=", "{", "}", "[", "@"];
    each(text(words), |text| {
        drop(Credentials::from_header(&text));
        drop(Credentials::parse(text.as_bytes()));
        drop(DetachKeys::parse(&text));
        drop(signal::parse(&text));
        drop(network::NetworkMode::parse(&text));
        Ok(())
    });
}
