//! `tandem status`: what two answers of the admin port come to.

use serde_json::{Value, json};

use super::answer::Answer;

/// What is asked for it, in this order.
pub(super) const QUESTIONS: [&str; 2] = ["SHOW FAILOVER", "SHOW SERVERS"];

/// Properties of `SHOW FAILOVER` that can be there more than once.
const LISTS: [&str; 2] = ["why_not", "member"];

/// For people.
pub(super) fn text(failover: &Answer, servers: &Answer) -> String {
    format!("{}\n{}", failover.text(), servers.text())
}

/// For scripts: all that both answers have, and whether the pair is whole.
pub(super) fn object(failover: &Answer, servers: &Answer) -> Value {
    json!({
        "whole": lacks(failover, servers).is_none(),
        "failover": failover.properties(&LISTS),
        "servers": servers.objects(),
    })
}

/// What the pair lacks for bearing the loss of a server.
pub(super) fn lacks(failover: &Answer, servers: &Answer) -> Option<String> {
    let roles = servers.column("role");
    if !roles.contains(&"active") {
        return Some("there is no active master".to_owned());
    }
    if !roles.contains(&"standby") {
        return Some("there is no standby".to_owned());
    }
    let properties = failover.column("property");
    let pairs: Vec<_> = properties.into_iter().zip(failover.column("value")).collect();
    if !pairs.contains(&("could_fail_over", "no")) {
        return None;
    }
    let obstacles: Vec<&str> = pairs
        .iter()
        .filter(|(property, _)| *property == "why_not")
        .map(|(_, value)| *value)
        .collect();
    Some(format!(
        "the standby could not take over: {}",
        obstacles.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::super::answer::Column;
    use super::*;

    fn pairs(columns: [&str; 2], rows: &[(&str, &str)]) -> Answer {
        let column = |name: &str| Column {
            name: name.to_owned(),
            numeric: false,
        };
        Answer {
            columns: columns.map(column).to_vec(),
            rows: rows
                .iter()
                .map(|(one, other)| vec![Some((*one).to_owned()), Some((*other).to_owned())])
                .collect(),
        }
    }

    /// Without `[failover]` nobody says whether the standby could take over: its role decides.
    #[test]
    fn a_pair_is_whole_when_the_standby_could_take_over() {
        let said = |rows: &[_], roles: &[_]| {
            let failover = pairs(["property", "value"], rows);
            let servers = pairs(["name", "role"], roles);
            let whole = object(&failover, &servers)["whole"].clone();
            let lacking = lacks(&failover, &servers);
            assert_eq!(whole, Value::from(lacking.is_none()));
            lacking
        };
        let both = [("a", "active"), ("b", "standby")];
        assert_eq!(said(&[("active", "a"), ("could_fail_over", "yes")], &both), None);
        assert_eq!(said(&[("mode", "off"), ("active", "a")], &both), None);
        let behind = [
            ("could_fail_over", "no"),
            ("why_not", "b is behind"),
            ("why_not", "paused"),
        ];
        assert_eq!(
            said(&behind, &both).as_deref(),
            Some("the standby could not take over: b is behind; paused")
        );
        let gone = [("a", "active"), ("b", "down")];
        assert_eq!(
            said(&[("mode", "off")], &gone).as_deref(),
            Some("there is no standby")
        );
        let none = [("a", "down"), ("b", "standby")];
        assert_eq!(said(&[], &none).as_deref(), Some("there is no active master"));
    }
}
