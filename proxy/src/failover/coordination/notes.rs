//! What stands under the keys in etcd, as TOML like the journal: an operator can read it (`etcdctl get --prefix /tandem/`).
//!
//! | key | written by | goes with the lease | holds |
//! |---|---|---|---|
//! | `/CLUSTER/leader` | who wins | yes | who decides |
//! | `/CLUSTER/decision` | the leader | no | the [journal's entry](Entry) |
//! | `/CLUSTER/published` | the leader | yes | [`Published`]: what all others follow |
//! | `/CLUSTER/members/LEASE` | each Tandem | yes | [`Member`] |

use std::time::Duration;

use toml_edit::{DocumentMut, value};

use crate::failover::hands::Acknowledged;
use crate::failover::journal::{
    acknowledged, flag, number, parse, put_acknowledged, put_number, put_server, server,
};
use crate::topology::ServerId;
use crate::topology::derive::Holding;

/// The keys of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) prefix: String,
    pub(super) leader: String,
    pub(super) decision: String,
    pub(super) published: String,
    members: String,
}

impl Keys {
    pub(super) fn new(cluster: &str) -> Self {
        let prefix = format!("/{cluster}/");
        Self {
            leader: format!("{prefix}leader"),
            decision: format!("{prefix}decision"),
            published: format!("{prefix}published"),
            members: format!("{prefix}members/"),
            prefix,
        }
    }

    pub(super) fn member(&self, lease: i64) -> String {
        format!("{}{lease:016x}", self.members)
    }

    /// Whose key it is, if it is a member's.
    pub(super) fn lease_of(&self, key: &str) -> Option<i64> {
        i64::from_str_radix(key.strip_prefix(&self.members)?, 16).ok()
    }
}

/// Who decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) name: String,
    /// Of its admin port, where commands are taken.
    pub(super) admin: String,
}

impl Leader {
    pub(super) fn to_text(&self) -> String {
        let mut document = DocumentMut::new();
        document["name"] = value(self.name.as_str());
        document["admin"] = value(self.admin.as_str());
        document.to_string()
    }

    /// A leader is one whatever it says of itself.
    pub(super) fn from_text(text: &str) -> Self {
        let document = parse(text).unwrap_or_default();
        Self {
            name: line(&document, "name"),
            admin: line(&document, "admin"),
        }
    }
}

/// What the leader's own sessions go by: see [`crate::topology::derive::Decided`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) active: Option<ServerId>,
    /// Another number each time that the active master was made writable; 0 is never.
    pub(super) opened: u64,
    pub(super) holding: Option<Holding>,
    pub(super) given_up: Option<ServerId>,
}

impl Published {
    pub(super) fn to_text(&self, names: &[String]) -> String {
        let mut document = DocumentMut::new();
        put_server(&mut document, "active", self.active, names);
        put_number(&mut document, "opened", self.opened);
        let (moment, pace) = match self.holding {
            None => (0, Duration::ZERO),
            Some(Holding::Moment(moment)) => (moment, Duration::ZERO),
            Some(Holding::Paced(pace)) => (0, pace),
        };
        put_number(&mut document, "holding", moment);
        put_number(
            &mut document,
            "pace_us",
            u64::try_from(pace.as_micros()).unwrap_or(u64::MAX),
        );
        put_server(&mut document, "given_up", self.given_up, names);
        document.to_string()
    }

    pub(super) fn from_text(text: &str, names: &[String]) -> Result<Self, String> {
        let document = parse(text)?;
        let holding = match number(&document, "holding")? {
            0 => {
                let pace = Some(Duration::from_micros(number(&document, "pace_us")?));
                pace.filter(|pace| !pace.is_zero()).map(Holding::Paced)
            }
            moment => Some(Holding::Moment(moment)),
        };
        Ok(Self {
            active: server(&document, "active", names)?,
            opened: number(&document, "opened")?,
            holding,
            given_up: server(&document, "given_up", names)?,
        })
    }
}

/// A Tandem that serves, and what the leader must know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    /// The revision of [`Published`] that its sessions go by.
    pub(super) seen: i64,
    /// One of them writes, or has a transaction open that has written.
    pub(super) writing: bool,
    /// What its clients were told of; final once it goes by a publication that gives the server up.
    pub(super) told: Option<Acknowledged>,
    /// The epoch in its journal.
    pub(super) epoch: u64,
}

impl Member {
    pub(super) fn to_text(&self) -> String {
        let mut document = DocumentMut::new();
        document["name"] = value(self.name.as_str());
        document["seen"] = value(self.seen);
        document["writing"] = value(self.writing);
        put_acknowledged(&mut document, "told", self.told);
        put_number(&mut document, "epoch", self.epoch);
        document.to_string()
    }

    pub(super) fn from_text(text: &str) -> Result<Self, String> {
        let document = parse(text)?;
        Ok(Self {
            name: line(&document, "name"),
            seen: document
                .get("seen")
                .and_then(toml_edit::Item::as_integer)
                .unwrap_or(0),
            writing: flag(&document, "writing"),
            told: acknowledged(&document, "told")?,
            epoch: number(&document, "epoch")?,
        })
    }
}

fn line(document: &DocumentMut, key: &str) -> String {
    let text = document.get(key).and_then(toml_edit::Item::as_str);
    text.unwrap_or("?").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::gtid::{Gtid, Stream};

    #[test]
    fn what_was_written_is_read_again() {
        let names = ["a".to_owned(), "b".to_owned()];
        let leader = Leader {
            name: "one".to_owned(),
            admin: "127.0.0.1:6447".to_owned(),
        };
        assert_eq!(Leader::from_text(&leader.to_text()), leader);
        let published = Published {
            active: Some(ServerId(1)),
            opened: 17,
            holding: Some(Holding::Moment(3)),
            given_up: Some(ServerId(0)),
        };
        let text = published.to_text(&names);
        assert_eq!(Published::from_text(&text, &names), Ok(published.clone()));
        let paced = Published {
            holding: Some(Holding::Paced(Duration::from_millis(25))),
            ..published.clone()
        };
        assert_eq!(Published::from_text(&paced.to_text(&names), &names), Ok(paced));
        // By name: another Tandem may have them in another order.
        let turned = ["b".to_owned(), "a".to_owned()];
        let read = Published::from_text(&text, &turned).unwrap();
        assert_eq!(
            (read.active, read.given_up),
            (Some(ServerId(0)), Some(ServerId(1)))
        );
        let stranger = Published::from_text(&text, &["c".to_owned()]).unwrap_err();
        assert!(stranger.contains("no [[server]] has this name"), "{stranger}");
        let member = Member {
            name: "two \"quoted\"".to_owned(),
            seen: 9,
            writing: true,
            told: Some(Acknowledged {
                stream: Stream::of_mariadb(0, 1),
                number: 70,
            }),
            epoch: 3,
        };
        assert_eq!(Member::from_text(&member.to_text()), Ok(member.clone()));
        let mysql = Gtid::parse_mysql("3e11fa47-71ca-11e1-9e33-c80aa9429562:1").unwrap();
        for stream in [Stream::of_mariadb(0, 1), mysql.stream()] {
            let told = Some(Acknowledged { stream, number: 0 });
            let silent = Member {
                told,
                ..member.clone()
            };
            let read = Member::from_text(&silent.to_text()).map(|member| member.told);
            assert_eq!(read, Ok(None), "nothing was acknowledged yet");
        }
        assert_eq!(Published::from_text("", &names), Ok(Published::default()));
    }

    #[test]
    fn members_are_told_apart_by_their_lease() {
        let keys = Keys::new("shop");
        for lease in [1, i64::MAX] {
            assert_eq!(keys.lease_of(&keys.member(lease)), Some(lease));
        }
        for other in [&keys.leader, &keys.decision, "/other/members/1"] {
            assert_eq!(keys.lease_of(other), None);
        }
    }
}
