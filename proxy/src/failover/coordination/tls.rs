//! The files for TLS towards etcd.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use etcd_client::{Certificate, Identity, TlsOptions};
use thiserror::Error;

use crate::config::Coordination;

/// Why a file can't be used.
#[derive(Debug, Error)]
#[error("{} (coordination.{key}) can't be read: {source}", path.display())]
pub struct Error {
    key: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What they hold.
pub(super) struct Tls {
    authority: Vec<u8>,
    /// Certificate and key.
    own: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    /// `None` where etcd is not reached by TLS.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn read(settings: &Coordination) -> Result<Option<Self>, Error> {
        let Some(authority) = settings.ca.as_deref() else {
            return Ok(None);
        };
        let own = match settings.certificate.as_deref().zip(settings.key.as_deref()) {
            Some((certificate, key)) => Some((read("certificate", certificate)?, read("key", key)?)),
            None => None,
        };
        Ok(Some(Self {
            authority: read("ca", authority)?,
            own,
        }))
    }

    pub(super) fn options(&self) -> TlsOptions {
        let options = TlsOptions::new().ca_certificate(Certificate::from_pem(&self.authority));
        match &self.own {
            Some((certificate, key)) => options.identity(Identity::from_pem(certificate, key)),
            None => options,
        }
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error {
        key,
        path: path.to_owned(),
        source,
    })
}
