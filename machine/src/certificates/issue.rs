//! Making certificates. ECDSA on P-256: every TLS client knows it, and a key takes no time to make.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// The authority lives ten years.
const AUTHORITY_DAYS: i64 = 3650;
/// The others as long as docker-machine's did; they are renewed before that.
const LEAF_DAYS: i64 = 1080;

/// An authority: certificate and key in PEM. Holds a secret: no `Debug`.
pub(super) struct Authority {
    pub(super) certificate: String,
    pub(super) key: String,
}

pub(super) fn authority() -> Result<Authority, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = params(&[], AUTHORITY_DAYS)?;
    params.distinguished_name.push(DnType::CommonName, "machine CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(Authority { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

/// A client's certificate and key.
pub(super) fn client(authority: &Authority) -> Result<(String, String), rcgen::Error> {
    leaf(authority, &[], "machine client", ExtendedKeyUsagePurpose::ClientAuth)
}

/// A machine's certificate and key, for `hosts`.
pub(super) fn server(authority: &Authority, hosts: &[String]) -> Result<(String, String), rcgen::Error> {
    leaf(authority, hosts, "machine", ExtendedKeyUsagePurpose::ServerAuth)
}

fn leaf(
    authority: &Authority,
    hosts: &[String],
    name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> Result<(String, String), rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let key = KeyPair::generate()?;
    let mut params = params(hosts, LEAF_DAYS)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
}

fn params(hosts: &[String], days: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "machine");
    // A day ago: the clocks of host and client need not agree.
    let (year, month, date) = day(-1);
    params.not_before = date_time_ymd(year, month, date);
    let (year, month, date) = day(days);
    params.not_after = date_time_ymd(year, month, date);
    Ok(params)
}

/// Year, month and day.
fn day(from_now: i64) -> (i32, u8, u8) {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = today.saturating_add(jiff::Span::new().days(from_now));
    (day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs())
}
