//! What the controller acts with here: calls into the modelled world.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::world::{Answer, Ask, Event, World, name, stream};
use crate::failover::events::{Event as Told, Kind};
use crate::failover::hands::{Acknowledged, Hands, Trouble};
use crate::failover::journal::Entry;
use crate::failover::pulse::Stall;
use crate::topology::ServerId;
use crate::topology::derive::Decided;
use crate::topology::gtid::Stream;

#[derive(Clone)]
pub(super) struct Reach(pub(super) Arc<Mutex<World>>);

impl Reach {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tandem may be killed before it and after it.
    fn risk(&self) {
        let mut world = self.world();
        let chance = world.setup.kill;
        if chance > 0 && world.dice.percent(chance) {
            world.killed = true;
        }
    }

    async fn ask(&self, server: usize, ask: Ask) -> Result<Answer, Trouble> {
        self.risk();
        // Killed: nothing is sent any more.
        poll_fn(|_| {
            if self.world().killed {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
        let call = self.world().call(server, ask);
        let answer = poll_fn(|_| match self.world().calls[call].done.take() {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        })
        .await;
        self.world()
            .note(|| format!("{} → tandem: {ask:?}: {answer:?}", name(server)));
        self.risk();
        match answer {
            Answer::Refused => Err("connection refused".to_owned()),
            Answer::Lost => Err("connection lost".to_owned()),
            Answer::Trouble(text) => Err(text.to_owned()),
            answer => Ok(answer),
        }
    }

    async fn executed(&self, server: ServerId) -> Result<[u64; 2], Trouble> {
        match self.ask(server.0, Ask::Position).await? {
            Answer::Position(executed) => Ok(executed),
            other => panic!("{other:?}"),
        }
    }
}

impl Hands for Reach {
    fn now(&self) -> Instant {
        let world = self.world();
        world.at(world.now)
    }

    fn minute_of_day(&self) -> u16 {
        0
    }

    async fn sleep_until(&self, at: Instant) {
        let time = {
            let mut world = self.world();
            // No less than one step of the clock.
            let time = world.time(at).max(world.now + 1);
            let delay = time - world.now;
            world.after(delay, Event::Stir);
            time
        };
        poll_fn(|_| match self.world().now >= time {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    async fn set_read_only(&self, server: ServerId, on: bool) -> Result<(), Trouble> {
        self.ask(server.0, Ask::ReadOnly(on)).await.map(drop)
    }

    async fn is_read_only(&self, server: ServerId) -> Result<bool, Trouble> {
        match self.ask(server.0, Ask::IsReadOnly).await? {
            Answer::IsReadOnly(on) => Ok(on),
            other => panic!("{other:?}"),
        }
    }

    async fn end_sessions(&self, server: ServerId) -> Result<(), Trouble> {
        self.ask(server.0, Ask::EndSessions).await.map(drop)
    }

    async fn semi_sync(&self, server: ServerId) -> Result<Option<bool>, Trouble> {
        match self.ask(server.0, Ask::SemiSync).await? {
            Answer::SemiSync(on) => Ok(on),
            other => panic!("{other:?}"),
        }
    }

    async fn set_semi_sync(&self, server: ServerId, on: bool) -> Result<(), Trouble> {
        if self.semi_sync(server).await?.is_none_or(|is_on| is_on == on) {
            return Ok(());
        }
        self.ask(server.0, Ask::SetSemiSync(on)).await.map(drop)
    }

    async fn stop_receiving(&self, server: ServerId) -> Result<(), Trouble> {
        self.ask(server.0, Ask::StopReceiving).await.map(drop)
    }

    async fn replicate(&self, server: ServerId, _from: ServerId) -> Result<(), Trouble> {
        self.ask(server.0, Ask::Replicate).await.map(drop)
    }

    async fn finish_applying(&self, server: ServerId, patience: Duration) -> Result<bool, Trouble> {
        let deadline = self.now() + patience;
        loop {
            match self.ask(server.0, Ask::Link).await? {
                Answer::Link { applies: false, .. } => {
                    self.ask(server.0, Ask::StartApplying).await?;
                }
                Answer::Link { drained: true, .. } => {
                    self.ask(server.0, Ask::StopApplying).await?;
                    return Ok(true);
                }
                _ if self.now() >= deadline => return Ok(false),
                _ => self.sleep_until(self.now() + Duration::from_millis(50)).await,
            }
        }
    }

    async fn newest(&self, server: ServerId, of: Stream) -> Result<u64, Trouble> {
        let executed = self.executed(server).await?;
        Ok(executed[usize::from(of == stream(1))])
    }

    async fn position(&self, server: ServerId) -> Result<String, Trouble> {
        let [a, b] = self.executed(server).await?;
        Ok(format!("{a},{b}"))
    }

    async fn applied(&self, server: ServerId, position: &str, patience: Duration) -> Result<bool, Trouble> {
        let (a, b) = position.split_once(',').unwrap();
        let wanted: [u64; 2] = [a.parse().unwrap(), b.parse().unwrap()];
        let deadline = self.now() + patience;
        loop {
            let executed = self.executed(server).await?;
            if executed[0] >= wanted[0] && executed[1] >= wanted[1] {
                return Ok(true);
            }
            if self.now() >= deadline {
                return Ok(false);
            }
            self.sleep_until(self.now() + Duration::from_millis(20)).await;
        }
    }

    async fn errant(&self, server: ServerId, other: ServerId) -> Result<Option<String>, Trouble> {
        let mine = self.executed(server).await?;
        let theirs = self.executed(other).await?;
        let lacks = (0..2).filter(|&origin| mine[origin] > theirs[origin]);
        let errant: Vec<String> = lacks
            .map(|origin| format!("{}:{}-{}", name(origin), theirs[origin] + 1, mine[origin]))
            .collect();
        Ok((!errant.is_empty()).then(|| errant.join(", ")))
    }

    async fn forgets(&self, _: ServerId) -> Result<bool, Trouble> {
        Ok(self.world().setup.forgets)
    }

    /// Nobody replicates by itself where servers forget.
    async fn lost(&self, _server: ServerId, _other: ServerId) -> Result<Option<String>, Trouble> {
        Ok(None)
    }

    async fn fence(&self, _: ServerId) -> Result<(), Trouble> {
        Ok(())
    }

    async fn record(&self, entry: &Entry) -> Result<(), Trouble> {
        self.risk();
        let mut world = self.world();
        if world.killed {
            return Err("killed".to_owned());
        }
        // Replaced, and then not certain to be on the disk: the worse of the ways in which it fails.
        let broken = world.journal_broken;
        if !broken || world.dice.percent(30) {
            world.note(|| format!("journal: {entry:?}"));
            world.journal = entry.clone();
        }
        drop(world);
        self.risk();
        match broken {
            true => Err("the journal can't be written".to_owned()),
            false => Ok(()),
        }
    }

    async fn recorded(&self) -> Option<Entry> {
        Some(self.world().journal.clone())
    }

    fn publish(&self, decided: Decided) {
        let mut world = self.world();
        if !world.killed {
            world.publish(decided);
        }
    }

    fn tell(&self, event: Told) {
        let mut world = self.world();
        match event.kind {
            Kind::Quarantined => world.quarantined = true,
            Kind::Rejoined | Kind::Adopted => world.quarantined = false,
            _ => {}
        }
        world.note(|| {
            let (kind, server, detail) = (event.kind.name(), &event.server, &event.detail);
            format!("EVENT {kind} {server}: {detail}")
        });
    }

    fn look(&self) {
        self.world().look();
    }

    fn acknowledged(&self) -> Option<Acknowledged> {
        let mut world = self.world();
        world.proxy.last_turn = world.now;
        let (server, number) = world.proxy.mark?;
        Some(Acknowledged {
            stream: stream(server),
            number,
        })
    }

    async fn told(&self) -> Result<Vec<Acknowledged>, Trouble> {
        let is_mute = {
            let mut world = self.world();
            let mute = world.mute;
            world.mute = mute.saturating_sub(1);
            mute > 0
        };
        if is_mute {
            self.sleep_until(self.now() + Duration::from_secs(1)).await;
            return Err("the other Tandems have not said what their clients were told of".to_owned());
        }
        Ok(self.acknowledged().into_iter().collect())
    }

    fn is_writing(&self) -> bool {
        self.world().is_writing()
    }

    fn stalled(&self) -> Option<Stall> {
        self.world().stalled()
    }
}
