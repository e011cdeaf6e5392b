//! TLS to a printer. Its certificate names its serial number, not its address, and is X.509 version 1
//! on many: the usual checks refuse it before looking at anything else. So the printer's own key is
//! pinned the first time and nothing else is let in afterwards.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use sha2::{Digest, Sha256};

use super::faults;
use crate::printer::fault::Fault;

/// SHA-256 of a certificate's public key.
pub type KeyPrint = [u8; 32];

/// What of a certificate matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// Common name of the subject.
    pub name: Option<&'a str>,
    /// The whole public key information.
    pub key_info: &'a [u8],
    /// The key itself.
    pub key: &'a [u8],
}

/// A DER element: tag, content, whole element, what follows it.
type Element<'a> = (u8, &'a [u8], &'a [u8], &'a [u8]);

/// The first element.
fn element(input: &[u8]) -> Option<Element<'_>> {
    let (tag, len) = (*input.first()?, *input.get(1)?);
    let (head, len) = match len {
        0..=0x7f => (2, usize::from(len)),
        0x81..=0x84 => {
            let digits = usize::from(len & 0x7f);
            let bytes = input.get(2..2 + digits)?;
            (
                2 + digits,
                bytes.iter().fold(0usize, |n, b| n << 8 | usize::from(*b)),
            )
        }
        _ => return None,
    };
    let end = head.checked_add(len)?;
    Some((tag, input.get(head..end)?, input.get(..end)?, input.get(end..)?))
}

/// Reads the leaf of any X.509 version.
pub fn leaf(der: &[u8]) -> Option<Leaf<'_>> {
    let (_, certificate, ..) = element(der)?;
    let (_, mut tbs, ..) = element(certificate)?;
    // The version is optional and absent in version 1.
    if element(tbs)?.0 == 0xa0 {
        tbs = element(tbs)?.3;
    }
    // Serial number, algorithm, issuer, validity.
    for _ in 0..4 {
        tbs = element(tbs)?.3;
    }
    let (_, subject, _, rest) = element(tbs)?;
    let (_, info, key_info, _) = element(rest)?;
    let (_, bits, ..) = element(element(info)?.3)?;
    let key = bits.strip_prefix(&[0])?;
    Some(Leaf {
        name: common_name(subject),
        key_info,
        key,
    })
}

fn common_name(mut subject: &[u8]) -> Option<&str> {
    while !subject.is_empty() {
        let (_, set, _, rest) = element(subject)?;
        let (_, pair, ..) = element(set)?;
        let (_, kind, _, value) = element(pair)?;
        if kind == [0x55, 4, 3] {
            return std::str::from_utf8(element(value)?.1).ok();
        }
        subject = rest;
    }
    None
}

/// Why a certificate was not accepted, for the words to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Another key than the pinned one.
    Changed(KeyPrint),
    /// Not pinned yet, and it names another serial number.
    OtherName,
}

/// Lets one key in.
#[derive(Debug)]
pub struct PinnedKey {
    serial: String,
    provider: Arc<CryptoProvider>,
    pinned: Mutex<Option<KeyPrint>>,
    seen: Mutex<Option<KeyPrint>>,
    doubt: Mutex<Option<Doubt>>,
}

impl PinnedKey {
    /// What the last handshake showed.
    pub fn seen(&self) -> Option<KeyPrint> {
        *self.seen.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// From now on only this key.
    pub fn pin(&self, key: KeyPrint) {
        *self.pinned.lock().unwrap_or_else(|e| e.into_inner()) = Some(key);
    }

    /// Whether a key is pinned.
    pub fn is_pinned(&self) -> bool {
        self.pinned.lock().unwrap_or_else(|e| e.into_inner()).is_some()
    }

    /// Why the last handshake was refused, once.
    pub fn take_doubt(&self) -> Option<Doubt> {
        self.doubt.lock().unwrap_or_else(|e| e.into_inner()).take()
    }

    fn signature(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let leaf = leaf(der).ok_or(Error::InvalidCertificate(rustls::CertificateError::BadEncoding))?;
        let known = self.provider.signature_verification_algorithms.mapping;
        let algorithms = known
            .iter()
            .find(|(scheme, _)| *scheme == signed.scheme)
            .map(|(_, algorithms)| *algorithms)
            .unwrap_or_default();
        let good = algorithms
            .iter()
            .any(|a| a.verify_signature(leaf.key, message, signed.signature()).is_ok());
        match good {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(Error::InvalidCertificate(rustls::CertificateError::BadSignature)),
        }
    }
}

impl ServerCertVerifier for PinnedKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf =
            leaf(end_entity).ok_or(Error::InvalidCertificate(rustls::CertificateError::BadEncoding))?;
        let print: KeyPrint = Sha256::digest(leaf.key_info).into();
        *self.seen.lock().unwrap_or_else(|e| e.into_inner()) = Some(print);
        let pinned = *self.pinned.lock().unwrap_or_else(|e| e.into_inner());
        let doubt = match pinned {
            Some(pinned) if pinned == print => None,
            Some(_) => Some(Doubt::Changed(print)),
            None if leaf.name == Some(self.serial.as_str()) => None,
            None => Some(Doubt::OtherName),
        };
        *self.doubt.lock().unwrap_or_else(|e| e.into_inner()) = doubt;
        match doubt {
            None => Ok(ServerCertVerified::assertion()),
            Some(_) => Err(Error::InvalidCertificate(
                rustls::CertificateError::ApplicationVerificationFailure,
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The TLS of one printer: its pin, and one configuration for all of its ports, because its file
/// server wants the control connection's session on the data connections.
#[derive(Clone, Debug)]
pub struct PrinterTls {
    /// For every connection to this printer.
    pub config: Arc<ClientConfig>,
    key: Arc<PinnedKey>,
    file: PathBuf,
}

/// Where a printer's pin lies.
pub fn pin_file(state_dir: &Path, printer: &str) -> PathBuf {
    state_dir.join(format!("bambu-{printer}.key"))
}

/// Where a key waits that was shown instead of the pinned one.
pub fn offered_file(state_dir: &Path, printer: &str) -> PathBuf {
    state_dir.join(format!("bambu-{printer}.key-offered"))
}

/// The key that is kept. A file that is there but cannot be read counts as another key, which none is:
/// a damaged card must not let a stranger in as if no printer had been known.
fn kept_key(file: &Path) -> Option<KeyPrint> {
    const NONE_IS_SO: KeyPrint = [0; 32];
    match fs::read_to_string(file) {
        Ok(text) => Some(from_hex(text.trim()).unwrap_or(NONE_IS_SO)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(_) => Some(NONE_IS_SO),
    }
}

impl PrinterTls {
    /// TLS with the pin of this printer, if it has one.
    ///
    /// # Errors
    /// The library refuses its own defaults.
    pub fn new(state_dir: &Path, printer: &str, serial: &str) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let file = pin_file(state_dir, printer);
        let key = Arc::new(PinnedKey {
            serial: serial.to_owned(),
            provider: provider.clone(),
            pinned: Mutex::new(kept_key(&file)),
            seen: Mutex::new(None),
            doubt: Mutex::new(None),
        });
        // Several models misbehave with 1.3, none needs it.
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(key.clone())
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(4);
        Ok(PrinterTls {
            config: Arc::new(config),
            key,
            file,
        })
    }

    /// Keeps the key that the last handshake showed, if none is kept yet. Called when the printer has
    /// accepted the access code.
    pub fn keep(&self) -> std::io::Result<()> {
        let Some(seen) = self.key.seen().filter(|_| !self.key.is_pinned()) else {
            return Ok(());
        };
        write_durably(&self.file, &to_hex(&seen))?;
        self.key.pin(seen);
        Ok(())
    }

    /// What to tell people when a handshake was refused for the certificate's sake.
    pub fn doubt(&self) -> Option<Fault> {
        match self.key.take_doubt()? {
            Doubt::Changed(print) => {
                let offered = self.file.with_extension("key-offered");
                let kept = write_durably(&offered, &to_hex(&print));
                let note = kept.err().map(|e| format!(" ({e})")).unwrap_or_default();
                Some(faults::CHANGED_KEY.with_raw(format!("key {}{note}", to_hex(&print))))
            }
            Doubt::OtherName => Some(faults::OTHER_SERIAL),
        }
    }
}

/// TLS to a printer that is asked for nothing but who it is, and told nothing: any key.
pub fn for_anybody() -> Option<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyKey(provider)))
        .with_no_client_auth();
    Some(Arc::new(config))
}

/// Lets every certificate in.
#[derive(Debug)]
struct AnyKey(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts the key that a printer showed instead of the pinned one; returns it. `None`: there is none.
pub fn trust(state_dir: &Path, printer: &str) -> std::io::Result<Option<String>> {
    let offered = offered_file(state_dir, printer);
    let text = match fs::read_to_string(&offered) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if from_hex(text.trim()).is_none() {
        return Ok(None);
    }
    write_durably(&pin_file(state_dir, printer), text.trim())?;
    fs::remove_file(&offered)?;
    Ok(Some(text.trim().to_owned()))
}

fn write_durably(path: &Path, text: &str) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = fs::File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    if let Some(dir) = path.parent() {
        fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Option<KeyPrint> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_that_cannot_be_read_lets_nobody_in() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("bambu-x.key");
        assert_eq!(kept_key(&file), None);
        fs::write(&file, to_hex(&[7; 32])).expect("written");
        assert_eq!(kept_key(&file), Some([7; 32]));
        for damaged in [&b""[..], b"07", b"\xff\xfe", &[b'z'; 64]] {
            fs::write(&file, damaged).expect("written");
            assert_eq!(kept_key(&file), Some([0; 32]), "{damaged:?}");
        }
    }
}
