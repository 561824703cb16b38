//! What `tandem check` says of a configuration that can be served with.

use crate::config::{self, Auth, Config};

/// What would be served, in a few lines.
pub(super) fn describe(config: &Config) -> String {
    let servers: Vec<String> = config.servers.iter().map(describe_server).collect();
    let mut users: Vec<&str> = config.users.iter().map(|user| user.name.as_str()).collect();
    if config.listener.auth == Auth::Servers {
        users.push("those of the servers");
    }
    let metrics = match config.metrics.address {
        Some(address) => address.to_string(),
        None => "off".to_owned(),
    };
    format!(
        "ok\n  listener  {}\n  admin     {}\n  metrics   {metrics}\n  servers   {}\n  their TLS {}\n  failover  {}\n  users     {}",
        describe_listener(config),
        config.admin.address,
        servers.join("\n            "),
        config.server_tls.mode.name(),
        describe_failover(config),
        users.join(", "),
    )
}

fn describe_failover(config: &Config) -> String {
    match &config.failover {
        None => "off: the active master is whoever is writable".to_owned(),
        Some(failover) if config.coordination.is_some() => {
            let role = match (failover.decides, failover.automatic) {
                (false, _) => "follows whoever decides",
                (true, true) => "automatic, decides while it has the lease",
                (true, false) => "on command only, while it has the lease",
            };
            let etcd = config.coordination.as_ref().map(|known| known.etcd.join(" "));
            format!("{role} in etcd at {}", etcd.unwrap_or_default())
        }
        Some(failover) if !failover.decides => {
            "follower: another Tandem decides, and the active master is whoever is writable".to_owned()
        }
        Some(failover) if failover.automatic => format!("automatic, journal {}", failover.journal.display()),
        Some(failover) => format!("on command only, journal {}", failover.journal.display()),
    }
}

fn describe_listener(config: &Config) -> String {
    let listener = &config.listener;
    let mut parts = vec![listener.address.to_string()];
    if let Some(path) = &listener.socket {
        parts.push(path.display().to_string());
    }
    match &config.client_tls {
        Some(tls) if tls.required => parts.push("TLS required".to_owned()),
        Some(tls) if tls.as_servers => parts.push("TLS in front of MariaDB 11.4 and later".to_owned()),
        Some(_) => parts.push("TLS offered".to_owned()),
        None => parts.push("no TLS".to_owned()),
    }
    let balancers = &listener.proxy_protocol.0;
    if !balancers.is_empty() {
        let names: Vec<String> = balancers.iter().map(ToString::to_string).collect();
        parts.push(format!("PROXY headers from {}", names.join(" and ")));
    }
    parts.join(", ")
}

fn describe_server(server: &config::Server) -> String {
    let told = if server.proxy_protocol {
        ", told by PROXY headers"
    } else {
        ""
    };
    format!(
        "{} at {} (weight {}{told})",
        server.name, server.address, server.weight
    )
}
