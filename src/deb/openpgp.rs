//! Signatures (OpenPGP, RFC 9580): a Release file counts only if a key of the keyring signed it.
//!
//! One good signature by one good key is enough; signatures by keys that are not in the keyring say nothing. A key is
//! good while it has not expired and was not revoked, by its own signatures; so is a subkey, which must also have
//! signed that it belongs to its key.

use std::path::Path;

use pgp::armor::{BlockType, Dearmor, DearmorOptions};
use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, PublicParams, Tag, VerifyingKey};

use crate::fault::Fault;

/// Keys that are trusted.
#[derive(Clone, Debug)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

/// A text that a key of the keyring signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The text, with `\n` at the end of its lines.
    pub text: String,
    /// The fingerprint of the key, in lower-case hex.
    pub key: String,
}

impl Keyring {
    /// The keys of Debian's archive.
    pub fn debian() -> Result<Keyring, Fault> {
        brought(include_bytes!("keys/debian.pgp"), "Debian")
    }

    /// The keys of Ubuntu's archive.
    pub fn ubuntu() -> Result<Keyring, Fault> {
        brought(include_bytes!("keys/ubuntu.pgp"), "Ubuntu")
    }

    /// The keys in a file, binary or armoured.
    pub fn read(path: &Path) -> Result<Keyring, Fault> {
        const LARGEST: u64 = 16 << 20;
        let size =
            std::fs::metadata(path).map_err(|error| Fault::io("read the keyring", path, &error))?.len();
        if size > LARGEST {
            return Err(unreadable(path, "it is too large"));
        }
        let bytes = std::fs::read(path).map_err(|error| Fault::io("read the keyring", path, &error))?;
        Keyring::parse(&bytes).map_err(|reason| unreadable(path, &reason))
    }

    /// The keys in `bytes`, binary or armoured (also several blocks); the reason if there are none.
    pub fn parse(bytes: &[u8]) -> Result<Keyring, String> {
        if bytes.get(8..12) == Some(b"KBXf") {
            return Err("it is a keybox of GnuPG; export its keys with `gpg --export`".into());
        }
        let keys: Vec<SignedPublicKey> = match std::str::from_utf8(bytes) {
            Ok(text) if text.contains(KEY_BLOCK) => {
                text.split(KEY_BLOCK).skip(1).flat_map(armored_keys).collect()
            }
            _ => binary_keys(bytes),
        };
        if keys.is_empty() { Err("it holds no OpenPGP public key".into()) } else { Ok(Keyring { keys }) }
    }

    /// The fingerprints of its keys, without those of subkeys.
    pub fn fingerprints(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.primary_key.fingerprint().to_string()).collect()
    }

    /// The text of a clear-signed message (`InRelease`) if a key signed it; else the reason. `now` is in seconds since
    /// 1970.
    pub fn open(&self, message: &[u8], now: i64) -> Result<Signed, String> {
        let (text, armor) = split_message(message)?;
        let signatures = signatures(armor.as_bytes())?;
        let key = self.check(&signatures, &[SignatureType::Text], text.as_bytes(), now)?;
        Ok(Signed { text, key })
    }

    /// The text `data` (`Release`) if a key signed it in `signature` (`Release.gpg`); else the reason.
    pub fn verify(&self, data: &[u8], signature: &[u8], now: i64) -> Result<Signed, String> {
        let signatures = signatures(signature)?;
        let key = self.check(&signatures, &[SignatureType::Binary, SignatureType::Text], data, now)?;
        let text = String::from_utf8(data.to_vec()).map_err(|_| "it is not UTF-8")?;
        Ok(Signed { text, key })
    }

    /// The fingerprint of the first key that signed `data`.
    fn check(
        &self,
        all: &[Signature],
        types: &[SignatureType],
        data: &[u8],
        now: i64,
    ) -> Result<String, String> {
        let mut reasons = Vec::new();
        for signature in all {
            match self.check_one(signature, types, data, now) {
                Ok(fingerprint) => return Ok(fingerprint),
                Err(reason) if reasons.contains(&reason) => {}
                Err(reason) => reasons.push(reason),
            }
        }
        Err(if reasons.is_empty() { "it is not signed".into() } else { reasons.join("; ") })
    }

    fn check_one(
        &self,
        signature: &Signature,
        types: &[SignatureType],
        data: &[u8],
        now: i64,
    ) -> Result<String, String> {
        check_form(signature, types, now)?;
        let mut reason = format!("it is signed by {}, which is not in the keyring", issuer(signature));
        for key in &self.keys {
            let primary =
                std::iter::once(check_with(signature, &key.primary_key, data, || check_primary(key, now)));
            let subkeys = key.public_subkeys.iter().map(|subkey| {
                check_with(signature, &subkey.key, data, || {
                    check_key(key, now)?;
                    check_subkey(key, subkey, now)
                })
            });
            for result in primary.chain(subkeys).flatten() {
                match result {
                    Ok(fingerprint) => return Ok(fingerprint),
                    Err(why) => reason = why,
                }
            }
        }
        Err(reason)
    }
}

fn brought(bytes: &[u8], whose: &str) -> Result<Keyring, Fault> {
    Keyring::parse(bytes)
        .map_err(|reason| Fault::error("deb/keyring", format!("cannot read {whose}'s keys: {reason}")))
}

fn unreadable(path: &Path, reason: &str) -> Fault {
    Fault::error("deb/keyring", format!("cannot read the keyring `{}`: {reason}", path.display()))
        .help("name a file with the OpenPGP public keys that sign the repository, binary or armoured")
}

const KEY_BLOCK: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
/// More keys than this are not looked at, nor more signatures.
const MOST_KEYS: usize = 1000;
const MOST_SIGNATURES: usize = 32;

fn armored_keys(block: &str) -> Vec<SignedPublicKey> {
    let block = format!("{KEY_BLOCK}{block}");
    match dearmored(block.as_bytes(), BlockType::PublicKey) {
        Ok(bytes) => binary_keys(&bytes),
        Err(_) => Vec::new(),
    }
}

/// The keys that can be read; what is too old or too new for this program cannot sign anything either.
fn binary_keys(bytes: &[u8]) -> Vec<SignedPublicKey> {
    use pgp::composed::Deserializable as _;
    SignedPublicKey::from_bytes_many(bytes).into_iter().flatten().take(MOST_KEYS).flatten().collect()
}

fn dearmored(armor: &[u8], kind: BlockType) -> Result<Vec<u8>, String> {
    let mut reader = Dearmor::with_options(armor, DearmorOptions::new());
    let mut bytes = Vec::new();
    let read = std::io::Read::read_to_end(&mut reader, &mut bytes);
    read.map_err(|error| format!("its armour is damaged: {error}"))?;
    if reader.typ == Some(kind) { Ok(bytes) } else { Err("its armour holds something else".into()) }
}

/// The signatures in an armoured or binary file.
fn signatures(file: &[u8]) -> Result<Vec<Signature>, String> {
    let dearmored;
    let bytes = if file.trim_ascii_start().starts_with(b"-----BEGIN") {
        dearmored = self::dearmored(file.trim_ascii(), BlockType::Signature)?;
        dearmored.as_slice()
    } else {
        file
    };
    let mut signatures = Vec::new();
    for packet in PacketParser::new(bytes).take(MOST_SIGNATURES) {
        match packet {
            Ok(Packet::Signature(signature)) => signatures.push(signature),
            Ok(_) => return Err("what stands for its signature is something else".into()),
            Err(error) => return Err(format!("its signature is damaged: {error}")),
        }
    }
    Ok(signatures)
}

/// The text of a clear-signed message (RFC 9580, section 7) and its armoured signature. Nothing may stand around them:
/// what is not signed must not be read by anybody.
fn split_message(message: &[u8]) -> Result<(String, String), String> {
    let message = std::str::from_utf8(message).map_err(|_| "it is not UTF-8")?;
    let mut lines = message.lines();
    if lines.next() != Some("-----BEGIN PGP SIGNED MESSAGE-----") {
        return Err("it is not signed".into());
    }
    for header in lines.by_ref().take_while(|line| !line.is_empty()) {
        if !header.starts_with("Hash: ") {
            return Err("something that is not signed stands before its text".into());
        }
    }
    let mut text = String::with_capacity(message.len());
    loop {
        let line = lines.next().ok_or("it ends before its signature")?;
        if line == SIGNATURE_BLOCK {
            break;
        }
        let line = match line.strip_prefix("- ") {
            Some(escaped) => escaped,
            None if line.starts_with('-') => return Err("a line of its text is not escaped".into()),
            None => line,
        };
        text.push_str(line.trim_end_matches([' ', '\t', '\r']));
        text.push('\n');
    }
    // The last line's end belongs to the signature.
    text.pop();
    let mut armor = format!("{SIGNATURE_BLOCK}\n");
    for line in lines.by_ref() {
        armor.push_str(line);
        armor.push('\n');
        if line == "-----END PGP SIGNATURE-----" {
            let rest = lines.all(|line| line.trim().is_empty());
            return if rest {
                Ok((text, armor))
            } else {
                Err("something stands behind its signature".into())
            };
        }
    }
    Err("its signature ends too early".into())
}

const SIGNATURE_BLOCK: &str = "-----BEGIN PGP SIGNATURE-----";

/// What can be wrong with a signature whoever made it.
fn check_form(signature: &Signature, types: &[SignatureType], now: i64) -> Result<(), String> {
    let config = signature.config().ok_or("its signature is of an unknown version")?;
    if !types.contains(&config.typ()) {
        return Err("its signature is for something else".into());
    }
    if !is_strong(config.hash_alg) {
        return Err(format!("its signature is made with {}, which can be forged", config.hash_alg));
    }
    let understood =
        |data: &SubpacketData| !matches!(data, SubpacketData::Experimental(..) | SubpacketData::Other(..));
    if config.hashed_subpackets().any(|packet| packet.is_critical && !understood(&packet.data)) {
        return Err("its signature has a condition that is not known here".into());
    }
    let made = config.created().map(|time| i64::from(time.as_secs())).ok_or("its signature has no date")?;
    if made > now + A_DAY {
        return Err("its signature is of the future; check this machine's clock".into());
    }
    match signature.signature_expiration_time().map(seconds) {
        Some(lasts) if lasts > 0 && made + lasts < now => Err("its signature has expired".into()),
        _ => Ok(()),
    }
}

const A_DAY: i64 = 24 * 3600;

fn is_strong(hash: HashAlgorithm) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    matches!(hash, Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512)
}

/// Whether `key` signed `data` and `usable` holds, with its fingerprint; nothing if it is no signature of this key's.
fn check_with(
    signature: &Signature,
    key: &impl VerifyingKey,
    data: &[u8],
    usable: impl FnOnce() -> Result<(), String>,
) -> Option<Result<String, String>> {
    if !is_issuer(signature, key) {
        return None;
    }
    let fingerprint = key.fingerprint().to_string();
    Some(match signature.verify(key, data) {
        Err(_) => Err(format!("the signature of key {fingerprint} is not of this text: it was changed")),
        Ok(()) if is_weak(key) => Err(format!("the key {fingerprint} is too weak")),
        Ok(()) => {
            usable().map(|()| fingerprint.clone()).map_err(|why| format!("the key {fingerprint} {why}"))
        }
    })
}

fn is_issuer(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        let id = key.legacy_key_id();
        return signature.issuer_key_id().contains(&&id);
    }
    fingerprints.contains(&&key.fingerprint())
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(ToString::to_string);
    let id = || signature.issuer_key_id().first().map(ToString::to_string);
    fingerprint.or_else(id).map_or("an unnamed key".into(), |name| format!("key {name}"))
}

/// RSA under 2048 bits, and DSA of any size.
fn is_weak(key: &impl KeyDetails) -> bool {
    const RSA_BYTES: usize = 2048 / 8;
    match key.public_params() {
        // The modulus is nearly all of it.
        params @ PublicParams::RSA(_) => params.write_len() < RSA_BYTES,
        _ => matches!(key.algorithm(), PublicKeyAlgorithm::DSA),
    }
}

/// A key that signs by itself.
fn check_primary(key: &SignedPublicKey, now: i64) -> Result<(), String> {
    let own = check_key(key, now)?;
    if may_sign(own) { Ok(()) } else { Err("is not made for signing".into()) }
}

/// Whether a key counts now; with the newest signature of its own about itself.
fn check_key(key: &SignedPublicKey, now: i64) -> Result<&Signature, String> {
    let primary = &key.primary_key;
    if key.details.revocation_signatures.iter().any(|signature| signature.verify_key(primary).is_ok()) {
        return Err("was revoked".into());
    }
    let of_users = key.details.users.iter().flat_map(|user| {
        let own = |signature: &&Signature| {
            signature.is_certification()
                && signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
        };
        user.signatures.iter().filter(own)
    });
    let direct =
        key.details.direct_signatures.iter().filter(|signature| signature.verify_key(primary).is_ok());
    let newest = direct.chain(of_users).max_by_key(|signature| signature.created());
    let newest = newest.ok_or("has no signature of its own")?;
    check_age(newest, primary, now)?;
    Ok(newest)
}

fn check_subkey(key: &SignedPublicKey, subkey: &SignedPublicSubKey, now: i64) -> Result<(), String> {
    let primary = &key.primary_key;
    let own = |kind: SignatureType| {
        let of_kind = subkey.signatures.iter().filter(move |signature| signature.typ() == Some(kind));
        of_kind.filter(|signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok())
    };
    if own(SignatureType::SubkeyRevocation).next().is_some() {
        return Err("was revoked".into());
    }
    let binding = own(SignatureType::SubkeyBinding).max_by_key(|signature| signature.created());
    let binding = binding.ok_or("is not bound to its main key")?;
    let back = binding.embedded_signature();
    let back = back.is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
    if !back || !may_sign(binding) {
        return Err("is not made for signing".into());
    }
    check_age(binding, &subkey.key, now)
}

fn check_age(own: &Signature, key: &impl KeyDetails, now: i64) -> Result<(), String> {
    let made = i64::from(key.created_at().as_secs());
    match own.key_expiration_time().map(seconds) {
        Some(lasts) if lasts > 0 && made + lasts < now => Err("has expired".into()),
        _ if made > now + A_DAY => Err("is of the future; check this machine's clock".into()),
        _ => Ok(()),
    }
}

/// What a key says of its use; old keys say nothing and are for everything.
fn may_sign(own: &Signature) -> bool {
    let says = |config: &pgp::packet::SignatureConfig| {
        config.hashed_subpackets().any(|packet| matches!(packet.data, SubpacketData::KeyFlags(_)))
    };
    own.key_flags().sign() || !own.config().is_some_and(says)
}

fn seconds(duration: pgp::types::Duration) -> i64 {
    std::time::Duration::from(duration).as_secs().cast_signed()
}
