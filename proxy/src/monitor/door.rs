//! How the monitor gets into a server: where, as whom, and whether by TLS.

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{ClientIdentity, Conn, DriverError, Error, Opts, OptsBuilder, SslOpts};
use tandem_protocol::handshake::connect::Protection;
use tokio::sync::watch;

use crate::config::{Config, Server, ServerTls, ServerTlsMode, TlsVersion};
use crate::net::address::Endpoint;
use crate::net::tls;
use crate::topology::ServerId;

/// Of one server. Whoever opens it goes by what the newest configuration says.
pub(crate) struct Door {
    server: ServerId,
    newer: watch::Receiver<Arc<Config>>,
}

impl Door {
    pub(crate) fn new(server: ServerId, newer: &watch::Receiver<Arc<Config>>) -> Self {
        let newer = newer.clone();
        Self { server, newer }
    }

    /// By server.
    pub(crate) fn of_all(newer: &watch::Receiver<Arc<Config>>) -> Vec<Self> {
        let count = newer.borrow().servers.len();
        (0..count)
            .map(|index| Self::new(ServerId(index), newer))
            .collect()
    }

    /// What acts now.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.newer.borrow())
    }

    pub(crate) fn way(&self) -> Way {
        let config = self.newer.borrow();
        // Which servers there are is the same until a restart.
        Way::new(&config.servers[self.server.0], &config)
    }

    /// # Errors
    /// As the driver says.
    pub(crate) async fn open(&self) -> Result<Conn, Error> {
        self.way().take().await
    }
}

/// What it takes to connect to one server, by one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    opts: Opts,
    /// Taken where TLS is preferred and the server offers none.
    in_clear: Option<Opts>,
    /// `server_tls.min_version`, which can't be told to the driver: it takes the best version that both sides know.
    least: TlsVersion,
}

impl Way {
    fn new(server: &Server, config: &Config) -> Self {
        let plain = plain(server, config);
        let tls = ssl_opts(&config.server_tls, &server.tls_name);
        let (opts, in_clear) = match tls::protection(config.server_tls.mode, &server.address) {
            Protection::Plain | Protection::Local => (plain, None),
            Protection::Preferred => (plain.clone().ssl_opts(tls), Some(plain)),
            Protection::Required => (plain.ssl_opts(tls), None),
        };
        Self {
            opts: opts.into(),
            in_clear: in_clear.map(Opts::from),
            least: config.server_tls.min_version,
        }
    }

    /// # Errors
    /// As the driver says.
    pub(crate) async fn take(&self) -> Result<Conn, Error> {
        let mut conn = match (Conn::new(self.opts.clone()).await, &self.in_clear) {
            (Err(Error::Driver(DriverError::NoClientSslFlagFromServer)), Some(plain)) => {
                Conn::new(plain.clone()).await?
            }
            (opened, _) => self.new_enough(opened?).await?,
        };
        match conn.query_drop(PAST_THE_CACHE).await {
            // Built without a query cache.
            Ok(()) | Err(Error::Server(_)) => Ok(conn),
            Err(error) => Err(error),
        }
    }

    /// Refuses a connection by an older TLS than is wanted. TLS sees to it that nobody between the two makes them take an
    /// older one than both know, so that the server's word will do.
    async fn new_enough(&self, mut conn: Conn) -> Result<Conn, Error> {
        if self.opts.ssl_opts().is_none() || self.least == TlsVersion::V1_2 {
            return Ok(conn);
        }
        let asked = conn.query_first("SHOW SESSION STATUS LIKE 'Ssl_version'").await?;
        match asked {
            Some((_, version)) if version == "TLSv1.3" => Ok(conn),
            spoken => {
                let version = spoken.map_or_else(String::new, |(_, version): (String, String)| version);
                let text = format!("the server speaks {version}, and server_tls.min_version is \"1.3\"");
                Err(Error::Other(text.into()))
            }
        }
    }
}

/// MariaDB's query cache has a lock, and counters that an operator looks at: the monitor's questions touch neither.
const PAST_THE_CACHE: &str = "SET /*M! query_cache_type = 0, */ autocommit = 1";

/// The name to expect where no name is to be looked at. When told to let every name pass, the driver (0.37) looks for
/// this word in the text of the TLS library's error. That text no longer has it, except where the expected name is
/// quoted; and it speaks of names only when the chain of signatures was found good.
const ANY_NAME: &str = "NotValidForName";

fn plain(server: &Server, config: &Config) -> OptsBuilder {
    let opts = OptsBuilder::default()
        .user(Some(&config.monitor.user))
        .pass(Some(config.monitor.password.reveal()))
        .prefer_socket(false)
        // Given here so that connecting doesn't ask the server for them: one round trip less.
        .max_allowed_packet(Some(16 << 20))
        .wait_timeout(Some(28_800));
    match &server.address {
        Endpoint::Tcp(address) => opts
            .ip_or_hostname(address.ip().to_string())
            .tcp_port(address.port()),
        Endpoint::Unix(path) => opts.socket(Some(path.to_string_lossy())),
    }
}

fn ssl_opts(tls: &ServerTls, name: &str) -> SslOpts {
    let verifies = tls.mode.verifies();
    let name = match tls.mode {
        ServerTlsMode::VerifyCa => ANY_NAME,
        _ => name,
    };
    let mut opts = SslOpts::default()
        // Without any root the driver refuses to begin, even where it is to accept whatever comes.
        .with_disable_built_in_roots(verifies)
        .with_danger_accept_invalid_certs(!verifies)
        .with_danger_skip_domain_validation(tls.mode != ServerTlsMode::VerifyIdentity)
        .with_danger_tls_hostname_override(Some(name.to_owned()));
    if let Some(ca) = &tls.ca {
        opts = opts.with_root_certs(vec![ca.clone().into()]);
    }
    if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
        let identity = ClientIdentity::new(certificate.clone().into(), key.clone().into());
        opts = opts.with_client_identity(Some(identity));
    }
    opts
}
