//! Keeping the pair as it was decided: one writer, both replicating, commits waiting for whoever is there.

use std::time::Duration;

use super::{ACT, Controller, Done, within};
use crate::failover::events::Kind;
use crate::failover::hands::{Acknowledged, Hands, Trouble};
use crate::failover::judge;
use crate::topology::ServerId;

/// Whether a server in quarantine was repaired, or one lets itself be received from that refused, is seen after this time.
const QUARANTINE_LOOK: Duration = Duration::from_secs(10);

impl<H: Hands> Controller<H> {
    pub(super) async fn adopt(&mut self, server: ServerId) -> Done {
        let semi_sync = within(&self.hands, ACT, self.hands.semi_sync(server)).await;
        self.standing.semi_sync = semi_sync.map_err(|trouble| (server, trouble))? == Some(true);
        self.standing.exposed = true;
        self.record(self.standing.epoch + 1, Some(server), None)
            .await
            .map_err(|trouble| (server, trouble))?;
        self.standing.away = server.other(self.names.len());
        self.tell(Kind::Adopted, server, "it is the active master from now on", None);
        self.publish(false);
        Ok(())
    }

    pub(super) async fn open(&mut self, server: ServerId) -> Done {
        self.withdraw().await?;
        let fetched = match self.standing.fresh {
            // It had everything when it was promoted, and has made nothing since.
            true => Ok(0),
            false => self.fetch_back(server).await,
        };
        let fetched = fetched.map_err(|trouble| (server, format!("it can't be made writable: {trouble}")))?;
        // A server that was started may receive by itself what the other has committed and nobody was told of. What it has
        // received is applied first; if that can't be, its applier does not run, and `rejoin` starts it or says why not.
        let _ = within(&self.hands, ACT, self.hands.stop_receiving(server)).await;
        let _ = within(&self.hands, 2 * ACT, self.hands.finish_applying(server, ACT)).await;
        self.expose().await?;
        let opened = within(&self.hands, ACT, self.hands.set_read_only(server, false)).await;
        opened.map_err(|trouble| (server, format!("it can't be made writable: {trouble}")))?;
        self.standing.opened = Some(self.hands.now());
        self.standing.unasked_since = None;
        // It was started anew, and is as its option file says.
        self.standing.away = server.other(self.names.len());
        self.standing.alone = None;
        let detail = match fetched {
            0 => "the active master was read-only".to_owned(),
            n => format!(
                "the active master was read-only, and has {n} commits back that a crash had taken from it"
            ),
        };
        self.tell(Kind::Opened, server, detail, None);
        self.publish(false);
        Ok(())
    }

    /// What was begun in the active master's absence has not happened.
    pub(super) async fn withdraw(&mut self) -> Done {
        if self.standing.promoting.is_none() && !self.standing.unrecorded {
            return Ok(());
        }
        let active = self.standing.active;
        let recorded = self.record(self.standing.epoch, active, None).await;
        recorded.map_err(|trouble| (active.unwrap_or(ServerId(0)), trouble))?;
        self.publish(false);
        Ok(())
    }

    /// From now on it may make commits that a crash takes.
    pub(super) async fn settle(&mut self) -> Done {
        let Some(active) = self.standing.active else {
            return Ok(());
        };
        self.standing.fresh = false;
        let recorded = self.record(self.standing.epoch, Some(active), None).await;
        self.standing.fresh = recorded.is_err();
        recorded.map_err(|trouble| (active, trouble))
    }

    pub(super) async fn guard(&mut self, server: ServerId) -> Done {
        let closed = self.close(server).await;
        closed.map_err(|trouble| {
            let text =
                format!("it is writable and not the active master, and can't be made read-only: {trouble}");
            (server, text)
        })?;
        self.tell(
            Kind::Guarded,
            server,
            "it was writable, and is not the active master",
            None,
        );
        Ok(())
    }

    /// Makes a server read-only whose sessions may be in the middle of something. Commits that wait for the other server to
    /// acknowledge them, as those of a master that was replaced do, would hold up `read_only`: their sessions end first.
    pub(super) async fn close(&self, server: ServerId) -> Result<(), Trouble> {
        within(&self.hands, ACT, self.hands.end_sessions(server)).await?;
        // Nobody is left who could take it for an acknowledgement.
        within(&self.hands, ACT, self.hands.set_semi_sync(server, false)).await?;
        within(&self.hands, ACT, self.hands.set_read_only(server, true)).await?;
        within(&self.hands, ACT, self.hands.end_sessions(server)).await
    }

    /// Lets a server that was away replicate again, in both directions, if it has nothing that the pair lacks.
    pub(super) async fn rejoin(&mut self, server: ServerId) -> Done {
        let Some(active) = self.standing.active else {
            return Ok(());
        };
        let fail = |trouble: Trouble| (server, format!("it can't be let back in: {trouble}"));
        // Only the active master's commits wait: else a standby's applier would wait for a dead master (measured on both kinds),
        // and switching that off takes MySQL 9.7 a second. Before all else, since what waits holds up `read_only`.
        within(&self.hands, ACT, self.hands.set_semi_sync(server, false))
            .await
            .map_err(fail)?;
        within(&self.hands, ACT, self.hands.set_read_only(server, true))
            .await
            .map_err(fail)?;
        if let Some(why) = self.unfit(server, active).await.map_err(fail)? {
            // Neither direction: these commits must not spread, and what follows may build on what they are not.
            let _ = within(&self.hands, ACT, self.hands.stop_receiving(active)).await;
            let _ = within(&self.hands, ACT, self.hands.stop_receiving(server)).await;
            self.standing.look_again = Some(self.hands.now() + QUARANTINE_LOOK);
            if self.standing.quarantined.replace(server) != Some(server) {
                let advice = format!(
                    "{why}. It serves nothing until it is made anew from the active master's data (mariadb-backup, clone); it is let back in \
                     when it is"
                );
                self.tell(Kind::Quarantined, server, advice, None);
            }
            return Ok(());
        }
        within(&self.hands, ACT, self.hands.replicate(server, active))
            .await
            .map_err(fail)?;
        within(&self.hands, ACT, self.hands.replicate(active, server))
            .await
            .map_err(fail)?;
        if self.standing.blind.take().is_some() {
            self.note().await.map_err(fail)?;
        }
        // Who is refused is asked again and again: what that changes is told where it is done.
        let was_out = self.standing.away.take().is_some() | self.standing.quarantined.take().is_some();
        let is_told = was_out || !self.is_refused(server);
        self.standing.look_again = Some(self.hands.now() + QUARANTINE_LOOK);
        if self.standing.given_up.take().is_some() {
            self.publish(false);
        }
        if is_told {
            self.tell(
                Kind::Rejoined,
                server,
                "it has nothing that the active master lacks; both replicate",
                None,
            );
        }
        Ok(())
    }

    /// Whether the last probe found that a server's source does not have what it asks for.
    fn is_refused(&self, server: ServerId) -> bool {
        let health = self.health.borrow();
        let answer = health[server.0].answer.as_ref();
        answer.is_some_and(|answer| answer.seen.links.iter().any(judge::is_refused))
    }

    pub(super) async fn go_together(&mut self, active: ServerId) -> Done {
        let set = within(&self.hands, ACT, self.hands.set_semi_sync(active, true)).await;
        set.map_err(|trouble| {
            (
                active,
                format!("its commits can't be made to wait for the standby: {trouble}"),
            )
        })?;
        if self.standing.alone.replace(false) == Some(true) {
            let detail = "the standby receives again: semi-sync replication is on";
            self.tell(Kind::WaitsForStandby, active, detail, None);
        }
        Ok(())
    }

    /// From now on clients may be told of what the standby has not received.
    async fn expose(&mut self) -> Done {
        self.standing.covering = None;
        self.standing.exposed = true;
        let (epoch, active) = (self.standing.epoch, self.standing.active);
        // Also if that stands there already: an attempt to write the opposite may have come through whose answer was lost.
        let recorded = self.record(epoch, active, None).await;
        recorded.map_err(|trouble| (active.unwrap_or(ServerId(0)), trouble))
    }

    /// Commits wait for the standby again, which has perhaps not yet received what was committed before. When it has, whoever decides may
    /// rely on that.
    pub(super) async fn cover(&mut self, standby: ServerId) -> Done {
        let fail = |trouble: Trouble| {
            (
                standby,
                format!("whether it has everything can't be seen: {trouble}"),
            )
        };
        let Some((active, stream)) = self
            .standing
            .active
            .and_then(|active| Some((active, self.stream_of(active)?)))
        else {
            return Ok(());
        };
        let newest = async |server| within(&self.hands, ACT, self.hands.newest(server, stream)).await;
        let same = self.standing.covering.filter(|needed| needed.stream == stream);
        let needed = match same {
            Some(needed) => needed.number,
            None => newest(active).await.map_err(fail)?,
        };
        let has = newest(standby).await.map_err(fail)?;
        self.standing.covering = Some(Acknowledged {
            stream,
            number: needed,
        });
        if has < needed {
            return Ok(());
        }
        self.standing.exposed = false;
        let recorded = self.record(self.standing.epoch, Some(active), None).await;
        self.standing.exposed = recorded.is_err();
        recorded.map_err(fail)
    }

    /// A decision against safety and for service, which is therefore told.
    pub(super) async fn go_alone(&mut self, active: ServerId) -> Done {
        let begun = self.hands.now();
        self.expose().await?;
        // It may be late and come all the same.
        self.standing.alone = None;
        within(&self.hands, ACT, self.hands.set_semi_sync(active, false))
            .await
            .map_err(|trouble| {
                (
                    active,
                    format!(
                        "its commits wait for a standby that is gone, and that can't be changed: {trouble}"
                    ),
                )
            })?;
        self.standing.alone = Some(true);
        self.standing.alone_since = Some(self.hands.now());
        let detail = match self.standing.semi_sync {
            true => {
                "the standby is gone or does not receive: semi-sync replication is off, and commits are on one server only until it is back"
            }
            false => "the standby is gone: commits are on one server only until it is back",
        };
        self.tell(
            Kind::WaitsForNobody,
            active,
            detail,
            Some(self.hands.now() - begun),
        );
        Ok(())
    }

    /// `failover.failback`; what fails is told, undone, and tried again after the same time.
    pub(super) async fn fail_back(&mut self, to: ServerId) -> Done {
        self.tell(
            Kind::Failback,
            to,
            "both servers have been whole for failover.failback_after",
            None,
        );
        self.standing.whole_since = None;
        let timeout = self.rules.switchover_timeout;
        let done = self.switch_over(Some(to), timeout, false).await;
        done.map(drop).map_err(|trouble| (to, trouble))
    }
}
