//! One etcd of a pair's own, as Debian has it, or several members, by TLS.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use tempfile::TempDir;

use crate::authority::{self, Authority};
use crate::{WITHIN, wait_until};

const MEMORY: &str = "/dev/shm";

/// Who may do everything in an etcd by TLS, which asks for it.
pub const ROOT: (&str, &str) = ("root", "a password of etcd");

/// A cluster, mostly of one member. Dropping it ends it, and so does the pair's watchdog when the test binary ends before.
pub struct Etcd {
    members: Vec<Member>,
    files: Option<Files>,
}

struct Member {
    child: Option<Child>,
    folder: PathBuf,
    /// In memory: it syncs each decision, for which a disk that others use takes seconds. It outlives a kill of etcd.
    data: TempDir,
    client: SocketAddr,
    peer: SocketAddr,
}

/// For TLS.
struct Files {
    ca: PathBuf,
    member: authority::Identity,
    client: authority::Identity,
}

impl Etcd {
    /// Starts one member with its data below `directory`, the pair's. Panics when it does not start.
    pub async fn start(directory: &Path) -> Self {
        Self::of(directory, 1, None).await
    }

    /// Starts `count` members that are reached by TLS, with a certificate and as [`ROOT`].
    pub async fn secured(directory: &Path, count: usize, authority: &Authority) -> Self {
        let files = Files {
            ca: authority.file(),
            member: authority.sign("etcd", &["127.0.0.1"]),
            client: authority.sign("tandem", &["127.0.0.1"]),
        };
        let etcd = Self::of(directory, count, Some(files)).await;
        let mut client = etcd.client().await;
        let (user, password) = ROOT;
        client.user_add(user, password, None).await.expect("a user");
        client.user_grant_role(user, "root").await.expect("its role");
        client.auth_enable().await.expect("it asks for it");
        etcd
    }

    async fn of(directory: &Path, count: usize, files: Option<Files>) -> Self {
        // Held together, so that no two are the same.
        let ports: Vec<TcpListener> = (0..2 * count)
            .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
            .collect();
        let addresses: Vec<SocketAddr> = ports
            .iter()
            .map(|port| port.local_addr().expect("an address"))
            .collect();
        drop(ports);
        let members = addresses.chunks(2).zip(1..).map(|(addresses, number)| {
            let folder = directory.join(format!("etcd{number}"));
            fs::create_dir(&folder).expect("a folder");
            let data = tempfile::tempdir_in(MEMORY).or_else(|_| tempfile::tempdir_in(&folder));
            Member {
                child: None,
                folder,
                data: data.expect("a folder"),
                client: addresses[0],
                peer: addresses[1],
            }
        });
        let mut etcd = Self {
            members: members.collect(),
            files,
        };
        etcd.start_again().await;
        etcd
    }

    /// After [`Self::kill`], with the data that it had.
    pub async fn start_again(&mut self) {
        let all = self.members.iter().zip(1..);
        let cluster: Vec<String> = all
            .map(|(member, number)| format!("m{number}={}", self.url(member.peer)))
            .collect();
        let commands: Vec<Command> = self
            .members
            .iter()
            .zip(1..)
            .map(|(member, number)| self.command(member, number, &cluster.join(",")))
            .collect();
        for (member, mut command) in self.members.iter_mut().zip(commands) {
            if member.child.is_none() {
                let child = command
                    .spawn()
                    .expect("etcd, of Debian's etcd-server (.ci/install etcd)");
                // Where the watchdog looks.
                fs::write(member.folder.join("pid"), child.id().to_string()).expect("its number");
                member.child = Some(child);
            }
        }
        wait_until("etcd serves", WITHIN, || async {
            let Ok(mut client) = self.connect().await else {
                return false;
            };
            let asked = tokio::time::timeout(Duration::from_secs(1), client.get("/", None));
            matches!(asked.await, Ok(Ok(_)))
        })
        .await;
    }

    fn command(&self, member: &Member, number: usize, cluster: &str) -> Command {
        let (client, peer) = (self.url(member.client), self.url(member.peer));
        let log = fs::File::create(member.folder.join("log")).expect("a log");
        let mut command = Command::new("etcd");
        command
            .arg("--data-dir")
            .arg(member.data.path())
            .args(["--name", &format!("m{number}"), "--initial-cluster", cluster])
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            // What a password costs is not what is tested.
            .args(["--bcrypt-cost", "4"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(Files { ca, member, .. }) = &self.files {
            for prefix in ["", "peer-"] {
                let path = |name: &str, path: &Path| format!("--{prefix}{name}={}", path.display());
                command
                    .arg(path("trusted-ca-file", ca))
                    .arg(path("cert-file", &member.certificate))
                    .arg(path("key-file", &member.key))
                    .arg(format!("--{prefix}client-cert-auth"));
            }
        }
        command
    }

    fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.files.is_some() { "https" } else { "http" };
        format!("{scheme}://{address}")
    }

    async fn connect(&self) -> Result<Client, etcd_client::Error> {
        let options = self.files.as_ref().map(|files| {
            let read = |path: &Path| fs::read(path).expect("a file of the authority");
            let identity = Identity::from_pem(read(&files.client.certificate), read(&files.client.key));
            let tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read(&files.ca)));
            ConnectOptions::new().with_tls(tls.identity(identity))
        });
        Client::connect(self.urls(), options).await
    }

    /// Kills all members.
    pub fn kill(&mut self) {
        (0..self.members.len()).for_each(|member| self.kill_member(member));
    }

    pub fn kill_member(&mut self, member: usize) {
        if let Some(mut child) = self.members[member].child.take() {
            child.kill().expect("killed");
            child.wait().expect("ended");
        }
    }

    /// The first member's.
    pub fn address(&self) -> SocketAddr {
        self.members[0].client
    }

    /// Those of all members, for clients.
    pub fn urls(&self) -> Vec<String> {
        let members = self.members.iter();
        members.map(|member| self.url(member.client)).collect()
    }

    /// The configuration of a Tandem that is let in, below `[coordination]`.
    pub fn settings(&self) -> String {
        let files = self.files.as_ref().map(|Files { ca, client, .. }| {
            let (user, password) = ROOT;
            let (ca, certificate, key) = (ca.display(), client.certificate.display(), client.key.display());
            format!(
                "ca = \"{ca}\"\ncertificate = \"{certificate}\"\nkey = \"{key}\"\nuser = \"{user}\"\npassword = \"{password}\"\n"
            )
        });
        format!("etcd = {:?}\n{}", self.urls(), files.unwrap_or_default())
    }

    pub async fn client(&self) -> Client {
        self.connect().await.expect("a connection to etcd")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}
