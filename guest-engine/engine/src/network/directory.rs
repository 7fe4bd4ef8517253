//! The names of a user's networks, as DNS: what dockerd answers on 127.0.0.11.
//!
//! A container sees those that are on a network with it: their names, short ids, host names and aliases,
//! each also behind the network's name (`web.mynet`). Several bearers of one name are answered in a random
//! order. What is not known here is somebody else's to answer, unless the container's networks are all
//! internal.

use super::{Driver, Member, State, lock};
use crate::{
    id::random_bytes,
    ports::{NameAnswer, Names, Upstream},
};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, PTR},
    },
};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex},
};

/// Seconds that an answer may be kept, as dockerd says.
const TTL: u32 = 600;

/// Answers from the networks' members as they are at the moment of the question.
pub(super) struct Directory(Arc<Mutex<State>>);

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

/// What the members say to a question.
enum Found {
    Addresses(Vec<IpAddr>),
    Name(String),
    /// Nobody here has that name.
    Nothing,
}

impl Directory {
    pub(super) fn new(state: Arc<Mutex<State>>) -> Self {
        Self(state)
    }
}

impl Names for Directory {
    fn answer(&self, container: &str, query: &[u8], stream: bool) -> NameAnswer {
        let Ok(message) = Message::from_vec(query) else { return NameAnswer::Ignore };
        if message.metadata.message_type != MessageType::Query {
            return NameAnswer::Ignore;
        }
        let limit = if stream { usize::from(u16::MAX) } else { usize::from(message.max_payload()) };
        let mut reply = Message::response(message.metadata.id, message.metadata.op_code);
        reply.metadata.recursion_desired = message.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.queries.clone_from(&message.queries);
        let [question] = message.queries.as_slice() else {
            return failed(reply, ResponseCode::FormErr, limit);
        };
        if message.metadata.op_code != OpCode::Query {
            return failed(reply, ResponseCode::NotImp, limit);
        }
        let state = lock(&self.0);
        match state.look_up(container, question) {
            Found::Addresses(addresses) => {
                reply.add_answers(addresses.into_iter().filter_map(|address| {
                    let data = match (address, question.query_type()) {
                        (IpAddr::V4(address), RecordType::A) => RData::A(A(address)),
                        (IpAddr::V6(address), RecordType::AAAA) => RData::AAAA(AAAA(address)),
                        _ => return None,
                    };
                    Some(Record::from_rdata(question.name().clone(), TTL, data))
                }));
                encoded(&reply, limit)
            }
            Found::Name(name) => {
                if let Ok(name) = Name::from_ascii(&name) {
                    let data = RData::PTR(PTR(name));
                    reply.add_answer(Record::from_rdata(question.name().clone(), TTL, data));
                }
                encoded(&reply, limit)
            }
            Found::Nothing => match state.upstream(container, question) {
                Elsewhere::Ask(upstream) => {
                    reply.metadata.response_code = ResponseCode::ServFail;
                    NameAnswer::Forward { upstream, failure: reply.to_vec().unwrap_or_default() }
                }
                // As dockerd: an empty answer, so that the client goes on with its search domains.
                Elsewhere::Nothing => encoded(&reply, limit),
                Elsewhere::Refused => failed(reply, ResponseCode::ServFail, limit),
            },
        }
    }
}

enum Elsewhere {
    Ask(Upstream),
    Nothing,
    Refused,
}

impl State {
    fn look_up(&self, container: &str, question: &Query) -> Found {
        if question.query_class() != DNSClass::IN {
            return Found::Nothing;
        }
        let name = question.name().to_ascii().to_ascii_lowercase();
        let name = name.trim_end_matches('.');
        match question.query_type() {
            RecordType::A => self.addresses_of(container, name, true),
            RecordType::AAAA => self.addresses_of(container, name, false),
            RecordType::PTR => self.name_of(container, name),
            _ => Found::Nothing,
        }
    }

    /// Every address of the family that the name has; none when the name has only addresses of the other.
    fn addresses_of(&self, container: &str, name: &str, ipv4: bool) -> Found {
        // The whole name on any network, then ever more of its end taken for a network's name.
        let splits = std::iter::once((name, None))
            .chain(name.rmatch_indices('.').map(|(at, _)| (&name[..at], Some(&name[at + 1..]))));
        for (wanted, network) in splits {
            let mut known = false;
            let mut addresses: Vec<IpAddr> = Vec::new();
            for (definition_name, own, member) in self.neighbours(container) {
                let wanted = own.endpoint.links.get(wanted).map_or(wanted, String::as_str);
                if network.is_some_and(|network| !definition_name.eq_ignore_ascii_case(network))
                    || !member.is_called(wanted)
                {
                    continue;
                }
                known = true;
                let endpoint = &member.endpoint;
                let address = match ipv4 {
                    true => endpoint.address.map(IpAddr::from),
                    false => endpoint.address6.map(IpAddr::from),
                };
                addresses.extend(address);
            }
            if known {
                shuffle(&mut addresses);
                return Found::Addresses(addresses);
            }
        }
        Found::Nothing
    }

    fn name_of(&self, container: &str, name: &str) -> Found {
        let Some(address) = reversed(name) else { return Found::Nothing };
        let found = self.neighbours(container).find(|(_, _, member)| {
            let endpoint = &member.endpoint;
            endpoint.address.map(IpAddr::from) == Some(address)
                || endpoint.address6.map(IpAddr::from) == Some(address)
        });
        found
            .map_or(Found::Nothing, |(network, _, member)| Found::Name(format!("{}.{network}.", member.name)))
    }

    /// Who is on a network with the container, itself included: the network, the container there, the other.
    fn neighbours<'a>(
        &'a self,
        container: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Member, &'a Member)> {
        self.networks.values().filter(|network| network.definition.has_names()).flat_map(move |network| {
            let own = network.members.get(container);
            own.into_iter().flat_map(move |own| {
                network.members.values().map(move |member| (network.definition.name.as_str(), own, member))
            })
        })
    }

    fn upstream(&self, container: &str, question: &Query) -> Elsewhere {
        let on = || self.networks.values().filter(|network| network.members.contains_key(container));
        let Some(sandbox) = self.sandboxes.get(container) else { return Elsewhere::Refused };
        if !on().any(|network| !network.definition.internal && network.definition.driver != Driver::Null) {
            return Elsewhere::Refused;
        }
        let address = matches!(question.query_type(), RecordType::A | RecordType::AAAA);
        if sandbox.keeps_short_names && address && question.name().num_labels() <= 1 {
            return Elsewhere::Nothing;
        }
        Elsewhere::Ask(sandbox.upstream.clone())
    }
}

impl Member {
    fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
            || self.endpoint.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// `2.0.18.172.in-addr.arpa` and its IPv6 sister.
fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(octets) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<u8> = octets.split('.').rev().map(|part| part.parse().ok()).collect::<Option<_>>()?;
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(parts).ok()?).into());
    }
    let nibbles = name.strip_suffix(".ip6.arpa")?;
    let digits: Vec<u128> = nibbles
        .split('.')
        .rev()
        .map(|digit| (digit.len() == 1).then(|| u128::from_str_radix(digit, 16).ok()).flatten())
        .collect::<Option<_>>()?;
    (digits.len() == 32)
        .then(|| Ipv6Addr::from_bits(digits.into_iter().fold(0, |bits, d| bits << 4 | d)).into())
}

/// Round robin without memory.
fn shuffle(addresses: &mut [IpAddr]) {
    // Without randomness the order stays: no reason to fail.
    let mut seed = u64::from_le_bytes(random_bytes().unwrap_or_default());
    for last in (1..addresses.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(seed >> 33).unwrap_or(0) % (last + 1);
        addresses.swap(last, other);
    }
}

fn failed(mut reply: Message, code: ResponseCode, limit: usize) -> NameAnswer {
    reply.metadata.response_code = code;
    encoded(&reply, limit)
}

fn encoded(reply: &Message, limit: usize) -> NameAnswer {
    let bytes = match reply.to_vec() {
        Ok(bytes) if bytes.len() > limit => {
            let mut short = reply.truncate();
            short.metadata.truncation = true;
            short.to_vec()
        }
        other => other,
    };
    bytes.map_or(NameAnswer::Ignore, NameAnswer::Reply)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A question in wire format.
    pub(in crate::network) fn question(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.to_vec().unwrap()
    }

    /// The answer's records as text, sorted; `None` when somebody else is to be asked.
    pub(in crate::network) fn records(answer: NameAnswer) -> Option<Vec<String>> {
        let NameAnswer::Reply(bytes) = answer else { return None };
        let message = Message::from_vec(&bytes).unwrap();
        if message.metadata.response_code != ResponseCode::NoError {
            return Some(vec![message.metadata.response_code.to_string()]);
        }
        let mut texts: Vec<String> = message.answers.iter().map(|record| record.data.to_string()).collect();
        texts.sort();
        Some(texts)
    }

    #[test]
    fn reverse_names_are_read_and_nonsense_is_not() {
        assert_eq!(reversed("2.0.18.172.in-addr.arpa").unwrap().to_string(), "172.18.0.2");
        let six = format!("{}ip6.arpa", "2.".to_owned() + &"0.".repeat(29) + "d.f.");
        assert_eq!(reversed(&six).unwrap().to_string(), "fd00::2");
        for bad in ["2.0.18.in-addr.arpa", "x.0.18.172.in-addr.arpa", "1.ip6.arpa", "web"] {
            assert_eq!(reversed(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_question_is_ignored() {
        let directory = Directory::new(Arc::default());
        for bad in [&b""[..], b"short", &[0xff; 40]] {
            assert_eq!(directory.answer("c", bad, false), NameAnswer::Ignore);
        }
    }
}
