//! The archive's OpenPGP keys, and which of them may vouch for an index.
//!
//! A key counts when its own binding is valid, it may sign, and it is neither revoked nor expired.
//! Subkeys count as well, through their primary key's binding signature.

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, VerifyingKey};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Tolerated difference between the signer's clock and ours.
const CLOCK_SLACK: Duration = Duration::from_secs(24 * 3600);

/// Why a signature was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyringError {
    #[error(
        "Could not read the archive keyring at {}\n\
         Hint: Install the package debian-archive-keyring or name a keyring with \"--keyring FILE\"",
        path.display()
    )]
    Read { path: PathBuf, source: io::Error },
    #[error("Could not parse the archive keyring at {}", path.display())]
    Parse { path: PathBuf, source: Box<pgp::errors::Error> },
    #[error("The archive keyring at {} holds no key", path.display())]
    Empty { path: PathBuf },
    #[error("The index is not a clear-signed message")]
    NotSigned(#[source] Box<pgp::errors::Error>),
    #[error("No signature of the index is by a valid key of the archive keyring")]
    NoValidSignature,
}

/// A text whose signature was verified.
#[derive(Debug)]
pub(crate) struct SignedText {
    /// What was signed, and nothing around it; lines end in `\n`.
    pub text: String,
    /// Hex fingerprint of the key that vouches for it.
    pub signed_by: String,
}

/// The keys that are trusted.
#[derive(Debug)]
pub(crate) struct Keyring {
    certificates: Vec<SignedPublicKey>,
}

impl Keyring {
    /// Reads a binary keyring (a sequence of certificates).
    pub(crate) fn open(path: &Path) -> Result<Self, KeyringError> {
        let bytes =
            fs::read(path).map_err(|source| KeyringError::Read { path: path.to_path_buf(), source })?;
        let certificates = SignedPublicKey::from_bytes_many(bytes.as_slice())
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| KeyringError::Parse { path: path.to_path_buf(), source: Box::new(error) })?;
        if certificates.is_empty() {
            return Err(KeyringError::Empty { path: path.to_path_buf() });
        }
        Ok(Self { certificates })
    }

    /// The text of a clear-signed message that a valid key of this ring has signed.
    pub(crate) fn verify(&self, message: &str) -> Result<SignedText, KeyringError> {
        let (message, _) = CleartextSignedMessage::from_string(message)
            .map_err(|error| KeyringError::NotSigned(Box::new(error)))?;
        let text = message.signed_text();
        let now = SystemTime::now();
        let signatures: Vec<_> = message.signatures().iter().filter(|s| is_current(s, now)).collect();
        let by = |key: &dyn Fn(&Signature) -> bool| signatures.iter().any(|signature| key(signature));
        for certificate in &self.certificates {
            let primary = &certificate.primary_key;
            // Who signed is asked first: that is a comparison of ids for all keys but one.
            if by(&|s| s.verify(primary, text.as_bytes()).is_ok())
                && primary_may_sign(certificate, now)
                && !is_revoked(certificate)
            {
                return Ok(signed(&text, primary));
            }
            for subkey in &certificate.public_subkeys {
                if by(&|s| s.verify(&subkey.key, text.as_bytes()).is_ok())
                    && subkey_may_sign(certificate, subkey, now)
                    && !is_revoked(certificate)
                {
                    return Ok(signed(&text, &subkey.key));
                }
            }
        }
        Err(KeyringError::NoValidSignature)
    }
}

fn signed(text: &str, key: &impl VerifyingKey) -> SignedText {
    SignedText { text: text.replace("\r\n", "\n"), signed_by: key.fingerprint().to_string() }
}

/// A document signature that is neither from the future nor expired.
fn is_current(signature: &Signature, now: SystemTime) -> bool {
    let Some(created) = signature.created().map(SystemTime::from) else {
        return false;
    };
    let is_document = matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text));
    let expired = lifetime(signature.signature_expiration_time()).is_some_and(|life| created + life < now);
    is_document && created <= now + CLOCK_SLACK && !expired
}

fn is_revoked(certificate: &SignedPublicKey) -> bool {
    let primary = &certificate.primary_key;
    certificate.details.revocation_signatures.iter().any(|s| s.verify_key(primary).is_ok())
}

fn primary_may_sign(certificate: &SignedPublicKey, now: SystemTime) -> bool {
    let primary = &certificate.primary_key;
    let certifications = certificate.details.users.iter().flat_map(|user| {
        user.signatures
            .iter()
            .filter(|s| s.verify_certification(primary, pgp::types::Tag::UserId, &user.id).is_ok())
    });
    let direct = certificate.details.direct_signatures.iter().filter(|s| s.verify_key(primary).is_ok());
    certifications
        .chain(direct)
        .max_by_key(|s| s.created())
        .is_some_and(|latest| latest.key_flags().sign() && !key_expired(primary, latest, now))
}

fn subkey_may_sign(certificate: &SignedPublicKey, subkey: &SignedPublicSubKey, now: SystemTime) -> bool {
    let primary = &certificate.primary_key;
    let bound_by = |signature: &&Signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok();
    let of_type = |kind| subkey.signatures.iter().filter(move |s| s.typ() == Some(kind)).filter(bound_by);
    if of_type(SignatureType::SubkeyRevocation).next().is_some() {
        return false;
    }
    of_type(SignatureType::SubkeyBinding).max_by_key(|s| s.created()).is_some_and(|latest| {
        // The subkey must have agreed to being one: else a stranger's key could be adopted.
        let agreed = latest
            .embedded_signature()
            .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
        latest.key_flags().sign() && agreed && !key_expired(&subkey.key, latest, now)
    })
}

fn key_expired(key: &impl KeyDetails, binding: &Signature, now: SystemTime) -> bool {
    lifetime(binding.key_expiration_time())
        .is_some_and(|life| SystemTime::from(key.created_at()) + life < now)
}

/// Zero means "never", as a missing field does.
fn lifetime(duration: Option<pgp::types::Duration>) -> Option<Duration> {
    duration.map(|d| Duration::from_secs(u64::from(d.as_secs()))).filter(|d| !d.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with gpg; the private halves are gone. `trusted.gpg` holds `primary` (signs with its
    // primary key), `subkey` (certifies only, signs with a subkey) and `expired`.
    const PRIMARY: &str = include_str!("keyring/primary.asc");
    const SUBKEY: &str = include_str!("keyring/subkey.asc");
    const STRANGER: &str = include_str!("keyring/stranger.asc");
    const EXPIRED: &str = include_str!("keyring/expired.asc");

    fn ring(name: &str) -> Keyring {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/keyring");
        Keyring::open(&folder.join(name)).unwrap()
    }

    #[test]
    fn a_primary_key_and_a_signing_subkey_vouch() {
        for message in [PRIMARY, SUBKEY] {
            let signed = ring("trusted.gpg").verify(message).unwrap();
            assert_eq!(signed.text.trim_end(), "Suite: stable\nCodename: test\n- dashed line");
        }
    }

    #[test]
    fn strangers_and_expired_or_revoked_keys_do_not() {
        for (keys, message) in [
            ("trusted.gpg", STRANGER),
            ("trusted.gpg", EXPIRED),
            ("revoked.gpg", PRIMARY),
            ("revoked.gpg", SUBKEY),
        ] {
            assert!(matches!(ring(keys).verify(message), Err(KeyringError::NoValidSignature)), "{keys}");
        }
    }

    #[test]
    fn altered_text_is_refused_and_text_around_is_not_signed() {
        let altered = PRIMARY.replace("Codename: test", "Codename: evil");
        assert!(matches!(ring("trusted.gpg").verify(&altered), Err(KeyringError::NoValidSignature)));
        let prefixed = format!("Codename: evil\n\n{PRIMARY}\nCodename: evil\n");
        if let Ok(signed) = ring("trusted.gpg").verify(&prefixed) {
            assert!(!signed.text.contains("evil"));
        }
        assert!(matches!(ring("trusted.gpg").verify("Codename: test\n"), Err(KeyringError::NotSigned(_))));
    }

    #[test]
    fn a_missing_keyring_says_what_to_install() {
        let error = Keyring::open(Path::new("/nonexistent/keyring.gpg")).unwrap_err().to_string();
        assert!(error.contains("debian-archive-keyring"), "{error}");
    }
}
