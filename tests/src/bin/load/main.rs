//! Load for `make bench`: many clients on one thread, which cost the machine little, so that what is measured is the
//! server and what stands before it. Prints one line of JSON.
//!
//! sysbench has no reconnecting and a thread for each client, a driver does more for each row than Tandem does.

mod client;
mod watch;

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use client::{Client, Door};
use serde_json::json;
use tandem::config::{ServerTls, ServerTlsMode, TlsVersion};
use tandem::net::tls::client_config;
use tandem_tests::mutation::Dice;
use tokio::task::LocalSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_rustls::TlsConnector;

/// At once on their way in, so that no backlog of connections overflows.
const ENTERING: usize = 64;

#[derive(Parser)]
struct Options {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    user: String,
    #[arg(long)]
    password: String,
    #[arg(long)]
    schema: String,
    /// Use TLS, whoever the other side says it is; sessions are resumed where it lets them.
    #[arg(long)]
    tls: bool,
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Before anything is counted.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// `{id}` becomes a number up to `--ids`, `{shape}` one up to `--shapes`.
    #[arg(long)]
    statement: String,
    /// Prepared once a connection, with `?` for the number.
    #[arg(long)]
    prepared: bool,
    #[arg(long, default_value_t = 10_000)]
    ids: u64,
    #[arg(long, default_value_t = 1)]
    shapes: u64,
    /// Connect anew after so many statements.
    #[arg(long)]
    per_connection: Option<u64>,
    /// Statements a second of each client, in turns; without it, the next one when the last is answered. A latency counts from when it
    /// is sent, which is up to a millisecond late.
    #[arg(long)]
    pace: Option<f64>,
    /// Read no faster than this, a client.
    #[arg(long)]
    bytes_per_second: Option<usize>,
    /// One statement each, and then sleep until standard input ends.
    #[arg(long)]
    idle: bool,
    /// Processes whose costs are told: `name=1,2;other=3`.
    #[arg(long, default_value = "")]
    watch: String,
}

/// What all clients share.
struct Run {
    options: Options,
    door: Door,
    counting: Cell<bool>,
    over: Cell<bool>,
    all: Cell<u64>,
    /// Of those that were counted, in microseconds.
    latencies: RefCell<Vec<u32>>,
    problem: RefCell<Option<io::Error>>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let told = runtime.and_then(|runtime| LocalSet::new().block_on(&runtime, run(options)));
    match told {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("load: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// It believes any certificate: servers make theirs themselves, and looking at one is not what is measured.
fn connector() -> io::Result<TlsConnector> {
    let config = client_config(&ServerTls {
        mode: ServerTlsMode::Required,
        ca: None,
        certificate: None,
        key: None,
        min_version: TlsVersion::V1_2,
    });
    Ok(TlsConnector::from(config.map_err(io::Error::other)?))
}

async fn run(options: Options) -> io::Result<serde_json::Value> {
    let door = Door {
        address: options.address,
        user: options.user.clone(),
        password: options.password.clone(),
        schema: options.schema.clone(),
        tls: match options.tls {
            true => Some(connector()?),
            false => None,
        },
    };
    let run = Rc::new(Run {
        options,
        door,
        counting: Cell::new(false),
        over: Cell::new(false),
        all: Cell::new(0),
        latencies: RefCell::default(),
        problem: RefCell::default(),
    });
    let clients = enter(&run).await?;
    match run.options.idle {
        true => sleep(&clients),
        false => work(&run, clients).await,
    }
}

/// All clients, logged in, some at a time.
async fn enter(run: &Rc<Run>) -> io::Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(run.options.clients);
    while clients.len() < run.options.clients {
        let count = ENTERING.min(run.options.clients - clients.len());
        let entering = (0..count).map(|_| run.door.enter());
        for client in futures_util::future::join_all(entering).await {
            clients.push(client?);
        }
    }
    if run.options.idle {
        let mut dice = Dice::new(0);
        for client in &mut clients {
            let text = statement(&run.options, &mut dice);
            client.query(text.as_bytes(), &async || {}).await?;
        }
    }
    Ok(clients)
}

fn sleep(clients: &[Client]) -> io::Result<serde_json::Value> {
    println!("ready");
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(json!({ "clients": clients.len() }))
}

async fn work(run: &Rc<Run>, clients: Vec<Client>) -> io::Result<serde_json::Value> {
    let tasks: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(number, client)| {
            let run = Rc::clone(run);
            tokio::task::spawn_local(async move {
                if let Err(problem) = live(&run, client, number as u64).await {
                    run.over.set(true);
                    *run.problem.borrow_mut() = Some(problem);
                }
            })
        })
        .collect();
    let mut watched = watch::parse(&run.options.watch);
    watched.insert("load".to_owned(), vec![std::process::id()]);
    tokio::time::sleep(Duration::from_secs_f64(run.options.warm_up)).await;
    let (before, began) = (watch::look(&watched), Instant::now());
    run.counting.set(true);
    tokio::time::sleep(Duration::from_secs_f64(run.options.seconds)).await;
    run.counting.set(false);
    let seconds = began.elapsed().as_secs_f64();
    let after = watch::look(&watched);
    run.over.set(true);
    for task in tasks {
        task.await.map_err(io::Error::other)?;
    }
    if let Some(problem) = run.problem.borrow_mut().take() {
        return Err(problem);
    }
    let mut latencies = run.latencies.take();
    latencies.sort_unstable();
    let queries = latencies.len() as u64;
    let part = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied();
    Ok(json!({
        "queries": queries,
        "all_queries": run.all.get(),
        "rate": queries as f64 / seconds,
        "p50_us": part(0.5), "p99_us": part(0.99), "p999_us": part(0.999), "max_us": latencies.last(),
        "watched": after.since(&before, queries),
    }))
}

/// One client's life.
async fn live(run: &Rc<Run>, mut client: Client, number: u64) -> io::Result<()> {
    let options = &run.options;
    let mut dice = Dice::new(number);
    let pause = options
        .bytes_per_second
        .map(|rate| (rate / 20, Duration::from_millis(50)));
    if let Some((portion, _)) = pause {
        client.read_in_portions_of(portion);
    }
    let breathe = async || {
        if let Some((_, pause)) = pause
            && !run.over.get()
        {
            tokio::time::sleep(pause).await;
        }
    };
    let mut prepared = None;
    let mut left = options.per_connection;
    let mut pace = options
        .pace
        .map(|rate| interval(rate, number as f64 / options.clients as f64));
    while !run.over.get() {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        if left == Some(0) {
            client.quit().await;
            client = run.door.enter().await?;
            (prepared, left) = (None, options.per_connection);
        }
        if options.prepared && prepared.is_none() {
            prepared = Some(client.prepare(options.statement.as_bytes()).await?);
        }
        let began = Instant::now();
        match prepared {
            Some(prepared) => client.execute(prepared, up_to(&mut dice, options.ids)).await?,
            None => {
                client
                    .query(statement(options, &mut dice).as_bytes(), &breathe)
                    .await?;
            }
        }
        left = left.map(|left| left - 1);
        run.all.set(run.all.get() + 1);
        if run.counting.get() {
            let micros = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
            run.latencies.borrow_mut().push(micros);
        }
    }
    client.quit().await;
    Ok(())
}

/// So often a second, beginning with this part of the first time between two.
fn interval(rate: f64, offset: f64) -> Interval {
    let period = Duration::from_secs_f64(1.0 / rate);
    let mut interval = tokio::time::interval_at(Instant::now() + period.mul_f64(offset), period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

fn statement(options: &Options, dice: &mut Dice) -> String {
    let text = options
        .statement
        .replace("{id}", &up_to(dice, options.ids).to_string());
    match text.contains("{shape}") {
        true => text.replace("{shape}", &up_to(dice, options.shapes).to_string()),
        false => text,
    }
}

/// From 1 up to it, the same in every run.
fn up_to(dice: &mut Dice, limit: u64) -> u64 {
    dice.below(limit as usize) as u64 + 1
}
