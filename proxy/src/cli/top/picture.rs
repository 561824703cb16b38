//! A state as lines of text: pure. Colours add nothing that the text does not say.

use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};

use crate::dashboard::verdict::{Level, ago};
use crate::dashboard::{EventState, PauseState, Second, Session, State, Statement};

/// Rows of the lists.
const LISTED: usize = 6;

/// Samples that a rate is the mean of.
const RECENT: usize = 5;

/// How much of the width the names before a strip take.
const LABEL: usize = 20;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The picture, as wide as told.
pub(super) fn lines(state: &State, width: u16) -> Vec<Line<'static>> {
    let width = usize::from(width).max(40);
    let mut lines = verdict(state);
    lines.push(Line::default());
    servers(state, &mut lines);
    lines.push(Line::default());
    strips(state, width, &mut lines);
    lines.push(Line::default());
    list("What happened", state.events.iter().map(event), &mut lines);
    let clients = &state.clients;
    let title = format!(
        "Sessions that keep a connection ({} pinned, {} in a transaction, of {})",
        clients.pinned, clients.in_transaction, clients.sessions
    );
    list(&title, clients.holding.iter().map(session), &mut lines);
    list(
        "Most time in the last minute",
        state.statements.iter().map(statement),
        &mut lines,
    );
    lines
}

/// What stands over a picture that is old.
pub(super) fn lost(why: &str) -> Line<'static> {
    Line::from(format!("OLD: {why}")).style(Style::new().fg(Color::Black).bg(Color::Yellow))
}

fn color(level: Level) -> Color {
    match level {
        Level::Ok => Color::Green,
        Level::Warn => Color::Yellow,
        Level::Bad => Color::Red,
    }
}

fn verdict(state: &State) -> Vec<Line<'static>> {
    let said = &state.verdict;
    let sign = match said.level {
        Level::Ok => "OK",
        Level::Warn => "LOOK",
        Level::Bad => "BAD",
    };
    let mut lines = vec![
        Line::from(format!("{sign}: {}", said.headline)).style(Style::new().fg(color(said.level)).bold()),
        Line::from(format!("    {}", said.meaning)),
    ];
    for note in &said.notes {
        lines.push(Line::from(format!("  - {}", note.text)).style(Style::new().fg(color(note.level))));
    }
    lines
}

fn servers(state: &State, lines: &mut Vec<Line<'static>>) {
    let head = format!(
        "{:<12}{:<10}{:>9}{:>9}{:>9}{:>9}{:>12}  why",
        "server", "role", "writes/s", "reads/s", "behind", "probe", "busy"
    );
    lines.push(Line::from(head).style(Style::new().bold()));
    for (index, server) in state.servers.iter().enumerate() {
        let here = |sample: &Second, field: fn(&crate::dashboard::ServerSecond) -> u64| {
            sample.servers.get(index).map(field).unwrap_or_default()
        };
        let behind = match (server.role.as_str(), server.lag_ms) {
            ("active" | "down", _) => "-".to_owned(),
            (_, Some(lag)) => format!("{:.0} s", lag as f64 / 1000.0),
            (_, None) => "unknown".to_owned(),
        };
        let probe = server
            .probe_ms
            .map_or("-".to_owned(), |probe| format!("{probe:.1} ms"));
        let connections = &server.connections;
        let line = format!(
            "{:<12}{:<10}{:>9}{:>9}{:>9}{:>9}{:>12}  {}",
            server.name,
            server.role,
            rate(state, |sample| here(sample, |it| it.writes)),
            rate(state, |sample| here(sample, |it| it.reads)),
            behind,
            probe,
            format!("{} of {}", connections.leased, connections.limit),
            server.why
        );
        lines.push(Line::from(line).style(Style::new().fg(role_color(&server.role))));
    }
}

/// The mean of the last seconds.
fn rate(state: &State, of: impl Fn(&Second) -> u64) -> u64 {
    let recent = || state.samples.iter().rev().take(RECENT);
    let time: u64 = recent().map(|sample| sample.span_ms).sum();
    recent().map(of).sum::<u64>() * 1000 / time.max(1)
}

fn role_color(role: &str) -> Color {
    match role {
        "active" => Color::Green,
        "standby" => Color::Blue,
        "detached" => Color::Yellow,
        _ => Color::Red,
    }
}

/// The time that is kept, from left to right: a column is some seconds.
fn strips(state: &State, width: usize, lines: &mut Vec<Line<'static>>) {
    let columns = width.saturating_sub(LABEL).max(10);
    let per_column = state.samples_kept.div_ceil(columns).max(1);
    let minutes = state.samples_kept / 60;
    let title = format!("The last {minutes} minutes, {per_column} s a column, now at the right");
    lines.push(Line::from(title).style(Style::new().bold()));
    let cells = cells(&state.samples, columns, per_column);
    for (index, server) in state.servers.iter().enumerate() {
        let mut spans = vec![label(&format!("{} role", server.name))];
        for cell in &cells {
            let role = cell.last().and_then(|sample| sample.servers.get(index));
            spans.push(match role.map(|it| it.role.as_str()) {
                Some("active") => Span::from("A").fg(Color::Green),
                Some("standby") => Span::from("s").fg(Color::Blue),
                Some("detached") => Span::from("o").fg(Color::Yellow),
                Some(_) => Span::from("x").fg(Color::Red),
                None => Span::from(" "),
            });
        }
        lines.push(Line::from(spans));
    }
    lines.push(bars("statements/s", &cells, |sample| sample.statements));
    lines.push(bars("writes/s", &cells, |sample| sample.writes));
    let errors = |sample: &Second| sample.server_errors + sample.own_errors;
    lines.push(bars("errors/s", &cells, errors));
    lines.push(bars("held/s", &cells, |sample| sample.holds));
    for pause in state.pauses.iter().rev().take(3) {
        lines.push(Line::from(pause_text(pause)));
    }
}

/// The highest rate of each column.
fn bars(name: &str, cells: &[&[Second]], of: impl Fn(&Second) -> u64) -> Line<'static> {
    let rate = |sample: &Second| of(sample) * 1000 / sample.span_ms.max(1);
    let highest = cells.iter().map(|cell| cell.iter().map(rate).max());
    let values: Vec<Option<u64>> = highest.collect();
    let top = values.iter().flatten().copied().max().unwrap_or_default();
    let bars: String = values.into_iter().map(|value| bar(value, top)).collect();
    Line::from(vec![label(&format!("{name} ≤{top}")), Span::from(bars)])
}

/// The samples of each column; the newest at the end.
fn cells(samples: &[Second], columns: usize, per_column: usize) -> Vec<&[Second]> {
    let mut cells: Vec<&[Second]> = samples.rchunks(per_column).take(columns).collect();
    cells.resize(columns, &[]);
    cells.reverse();
    cells
}

fn label(text: &str) -> Span<'static> {
    Span::from(format!("{text:<LABEL$.LABEL$}"))
}

fn bar(value: Option<u64>, top: u64) -> char {
    match value {
        None => ' ',
        Some(0) => '.',
        Some(value) => {
            BARS[((value * BARS.len() as u64).div_ceil(top.max(1)) as usize - 1).min(BARS.len() - 1)]
        }
    }
}

fn pause_text(pause: &PauseState) -> String {
    let to = pause.is.as_deref().unwrap_or("nobody");
    let what = match (pause.planned, pause.over) {
        (_, false) => "No writes",
        (true, true) => "Switchover",
        (false, true) if pause.is.as_ref() == Some(&pause.was) => "No writes",
        (false, true) => "Failover",
    };
    let (was, lasted, age) = (&pause.was, pause.lasted_ms, ago(pause.age_ms));
    format!("{what} {age} ago, {was} to {to}: writes waited {lasted} ms")
}

fn event(event: &EventState) -> (String, bool) {
    let took = event
        .took_ms
        .map_or(String::new(), |took| format!(" ({took} ms)"));
    let name = event.event.replace('_', " ");
    let text = format!(
        "{:>8}  {:<18}{:<8}{}{took}",
        ago(event.age_ms),
        name,
        event.server,
        event.detail
    );
    (text, event.trouble)
}

fn session(session: &Session) -> (String, bool) {
    let transaction = session.transaction.then_some("transaction");
    let pins = Some(session.pins.as_str()).filter(|pins| !pins.is_empty());
    let why: Vec<&str> = transaction.into_iter().chain(pins).collect();
    let target = session.target.as_deref().unwrap_or("-");
    let (age, why) = (ago(session.since_ms), why.join(", "));
    let who = format!("{}@{}", session.user, session.client);
    let text = format!(
        "{age:>8}  {:<12}{who:<28} {target:<6}{why}, {}",
        session.id, session.command
    );
    (text, false)
}

fn statement(shape: &Statement) -> (String, bool) {
    let (count, mean, p95) = (shape.count, shape.average_ms, shape.p95_ms);
    let text = format!(
        "{count:>8} of {mean:.2} ms, 95 % within {p95:.2} ms  {}",
        shape.statement
    );
    (text, false)
}

fn list(title: &str, rows: impl ExactSizeIterator<Item = (String, bool)>, lines: &mut Vec<Line<'static>>) {
    lines.push(Line::from(title.to_owned()).style(Style::new().bold()));
    if rows.len() == 0 {
        lines.push(Line::from("    nothing"));
    }
    for (text, trouble) in rows.take(LISTED) {
        let style = if trouble {
            Style::new().fg(Color::Red)
        } else {
            Style::new()
        };
        lines.push(Line::from(text).style(style));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::verdict::{Note, Verdict};
    use crate::dashboard::{ServerSecond, ServerState};

    fn second(number: u64, roles: [&str; 2], writes: u64) -> Second {
        let server = |role: &str| ServerSecond {
            role: role.to_owned(),
            writes: if role == "active" { writes } else { 0 },
            ..ServerSecond::default()
        };
        Second {
            number,
            span_ms: 1000,
            writes,
            servers: roles.map(server).into(),
            ..Second::default()
        }
    }

    /// A failover, as somebody sees it who has only a terminal.
    #[test]
    fn a_failover_can_be_read_without_colours() {
        let server = |name: &str, role: &str| ServerState {
            name: name.to_owned(),
            role: role.to_owned(),
            why: "refused".to_owned(),
            ..ServerState::default()
        };
        let mut samples: Vec<Second> = (0..40).map(|n| second(n, ["active", "standby"], 80)).collect();
        samples.extend((40..60).map(|n| second(n, ["down", "active"], 40)));
        let state = State {
            verdict: Verdict {
                level: Level::Warn,
                headline: "a is down: refused".to_owned(),
                meaning: "Clients are served by b alone.".to_owned(),
                notes: vec![Note {
                    level: Level::Ok,
                    text: "Failover".to_owned(),
                }],
            },
            servers: vec![server("a", "down"), server("b", "active")],
            samples,
            samples_kept: 60,
            pauses: vec![PauseState {
                age_ms: 20_000,
                lasted_ms: 143,
                over: true,
                planned: false,
                was: "a".to_owned(),
                is: Some("b".to_owned()),
            }],
            ..State::default()
        };
        let told: Vec<String> = lines(&state, 50).iter().map(ToString::to_string).collect();
        for line in [
            "LOOK: a is down: refused",
            "a role              AAAAAAAAAAAAAAAAAAAAxxxxxxxxxx",
            "b role              ssssssssssssssssssssAAAAAAAAAA",
            "writes/s ≤80        ████████████████████▄▄▄▄▄▄▄▄▄▄",
            "held/s ≤0           ..............................",
            "Failover 20 s ago, a to b: writes waited 143 ms",
        ] {
            assert!(
                told.iter().any(|told| told == line),
                "{line:?} is not in {told:#?}"
            );
        }
        assert!(
            told.iter()
                .any(|told| told.starts_with("b           active           40")),
            "{told:#?}"
        );
    }

    /// Of a Tandem that has just begun, on a terminal that is hardly one.
    #[test]
    fn little_is_drawn_of_little() {
        let state = State {
            samples_kept: 600,
            samples: vec![second(0, ["active", "standby"], 0)],
            servers: vec![ServerState::default()],
            ..State::default()
        };
        for width in [0, 10, 80, 500] {
            assert!(lines(&state, width).len() > 5);
        }
        assert!(!lines(&State::default(), 80).is_empty());
    }
}
