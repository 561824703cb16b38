//! Who may look: whoever knows the name and password of `[metrics]`, by HTTP's Basic authentication, where they are set. Health and
//! readiness are for load balancers, which tell nobody's name: they stay open.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64ct::{Base64, Encoding};
use subtle::ConstantTimeEq;
use tandem_protocol::auth::sha2::double_sha256;

use crate::config;

/// What a wrong password costs, beside one of the port's few connections.
const PAUSE: Duration = Duration::from_secs(1);

const ASK: &str = "Basic realm=\"Tandem\", charset=\"UTF-8\"";

/// A closed door.
#[derive(Clone)]
pub(super) struct Door {
    /// Of what the header must hold. A hash, so that neither the length nor the place of a difference tells by time.
    proof: Arc<[u8; 32]>,
}

/// What a client has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Wrong,
    Right,
}

/// The header's value for an account.
pub(crate) fn credentials(account: &config::MetricsAccount) -> String {
    let plain = format!("{}:{}", account.user, account.password.reveal());
    format!("Basic {}", Base64::encode_string(plain.as_bytes()))
}

impl Door {
    pub(super) fn new(account: &config::MetricsAccount) -> Self {
        let credentials = credentials(account);
        let token = token(&credentials).unwrap_or_default();
        Self {
            proof: Arc::new(double_sha256(token.as_bytes())),
        }
    }

    fn shown(&self, value: Option<&[u8]>) -> Shown {
        let Some(value) = value else {
            return Shown::Nothing;
        };
        let token = str::from_utf8(value).ok().and_then(token);
        let proof = double_sha256(token.unwrap_or_default().as_bytes());
        match bool::from(proof.ct_eq(&*self.proof)) {
            true => Shown::Right,
            false => Shown::Wrong,
        }
    }
}

/// What stands behind the scheme, whose case does not matter.
fn token(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then(|| token.trim())
}

/// Lets in who shows the right credentials.
pub(super) async fn guard(State(door): State<Door>, request: Request, next: Next) -> Response {
    let value = request.headers().get(header::AUTHORIZATION);
    match door.shown(value.map(|value| value.as_bytes())) {
        Shown::Right => return next.run(request).await,
        Shown::Wrong => tokio::time::sleep(PAUSE).await,
        Shown::Nothing => {}
    }
    let text = "name and password are those of [metrics] in Tandem's configuration\n";
    let asked = [(header::WWW_AUTHENTICATE, ASK)];
    (StatusCode::UNAUTHORIZED, asked, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MetricsAccount, Secret};

    #[test]
    fn only_name_and_password_open_it() {
        let account = MetricsAccount {
            user: "Aladdin".to_owned(),
            password: Secret::new("open sesame"),
        };
        // The example of RFC 7617.
        assert_eq!(credentials(&account), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let door = Door::new(&account);
        for (value, shown) in [
            (None, Shown::Nothing),
            (Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Shown::Right),
            (Some("basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Shown::Right),
            (Some("Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Shown::Wrong),
            (Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZA=="), Shown::Wrong),
            (Some("Basic "), Shown::Wrong),
            (Some(""), Shown::Wrong),
        ] {
            assert_eq!(door.shown(value.map(str::as_bytes)), shown, "{value:?}");
        }
    }
}
