//! The way to etcd: one connection at a time, to one address after the other. It keeps the lease, tells what stands under the
//! keys as soon as it changes, and keeps this Tandem's own member key as it should be.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, Error, EventType, GetOptions, KeyValue, PutOptions, Txn,
    TxnOp, WatchOptions,
};
use tokio::sync::watch;

use super::notes::{Keys, Leader, Member, Published};
use super::role::trusted_until;
use super::tls::{self, Tls};
use crate::config::Coordination;
use crate::failover::journal::Entry;

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(100);

/// So many questions' time has a connection: etcd takes 60 ms of a core for a password, and much longer where others want the core.
const LOGIN: u32 = 3;

/// What etcd says.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight {
    /// The address that is in use; `None` while none is reached.
    pub(super) reached: Option<String>,
    /// Why the last connection was lost or could not be made.
    pub(super) trouble: String,
    /// All up to this revision is in here.
    pub(super) revision: i64,
    /// This Tandem's own.
    pub(super) lease: Option<i64>,
    pub(super) leader: Option<Leading>,
    pub(super) decision: Option<(Entry, i64)>,
    pub(super) published: Option<(Published, i64)>,
    /// By lease.
    pub(super) members: BTreeMap<i64, Member>,
    /// What could not be understood, by key.
    pub(super) unreadable: BTreeMap<String, String>,
}

/// The leader's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leading {
    pub(super) leader: Leader,
    pub(super) lease: i64,
    /// The revision at which it was made: as long as it is the same, nobody else has decided since.
    pub(super) created: i64,
}

impl Sight {
    pub(super) fn leader_lease(&self) -> Option<i64> {
        self.leader.as_ref().map(|leading| leading.lease)
    }

    fn put(&mut self, keys: &Keys, kv: &KeyValue, names: &[String]) {
        let (key, text) = (
            String::from_utf8_lossy(kv.key()),
            String::from_utf8_lossy(kv.value()),
        );
        self.unreadable.remove(&*key);
        let read = if key == keys.leader {
            self.leader = Some(Leading {
                leader: Leader::from_text(&text),
                lease: kv.lease(),
                created: kv.create_revision(),
            });
            Ok(())
        } else if key == keys.decision {
            Entry::from_text(&text, names).map(|entry| self.decision = Some((entry, kv.mod_revision())))
        } else if key == keys.published {
            Published::from_text(&text, names)
                .map(|published| self.published = Some((published, kv.mod_revision())))
        } else if let Some(lease) = keys.lease_of(&key) {
            Member::from_text(&text).map(|member| drop(self.members.insert(lease, member)))
        } else {
            Ok(())
        };
        if let Err(problem) = read {
            self.unreadable.insert(key.into_owned(), problem);
        }
    }

    fn delete(&mut self, keys: &Keys, key: &[u8]) {
        let key = String::from_utf8_lossy(key);
        self.unreadable.remove(&*key);
        if key == keys.leader {
            self.leader = None;
        } else if key == keys.decision {
            self.decision = None;
        } else if key == keys.published {
            self.published = None;
        } else if let Some(lease) = keys.lease_of(&key) {
            self.members.remove(&lease);
        }
    }
}

/// What is known of etcd here, and by what it is asked.
#[derive(Clone)]
pub(super) struct Post {
    pub(super) keys: Arc<Keys>,
    pub(super) sight: watch::Receiver<Sight>,
    /// Until when the own lease can be trusted.
    pub(super) until: watch::Receiver<Option<Instant>>,
    client: watch::Receiver<Option<Client>>,
    /// The longest that one question may take.
    pub(super) reach: Duration,
}

/// Why something could not be asked, in words.
pub(super) type Trouble = String;

impl Post {
    /// Has transactions carried out, once there is a connection.
    ///
    /// # Errors
    /// When there is none in time, or it fails; then it may have been carried out all the same.
    pub(super) async fn transact(&self, txn: Txn) -> Result<etcd_client::TxnResponse, Trouble> {
        bounded(self.reach, async {
            let mut client = self.client.clone();
            let found = client.wait_for(Option::is_some).await.map(|found| found.clone());
            match found.ok().flatten() {
                Some(mut client) => client.txn(txn).await.map_err(told),
                None => Err("there is no connection".to_owned()),
            }
        })
        .await
    }

    /// Gives a lease back, with all that goes with it.
    pub(super) async fn revoke(&self, lease: i64) -> Result<(), Trouble> {
        let client = self.client.borrow().clone();
        let Some(mut client) = client else {
            return Err("there is no connection".to_owned());
        };
        bounded(self.reach, async {
            client.lease_revoke(lease).await.map_err(told)
        })
        .await
        .map(drop)
    }
}

/// `when` a key was made at this revision; 0 is: it is not there.
pub(super) fn is_of(key: &str, created: i64) -> Compare {
    Compare::create_revision(key, CompareOp::Equal, created)
}

/// A key that goes with a lease.
pub(super) fn put_leased(key: &str, text: String, lease: i64) -> TxnOp {
    TxnOp::put(key, text, Some(PutOptions::new().with_lease(lease)))
}

/// See the module.
pub(super) struct Link {
    settings: Coordination,
    names: Vec<String>,
    keys: Arc<Keys>,
    tls: Option<Tls>,
    sight: watch::Sender<Sight>,
    until: watch::Sender<Option<Instant>>,
    client: watch::Sender<Option<Client>>,
    /// As the own key should be; `None`: it should not be there yet.
    member: watch::Receiver<Option<Member>>,
    lease: Option<i64>,
    reach: Duration,
}

/// Why a connection is no longer used.
enum Ended {
    /// etcd does not know the lease any more.
    Expired,
    Lost(Trouble),
}

impl From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Self {
        Self::Lost(trouble)
    }
}

impl Link {
    /// # Errors
    /// When a file for TLS can't be read.
    pub(super) fn new(
        settings: &Coordination,
        names: &[String],
        member: watch::Receiver<Option<Member>>,
    ) -> Result<(Self, Post), tls::Error> {
        let keys = Arc::new(Keys::new(&settings.cluster));
        let (sight, seen) = watch::channel(Sight {
            trouble: "it was not reached yet".to_owned(),
            ..Sight::default()
        });
        let (until, trusted) = watch::channel(None);
        let (client, connected) = watch::channel(None);
        let reach = settings.lease / 5;
        let link = Self {
            settings: settings.clone(),
            names: names.to_vec(),
            keys: Arc::clone(&keys),
            tls: Tls::read(settings)?,
            sight,
            until,
            client,
            member,
            lease: None,
            reach,
        };
        let post = Post {
            keys,
            sight: seen,
            until: trusted,
            client: connected,
            reach,
        };
        Ok((link, post))
    }

    pub(super) async fn run(mut self) {
        let urls = self.settings.etcd.clone();
        for url in urls.iter().cycle() {
            let Err(ended) = self.session(url).await;
            self.client.send_replace(None);
            let trouble = match ended {
                Ended::Expired => {
                    self.lease = None;
                    "the lease has ended".to_owned()
                }
                Ended::Lost(trouble) => trouble,
            };
            tracing::debug!(url, trouble, "the connection to etcd ended");
            self.sight.send_modify(|sight| {
                sight.reached = None;
                sight.trouble = format!("{url}: {trouble}");
            });
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Serves as long as the connection does.
    async fn session(&mut self, url: &str) -> Result<Infallible, Ended> {
        let client = bounded(LOGIN * self.reach, self.connect(url)).await?;
        let (lease, asked) = self.renew(client.clone()).await?;
        self.lease = Some(lease);
        let revision = self.look(client.clone(), url, lease).await?;
        // Not before: what was seen of the keys before this connection does not go with this lease.
        self.trust(asked);
        self.client.send_replace(Some(client.clone()));
        // Whoever joins goes by what was published before it is counted on.
        let first = {
            let sight = self.sight.borrow();
            sight.published.as_ref().map_or(0, |(_, revision)| *revision)
        };
        tokio::select! {
            ended = self.keep(client.clone(), lease) => ended,
            ended = self.watch(client.clone(), revision) => ended,
            ended = self.say(client.clone(), lease, first) => ended,
        }
    }

    async fn connect(&self, url: &str) -> Result<Client, Trouble> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.reach)
            // Not for the streams, which it would end.
            .with_require_leader(true);
        if let Some(user) = &self.settings.user {
            options = options
                .with_user(user, self.settings.password.reveal())
                .with_auto_token_refresh(true);
        }
        if let Some(tls) = &self.tls {
            options = options.with_tls(tls.options());
        }
        Client::connect([url], Some(options)).await.map_err(told)
    }

    /// The lease, a new one if the old one has ended, and since when it runs at least.
    async fn renew(&self, mut client: Client) -> Result<(i64, Instant), Ended> {
        let asked = Instant::now();
        if let Some(lease) = self.lease {
            let kept = tokio::time::timeout(self.reach, client.lease_keep_alive(lease)).await;
            match kept {
                Ok(Ok(_)) => return Ok((lease, asked)),
                Ok(Err(Error::LeaseKeepAliveError(_))) => {}
                Ok(Err(error)) => return Err(told(error).into()),
                Err(_) => return Err(late(self.reach).into()),
            }
        }
        let asked = Instant::now();
        let seconds = i64::try_from(self.settings.lease.as_secs()).unwrap_or(i64::MAX);
        let granted = bounded(self.reach, async {
            client.lease_grant(seconds, None).await.map_err(told)
        })
        .await?;
        Ok((granted.id(), asked))
    }

    /// Reads all keys; what it returns is the revision that they are of.
    async fn look(&self, mut client: Client, url: &str, lease: i64) -> Result<i64, Trouble> {
        let options = GetOptions::new().with_prefix();
        let got = bounded(self.reach, async {
            let got = client.get(self.keys.prefix.as_str(), Some(options)).await;
            got.map_err(told)
        })
        .await?;
        let revision = got.header().map_or(0, etcd_client::ResponseHeader::revision);
        let mut sight = Sight {
            reached: Some(url.to_owned()),
            revision,
            lease: Some(lease),
            ..Sight::default()
        };
        for kv in got.kvs() {
            sight.put(&self.keys, kv, &self.names);
        }
        self.sight.send_replace(sight);
        Ok(revision)
    }

    async fn keep(&self, mut client: Client, lease: i64) -> Result<Infallible, Ended> {
        let asked = Instant::now();
        let opened = tokio::time::timeout(self.reach, client.lease_keep_alive(lease)).await;
        let (mut keeper, mut answers) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(Error::LeaseKeepAliveError(_))) => return Err(Ended::Expired),
            Ok(Err(error)) => return Err(told(error).into()),
            Err(_) => return Err(late(self.reach).into()),
        };
        self.trust(asked);
        loop {
            tokio::time::sleep(self.reach).await;
            let asked = Instant::now();
            let answer = bounded(self.reach, async {
                keeper.keep_alive().await.map_err(told)?;
                answers.message().await.map_err(told)
            })
            .await?;
            match answer {
                Some(answer) if answer.ttl() > 0 => self.trust(asked),
                Some(_) => return Err(Ended::Expired),
                None => return Err("etcd has ended the stream".to_owned().into()),
            }
        }
    }

    fn trust(&self, asked: Instant) {
        self.until
            .send_replace(Some(trusted_until(asked, self.settings.lease)));
    }

    async fn watch(&self, mut client: Client, revision: i64) -> Result<Infallible, Ended> {
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(revision + 1);
        let mut watch = bounded(self.reach, async {
            let watch = client.watch(self.keys.prefix.as_str(), Some(options)).await;
            watch.map_err(told)
        })
        .await?;
        while let Some(response) = watch.message().await.map_err(told)? {
            if response.canceled() {
                let why = response.cancel_reason();
                return Err(format!("etcd has ended the watch: {why}").into());
            }
            let revision = response.header().map_or(0, etcd_client::ResponseHeader::revision);
            if response.events().is_empty() {
                continue;
            }
            self.sight.send_modify(|sight| {
                sight.revision = sight.revision.max(revision);
                for event in response.events() {
                    let Some(kv) = event.kv() else { continue };
                    match event.event_type() {
                        EventType::Put => sight.put(&self.keys, kv, &self.names),
                        EventType::Delete => sight.delete(&self.keys, kv.key()),
                    }
                }
            });
        }
        Err("etcd has ended the watch".to_owned().into())
    }

    /// Keeps the member key as it should be, once it goes by `first`.
    async fn say(&self, mut client: Client, lease: i64, first: i64) -> Result<Infallible, Ended> {
        let key = self.keys.member(lease);
        let mut member = self.member.clone();
        loop {
            let text = {
                let member = member.borrow_and_update();
                let ready = member.as_ref().filter(|member| member.seen >= first);
                ready.map(Member::to_text)
            };
            if let Some(text) = text {
                let options = PutOptions::new().with_lease(lease);
                bounded(self.reach, async {
                    let put = client.put(key.as_str(), text, Some(options)).await;
                    put.map_err(told)
                })
                .await?;
            }
            if member.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn bounded<T>(
    reach: Duration,
    question: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(reach, question).await {
        Ok(answer) => answer,
        Err(_) => Err(late(reach)),
    }
}

fn late(reach: Duration) -> Trouble {
    format!("no answer within {reach:?}")
}

/// An error's own words, and those of its first cause: what is between says "transport error".
fn told(error: Error) -> Trouble {
    let Error::GRpcStatus(status) = error else {
        return error.to_string();
    };
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(&status);
    while let Some(inner) = cause {
        cause = inner.source();
        if cause.is_none() {
            text = format!("{text}: {inner}");
        }
    }
    text
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}
