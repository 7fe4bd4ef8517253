//! Is a certificate still good?

use rcgen::KeyPair;
use std::collections::BTreeSet;
use std::net::IpAddr;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    pem::{Pem, parse_x509_pem},
};

/// One that expires earlier is made anew, so that none expires while a machine runs.
const REMAINING_SECONDS: i64 = 30 * 24 * 3600;

/// Whether the certificate is an authority's that can sign with `key`.
pub(super) fn is_good_authority(certificate: &str, key: &str) -> bool {
    let Some(pem) = parse(certificate) else { return false };
    let Ok(certificate) = pem.parse_x509() else { return false };
    certificate.is_ca() && lasts(&certificate) && has_key(&certificate, key)
}

/// Whether the certificate is signed by `authority`, has `key`, and is for exactly `hosts`.
pub(super) fn is_good_leaf(certificate: &str, key: &str, authority: &str, hosts: &[String]) -> bool {
    let (Some(pem), Some(authority)) = (parse(certificate), parse(authority)) else { return false };
    let (Ok(certificate), Ok(authority)) = (pem.parse_x509(), authority.parse_x509()) else { return false };
    certificate.verify_signature(Some(authority.public_key())).is_ok()
        && lasts(&certificate)
        && has_key(&certificate, key)
        && names(&certificate) == hosts.iter().cloned().collect()
}

fn parse(text: &str) -> Option<Pem> {
    parse_x509_pem(text.as_bytes()).ok().map(|(_, pem)| pem)
}

fn lasts(certificate: &X509Certificate<'_>) -> bool {
    let end = certificate.validity().not_after.timestamp();
    end > jiff::Timestamp::now().as_second().saturating_add(REMAINING_SECONDS)
}

fn has_key(certificate: &X509Certificate<'_>, key: &str) -> bool {
    use rcgen::PublicKeyData;
    KeyPair::from_pem(key).is_ok_and(|key| key.subject_public_key_info() == certificate.public_key().raw)
}

fn names(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return BTreeSet::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}
