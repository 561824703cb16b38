//! `tandem top`: what the dashboard shows, in a terminal, or once as plain text for scripts. Both come from `/api/state`.

mod picture;

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::text::Text;
use ratatui::widgets::Paragraph;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::ask::reachable;
use crate::config;
use crate::dashboard::State;
use crate::metrics::door::credentials;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// A longer answer is not Tandem's.
const LONGEST: u64 = 16 << 20;

/// How wide the picture is where there is no terminal.
const WIDTH: u16 = 100;

/// Why there is nothing to show.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error(
        "this configuration has no metrics.address, where Tandem tells what top shows: add [metrics] address = \"127.0.0.1:9446\""
    )]
    NoAddress,
    #[error(
        "no Tandem answers at {address} (metrics.address): {source}; does it run, with this configuration?"
    )]
    NotReached {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("{address} (metrics.address) answers {answer:?}: is it a Tandem of this version?")]
    Strange { address: SocketAddr, answer: String },
    #[error("the terminal: {0}")]
    Terminal(#[source] io::Error),
}

/// Where to ask, and what to show there.
struct Door {
    address: SocketAddr,
    credentials: Option<String>,
}

/// Shows the state until `q` is pressed, or once.
pub(super) fn run(runtime: &Runtime, metrics: &config::Metrics, once: bool) -> Result<(), Failure> {
    let door = Door {
        address: reachable(metrics.address.ok_or(Failure::NoAddress)?),
        credentials: metrics.account.as_ref().map(credentials),
    };
    if once || !io::stdout().is_terminal() {
        let state = runtime.block_on(state(&door))?;
        let text = picture::lines(&state, WIDTH);
        let mut out = io::stdout();
        for line in text {
            // A reader that has gone away is no reason to complain.
            let _ = writeln!(out, "{}", line.to_string().trim_end());
        }
        return Ok(());
    }
    // So that what is wrong from the beginning is told on the terminal as it is.
    let first = runtime.block_on(state(&door))?;
    let mut terminal = ratatui::try_init().map_err(Failure::Terminal)?;
    let watched = watch(runtime, &door, first, &mut terminal);
    ratatui::restore();
    watched.map_err(Failure::Terminal)
}

fn watch(
    runtime: &Runtime,
    door: &Door,
    mut shown: State,
    terminal: &mut ratatui::DefaultTerminal,
) -> io::Result<()> {
    let mut lost: Option<String> = None;
    let mut next = Instant::now() + INTERVAL;
    loop {
        terminal.draw(|frame| {
            let area = frame.area();
            let mut lines = picture::lines(&shown, area.width);
            if let Some(why) = &lost {
                lines.insert(0, picture::lost(why));
            }
            frame.render_widget(Paragraph::new(Text::from(lines)), area);
        })?;
        while event::poll(next.saturating_duration_since(Instant::now()))? {
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => {
                    let interrupts =
                        key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                    if interrupts || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                        return Ok(());
                    }
                }
                Event::Resize(..) => break,
                _ => {}
            }
        }
        if Instant::now() < next {
            continue;
        }
        next = Instant::now() + INTERVAL;
        match runtime.block_on(state(door)) {
            Ok(state) => {
                shown = state;
                lost = None;
            }
            Err(failure) => lost = Some(failure.to_string()),
        }
    }
}

/// Asks for all of it.
async fn state(door: &Door) -> Result<State, Failure> {
    let address = door.address;
    let asked = tokio::time::timeout(PATIENCE, ask(door)).await;
    let answer = asked
        .unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("nothing within {PATIENCE:?}"),
            ))
        })
        .map_err(|source| Failure::NotReached { address, source })?;
    let strange = || {
        let answer = answer.lines().next().unwrap_or_default().to_owned();
        Failure::Strange { address, answer }
    };
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(strange)?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(strange());
    }
    serde_json::from_str(body).map_err(|_| strange())
}

/// HTTP/1.0, since its answers have no parts and end with the connection.
async fn ask(door: &Door) -> io::Result<String> {
    let mut stream = TcpStream::connect(door.address).await?;
    let mut request = format!("GET /api/state HTTP/1.0\r\nHost: {}\r\n", door.address);
    if let Some(credentials) = &door.credentials {
        request += &format!("Authorization: {credentials}\r\n");
    }
    request += "\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer).await?;
    Ok(answer)
}
