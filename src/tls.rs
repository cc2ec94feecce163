//! Whom we believe when a server says who it is.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Mozilla's authorities, so that nothing need be installed beside us, and the operator's own from a PEM text. Those who
/// bring none of their own share one set: two hundred receivers would else hold two hundred.
pub fn client(ca: Option<&[u8]>) -> Result<rustls::ClientConfig, &'static str> {
    static COMMON: OnceLock<rustls::ClientConfig> = OnceLock::new();
    match (ca, COMMON.get()) {
        (Some(_), _) => trusting(ca),
        (None, Some(common)) => Ok(common.clone()),
        (None, None) => trusting(None).map(|it| COMMON.get_or_init(|| it).clone()),
    }
}

fn trusting(ca: Option<&[u8]>) -> Result<rustls::ClientConfig, &'static str> {
    let mut roots = rustls::RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(pem) = ca {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| "its `ca` file is no PEM certificate")?;
            roots.add(certificate).map_err(|_| "its `ca` file holds a certificate that cannot be read")?;
        }
        if roots.len() == before {
            return Err("its `ca` file holds no certificate");
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| "TLS cannot be set up")?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
