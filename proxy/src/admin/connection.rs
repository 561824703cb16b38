//! One admin connection: login, then a command at a time, with opensrv-mysql for the wire.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use opensrv_mysql::{
    AsyncMysqlIntermediary, AsyncMysqlShim, Column, ColumnFlags, ColumnType, ErrorKind, InitWriter,
    IntermediaryOptions, OkResponse, ParamParser, QueryResultWriter, StatementMetaWriter,
};
use tokio::io::{AsyncReadExt as _, AsyncWrite};

use super::audit::{Audit, Entry, Outcome as Fate};
use super::command::{self, Command, Refusal};
use super::dialect;
use super::login::{Account, Accounts, Duplex, LoggedIn, Refused, log_in};
use super::prepared::{self, Prepared};
use super::rights::{self, Right};
use super::sql;
use super::stream::{Gate, Input, Output};
use super::table::Table;
use super::tables::{self, Source};
use super::view::{DataPath, Question, WorkerView};
use super::{digests, show};
use crate::config::Problems;
use crate::config::live::Assignment;
use crate::configurator::Configurator;
use crate::failover;
use crate::net::tls::Acceptor;
use crate::topology;
use crate::topology::ServerId;
use crate::worker::kill::{Order, Outcome};

/// A client that has not logged in after this time is disconnected.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the workers; one that is stuck must not hide the rest from the operator.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What every admin connection has in common.
pub(super) struct Shared {
    pub(super) configurator: Arc<Configurator>,
    pub(super) audit: Audit,
    /// That of the listener.
    pub(super) tls: Arc<Acceptor>,
    pub(super) topology: topology::Shared,
    pub(super) data: Arc<dyn DataPath>,
    /// `None`: Tandem decides nothing.
    pub(super) failover: Option<failover::Handle>,
}

/// Serves one client until it leaves, breaks the protocol, or fails to log in.
pub(super) async fn serve(
    shared: Arc<Shared>,
    id: u32,
    peer: SocketAddr,
    stream: impl Duplex,
) -> io::Result<()> {
    let begun = Instant::now();
    let config = shared.configurator.config();
    let accounts = Accounts::new(&config.admin, &config.admin_users);
    let tls = shared.tls.current(true).map(|tls| tls.acceptor.clone());
    let login = log_in(stream, &accounts, tls, id, peer);
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the client did not log in in time");
    let logged_in = tokio::time::timeout(LOGIN_TIMEOUT, login).await.map_err(late)?;
    let LoggedIn {
        stream,
        response,
        account,
    } = logged_in.map_err(|refused| match refused {
        Refused::Broken(error) => error,
        Refused::Denied { user } => {
            let why = "unknown account or wrong password".to_owned();
            let entry = entry_of(id, user, peer, "LOGIN".to_owned(), Fate::Denied(why), begun);
            shared.audit.login(entry);
            io::Error::new(io::ErrorKind::PermissionDenied, "access denied")
        }
    })?;
    let (reader, writer) = tokio::io::split(stream);
    let gate = Gate::new();
    let shim = Handler {
        shared,
        id,
        peer,
        account,
        schema: None,
        prepared: Prepared::default(),
    };
    let input = Input::new(io::Cursor::new(response).chain(reader), Arc::clone(&gate));
    let output = Output::new(writer, gate);
    let options = IntermediaryOptions {
        process_use_statement_on_query: true,
        reject_connection_on_dbname_absence: false,
    };
    AsyncMysqlIntermediary::run_with_options(shim, input, output, &options).await
}

#[expect(clippy::disallowed_methods, reason = "it is only shown")]
fn entry_of(id: u32, user: String, peer: SocketAddr, what: String, outcome: Fate, begun: Instant) -> Entry {
    Entry {
        at: SystemTime::now(),
        connection: id,
        user,
        peer,
        what,
        outcome,
        took: begun.elapsed(),
    }
}

struct Handler {
    shared: Arc<Shared>,
    id: u32,
    peer: SocketAddr,
    account: Arc<Account>,
    schema: Option<&'static str>,
    prepared: Prepared,
}

/// What makes a table of what the workers tell.
type OfViews = Box<dyn Fn(&[WorkerView]) -> Table + Send + Sync>;

/// What a command comes to.
enum Reply {
    Table(Table),
    Ok,
    /// So many rows changed, and what a client shows of it.
    Done {
        rows: u64,
        told: String,
    },
    Error(ErrorKind, String),
}

impl Reply {
    fn unchanged(problems: &Problems) -> Self {
        Self::Error(ErrorKind::ER_WRONG_ARGUMENTS, show::config::refused(problems))
    }

    fn refused(refusal: &Refusal) -> Self {
        let kind = match refusal {
            Refusal::Empty => ErrorKind::ER_EMPTY_QUERY,
            Refusal::NoTable(_) => ErrorKind::ER_NO_SUCH_TABLE,
            _ => ErrorKind::ER_PARSE_ERROR,
        };
        Self::Error(kind, refusal.to_string())
    }
}

impl Handler {
    async fn answer(&mut self, text: &str) -> Reply {
        let command = match command::parse(text) {
            Ok(command) => command,
            Err(refusal) => return Reply::refused(&refusal),
        };
        let needed = rights::needed(&command);
        let lacking = needed.filter(|right| !right.is_in(self.account.rights));
        if needed != Some(Right::Act) && lacking.is_none() {
            return self.execute(command).await;
        }
        let begun = Instant::now();
        let reply = match lacking {
            Some(right) => self.denied(right),
            None => self.execute(command).await,
        };
        let outcome = match &reply {
            Reply::Error(_, why) if lacking.is_some() => Fate::Denied(why.clone()),
            Reply::Error(_, why) => Fate::Failed(why.clone()),
            Reply::Table(_) | Reply::Ok | Reply::Done { .. } => Fate::Done,
        };
        let user = self.account.user.clone();
        let entry = entry_of(self.id, user, self.peer, text.to_owned(), outcome, begun);
        self.shared.audit.action(entry);
        reply
    }

    fn denied(&self, right: Right) -> Reply {
        let text = format!(
            "Access denied; you need the right \"{0}\" for this on Tandem's admin port: rights = \"{0}\" in [[admin_user]]",
            right.name()
        );
        Reply::Error(ErrorKind::ER_SPECIFIC_ACCESS_DENIED_ERROR, text)
    }

    async fn reply<W: AsyncWrite + Send + Unpin>(
        &mut self,
        statement: &str,
        results: QueryResultWriter<'_, W>,
    ) -> io::Result<()> {
        match self.answer(statement).await {
            Reply::Table(table) => table.send(results).await,
            Reply::Ok => results.completed(OkResponse::default()).await,
            Reply::Done { rows, told } => {
                // Clients read its length first, as the servers send it (opensrv-mysql leaves that out). It is a byte below 0x80.
                let length = u8::try_from(told.len()).map_or('\0', char::from);
                let done = OkResponse {
                    affected_rows: rows,
                    info: format!("{length}{told}"),
                    ..OkResponse::default()
                };
                results.completed(done).await
            }
            Reply::Error(kind, message) => results.error(kind, message.as_bytes()).await,
        }
    }

    /// The columns that a statement would answer with, where that is known before it is executed.
    fn columns(&self, text: &str, parameters: usize) -> Result<Vec<Column>, Reply> {
        let supposed = prepared::supposed(text, parameters);
        let command = match command::parse(&supposed) {
            Ok(command) => command,
            // Another value may be what it wants.
            Err(_) if parameters > 0 => return Ok(Vec::new()),
            Err(refusal) => return Err(Reply::refused(&refusal)),
        };
        let client = self.client();
        Ok(match command {
            Command::Table(source) => {
                let known = tables::TABLES.iter().find(|table| table.source == source);
                known.map(|table| table.empty().declared()).unwrap_or_default()
            }
            Command::Query(statement) | Command::Select(_, statement) => {
                let empty = tables::mentioned(&statement);
                let empty: Vec<_> = empty.into_iter().map(|table| (table, table.empty())).collect();
                match sql::columns(&statement, &empty, &client) {
                    Ok(table) => table.declared(),
                    Err(_) => Vec::new(),
                }
            }
            _ => Vec::new(),
        })
    }

    fn client(&self) -> show::Client<'_> {
        show::Client {
            id: self.id,
            user: &self.account.user,
            schema: self.schema,
        }
    }

    async fn execute(&mut self, command: Command) -> Reply {
        let table = match command {
            Command::Table(source) => return self.whole(source).await,
            Command::Query(statement) => return self.query(statement).await,
            Command::CreateTable(name) => match tables::named(&name) {
                Some(definition) => tables::create(definition),
                None => return Reply::refused(&Refusal::NoTable(name)),
            },
            Command::Reads(most) => return self.reads(most).await,
            Command::Switchover(wanted) => return self.switch_over(wanted).await,
            Command::Drain(name) => return self.order_for(&name, failover::Command::Drain).await,
            Command::Open(name) => return self.order_for(&name, failover::Command::Open).await,
            Command::Trace { session, statements } => return self.trace(session, statements).await,
            Command::ResetStatistics => return self.reset_statistics().await,
            Command::EmptyCache => return self.empty_cache().await,
            Command::Pause => return self.order(failover::Command::Pause).await,
            Command::Resume => return self.order(failover::Command::Resume).await,
            Command::ExplainRoute(question) => return self.explain(question).await,
            Command::Reload => return self.reload().await,
            Command::Set(assignments) => return self.set(assignments).await,
            Command::Update(query) => return self.update(query).await,
            Command::SaveConfig => return self.save().await,
            Command::FirewallAccept(which) => {
                let accepted = self.shared.configurator.firewall().accept(&which).await;
                return counted("accepted", accepted);
            }
            Command::FirewallForget(which) => {
                let forgotten = self.shared.configurator.firewall().forget(&which).await;
                return counted("forgotten", forgotten);
            }
            Command::ConfigDiff => return self.differences().await,
            Command::Kill(session) => return self.kill(session).await,
            Command::Warnings => show::warnings(),
            Command::Grants => show::grants(&self.account.user, self.account.rights),
            Command::Select(items, statement) => return self.select(&items, statement).await,
            Command::Use(schema) => return self.enter(&schema),
            Command::Nothing => return Reply::Ok,
        };
        Reply::Table(table)
    }

    async fn switch_over(&self, wanted: command::Switchover) -> Reply {
        let to = wanted.to.as_ref().map(|name| self.server(name)).transpose();
        let to = match to {
            Ok(to) => to,
            Err(unknown) => return unknown,
        };
        let command::Switchover {
            timeout,
            force,
            dry_run,
            ..
        } = wanted;
        self.order(failover::Command::Switchover {
            to,
            timeout,
            force,
            dry_run,
        })
        .await
    }

    async fn order_for(&self, name: &str, command: fn(ServerId) -> failover::Command) -> Reply {
        match self.server(name) {
            Ok(server) => self.order(command(server)).await,
            Err(unknown) => unknown,
        }
    }

    fn server(&self, name: &str) -> Result<ServerId, Reply> {
        let topology = self.shared.topology.load();
        let mut servers = topology.servers.iter();
        let found = servers.find(|server| server.name.eq_ignore_ascii_case(name));
        found.map(|server| server.id).ok_or_else(|| {
            let names: Vec<&str> = topology.servers.iter().map(|server| &*server.name).collect();
            let text = format!("No server is called '{name}'; there are {}", names.join(", "));
            Reply::Error(ErrorKind::ER_BAD_DB_ERROR, text)
        })
    }

    /// Bounded by whoever carries it out.
    async fn order(&self, command: failover::Command) -> Reply {
        let Some(failover) = &self.shared.failover else {
            let text =
                "Tandem follows read_only and decides nothing: failover.mode is \"off\" or \"follower\"";
            return Reply::Error(ErrorKind::ER_NOT_SUPPORTED_YET, text.to_owned());
        };
        match failover.command(command).await {
            Ok(done) => Reply::Table(show::done(done)),
            Err(refused) => Reply::Error(ErrorKind::ER_UNKNOWN_ERROR, refused),
        }
    }

    async fn whole(&self, source: Source) -> Reply {
        match self.table(source, &mut None).await {
            Ok(table) => Reply::Table(table),
            Err(late) => late,
        }
    }

    async fn reads(&self, most: usize) -> Reply {
        match within(self.shared.data.digests(usize::MAX)).await {
            Ok(reads) => Reply::Table(show::reads(reads, most)),
            Err(late) => late,
        }
    }

    /// A SELECT over the tables that it names, each as it is now.
    async fn query(&self, statement: String) -> Reply {
        let (mut filled, mut views) = (Vec::new(), None);
        for definition in tables::mentioned(&statement) {
            match self.table(definition.source, &mut views).await {
                Ok(table) => filled.push((definition, table)),
                Err(late) => return late,
            }
        }
        let (account, id, schema) = (Arc::clone(&self.account), self.id, self.schema);
        let answered = tokio::task::spawn_blocking(move || {
            let client = show::Client {
                id,
                user: &account.user,
                schema,
            };
            sql::select(&statement, &filled, &client)
        });
        match answered.await {
            Ok(Ok(table)) => Reply::Table(table),
            Ok(Err(text)) => Reply::Error(ErrorKind::ER_PARSE_ERROR, text),
            Err(error) => Reply::Error(ErrorKind::ER_UNKNOWN_ERROR, error.to_string()),
        }
    }

    /// The rows of a table now. What the workers tell is asked for once for a statement.
    async fn table(&self, source: Source, views: &mut Option<Vec<WorkerView>>) -> Result<Table, Reply> {
        let of_views: OfViews = match source {
            Source::Sessions => Box::new(show::sessions),
            Source::Pools => Box::new(show::pools),
            Source::Limits => {
                let configurator = Arc::clone(&self.shared.configurator);
                Box::new(move |views| {
                    let clients = views.iter().map(|view| view.sessions.len()).sum();
                    show::limits(views, &configurator.quotas(clients))
                })
            }
            Source::Firewall => {
                let entries = within(self.shared.configurator.firewall().entries()).await?;
                return Ok(show::firewall::firewall(&entries));
            }
            Source::Counters => Box::new(show::counters),
            Source::Users => {
                let details = within(self.shared.data.details()).await?;
                let config = self.shared.configurator.config();
                Box::new(move |views| show::users::users(&config, views, &details))
            }
            Source::Rules => Box::new(show::rules),
            Source::Servers => return Ok(show::servers(&self.shared.topology.load(), Instant::now())),
            Source::Config => return Ok(show::config::rows(&self.shared.configurator.rows())),
            Source::Commands => return Ok(show::commands()),
            Source::Audit => return Ok(show::audit(&self.shared.audit.all())),
            Source::Reads => {
                let reads = within(self.shared.data.digests(usize::MAX)).await?;
                return Ok(show::reads(reads, command::MOST_READS));
            }
            Source::Metrics => {
                let topology = self.shared.topology.load_full();
                let mirrors = within(self.shared.data.mirrors()).await?;
                Box::new(move |views| show::metrics::metrics(&topology, views, &mirrors))
            }
            Source::Mirrors => {
                let mirrors = within(self.shared.data.mirrors()).await?;
                return Ok(show::mirrors::mirrors(&mirrors, Instant::now()));
            }
            Source::Mirror => {
                let mirrors = within(self.shared.data.mirrors()).await?;
                return Ok(show::mirrors::shapes(&mirrors));
            }
            Source::MirrorDifferences => {
                let mirrors = within(self.shared.data.mirrors()).await?;
                return Ok(show::mirrors::differences(&mirrors));
            }
            Source::Connections => {
                let details = within(self.shared.data.details()).await?;
                return Ok(show::connections::connections(&details));
            }
            Source::Traces => {
                let details = within(self.shared.data.details()).await?;
                return Ok(show::traces::traces(&details));
            }
            Source::Prepared => {
                let details = within(self.shared.data.details()).await?;
                return Ok(show::prepared::prepared(&details));
            }
            Source::Digests => {
                return Ok(digests::digests(
                    within(self.shared.data.digests(usize::MAX)).await?,
                ));
            }
            Source::Failover => {
                let failover = self.shared.failover.as_ref();
                let status = failover.map(failover::Handle::status);
                let membership = failover.and_then(failover::Handle::membership);
                let topology = self.shared.topology.load();
                return Ok(show::failover(status.as_ref(), membership.as_ref(), &topology));
            }
            Source::Events => {
                let failover = self.shared.failover.as_ref();
                let events = failover.map(|failover| failover.events().all());
                return Ok(show::events(&events.unwrap_or_default()));
            }
        };
        let views = match views {
            Some(views) => views,
            None => views.insert(within(self.shared.data.views()).await?),
        };
        Ok(of_views(views))
    }

    async fn explain(&self, question: Question) -> Reply {
        match within(self.shared.data.explain(question)).await {
            Ok(explanation) => Reply::Table(show::explanation(explanation)),
            Err(late) => late,
        }
    }

    /// All of the file, or nothing.
    async fn reload(&self) -> Reply {
        match self.shared.configurator.reload().await {
            Ok(changes) => Reply::Table(show::config::changes(&changes)),
            Err(problems) => Reply::unchanged(&problems),
        }
    }

    /// All of them, or none.
    async fn set(&self, assignments: Vec<Assignment>) -> Reply {
        match self.shared.configurator.set(assignments).await {
            Ok(changes) => Reply::Done {
                rows: changes.len() as u64,
                told: show::config::told(&changes),
            },
            Err(problems) => Reply::unchanged(&problems),
        }
    }

    /// Sets what the query finds: keys, and the value that each is to have.
    async fn update(&self, query: String) -> Reply {
        let found = match self.query(query).await {
            Reply::Table(found) => found,
            other => return other,
        };
        let rows = self.shared.configurator.rows();
        let mut assignments = Vec::new();
        for row in &found.rows {
            let [key, value] = row.as_slice() else { continue };
            let (Some(key), value) = (key.text(), value.text()) else {
                continue;
            };
            // What is shown of a password is none.
            let known = rows.iter().find(|row| row.key == key);
            if known.is_none_or(|row| row.value != value) {
                assignments.push(Assignment { key, value });
            }
        }
        self.set(assignments).await
    }

    async fn save(&self) -> Reply {
        match self.shared.configurator.save().await {
            Ok(saved) => Reply::Table(show::config::saved(&saved)),
            Err(problems) => Reply::unchanged(&problems),
        }
    }

    async fn differences(&self) -> Reply {
        match self.shared.configurator.differences().await {
            Ok(differences) => Reply::Table(show::config::differences(&differences)),
            Err(problems) => Reply::unchanged(&problems),
        }
    }

    async fn trace(&self, session: u32, statements: u32) -> Reply {
        match within(self.shared.data.trace(session, statements)).await {
            Ok(true) => {
                let text = format!(
                    "the next {statements} statements of session {session} are traced; SHOW TRACES shows their steps"
                );
                Reply::Table(show::done(text))
            }
            Ok(false) => Reply::Error(
                ErrorKind::ER_NO_SUCH_THREAD,
                format!("Unknown session id: {session}"),
            ),
            Err(late) => late,
        }
    }

    async fn reset_statistics(&self) -> Reply {
        match within(self.shared.data.reset_statistics()).await {
            Ok(()) => Reply::Ok,
            Err(late) => late,
        }
    }

    async fn empty_cache(&self) -> Reply {
        match within(self.shared.data.empty_cache()).await {
            Ok(count) => Reply::Table(show::done(format!("{count} replies were given up"))),
            Err(late) => late,
        }
    }

    async fn kill(&self, session: u32) -> Reply {
        let order = Order {
            session,
            query_only: false,
            by: None,
        };
        match within(self.shared.data.kill(order)).await {
            Ok(Outcome::Done) => Reply::Ok,
            Ok(Outcome::Failed(cause)) => Reply::Error(
                ErrorKind::ER_QUERY_INTERRUPTED,
                format!("The session is ended, but its statement may still run: {cause}"),
            ),
            Ok(Outcome::Unknown | Outcome::NotOwner) => Reply::Error(
                ErrorKind::ER_NO_SUCH_THREAD,
                format!("Unknown session id: {session}"),
            ),
            Err(late) => late,
        }
    }

    async fn select(&self, items: &[command::Item], statement: String) -> Reply {
        match show::selected(items, &self.client()) {
            Some(table) => Reply::Table(table),
            None => self.query(statement).await,
        }
    }

    fn enter(&mut self, schema: &str) -> Reply {
        let schemas = [show::SCHEMA, "information_schema"];
        if let Some(known) = schemas
            .into_iter()
            .find(|known| schema.eq_ignore_ascii_case(known))
        {
            self.schema = Some(known);
            return Reply::Ok;
        }
        Reply::Error(
            ErrorKind::ER_BAD_DB_ERROR,
            format!(
                "Unknown database '{schema}'; Tandem's admin port has one, '{}'",
                show::SCHEMA
            ),
        )
    }
}

/// What was done to statements that the firewall knows or lists.
fn counted(done: &str, count: Result<usize, String>) -> Reply {
    match count {
        Ok(1) => Reply::Table(show::done(format!("1 statement {done}"))),
        Ok(count) => Reply::Table(show::done(format!("{count} statements {done}"))),
        Err(why) => Reply::Error(ErrorKind::ER_UNKNOWN_ERROR, why),
    }
}

/// The data path's answer, or the error that says that there is none.
async fn within<T>(answer: impl Future<Output = T>) -> Result<T, Reply> {
    let late = |_| {
        Reply::Error(
            ErrorKind::ER_LOCK_WAIT_TIMEOUT,
            format!(
                "The workers did not answer within {} seconds",
                ANSWER_TIMEOUT.as_secs()
            ),
        )
    };
    tokio::time::timeout(ANSWER_TIMEOUT, answer).await.map_err(late)
}

#[async_trait]
impl<W: AsyncWrite + Send + Unpin> AsyncMysqlShim<W> for Handler {
    type Error = io::Error;

    fn version(&self) -> String {
        show::VERSION.to_owned()
    }

    fn connect_id(&self) -> u32 {
        self.id
    }

    /// Of the login that has been, see [`super::login`].
    async fn authenticate(&self, _plugin: &str, _user: &[u8], _salt: &[u8], _proof: &[u8]) -> bool {
        true
    }

    async fn on_prepare<'a>(
        &'a mut self,
        query: &'a str,
        info: StatementMetaWriter<'a, W>,
    ) -> io::Result<()> {
        let parameters = prepared::parameters(query);
        let columns = match self.columns(query, parameters) {
            Ok(columns) => columns,
            Err(Reply::Error(kind, message)) => return info.error(kind, message.as_bytes()).await,
            Err(Reply::Ok | Reply::Done { .. } | Reply::Table(_)) => Vec::new(),
        };
        let Some(id) = self.prepared.add(query) else {
            let text = format!(
                "An admin connection can have {} prepared statements; close some",
                prepared::MOST
            );
            let kind = ErrorKind::ER_MAX_PREPARED_STMT_COUNT_REACHED;
            return info.error(kind, text.as_bytes()).await;
        };
        let parameter = Column {
            table: String::new(),
            column: "?".to_owned(),
            coltype: ColumnType::MYSQL_TYPE_VAR_STRING,
            colflags: ColumnFlags::empty(),
        };
        let parameters = vec![parameter; parameters];
        info.reply(id, &parameters, &columns).await
    }

    async fn on_execute<'a>(
        &'a mut self,
        id: u32,
        parameters: ParamParser<'a>,
        results: QueryResultWriter<'a, W>,
    ) -> io::Result<()> {
        // opensrv has refused a number that it does not know.
        let text = self.prepared.text(id).unwrap_or_default();
        let text = prepared::bound(text, dialect::values(parameters));
        self.reply(&text, results).await
    }

    async fn on_close<'a>(&'a mut self, statement: u32)
    where
        W: 'async_trait,
    {
        self.prepared.close(statement);
    }

    async fn on_query<'a>(&'a mut self, query: &'a str, results: QueryResultWriter<'a, W>) -> io::Result<()> {
        self.reply(query, results).await
    }

    async fn on_init<'a>(&'a mut self, schema: &'a str, init: InitWriter<'a, W>) -> io::Result<()> {
        match self.enter(schema) {
            Reply::Error(kind, message) => init.error(kind, message.as_bytes()).await,
            Reply::Ok | Reply::Table(_) | Reply::Done { .. } => init.ok().await,
        }
    }
}
