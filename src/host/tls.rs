//! TLS for everything in the process: one configuration, built when it is first needed.

use std::sync::{Arc, Mutex};

use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt;

static SHARED: Mutex<Option<Arc<ClientConfig>>> = Mutex::new(None);

/// The client configuration that all connections share: ring, the system's roots, session cache.
///
/// # Errors
/// The system has no roots, or none that can be read.
pub fn client_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut shared = SHARED.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(config) = &*shared {
        return Ok(config.clone());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    Ok(shared.insert(Arc::new(config)).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_configuration_for_all() {
        let one = client_config().expect("roots");
        assert!(Arc::ptr_eq(&one, &client_config().expect("roots")));
    }
}
