//! Single values. Files give them as TOML strings or integers, the environment and the command line always as
//! strings; each type says what it accepts.

use std::fmt;
use std::marker::PhantomData;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use tandem_protocol::auth::{native, sha2_crypt};
use tandem_protocol::compression::Algorithm;

use super::schema::nearest;
use super::{
    Algorithms, Audit, Auth, FirewallMode, Level, LogFormat, Networks, Password, Rights, ServerAlgorithm,
    ServerTlsMode, TlsVersion,
};
use crate::net::address::Endpoint;

/// What one key may hold.
pub(crate) trait Scalar: Sized {
    /// Completes "must be …".
    const EXPECTED: &'static str;

    fn from_text(text: &str) -> Result<Self, String>;

    fn from_integer(_integer: i64) -> Result<Self, String> {
        Err(must_be::<Self>())
    }

    fn from_bool(_value: bool) -> Result<Self, String> {
        Err(must_be::<Self>())
    }

    fn from_float(_value: f64) -> Result<Self, String> {
        Err(must_be::<Self>())
    }

    /// Of a key that [`super::schema::is_list`].
    fn from_list(_list: &[String]) -> Result<Self, String> {
        Err(must_be::<Self>())
    }
}

pub(super) fn must_be<T: Scalar>() -> String {
    format!("must be {}", T::EXPECTED)
}

/// A scalar on its way through serde. Its errors are complete sentences and hold no value that wasn't accepted as
/// harmless by the scalar itself.
pub(super) struct Parsed<T>(pub(super) T);

impl<'de, T: Scalar> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not `deserialize_str` and its like: `config` would turn numbers into strings and "yes" into 1.
        deserializer.deserialize_any(ScalarVisitor(PhantomData))
    }
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<'de, T: Scalar> Visitor<'de> for ScalarVisitor<T> {
    type Value = Parsed<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        T::from_text(text).map(Parsed).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, integer: i64) -> Result<Self::Value, E> {
        T::from_integer(integer).map(Parsed).map_err(E::custom)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        T::from_bool(value).map(Parsed).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Parsed(part)) = parts.next_element::<Parsed<String>>()? {
            list.push(part);
        }
        T::from_list(&list).map(Parsed).map_err(A::Error::custom)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        T::from_float(value).map(Parsed).map_err(E::custom)
    }
}

/// A name or a password.
impl Scalar for String {
    const EXPECTED: &'static str = "a string in quotes";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.contains('\0') {
            // The handshake ends a user name with a zero byte.
            return Err("must not contain a zero byte".to_owned());
        }
        Ok(text.to_owned())
    }
}

/// A password as a server stores it. What is refused is not repeated: it may be a password.
pub(super) struct Hash(pub(super) Password);

impl Scalar for Hash {
    const EXPECTED: &'static str = "what a server stores of a password: of mysql_native_password \"*\" and 40 \
        hexadecimal digits, of caching_sha2_password \"0x244124…\", as SHOW CREATE USER shows it after SET \
        print_identified_with_as_hex = ON";

    fn from_text(text: &str) -> Result<Self, String> {
        let native = || native::parse_stored(text.trim()).map(Password::Native);
        let sha2 = || sha2_crypt::Stored::parse(&from_hex(text.trim())?).map(Password::Sha2);
        // Not trimmed: its salt may have anything at its end.
        let plain = || sha2_crypt::Stored::parse(text.as_bytes()).map(Password::Sha2);
        let read = native().or_else(sha2).or_else(plain);
        read.map(Self).ok_or_else(must_be::<Self>)
    }
}

/// The bytes of `0x2441…`.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    let byte = |two: &[u8]| match two {
        [high, low] => {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
        }
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}

/// A number of things.
impl Scalar for usize {
    const EXPECTED: &'static str = "a whole number that isn't negative";

    fn from_text(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| must_be::<Self>())
    }

    fn from_integer(integer: i64) -> Result<Self, String> {
        integer.try_into().map_err(|_| must_be::<Self>())
    }
}

/// A number of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) usize);

impl Scalar for Size {
    const EXPECTED: &'static str = "a size such as \"64KiB\", \"1MiB\" or a number of bytes";

    fn from_text(text: &str) -> Result<Self, String> {
        let (number, unit) = number_and_unit(text).ok_or_else(must_be::<Self>)?;
        let scale: u64 = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "K" | "k" | "KB" | "kB" | "M" | "MB" | "G" | "GB" => {
                return Err(format!(
                    "{}; the unit {unit:?} is ambiguous: write KiB, MiB or GiB",
                    must_be::<Self>()
                ));
            }
            _ => return Err(must_be::<Self>()),
        };
        number
            .checked_mul(scale)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(must_be::<Self>)
    }

    fn from_integer(integer: i64) -> Result<Self, String> {
        integer.try_into().map(Self).map_err(|_| must_be::<Self>())
    }
}

impl Scalar for Duration {
    const EXPECTED: &'static str = "a duration such as \"250ms\", \"5s\", \"10m\" or \"8h\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let (number, unit) = number_and_unit(text).ok_or_else(must_be::<Self>)?;
        let scale = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" if number == 0 => 1,
            "" => return Err(format!("{}; the unit is missing", must_be::<Self>())),
            _ => return Err(must_be::<Self>()),
        };
        number
            .checked_mul(scale)
            .map(Self::from_millis)
            .ok_or_else(must_be::<Self>)
    }

    fn from_integer(integer: i64) -> Result<Self, String> {
        if integer == 0 {
            return Ok(Self::ZERO);
        }
        Err(format!("{}; the unit is missing", must_be::<Self>()))
    }
}

/// As a file may have it, in the largest unit that it is a whole number of.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (scale, unit) = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")]
        .into_iter()
        .find(|(scale, _)| millis >= *scale && millis.is_multiple_of(*scale))
        .unwrap_or((1, "ms"));
    format!("{}{unit}", millis / scale)
}

/// Likewise.
pub(super) fn show_size(bytes: usize) -> String {
    let (scale, unit) = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        .into_iter()
        .find(|(scale, _)| bytes >= *scale && bytes.is_multiple_of(*scale))
        .unwrap_or((1, "B"));
    format!("{}{unit}", bytes / scale)
}

/// "250ms" is 250 and "ms".
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

impl Scalar for SocketAddr {
    const EXPECTED: &'static str =
        "an address with a port, such as \"127.0.0.1:3306\", \"[::1]:3306\" or \"db-a.example:3306\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains('@') {
            // A DSN; what stands before the @ may be a password, so it isn't repeated.
            return Err(format!("{}, without an account", must_be::<Self>()));
        }
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(_)) => resolve(text),
            _ => Err(format!("must be {}; {text:?} has no valid port", Self::EXPECTED)),
        }
    }
}

impl Scalar for Endpoint {
    const EXPECTED: &'static str = "an address with a port, such as \"127.0.0.1:3306\" or \"db-a.example:3306\", or the path of a Unix socket";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.trim().starts_with('/') {
            return Ok(Self::Unix(Path::new(text.trim()).into()));
        }
        SocketAddr::from_text(text).map(Self::Tcp)
    }
}

/// The host of an address as it was written; empty for a Unix socket.
pub(super) struct Host(pub(super) String);

impl Scalar for Host {
    const EXPECTED: &'static str = Endpoint::EXPECTED;

    fn from_text(text: &str) -> Result<Self, String> {
        let host = text.trim().rsplit_once(':').map_or("", |(host, _)| host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self(match text.trim().starts_with('/') {
            true => String::new(),
            false => bare.to_owned(),
        }))
    }
}

impl Scalar for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| must_be::<Self>())
    }

    fn from_bool(value: bool) -> Result<Self, String> {
        Ok(value)
    }
}

impl Scalar for PathBuf {
    const EXPECTED: &'static str = "an absolute path, such as \"/etc/tandem/server.pem\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let path = Self::from(text.trim());
        match path.is_absolute() {
            true => Ok(path),
            false => Err(must_be::<Self>()),
        }
    }
}

impl Scalar for Networks {
    const EXPECTED: &'static str = "a list of networks, such as \"192.0.2.7, 10.0.0.0/8, 2001:db8::/32\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let network = |part: &str| {
            let alone = || part.parse().map(|address: std::net::IpAddr| address.into());
            part.parse()
                .or_else(|_| alone())
                .map_err(|_| format!("{}; {part:?} is none", must_be::<Self>()))
        };
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(network).collect::<Result<_, _>>().map(Self)
    }
}

/// `coordination.etcd`.
pub(super) struct Urls(pub(super) Vec<String>);

impl Scalar for Urls {
    const EXPECTED: &'static str =
        "the addresses of etcd, such as [\"http://192.0.2.7:2379\", \"http://192.0.2.8:2379\"]";

    fn from_text(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let urls: Vec<String> = parts.map(str::to_owned).collect();
        Self::from_list(&urls)
    }

    fn from_list(list: &[String]) -> Result<Self, String> {
        for url in list {
            let rest = url
                .strip_prefix("http://")
                .or_else(|| url.strip_prefix("https://"));
            let Some(rest) = rest.map(|rest| rest.trim_end_matches('/')) else {
                return Err(format!(
                    "{}; {url:?} begins with neither http:// nor https://",
                    must_be::<Self>()
                ));
            };
            if rest.contains('@') {
                return Err(format!(
                    "{}, without an account: that is coordination.user and password",
                    must_be::<Self>()
                ));
            }
            let port = rest
                .rsplit_once(':')
                .map(|(host, port)| (host, port.parse::<u16>()));
            if !matches!(port, Some((host, Ok(1..))) if !host.is_empty() && !rest.contains('/')) {
                return Err(format!(
                    "{}; {url:?} has no valid host and port",
                    must_be::<Self>()
                ));
            }
        }
        let is_mixed = list.iter().any(|url| url.starts_with("https://"))
            && list.iter().any(|url| url.starts_with("http://"));
        match is_mixed {
            true => Err(format!(
                "{}, all by http:// or all by https://",
                must_be::<Self>()
            )),
            false => Ok(Self(list.to_vec())),
        }
    }
}

/// `admin_user.rights`
impl Scalar for Rights {
    const EXPECTED: &'static str = "\"read\", \"act\" or \"read, act\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let mut rights = Self {
            read: false,
            act: false,
        };
        for part in text.split(',').map(str::trim) {
            match part {
                "read" => rights.read = true,
                "act" => rights.act = true,
                _ => return Err(format!("{}; {part:?} is none of these", must_be::<Self>())),
            }
        }
        Ok(rights)
    }
}

/// `listener.compression`, written as the servers' `protocol_compression_algorithms`.
impl Scalar for Algorithms {
    const EXPECTED: &'static str = "\"zlib, zstd\", one of them, or \"none\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let mut algorithms = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match MaybeAlgorithm::from_text(part) {
                Ok(MaybeAlgorithm(algorithm)) => algorithms.extend(algorithm),
                Err(_) => return Err(format!("{}; {part:?} is none of these", must_be::<Self>())),
            }
        }
        Ok(Self(algorithms))
    }
}

/// One of them, or none.
struct MaybeAlgorithm(Option<Algorithm>);

impl Scalar for MaybeAlgorithm {
    const EXPECTED: &'static str = "\"none\", \"zlib\" or \"zstd\"";

    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim() {
            "none" | "uncompressed" => Ok(Self(None)),
            "zlib" => Ok(Self(Some(Algorithm::Zlib))),
            "zstd" => Ok(Self(Some(Algorithm::Zstd))),
            _ => Err(must_be::<Self>()),
        }
    }
}

impl Scalar for ServerAlgorithm {
    const EXPECTED: &'static str = "\"none\", \"zlib\", \"zstd\" or \"as_client\"";

    fn from_text(text: &str) -> Result<Self, String> {
        match (text.trim(), MaybeAlgorithm::from_text(text)) {
            ("as_client", _) => Ok(Self::AsClient),
            (_, Ok(MaybeAlgorithm(algorithm))) => Ok(Self::Always(algorithm)),
            (_, Err(_)) => Err(must_be::<Self>()),
        }
    }
}

/// `[client_tls] mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientTlsMode {
    Disabled,
    Preferred,
    Required,
}

impl Scalar for ClientTlsMode {
    const EXPECTED: &'static str = "\"disabled\", \"preferred\" or \"required\"";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "disabled" => Ok(Self::Disabled),
            "preferred" => Ok(Self::Preferred),
            "required" => Ok(Self::Required),
            _ => Err(must_be::<Self>()),
        }
    }
}

/// `[failover] failback`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failback {
    Never,
    WhenHealthy,
}

impl Scalar for Failback {
    const EXPECTED: &'static str = "\"never\" or \"when_healthy\"";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            "when_healthy" => Ok(Self::WhenHealthy),
            _ => Err(must_be::<Self>()),
        }
    }
}

/// `[failover] mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailoverMode {
    Off,
    Manual,
    Automatic,
    Follower,
}

impl Scalar for FailoverMode {
    const EXPECTED: &'static str = "\"off\", \"manual\", \"automatic\" or \"follower\"";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "manual" => Ok(Self::Manual),
            "automatic" => Ok(Self::Automatic),
            "follower" => Ok(Self::Follower),
            _ => Err(must_be::<Self>()),
        }
    }
}

impl Scalar for ServerTlsMode {
    const EXPECTED: &'static str =
        "\"disabled\", \"preferred\", \"required\", \"verify_ca\", \"verify_identity\" or \"as_client\"";

    fn from_text(text: &str) -> Result<Self, String> {
        [
            Self::Disabled,
            Self::Preferred,
            Self::Required,
            Self::VerifyCa,
            Self::VerifyIdentity,
            Self::AsClient,
        ]
        .into_iter()
        .find(|mode| mode.name() == text)
        .ok_or_else(must_be::<Self>)
    }
}

impl Scalar for Auth {
    const EXPECTED: &'static str = "\"config\" or \"servers\"";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "config" => Ok(Self::Config),
            "servers" => Ok(Self::Servers),
            _ => Err(must_be::<Self>()),
        }
    }
}

impl Scalar for Level {
    const EXPECTED: &'static str = "\"strict\", \"session\" or \"eventual\"";

    fn from_text(text: &str) -> Result<Self, String> {
        Self::from_name(text.as_bytes()).ok_or_else(must_be::<Self>)
    }
}

impl Scalar for TlsVersion {
    const EXPECTED: &'static str = "\"1.2\" or \"1.3\"; older versions are broken and not supported";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            _ => Err(must_be::<Self>()),
        }
    }
}

/// The address of a name: the first IPv4 one when there is any, since MariaDB and MySQL as packaged by Debian listen
/// on IPv4 only, and `localhost` is often `::1` first.
fn resolve(text: &str) -> Result<SocketAddr, String> {
    let found: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|error| {
            format!("{text:?} can't be resolved ({error}); check the name, or give the IP address")
        })?
        .collect();
    found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first())
        .copied()
        .ok_or_else(|| format!("{text:?} has no address; give the IP address"))
}

/// An address, or nothing, so that an empty environment variable can switch a port off.
pub(super) struct Optional<T>(pub(super) Option<T>);

impl<T: Scalar> Scalar for Optional<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_text(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        T::from_text(text).map(|value| Self(Some(value)))
    }

    fn from_integer(integer: i64) -> Result<Self, String> {
        T::from_integer(integer).map(|value| Self(Some(value)))
    }

    fn from_bool(value: bool) -> Result<Self, String> {
        T::from_bool(value).map(|value| Self(Some(value)))
    }
}

/// A part of a whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio(pub(super) f64);

impl Scalar for Ratio {
    const EXPECTED: &'static str = "a number from 0 to 1, such as 0.01";

    fn from_text(text: &str) -> Result<Self, String> {
        Self::from_float(text.trim().parse().map_err(|_| must_be::<Self>())?)
    }

    fn from_integer(integer: i64) -> Result<Self, String> {
        match integer {
            0 => Ok(Self(0.0)),
            1 => Ok(Self(1.0)),
            _ => Err(must_be::<Self>()),
        }
    }

    fn from_float(value: f64) -> Result<Self, String> {
        match (0.0..=1.0).contains(&value) {
            true => Ok(Self(value)),
            false => Err(must_be::<Self>()),
        }
    }
}

/// Where a collector of OpenTelemetry listens.
pub(super) struct Collector(pub(super) String);

impl Scalar for Collector {
    const EXPECTED: &'static str =
        "the address of a collector, such as \"http://192.0.2.9:4317\" (without TLS)";

    fn from_text(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'));
        let port = rest.and_then(|rest| rest.rsplit_once(':'));
        match port.map(|(host, port)| (host, port.parse::<u16>())) {
            Some((host, Ok(1..))) if !host.is_empty() && !host.contains(['/', '@']) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(must_be::<Self>()),
        }
    }
}

impl Scalar for Audit {
    const EXPECTED: &'static str = "\"off\", \"writes\" or \"all\"";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "writes" => Ok(Self::Writes),
            "all" => Ok(Self::All),
            _ => Err(must_be::<Self>()),
        }
    }
}

impl Scalar for FirewallMode {
    const EXPECTED: &'static str = "\"off\", \"learn\", \"warn\" or \"refuse\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let all = [Self::Off, Self::Learn, Self::Warn, Self::Refuse];
        let found = all.into_iter().find(|mode| mode.name() == text);
        found.ok_or_else(must_be::<Self>)
    }
}

impl Scalar for LogFormat {
    const EXPECTED: &'static str = "\"human\" or \"json\"";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(must_be::<Self>()),
        }
    }
}

/// A filter for tracing, checked.
pub(super) struct LogFilter(pub(super) String);

impl Scalar for LogFilter {
    const EXPECTED: &'static str =
        "error, warn, info, debug, trace or off, or a list such as \"info,tandem::monitor=debug\"";

    fn from_text(text: &str) -> Result<Self, String> {
        const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace", "off"];
        for directive in text.split(',').map(str::trim) {
            // tracing takes a lone word that isn't a level for the name of a module, and would log nothing else.
            let alone = !directive.contains(['=', '[']);
            if alone && !LEVELS.contains(&directive.to_lowercase().as_str()) {
                return Err(match nearest(directive, LEVELS) {
                    Some(near) => format!("{}; did you mean {near:?}?", must_be::<Self>()),
                    None => must_be::<Self>(),
                });
            }
        }
        tracing_subscriber::EnvFilter::try_new(text)
            .map(|_| Self(text.to_owned()))
            .map_err(|error| format!("{}: {error}", must_be::<Self>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_written() {
        for text in ["0ms", "250ms", "1500ms", "5s", "90s", "10m", "8h", "1d"] {
            let duration = Duration::from_text(text).expect("a duration");
            assert_eq!(show_duration(duration), text);
        }
        for text in ["0B", "1000B", "64KiB", "1536KiB", "3MiB", "2GiB"] {
            let Size(bytes) = Size::from_text(text).expect("a size");
            assert_eq!(show_size(bytes), text);
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, millis) in [
            ("250ms", 250),
            ("5s", 5_000),
            ("10m", 600_000),
            ("8h", 28_800_000),
            ("1d", 86_400_000),
            (" 3 s ", 3_000),
            ("0", 0),
        ] {
            assert_eq!(
                Duration::from_text(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "5 minutes",
            "99999999999999999999s",
            "9999999999999999999h",
        ] {
            assert!(Duration::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        for (text, bytes) in [
            ("1MiB", 1 << 20),
            ("64 KiB", 65_536),
            ("10", 10),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(Size::from_text(text), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "MiB", "1MB", "1.5MiB", "-1", "99999999999GiB"] {
            assert!(Size::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_resolved() {
        for text in ["127.0.0.1:1", "[::1]:3306", "localhost:3306", " 10.0.0.1:3306 "] {
            assert!(SocketAddr::from_text(text).is_ok(), "{text}");
        }
        assert!(SocketAddr::from_text("localhost:3306").is_ok_and(|address| address.is_ipv4()));
        for text in [
            "",
            ":",
            "127.0.0.1",
            "localhost",
            "a:b",
            "a:65536",
            "/run/mysqld.sock",
            "::1",
            "300.0.0.1:1",
        ] {
            assert!(SocketAddr::from_text(text).is_err(), "{text}");
        }
    }
}
