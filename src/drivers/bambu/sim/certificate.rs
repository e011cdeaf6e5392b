//! The stand-in's certificate: X.509 version 1 with the serial number as its name, as on hardware.

use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|p| p.len()).sum();
    let mut out = vec![tag];
    match len {
        0..=127 => out.push(len as u8),
        _ => {
            out.push(0x82);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// `ecdsa-with-SHA256`.
const ALGORITHM: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// `id-ecPublicKey`, `prime256v1`.
const KEY_KIND: &[u8] = &[
    0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7,
];

fn name(text: &str) -> Vec<u8> {
    let value = der(0x0c, &[text.as_bytes()]);
    der(0x30, &[&der(0x31, &[&der(0x30, &[&[6, 3, 0x55, 4, 3], &value])])])
}

/// A fresh key with its certificate, for TLS 1.2 only, as printers have it.
pub fn server(serial: &str) -> Result<Arc<ServerConfig>, String> {
    let random = SystemRandom::new();
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map_err(|e| text(&e))?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random)
        .map_err(|e| text(&e))?;
    let times = der(
        0x30,
        &[&der(0x17, &[b"250101000000Z"]), &der(0x17, &[b"341231000000Z"])],
    );
    let key = der(0x30, &[KEY_KIND, &der(3, &[&[0], pair.public_key().as_ref()])]);
    // No version member: that makes it version 1.
    let body = der(
        0x30,
        &[
            &[2, 1, 7],
            ALGORITHM,
            &name("layerd simulator"),
            &times,
            &name(serial),
            &key,
        ],
    );
    let signature = pair.sign(&random, &body).map_err(|e| text(&e))?;
    let certificate = der(0x30, &[&body, ALGORITHM, &der(3, &[&[0], signature.as_ref()])]);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(document.as_ref().to_vec()));
    let signing = provider
        .key_provider
        .load_private_key(private)
        .map_err(|e| text(&e))?;
    let chain = vec![CertificateDer::from(certificate)];
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .map_err(|e| text(&e))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(
            chain, signing,
        ))));
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::super::super::tls::leaf;
    use super::*;

    #[test]
    fn names_nest_as_they_should() {
        let subject = name("01P00A000000001");
        assert_eq!(subject.first(), Some(&0x30));
        assert!(server("01P00A000000001").is_ok());
        // Too short to be a certificate.
        assert_eq!(leaf(&[0x30, 3, 1]), None);
    }
}
