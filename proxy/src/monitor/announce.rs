//! Tells the log what changed in the topology: each change once, not each probe.

use tracing::{error, info, warn};

use super::health::History;
use crate::topology::{Role, Server, Topology};

/// Logs the difference between two topologies.
pub(super) fn changes(old: &Topology, new: &Topology) {
    for (old, new) in old.servers.iter().zip(&new.servers) {
        failure(old, new);
        if old.role != new.role || old.why != new.why {
            role(old, new);
        }
    }
    if old.active == new.active {
        return;
    }
    let name = |active: Option<crate::topology::ServerId>, of: &Topology| {
        active.map_or_else(|| "none".to_owned(), |id| of.server(id).name.to_string())
    };
    let (was, is, epoch) = (name(old.active, old), name(new.active, new), new.epoch);
    match (old.active, new.active) {
        (_, None) => error!(was, epoch, "no active master: no server is up and writable"),
        (None, Some(_)) => info!(active = is, epoch, "active master"),
        (Some(_), Some(_)) => warn!(was, active = is, epoch, "the active master has changed"),
    }
}

/// Logs what a server's settings lack for a master of a pair, when that changes.
pub(super) fn unfitness(name: &str, told: &mut Vec<&'static str>, history: &History, looks_up: bool) {
    let Some(answer) = history.current() else {
        return;
    };
    let (unfit, untold) = (&answer.seen.unfit, &answer.seen.untold);
    for what in unfit.iter().filter(|what| !told.contains(what)) {
        warn!(server = name, "not set up as a master of a pair: {what}");
    }
    let untold = untold.iter().filter(|_| looks_up);
    for what in untold.clone().filter(|what| !told.contains(what)) {
        warn!(
            server = name,
            "{what}: whether a write took effect whose answer is lost with a server can't be looked up; the client is told \
             that it is not known"
        );
    }
    *told = unfit.iter().chain(untold).copied().collect();
}

fn role(old: &Server, new: &Server) {
    let (server, was, why) = (&*new.name, old.role, &*new.why);
    match new.role {
        Role::Active | Role::Standby => info!(server, role = ?new.role, ?was, why, "server role"),
        Role::Detached | Role::Down => warn!(server, role = ?new.role, ?was, why, "server role"),
    }
}

/// A server may keep its role although a probe failed: once timed out, full, or the account refused.
fn failure(old: &Server, new: &Server) {
    if new.role == Role::Down {
        return;
    }
    match (&old.error, &new.error) {
        (before, Some(error)) if before.as_ref() != Some(error) => {
            warn!(server = &*new.name, role = ?new.role, "a probe failed, the server keeps its role: {error}");
        }
        (Some(_), None) if old.role != Role::Down => {
            info!(server = &*new.name, "probes succeed again");
        }
        _ => {}
    }
}
