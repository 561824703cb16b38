//! One etcd of a pair's own, as Debian has it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use etcd_client::Client;

use crate::wait_until;

const WITHIN: Duration = Duration::from_secs(20);

/// A member alone. Dropping it ends it, and so does the pair's watchdog when the test binary ends before.
pub struct Etcd {
    child: Option<Child>,
    folder: PathBuf,
    client: SocketAddr,
    peer: SocketAddr,
}

impl Etcd {
    /// Starts one with its data below `directory`, the pair's. Panics when it does not start.
    pub async fn start(directory: &Path) -> Self {
        let folder = directory.join("etcd");
        fs::create_dir(&folder).expect("a folder");
        // Held together, so that they are two.
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [client, peer] = ports
            .each_ref()
            .map(|port| port.local_addr().expect("an address"));
        drop(ports);
        let mut etcd = Self {
            child: None,
            folder,
            client,
            peer,
        };
        etcd.start_again().await;
        etcd
    }

    /// After [`Self::kill`], with the data that it had.
    pub async fn start_again(&mut self) {
        let [client, peer] = [self.client, self.peer].map(|address| format!("http://{address}"));
        let log = fs::File::create(self.folder.join("log")).expect("a log");
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(self.folder.join("data"))
            .args(["--name", "one", "--initial-cluster", &format!("one={peer}")])
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd, of Debian's etcd-server (.ci/install etcd)");
        // Where the watchdog looks.
        fs::write(self.folder.join("pid"), child.id().to_string()).expect("its number");
        self.child = Some(child);
        wait_until("etcd serves", WITHIN, || async {
            let Ok(mut client) = Client::connect([&client], None).await else {
                return false;
            };
            let asked = tokio::time::timeout(Duration::from_secs(1), client.get("/", None));
            matches!(asked.await, Ok(Ok(_)))
        })
        .await;
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killed");
            child.wait().expect("ended");
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.client
    }

    pub async fn client(&self) -> Client {
        let url = format!("http://{}", self.client);
        Client::connect([url], None).await.expect("a connection to etcd")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}
