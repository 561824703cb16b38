//! TLS on both legs: what the configuration's files make of rustls, and new files while Tandem runs.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
pub use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use thiserror::Error;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use tandem_protocol::auth::vouch::{self, Fingerprint};
use tandem_protocol::handshake::connect::Protection;

use super::address::Endpoint;
use crate::config::{ClientTls, Config, ServerTls, ServerTlsMode, TlsVersion};

static ONLY_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What is wrong with the files.
#[derive(Debug, Error)]
pub enum Error {
    #[error("{key}: {path} can't be read: {error}; it must be a PEM file that Tandem's account may read")]
    File {
        key: &'static str,
        path: PathBuf,
        error: String,
    },
    #[error("{key}: {path} holds no certificate in PEM form")]
    NoCertificate { key: &'static str, path: PathBuf },
    #[error("{section}: {error}")]
    Unfit { section: &'static str, error: String },
}

impl Error {
    /// Which key, or else section, it is about, and what is wrong with that.
    pub fn parts(&self) -> (&'static str, String) {
        let about = match self {
            Self::File { key, .. } | Self::NoCertificate { key, .. } => key,
            Self::Unfit { section, .. } => section,
        };
        let text = self.to_string();
        let why = text.strip_prefix(about).unwrap_or(&text);
        (about, why.trim_start_matches([':', ' ']).to_owned())
    }

    fn file<E: fmt::Display>(key: &'static str, path: &Path) -> impl Fn(E) -> Self {
        move |error| Self::File {
            key,
            path: path.to_owned(),
            error: error.to_string(),
        }
    }
}

/// What clients meet.
pub struct Acceptor {
    /// `None` while they are offered none.
    current: ArcSwapOption<Made<ClientTls, Certified>>,
}

/// What servers meet.
pub struct Connector {
    current: ArcSwap<Made<ServerTls, ClientConfig>>,
}

/// What was made of settings and of the files that they name.
struct Made<S, C> {
    settings: S,
    config: Arc<C>,
}

/// With what clients are met who log in now.
pub struct Certified {
    pub acceptor: TlsAcceptor,
    /// Of Tandem's own certificate.
    pub fingerprint: Fingerprint,
}

type Accepting = Option<Arc<Made<ClientTls, Certified>>>;
type Connecting = Arc<Made<ServerTls, ClientConfig>>;

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Acceptor {
    /// # Errors
    /// See [`Error`].
    pub fn new(settings: Option<&ClientTls>) -> Result<Self, Error> {
        let current = ArcSwapOption::from(accepting(settings)?);
        Ok(Self { current })
    }

    /// `None` where clients are offered none; the servers offer it of themselves, or do not.
    pub fn current(&self, servers_do: bool) -> Option<Arc<Certified>> {
        let current = self.current.load();
        let made = current.as_ref()?;
        (servers_do || !made.settings.as_servers).then(|| Arc::clone(&made.config))
    }
}

fn accepting(settings: Option<&ClientTls>) -> Result<Accepting, Error> {
    let Some(settings) = settings else {
        return Ok(None);
    };
    Ok(Some(Arc::new(Made {
        config: server_config(settings)?,
        settings: settings.clone(),
    })))
}

fn connecting(settings: &ServerTls) -> Result<Connecting, Error> {
    Ok(Arc::new(Made {
        config: client_config(settings)?,
        settings: settings.clone(),
    }))
}

impl Connector {
    /// # Errors
    /// See [`Error`].
    pub fn new(settings: &ServerTls) -> Result<Self, Error> {
        let current = ArcSwap::from(connecting(settings)?);
        Ok(Self { current })
    }

    /// How a connection to `endpoint` is to be protected for a client that has come by TLS or not.
    pub fn protection(&self, endpoint: &Endpoint, client_by_tls: bool) -> Protection {
        match self.current.load().settings.mode {
            ServerTlsMode::AsClient if client_by_tls => Protection::Required,
            ServerTlsMode::AsClient => protection(ServerTlsMode::Disabled, endpoint),
            mode => protection(mode, endpoint),
        }
    }

    pub fn current(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.current.load().config))
    }
}

/// How a connection of Tandem's own to `endpoint` is to be protected. Nobody listens on the way to this machine itself: there
/// `preferred` saves the work.
pub fn protection(mode: ServerTlsMode, endpoint: &Endpoint) -> Protection {
    let stays_here = matches!(endpoint, Endpoint::Tcp(address) if address.ip().to_canonical().is_loopback());
    match (endpoint, mode) {
        (Endpoint::Unix(_), _) => Protection::Local,
        (_, ServerTlsMode::Disabled) => Protection::Plain,
        (_, ServerTlsMode::Preferred | ServerTlsMode::AsClient) if stays_here => Protection::Plain,
        (_, ServerTlsMode::Preferred | ServerTlsMode::AsClient) => Protection::Preferred,
        (_, ServerTlsMode::Required | ServerTlsMode::VerifyCa | ServerTlsMode::VerifyIdentity) => {
            Protection::Required
        }
    }
}

/// Both legs, as everybody who serves a client has them.
#[derive(Clone, Debug)]
pub struct Tls {
    pub clients: Arc<Acceptor>,
    pub servers: Arc<Connector>,
}

impl Tls {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            clients: Arc::new(Acceptor::new(config.client_tls.as_ref())?),
            servers: Arc::new(Connector::new(&config.server_tls)?),
        })
    }

    /// Reads the files that another configuration names, where its settings are others.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn renewal(&self, config: &Config) -> Result<Renewal, Error> {
        let clients = self.clients.current.load();
        let known = clients.as_ref().map(|made| &made.settings);
        let clients = match config.client_tls.as_ref() {
            settings if settings == known => None,
            settings => Some(accepting(settings)?),
        };
        let servers = match &config.server_tls {
            settings if *settings == self.servers.current.load().settings => None,
            settings => Some(connecting(settings)?),
        };
        Ok(Renewal { clients, servers })
    }

    /// Connections that come or are opened from now on are by these.
    pub fn renew(&self, renewal: Renewal) {
        if let Some(made) = renewal.clients {
            self.clients.current.store(made);
        }
        if let Some(made) = renewal.servers {
            self.servers.current.store(made);
        }
    }
}

/// What [`Tls::renewal`] has made; nothing of what stays.
pub struct Renewal {
    clients: Option<Accepting>,
    servers: Option<Connecting>,
}

/// Takes over new certificates: looks at the files again and again, and at what they hold when one has changed.
/// Files that are wrong or half written change nothing; the log says why.
pub async fn keep_fresh(tls: Tls) {
    let Tls { clients, servers } = tls;
    let mut ours = Watched::default();
    let mut theirs = Watched::default();
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        if let Some(made) = &*clients.current.load()
            && ours.have_changed(made.settings.files())
        {
            take_over("client_tls", accepting(Some(&made.settings)), |made| {
                clients.current.store(made);
            });
        }
        let made = servers.current.load_full();
        if theirs.have_changed(made.settings.files()) {
            take_over("server_tls", connecting(&made.settings), |made| {
                servers.current.store(made);
            });
        }
        ticks.tick().await;
    }
}

fn take_over<T>(section: &str, made: Result<T, Error>, take: impl FnOnce(T)) {
    match made {
        Ok(made) => {
            take(made);
            tracing::info!(section, "new certificates are in use for new connections");
        }
        Err(error) => tracing::error!(
            section,
            "new certificates are not used, the old ones stay: {error}"
        ),
    }
}

/// Files as they were when last looked at: their names, the time of their change, and their length.
#[derive(Default)]
struct Watched(Vec<(PathBuf, Option<(SystemTime, u64)>)>);

impl Watched {
    /// Looks at them again. Others than before are not the same ones changed.
    fn have_changed<'a>(&mut self, files: impl Iterator<Item = &'a Path>) -> bool {
        let stamp = |path: &Path| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        };
        let now: Vec<_> = files.map(|path| (path.to_owned(), stamp(path))).collect();
        let names = |files: &[(PathBuf, _)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
        let changed = now != self.0 && names(&now) == names(&self.0);
        self.0 = now;
        changed
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match least {
        TlsVersion::V1_2 => rustls::ALL_VERSIONS,
        TlsVersion::V1_3 => ONLY_1_3,
    }
}

fn server_config(settings: &ClientTls) -> Result<Arc<Certified>, Error> {
    const SECTION: &str = "client_tls";
    let unfit = |error: &dyn fmt::Display| Error::Unfit {
        section: SECTION,
        error: error.to_string(),
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(settings.min_version))
        .map_err(|error| unfit(&error))?;
    let builder = match &settings.ca {
        Some(path) => {
            let roots = Arc::new(roots("client_tls.ca", path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| unfit(&error))?)
        }
        None => builder.with_no_client_auth(),
    };
    let (certificates, key) = match &settings.identity {
        Some(identity) => (
            certificates("client_tls.certificate", &identity.certificate)?,
            key("client_tls.key", &identity.key)?,
        ),
        None => self_signed().map_err(|error| unfit(&error))?,
    };
    // The first one is Tandem's own; there is one at least.
    let fingerprint = vouch::fingerprint(certificates.first().map_or(&[], |own| own.as_ref()));
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|error| unfit(&format!("certificate and key don't go together: {error}")))?;
    // So that a client that connects for each page needn't go through a whole handshake each time.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| unfit(&error))?;
    Ok(Arc::new(Certified {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        fingerprint,
    }))
}

/// A certificate that nobody has signed, with a fresh key, as MariaDB makes itself one at each start from 11.4 on.
fn self_signed() -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Tandem");
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((
        vec![certificate.into()],
        PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    ))
}

/// What `[server_tls]` means towards servers.
///
/// # Errors
/// See [`Error`].
pub fn client_config(settings: &ServerTls) -> Result<Arc<ClientConfig>, Error> {
    const SECTION: &str = "server_tls";
    let unfit = |error: &dyn fmt::Display| Error::Unfit {
        section: SECTION,
        error: error.to_string(),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(settings.min_version))
        .map_err(|error| unfit(&error))?;
    let verifier: Arc<dyn ServerCertVerifier> = match (&settings.mode, &settings.ca) {
        (ServerTlsMode::VerifyIdentity, Some(path)) => {
            let roots = Arc::new(roots("server_tls.ca", path)?);
            WebPkiServerVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|error| unfit(&error))?
        }
        (ServerTlsMode::VerifyCa, Some(path)) => Arc::new(SignedBy {
            roots: roots("server_tls.ca", path)?,
            algorithms: provider().signature_verification_algorithms,
        }),
        _ => Arc::new(Anybody(provider().signature_verification_algorithms)),
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let config = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(path)) => {
            let certificates = certificates("server_tls.certificate", certificate)?;
            builder
                .with_client_auth_cert(certificates, key("server_tls.key", path)?)
                .map_err(|error| unfit(&format!("certificate and key don't go together: {error}")))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = CertificateDer::pem_file_iter(path).map_err(Error::file(key, path))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(Error::file(key, path))?;
    match found.is_empty() {
        true => Err(Error::NoCertificate {
            key,
            path: path.to_owned(),
        }),
        false => Ok(found),
    }
}

fn key(key: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(Error::file(key, path))
}

fn roots(key: &'static str, path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        roots.add(certificate).map_err(Error::file(key, path))?;
    }
    Ok(roots)
}

/// `required` without verification: keeps listeners out, not impostors. So nothing is checked, not even the
/// signature, which an impostor could make for its own certificate.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// `verify_ca`: signed by a known authority, whatever name it has.
#[derive(Debug)]
struct SignedBy {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for SignedBy {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Why a handshake failed, with what helps; `None` if the connection broke.
pub fn explain(error: &io::Error) -> Option<String> {
    let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match inner {
        rustls::Error::InvalidCertificate(why) => {
            format!("its certificate is not accepted ({why:?}); look at server_tls.ca and server_tls.mode")
        }
        inner => format!("TLS failed: {inner}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_is_not_blamed_on_certificates() {
        let eof = io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof");
        assert_eq!(explain(&eof), None);
        let error = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let why = explain(&io::Error::new(io::ErrorKind::InvalidData, error)).unwrap();
        assert!(
            why.contains("UnknownIssuer") && why.contains("server_tls.ca"),
            "{why}"
        );
    }
}
