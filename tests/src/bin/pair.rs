//! A private master-master pair that stays until Ctrl-C: for trying Tandem, and other proxies, by hand.
//!
//! `cargo run -p tandem-tests --bin pair -- /tmp/pair.toml` writes a configuration for the pair to that file
//! (listener 6446, admin 6447) and prints the servers' addresses. `TANDEM_SERVER=mysql-9.7` makes it a pair of
//! that server; with `--failover` behind the file's name Tandem decides who is active.

use std::process::ExitCode;

use mysql_async::prelude::Queryable;
use tandem::demo::config_text;
use tandem::demo::pair::{Options, Pair};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(file) = std::env::args().nth(1) else {
        eprintln!("usage: pair FILE [--failover]   (writes a configuration for the pair to FILE)");
        return ExitCode::from(2);
    };
    let failover = std::env::args().nth(2).is_some_and(|word| word == "--failover");
    match run(&file, failover).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pair: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(file: &str, failover: bool) -> Result<(), Box<dyn std::error::Error>> {
    let options = Options {
        engine: tandem_tests::engine(),
        failover,
        ..Options::default()
    };
    let pair = Pair::start(&options).await?;
    // That the account `app` may use; the other server gets it by replication.
    let mut root = pair.a().connect().await?;
    root.query_drop("CREATE DATABASE shop").await?;
    root.disconnect().await?;
    let config = config_text(
        &pair,
        ([127, 0, 0, 1], 6446).into(),
        ([127, 0, 0, 1], 6447).into(),
    );
    std::fs::write(file, config)?;
    for server in pair.servers() {
        println!(
            "{} {} {}",
            server.name(),
            server.address(),
            server.socket().display()
        );
    }
    tokio::signal::ctrl_c().await?;
    pair.stop().await?;
    Ok(())
}
