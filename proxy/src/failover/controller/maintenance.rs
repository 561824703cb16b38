//! What an operator keeps Tandem from: acting by itself at all, or a server that is worked on, which gets no reads, is promoted by nobody,
//! and has nothing done to it until it is let back in. Both hold for the next Tandem that decides, too.

use super::Controller;
use crate::failover::events::Kind;
use crate::failover::hands::{Hands, Trouble};
use crate::topology::ServerId;

impl<H: Hands> Controller<H> {
    pub(super) async fn drain(&mut self, server: ServerId) -> Result<String, String> {
        let name = self.names[server.0].clone();
        match self.standing.active {
            Some(active) if active == server => {
                return Err(format!(
                    "{name} is the active master: SWITCHOVER before it is drained"
                ));
            }
            Some(_) => {}
            None => return Err("there is no active master, so no server can be missed".to_owned()),
        }
        self.note_drained(Some(server)).await?;
        let text = "it gets no reads, commits do not wait for it, and it is not promoted, until OPEN";
        self.tell(Kind::TakenOut, server, text, None);
        Ok(format!("{name} is drained: {text} {name}"))
    }

    pub(super) async fn let_in(&mut self, server: ServerId) -> Result<String, String> {
        let name = self.names[server.0].clone();
        if self.standing.drained != Some(server) {
            return Err(format!("{name} is not drained"));
        }
        // It is made anew, or found to be right.
        let blind = self.standing.blind.take();
        if let Err(trouble) = self.note_drained(None).await {
            self.standing.blind = blind;
            return Err(trouble);
        }
        // Whatever was done to it.
        self.standing.away = Some(server);
        self.tell(Kind::LetIn, server, "by an operator", None);
        Ok(format!(
            "{name} is let back in as soon as it replicates and has nothing that the pair lacks (SHOW EVENTS)"
        ))
    }

    async fn note_drained(&mut self, drained: Option<ServerId>) -> Result<(), String> {
        let before = std::mem::replace(&mut self.standing.drained, drained);
        let recorded = self.note().await;
        if recorded.is_err() {
            self.standing.drained = before;
        }
        recorded
    }

    /// Where it can't be recorded, it holds for this Tandem.
    pub(super) async fn pause(&mut self, on: bool, kind: Kind, rest: &str) -> String {
        self.standing.paused = on;
        let recorded = self.note().await;
        self.tell_all(kind, rest);
        let said = format!("{}: {rest}", kind.name());
        match recorded {
            Ok(()) => said,
            Err(trouble) => format!("{said}; a restart forgets it: {trouble}"),
        }
    }

    /// Records what has nothing to do with who is active.
    pub(super) async fn note(&mut self) -> Result<(), Trouble> {
        let (epoch, active, promoting) = (self.standing.epoch, self.standing.active, self.standing.promoting);
        let recorded = self.record(epoch, active, promoting).await;
        self.publish(false);
        recorded
    }
}
