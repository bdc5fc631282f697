//! A key that signs a test's archive.

use std::path::{Path, PathBuf};

use imgbuild::store::clock;
use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, DetachedSignature, EncryptionCaps, KeyType, SecretKeyParamsBuilder,
    SignedPublicKey, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{Duration, KeyDetails, Password, SigningKey, Tag, Timestamp};

/// A secret key, and how it signs.
pub struct Key {
    /// With its parts.
    pub secret: SignedSecretKey,
    /// The digest; SHA-512 unless a test wants a weak one.
    pub hash: HashAlgorithm,
    /// When its signatures are made, in seconds since 1970; now, unless a test wants another time.
    pub time: i64,
    /// How many seconds its signatures last.
    pub lasts: Option<u32>,
    /// Whether its subkey signs.
    pub by_subkey: bool,
}

impl Key {
    /// A new key with a subkey that signs.
    pub fn new() -> Key {
        Key::with(KeyType::Ed25519Legacy, clock::seconds() - 86_400, None)
    }

    /// A new key of another kind, made at another time (seconds since 1970), that lasts so many seconds.
    pub fn with(kind: KeyType, made: i64, lasts: Option<u32>) -> Key {
        let mut rng = rand::thread_rng();
        let made = Timestamp::from_secs(u32::try_from(made).unwrap());
        let mut subkey = SubkeyParamsBuilder::default();
        subkey
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .can_encrypt(EncryptionCaps::None)
            .created_at(made);
        let mut builder = SecretKeyParamsBuilder::default();
        builder
            .key_type(kind)
            .can_certify(true)
            .can_sign(true)
            .can_encrypt(EncryptionCaps::None)
            .created_at(made)
            .primary_user_id("Test archive <test@localhost>".into())
            .subkeys(vec![subkey.build().unwrap()]);
        let mut secret = builder.build().unwrap().generate(&mut rng).unwrap();
        if let Some(lasts) = lasts {
            limit(&mut secret, made, lasts);
        }
        Key { secret, hash: HashAlgorithm::Sha512, time: clock::seconds(), lasts: None, by_subkey: false }
    }

    /// The public key, binary.
    pub fn public(&self) -> Vec<u8> {
        SignedPublicKey::from(self.secret.clone()).to_bytes().unwrap()
    }

    /// The public key, armoured.
    pub fn armored(&self) -> String {
        SignedPublicKey::from(self.secret.clone()).to_armored_string(ArmorOptions::default()).unwrap()
    }

    /// Writes the public key to a file in `folder`.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join(format!("{}.gpg", self.secret.fingerprint()));
        std::fs::write(&path, self.public()).unwrap();
        path
    }

    /// The text with its signature: InRelease.
    pub fn clear_sign(&self, text: &str) -> Vec<u8> {
        let sign = |text: &str| Ok(vec![self.signature(SignatureType::Text, text.as_bytes())]);
        let message = CleartextSignedMessage::new_many(text, sign).unwrap();
        message.to_armored_bytes(ArmorOptions::default()).unwrap()
    }

    /// The signature alone, armoured: Release.gpg.
    pub fn sign(&self, data: &[u8]) -> Vec<u8> {
        let signature = DetachedSignature::new(self.signature(SignatureType::Binary, data));
        signature.to_armored_bytes(ArmorOptions::default()).unwrap()
    }

    /// Its own signature that it no longer counts.
    pub fn revocation(&self) -> Signature {
        let key = &self.secret.primary_key;
        let config = self.config(SignatureType::KeyRevocation, key, Vec::new());
        config.sign_key(key, &Password::empty(), &key.public_key()).unwrap()
    }

    /// The key's signature that its subkey belongs to it and signs, without the subkey's.
    pub fn binding_without_back(&self) -> Signature {
        let key = &self.secret.primary_key;
        let mut flags = KeyFlags::default();
        flags.set_sign(true);
        let config = self.config(SignatureType::SubkeyBinding, key, vec![SubpacketData::KeyFlags(flags)]);
        let subkey = self.secret.secret_subkeys[0].key.public_key();
        config.sign_subkey_binding(key, &key.public_key(), &Password::empty(), &subkey).unwrap()
    }

    fn signature(&self, kind: SignatureType, data: &[u8]) -> Signature {
        if self.by_subkey {
            self.signature_by(&self.secret.secret_subkeys[0].key, kind, data)
        } else {
            self.signature_by(&self.secret.primary_key, kind, data)
        }
    }

    fn signature_by(&self, key: &impl SigningKey, kind: SignatureType, data: &[u8]) -> Signature {
        let lasts = self.lasts.map(|seconds| SubpacketData::SignatureExpirationTime(duration(seconds)));
        let mut config = self.config(kind, key, lasts.into_iter().collect());
        config.unhashed_subpackets =
            vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id())).unwrap()];
        config.sign(key, &Password::empty(), data).unwrap()
    }

    fn config(
        &self,
        kind: SignatureType,
        key: &impl SigningKey,
        more: Vec<SubpacketData>,
    ) -> SignatureConfig {
        let made = Timestamp::from_secs(u32::try_from(self.time).unwrap());
        let packets =
            [SubpacketData::SignatureCreationTime(made), SubpacketData::IssuerFingerprint(key.fingerprint())];
        let mut config = SignatureConfig::v4(kind, key.algorithm(), self.hash);
        let packets = packets.into_iter().chain(more);
        config.hashed_subpackets = packets.map(|data| Subpacket::regular(data).unwrap()).collect();
        config
    }
}

/// Makes a key say of itself that it lasts so many seconds.
fn limit(secret: &mut SignedSecretKey, made: Timestamp, lasts: u32) {
    let key = &secret.primary_key;
    let mut flags = KeyFlags::default();
    flags.set_sign(true);
    flags.set_certify(true);
    let packets = [
        SubpacketData::SignatureCreationTime(made),
        SubpacketData::IssuerFingerprint(key.fingerprint()),
        SubpacketData::KeyFlags(flags),
        SubpacketData::KeyExpirationTime(duration(lasts)),
    ];
    let mut config = SignatureConfig::v4(SignatureType::CertPositive, key.algorithm(), HashAlgorithm::Sha512);
    config.hashed_subpackets = packets.into_iter().map(|data| Subpacket::regular(data).unwrap()).collect();
    let user = &mut secret.details.users[0];
    let public = key.public_key();
    let own = config.sign_certification(key, &public, &Password::empty(), Tag::UserId, &user.id).unwrap();
    user.signatures = vec![own];
    secret.details.direct_signatures.clear();
}

fn duration(seconds: u32) -> Duration {
    Duration::try_from(std::time::Duration::from_secs(seconds.into())).unwrap()
}
