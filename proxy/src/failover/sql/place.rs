//! Where a MariaDB server stands by its GTIDs, and what of that can't be so.

/// Where a MariaDB server stands, in its own words.
#[derive(Debug)]
pub(super) struct Place {
    /// `gtid_slave_pos`
    pub(super) applied: String,
    /// `gtid_binlog_state`
    pub(super) state: String,
    /// `gtid_binlog_pos`
    pub(super) written: String,
    /// `server_id`
    pub(super) id: u32,
}

impl Place {
    /// Of a domain and the number of a server, `0-1`.
    fn is_own(&self, stream: &str) -> bool {
        stream
            .rsplit_once('-')
            .is_some_and(|(_, server)| server == self.id.to_string())
    }

    /// Whether it has committed since it replicated last, as one does that was the active master: `gtid_slave_pos` does not count that.
    pub(super) fn has_gone_on(&self) -> bool {
        gtids(&self.written)
            .filter_map(numbered)
            .any(|(stream, written)| {
                let mut applied = gtids(&self.applied).filter_map(numbered);
                let same = applied.find(|(known, _)| domain(known) == domain(stream));
                same.is_none_or(|(_, applied)| applied < written)
            })
    }

    /// Own commits that the other's `gtid_binlog_state` has and this server has not, and which are before its `gtid_slave_pos`.
    pub(super) fn lost(&self, theirs: &str) -> Option<String> {
        let own = gtids(&self.state).filter_map(numbered);
        let found: Vec<String> = own
            .filter(|(stream, _)| self.is_own(stream))
            .filter_map(|(stream, number)| {
                let (_, theirs) = gtids(theirs)
                    .filter_map(numbered)
                    .find(|(other, _)| *other == stream)?;
                let mut applied = gtids(&self.applied).filter_map(numbered);
                let (last, reached) = applied.find(|(applied, _)| domain(applied) == domain(stream))?;
                let has_gone_on = last != stream && reached > number;
                (theirs > number && has_gone_on).then(|| format!("{stream}-{}..{theirs}", number + 1))
            })
            .collect();
        (!found.is_empty()).then(|| found.join(", "))
    }

    /// `gtid_slave_pos` as it should be, if it counts commits of the server's own that its binary log has not (seen on 10.11.19): they had come
    /// round the ring when a crash took them (`init_rpl_role=SLAVE`). It would never ask for them again.
    pub(super) fn without_forgotten(&self) -> Option<String> {
        let mut is_wrong = false;
        let corrected: Vec<&str> = gtids(&self.applied)
            .map(|applied| {
                let Some((stream, number)) = numbered(applied) else {
                    return applied;
                };
                let mut written = gtids(&self.state).filter_map(numbered);
                let own = written.find(|(known, _)| self.is_own(stream) && *known == stream);
                if own.is_none_or(|(_, written)| written >= number) {
                    return applied;
                }
                is_wrong = true;
                let reached = gtids(&self.written).find(|written| domain(written) == domain(applied));
                reached.unwrap_or_default()
            })
            .filter(|gtid| !gtid.is_empty())
            .collect();
        is_wrong.then(|| corrected.join(","))
    }
}

fn domain(gtid: &str) -> Option<&str> {
    gtid.split('-').next()
}

/// The parts of a list of GTIDs.
fn gtids(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|gtid| !gtid.is_empty())
}

/// `0-1-7` as `0-1` and 7.
fn numbered(gtid: &str) -> Option<(&str, u64)> {
    let (stream, number) = gtid.rsplit_once('-')?;
    Some((stream, number.parse().ok()?))
}

/// What stands in one `gtid_binlog_state` of MariaDB and not in the other: by domain and server, the numbers above the
/// other's.
pub(super) fn surplus(mine: &str, theirs: &str) -> Option<String> {
    let found: Vec<String> = gtids(mine)
        .filter_map(numbered)
        .filter_map(|(stream, number)| {
            let known = gtids(theirs)
                .filter_map(numbered)
                .find(|(other, _)| *other == stream);
            let known = known.map_or(0, |(_, number)| number);
            (number > known).then(|| format!("{stream}-{}..{number}", known + 1))
        })
        .collect();
    (!found.is_empty()).then(|| found.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_that_counts_what_a_crash_has_taken_is_corrected() {
        let place = |applied: &str, state: &str, written: &str| {
            let place = Place {
                applied: applied.to_owned(),
                state: state.to_owned(),
                written: written.to_owned(),
                id: 1,
            };
            place.without_forgotten()
        };
        let corrected = |applied, state, written| place(applied, state, written).unwrap();
        assert_eq!(corrected("0-1-83", "0-1-82", "0-1-82"), "0-1-82");
        assert_eq!(
            corrected("0-1-83,3-2-5", "0-2-70,0-1-60", "0-2-70"),
            "0-2-70,3-2-5"
        );
        for (applied, state, written) in [
            ("0-1-83", "0-1-83", "0-1-83"),
            ("0-1-70", "0-1-83", "0-1-83"),
            ("0-2-90", "0-1-83,0-2-90", "0-2-90"),
            ("0-2-90", "0-1-83", "0-1-83"),
            ("", "0-1-83", "0-1-83"),
            // Its binary log was thrown away: nothing can be said.
            ("0-1-83", "", ""),
        ] {
            assert_eq!(place(applied, state, written), None, "{applied}");
        }
    }

    #[test]
    fn who_was_the_active_master_has_gone_on() {
        let has_gone_on = |applied: &str, written: &str| {
            let place = Place {
                applied: applied.to_owned(),
                state: String::new(),
                written: written.to_owned(),
                id: 2,
            };
            place.has_gone_on()
        };
        assert!(has_gone_on("0-1-83", "0-2-84"));
        assert!(has_gone_on("0-1-83,3-1-5", "0-1-83,3-2-6"));
        assert!(has_gone_on("", "0-2-1"), "it has never replicated");
        assert!(!has_gone_on("0-1-83", "0-1-83"));
        assert!(!has_gone_on("0-1-83", ""));
    }

    #[test]
    fn what_a_crash_has_taken_for_good_is_named() {
        let lost = |applied: &str, state: &str, theirs: &str| {
            let place = Place {
                applied: applied.to_owned(),
                state: state.to_owned(),
                written: String::new(),
                id: 1,
            };
            place.lost(theirs)
        };
        let theirs = "0-1-91,0-2-829";
        assert_eq!(
            lost("0-2-111", "0-1-90,0-2-112", theirs).as_deref(),
            Some("0-1-91..91")
        );
        // It asks for them, or Tandem has it ask.
        assert_eq!(lost("0-2-80", "0-2-80,0-1-90", theirs), None);
        assert_eq!(lost("0-1-91", "0-1-90", theirs), None);
        assert_eq!(lost("0-2-111", "0-1-91,0-2-112", theirs), None);
        assert_eq!(lost("", "0-1-90", theirs), None);
    }

    #[test]
    fn what_only_one_has_is_named() {
        assert_eq!(surplus("0-1-7,0-2-9", "0-1-7,0-2-12"), None);
        assert_eq!(
            surplus("0-1-9,0-2-8", "0-1-7,0-2-12").as_deref(),
            Some("0-1-8..9")
        );
        assert_eq!(surplus("1-1-3", "").as_deref(), Some("1-1-1..3"));
        assert_eq!(surplus("", "0-1-7"), None);
    }
}
