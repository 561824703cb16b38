//! `SHOW USERS`: the accounts, with what they have and do.

use std::collections::BTreeMap;

use super::super::table::{Cell, Shape, Table};
use super::super::view::{self, Details, SessionRow, WorkerView};
use super::{milliseconds, yes_no};
use crate::config::{self, Config};
use crate::statistics::digest::Counts;

use Shape::{Number, Text};

pub(in crate::admin) const USERS: [(&str, Shape); 15] = [
    ("user", Text),
    ("source", Text),
    ("consistency", Text),
    ("local_infile", Text),
    ("replication", Text),
    ("firewall", Text),
    ("sessions", Number),
    ("in_transaction", Number),
    ("pinned", Number),
    ("statements", Number),
    ("errors", Number),
    ("total_ms", Number),
    ("rows", Number),
    ("bytes_in", Number),
    ("bytes_out", Number),
];

/// One account, of all workers.
#[derive(Default)]
struct User<'a> {
    /// Its `[[user]]`, if it has one.
    configured: Option<&'a config::User>,
    counts: Counts,
    sessions: Vec<&'a SessionRow>,
}

/// The accounts of the configuration, and whoever else is here or has sent statements; by name.
pub(in crate::admin) fn users(config: &Config, views: &[WorkerView], details: &[Details]) -> Table {
    let mut users: BTreeMap<&str, User<'_>> = BTreeMap::new();
    for user in &config.users {
        users.entry(&user.name).or_default().configured = Some(user);
    }
    for (name, counts) in details.iter().flat_map(|it| &it.users) {
        users.entry(name).or_default().counts += counts;
    }
    for session in views.iter().flat_map(|view| &view.sessions) {
        // Who logs in has no name yet.
        if !session.user.is_empty() {
            users.entry(&session.user).or_default().sessions.push(session);
        }
    }
    let mut table = Table::new(USERS);
    table.rows = users.iter().map(|(name, user)| row(name, user, config)).collect();
    table
}

fn row(name: &str, user: &User<'_>, config: &Config) -> Vec<Cell> {
    let census = view::census(user.sessions.iter().copied());
    let (counts, configured) = (&user.counts, user.configured);
    vec![
        name.to_owned().into(),
        if configured.is_some() {
            "configuration"
        } else {
            "servers"
        }
        .into(),
        configured.map(|it| config.level(Some(it)).name()).into(),
        configured
            .map(|it| yes_no(config.allows_local_infile(Some(it))))
            .into(),
        configured.map(|it| yes_no(it.replication)).into(),
        config.firewall_mode(configured).name().into(),
        census.sessions.into(),
        census.in_transaction.into(),
        census.pinned.into(),
        counts.count.into(),
        counts.errors.into(),
        milliseconds(counts.time).into(),
        counts.rows.into(),
        counts.bytes_in.into(),
        counts.bytes_out.into(),
    ]
}
