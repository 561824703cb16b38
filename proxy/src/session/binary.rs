//! Binary prepared statements. The client's statement ids are the session's own; on a server connection the
//! statement is prepared when it is first needed there.

use std::rc::Rc;

use tandem_protocol::command::{CommandCode, StmtBulkExecute, StmtExecute, execute_params};
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::{self, HEADER_LEN, Header, MAX_PAYLOAD};
use tandem_protocol::packet::prepare_ok::PrepareOk;
use tandem_protocol::response::Expect;

use super::bound;
use super::complaint::Complaint;
use super::hold::READS;
use super::library::Prepared;

use super::reading::Reading;
use super::relay::Carried;
use super::run::{Ran, Work};
use super::statements::Statement;
use super::{Command, End, Session};
use crate::classify::facts::{Kind, Pins};
use crate::classify::kill;
use crate::failover::outcome::is_marked;
use crate::topology::Flavor;

/// Bytes of a `COM_STMT_EXECUTE` before the parameters: code, id, flags, iteration count.
const EXECUTE_HEAD: usize = 10;
/// Where the lower byte of a bulk execution's flags is.
const BULK_FLAGS_AT: usize = 5;
/// Bytes of arguments: the id; with a number of rows; with a parameter's number.
const ID_LEN: usize = 4;
const FETCH_LEN: usize = 8;
const LONG_DATA_LEN: usize = 6;
/// MariaDB's id for the statement of the last `COM_STMT_PREPARE`.
const LAST_PREPARED: u32 = u32::MAX;

impl Session {
    /// `COM_STMT_PREPARE`: prepared on the active master, whose answer the client gets with an id of its own.
    pub(super) async fn prepare(&mut self, mut command: Command) -> Result<(), End> {
        self.handle.enter("Prepare");
        self.statements.forget_last_prepared();
        let limit = self.worker.config().limits.prepared_statements;
        if self.statements.len() >= limit && command.tail.is_none() {
            self.client.inbox.consume(command.head);
            return self.complain(&Complaint::too_many_statements(limit)).await;
        }
        if command.tail.is_some() {
            // Its text is needed again on every connection it is executed on.
            let bytes = self.worker.config().limits.statement_bytes;
            let complaint = Complaint::too_long_to_prepare(bytes);
            return self.refuse_binary(command, &complaint).await;
        }
        if !self.worker.library.has_room(command.head) {
            self.client.inbox.consume(command.head);
            self.worker.library.taken().refuse();
            let limit = self.worker.config().limits.prepared_bytes;
            return self.complain(&Complaint::too_many_prepared(limit)).await;
        }
        self.handle.runs_shape(&self.worker.known_facts.prepare);
        let mut facts = self.classify(command);
        if let Some(complaint) = self.guard_query(&facts, command) {
            self.client.inbox.consume(command.head);
            return self.complain(&complaint).await;
        }
        let ruled = self.rule_of_query(&facts, command, true);
        let refusal = ruled.as_ref().and_then(|ruled| self.refusal(ruled, &facts));
        let rewritten = match refusal {
            Some(complaint) => Err(complaint),
            None => self.rewrite(ruled.as_ref(), &facts, &mut command),
        };
        let asked = match rewritten {
            Ok(asked) => asked,
            Err(complaint) => {
                self.client.inbox.consume(command.head);
                return self.complain(&complaint).await;
            }
        };
        if asked.is_some() {
            facts = self.classify(command);
        }
        let mut text: Box<[u8]> = self.client.inbox.bytes()[HEADER_LEN + 1..command.head].into();
        let filled = self.with_own_number(&text, &facts);
        let settings = Rc::clone(&self.settings);
        let mut asks = Rc::clone(&self.worker.known_facts.ask_active);
        // What asks about the statement before is prepared where that ran, and leaves its answer there.
        let reads = facts.links & READS;
        if !reads.is_empty() {
            Rc::make_mut(&mut asks).links |= reads;
        }
        let mut work = Work::new(asks, Expect::Prepare, command);
        work.keep = true;
        work.marked = is_marked(&facts);
        if let Some(filled) = filled {
            let mut owned = Vec::with_capacity(HEADER_LEN + 1 + filled.len());
            frame::write_packet(
                &mut owned,
                &mut 0,
                &[&[CommandCode::StmtPrepare as u8], &*filled].concat(),
            );
            work.owned = Some(owned);
            text = filled;
        }
        let Ran::Carried { carried, learned } = self.run(work).await? else {
            return Ok(());
        };
        let Carried::Kept(mut reply) = carried else {
            return Ok(());
        };
        if let Some(ok) = learned.prepared {
            self.worker.count(|counters| counters.prepared += 1);
            let library = &self.worker.library;
            let mut prepared = library.share(&text, &settings, &facts, ok.params);
            if self.statements.have(&prepared) {
                prepared = library.apart(&text, &settings, &facts, ok.params);
            }
            self.note_prepared(&prepared, ok.statement_id);
            let id = self.statements.add(prepared, asked, self.worker.library.space());
            let at = HEADER_LEN + PrepareOk::STATEMENT_ID_AT;
            reply[at..at + 4].copy_from_slice(&id.to_le_bytes());
        }
        Ok(self.client.write(&reply).await?)
    }

    /// Tells the connection it was prepared on; that is idle again, unless the session keeps it.
    fn note_prepared(&mut self, prepared: &Prepared, server_id: u32) {
        if let Some(lease) = &mut self.lease {
            lease.connection_mut().add_prepared(prepared.id, server_id);
        } else if let Some(server) = self.last_server
            && let Some(id) = self.last[server.0]
            && let Some(mut lease) = self.worker.pools[server.0].take_back(id)
        {
            lease.connection_mut().add_prepared(prepared.id, server_id);
            lease.release();
        }
        // Somebody who waited has it already: the statement is prepared once more when it is needed there,
        // and this copy goes with the next reset.
    }

    /// `COM_STMT_EXECUTE`
    pub(super) async fn execute(&mut self, command: Command) -> Result<(), End> {
        self.handle.enter("Execute");
        let bytes = &self.client.inbox.bytes()[HEADER_LEN..command.head];
        let Ok(execute) = StmtExecute::decode(bytes) else {
            return self.refuse_malformed(command).await;
        };
        let (given, id) = (execute.statement_id, self.resolve(execute.statement_id));
        let declared = Header::peek(self.client.inbox.bytes()).map_or(0, |header| header.len);
        let capabilities = self.client.capabilities;
        let known = self.statements.change(id, |statement| {
            let owned = with_types(statement, bytes, declared, command.tail.is_some(), capabilities);
            (Rc::clone(&statement.prepared), owned, statement.long_data)
        });
        let Some((prepared, owned, long_data)) = known else {
            return self.refuse_unknown(command, given, "mysqld_stmt_execute").await;
        };
        let Ok(owned) = owned else {
            return self.refuse_malformed(command).await;
        };
        self.run_prepared(command, id, prepared, owned, long_data).await
    }

    /// MariaDB's `COM_STMT_BULK_EXECUTE`: one execution for each of many rows.
    pub(super) async fn bulk_execute(&mut self, command: Command) -> Result<(), End> {
        self.handle.enter("Bulk_execute");
        let bytes = &self.client.inbox.bytes()[HEADER_LEN..command.head];
        let Ok(bulk) = StmtBulkExecute::decode(bytes) else {
            return self.refuse_malformed(command).await;
        };
        if !self.client.capabilities.contains(Capabilities::MARIADB_STMT_BULK) {
            return self
                .refuse_binary(command, &Complaint::unsupported_prepared())
                .await;
        }
        let (given, id) = (bulk.statement_id, self.resolve(bulk.statement_id));
        let declared = Header::peek(self.client.inbox.bytes()).map_or(0, |header| header.len);
        let known = self.statements.change(id, |statement| {
            let owned = with_bulk_types(statement, bytes, declared, command.tail.is_some());
            (Rc::clone(&statement.prepared), owned, statement.long_data)
        });
        let Some((prepared, owned, long_data)) = known else {
            return self.refuse_unknown(command, given, "mysqld_stmt_execute").await;
        };
        let Ok(owned) = owned else {
            return self.refuse_malformed(command).await;
        };
        self.run_prepared(command, id, prepared, owned, long_data).await
    }

    /// Executes the client's statement `id`, with `owned` in the place of the command if that is given.
    async fn run_prepared(
        &mut self,
        command: Command,
        id: u32,
        prepared: Rc<Prepared>,
        owned: Option<Vec<u8>>,
        long_data: bool,
    ) -> Result<(), End> {
        let asked = self
            .statements
            .get(id)
            .and_then(|statement| statement.asked.clone());
        if let Some(complaint) = self.guard_prepared(&prepared, asked.as_deref()) {
            return self.refuse_binary(command, &complaint).await;
        }
        if let Some(complaint) = self.operators_only(&prepared.facts) {
            return self.refuse_binary(command, &complaint).await;
        }
        if prepared.facts.kind == Kind::Kill {
            let bytes = owned
                .as_deref()
                .unwrap_or(&self.client.inbox.bytes()[..command.head]);
            // What was uploaded for it is on a server's connection.
            let is_whole = !long_data && command.tail.is_none();
            let bound = match prepared.params {
                0 => Some(Vec::new()),
                count => bound::literals(&bytes[HEADER_LEN..], count, self.client.capabilities),
            };
            return self
                .kill_prepared(command, &prepared, bound.filter(|_| is_whole))
                .await;
        }
        if prepared.facts.pins.contains(Pins::TEXT_PREPARED) {
            self.names.lose_count();
        }
        let ruled = self.rule_of_prepared(&prepared, asked.as_deref());
        let mut work = Work::new(Rc::clone(&prepared.facts), Expect::Execute, command);
        work.ruled = ruled;
        work.prepared = Some(prepared);
        work.owned = owned;
        // What was uploaded for it is gone with the statement.
        work.may_prepare_again = !long_data && command.tail.is_none();
        let globals = self.globals_set_by(&work);
        let ran = match globals.is_empty() {
            true => self.run_by_rule(work).await?,
            false => Box::pin(self.run_on_all(work, &globals)).await?,
        };
        let Ran::Carried { learned, .. } = ran else {
            return Ok(());
        };
        self.retie(id, |statement| {
            // What was wrong with them is remembered until a reset.
            statement.long_data &= learned.outcome.failed;
            statement.cursor = learned.cursor;
        });
        self.release_if_free();
        Ok(())
    }

    /// The `COM_STMT_EXECUTE` as it goes to a server, but for the statement's id; nothing where it opens a cursor.
    pub(super) fn execution_of<'a>(&'a self, work: &'a Work) -> Option<&'a [u8]> {
        let command = match &work.owned {
            Some(owned) => owned,
            None => self.client.inbox.bytes().get(..work.command.head)?,
        };
        let execution = command.get(HEADER_LEN..)?;
        let has_cursor = StmtExecute::decode(execution).ok()?.wants_cursor();
        (!has_cursor).then_some(execution)
    }

    /// A prepared `KILL`: the server would end somebody else's connection. What was bound takes the place of its parameters.
    async fn kill_prepared(
        &mut self,
        command: Command,
        prepared: &Prepared,
        bound: Option<Vec<Vec<u8>>>,
    ) -> Result<(), End> {
        self.skip(command).await?;
        let dialect = Reading::new(&prepared.settings, &self.worker.topology.load()).dialect;
        let text =
            bound.and_then(|bound| kill::filled(&prepared.text, dialect, bound.iter().map(Vec::as_slice)));
        self.kill_as(text.as_deref().unwrap_or(&prepared.text), dialect)
            .await
    }

    /// `COM_STMT_FETCH`: the cursor is on the connection that the session keeps.
    pub(super) async fn fetch(&mut self, command: Command) -> Result<(), End> {
        self.handle.enter("Fetch");
        let Some(given) = self.statement_id(command, FETCH_LEN) else {
            return self.refuse_malformed(command).await;
        };
        let id = self.resolve(given);
        let Some(statement) = self.statements.get(id) else {
            return self.refuse_unknown(command, given, "mysqld_stmt_fetch").await;
        };
        if !statement.cursor {
            let complaint = Complaint::no_open_cursor(given, self.worker.flavor());
            return self.refuse_binary(command, &complaint).await;
        }
        let prepared = Rc::clone(&statement.prepared);
        self.handle.runs_shape(&self.worker.known_facts.fetch);
        let mut work = Work::new(Rc::clone(&prepared.facts), Expect::Fetch, command);
        work.owned = self.with_whole_id(command, FETCH_LEN);
        work.prepared = Some(prepared);
        let ran = self.run(work).await?;
        let cursor = matches!(&ran, Ran::Carried { learned, .. } if learned.cursor);
        self.retie(id, |statement| statement.cursor = cursor);
        self.release_if_free();
        Ok(())
    }

    /// `COM_STMT_SEND_LONG_DATA` has no reply: the connection it goes to is kept until the execution.
    pub(super) async fn send_long_data(&mut self, command: Command) -> Result<(), End> {
        self.handle.enter("Long Data");
        let Some(given) = self.statement_id(command, LONG_DATA_LEN) else {
            return self.refuse_malformed(command).await;
        };
        let id = self.resolve(given);
        let known = self
            .statements
            .get(id)
            .filter(|_| command.head >= HEADER_LEN + 1 + LONG_DATA_LEN);
        let Some(prepared) = known.map(|statement| Rc::clone(&statement.prepared)) else {
            // The server ignores it too; the execution will say that the statement is unknown.
            return self.skip(command).await;
        };
        // Not the connection that was kept for `SHOW WARNINGS`: the statement's own way decides.
        self.let_go_of_diagnostics();
        self.retie(id, |statement| statement.long_data = true);
        let mut work = Work::new(Rc::clone(&prepared.facts), Expect::Single, command);
        work.prepared = Some(prepared);
        work.silent = true;
        self.run(work).await?;
        // Again, now that there is a connection for sure.
        self.retie(id, |_| {});
        Ok(())
    }

    /// `COM_STMT_RESET`: drops long data and closes the cursor.
    pub(super) async fn reset_statement(&mut self, command: Command) -> Result<(), End> {
        self.handle.enter("Reset stmt");
        let Some(given) = self.statement_id(command, ID_LEN) else {
            return self.refuse_malformed(command).await;
        };
        let id = self.resolve(given);
        let Some(statement) = self.statements.get(id) else {
            return self.refuse_unknown(command, given, "mysqld_stmt_reset").await;
        };
        let prepared = Rc::clone(&statement.prepared);
        if !statement.ties() {
            self.skip(command).await?;
            return self.say_ok().await;
        }
        let mut work = Work::new(
            Rc::clone(&self.worker.known_facts.ask_active),
            Expect::Single,
            command,
        );
        work.owned = self.with_whole_id(command, ID_LEN);
        work.prepared = Some(prepared);
        self.run(work).await?;
        self.retie(id, |statement| {
            statement.long_data = false;
            statement.cursor = false;
        });
        self.release_if_free();
        Ok(())
    }

    /// `COM_STMT_CLOSE` has no reply. What connections have of the statement stays for the next who prepares it.
    pub(super) async fn close_statement(&mut self, command: Command) -> Result<(), End> {
        let Some(given) = self.statement_id(command, ID_LEN) else {
            return self.refuse_malformed(command).await;
        };
        // All of it: the rest of one that is absurdly long must not be taken for commands.
        self.skip(command).await?;
        let id = self.resolve(given);
        let Some(statement) = self.statements.remove(id) else {
            return Ok(());
        };
        if statement.ties()
            && let Some(lease) = &mut self.lease
        {
            // An open cursor must end with its statement.
            lease.connection_mut().close_prepared(statement.prepared.id);
        }
        self.ties.statement = self.statements.tie();
        self.release_if_free();
        Ok(())
    }

    /// The id in a command whose arguments MySQL wants to be `least` bytes; it answers shorter ones with an error, also
    /// those that get no reply otherwise. MariaDB takes them, and what it finds behind them (measured: zeros as a
    /// rule). Neither minds what is too much.
    fn statement_id(&self, command: Command, least: usize) -> Option<u32> {
        let argument = &self.client.inbox.bytes()[HEADER_LEN + 1..command.head];
        if argument.len() < least && self.worker.flavor() == Flavor::MySql {
            return None;
        }
        let mut id = [0; ID_LEN];
        let present = argument.len().min(ID_LEN);
        id[..present].copy_from_slice(&argument[..present]);
        Some(u32::from_le_bytes(id))
    }

    /// The command with as many bytes of arguments as it should have, where the id is cut short: the server's own goes
    /// into its place.
    fn with_whole_id(&self, command: Command, least: usize) -> Option<Vec<u8>> {
        let payload = &self.client.inbox.bytes()[HEADER_LEN..command.head];
        if payload.len() > ID_LEN {
            return None;
        }
        let len = 1 + least;
        let mut whole = Header { len, seq: 0 }.encode().to_vec();
        whole.extend_from_slice(payload);
        whole.resize(HEADER_LEN + len, 0);
        Some(whole)
    }

    /// The statement that the client means: on MariaDB, −1 is the one that was prepared last, so that a client can
    /// prepare and execute in one write.
    fn resolve(&self, id: u32) -> u32 {
        match self.statements.last_prepared() {
            Some(last) if id == LAST_PREPARED && self.worker.flavor() == Flavor::MariaDb => last,
            _ => id,
        }
    }

    async fn refuse_malformed(&mut self, command: Command) -> Result<(), End> {
        let complaint = Complaint::malformed_packet(self.worker.flavor());
        self.refuse_binary(command, &complaint).await
    }

    async fn refuse_unknown(&mut self, command: Command, id: u32, place: &str) -> Result<(), End> {
        let complaint = Complaint::unknown_statement(id, place, self.worker.flavor());
        self.refuse_binary(command, &complaint).await
    }

    /// Changes a statement's state, and what ties the session with it.
    fn retie(&mut self, id: u32, change: impl FnOnce(&mut Statement)) {
        let changed = self.statements.change(id, |statement| {
            change(statement);
            (statement.prepared.id, statement.ties())
        });
        self.ties.statement = self.statements.tie();
        if let (Some((prepared, ties)), Some(lease)) = (changed, &mut self.lease) {
            lease.connection_mut().prepared.hold(prepared, ties);
        }
    }

    /// Gives the kept connection back if nothing ties the session to it any more.
    pub(super) fn release_if_free(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.keep_or_release(lease);
        }
    }

    async fn refuse_binary(&mut self, command: Command, complaint: &Complaint) -> Result<(), End> {
        self.skip(command).await?;
        self.complain(complaint).await
    }

    /// Reads a command to its end without sending it anywhere.
    pub(super) async fn skip(&mut self, command: Command) -> Result<(), End> {
        self.client.inbox.consume(command.head);
        let Some(mut tail) = command.tail else {
            return Ok(());
        };
        while !tail.is_done() {
            let limit = self.worker.config().limits.command_bytes;
            let advanced = tail.advance(self.client.inbox.bytes());
            self.client.seq = tail.reply_seq();
            let count = advanced.map_err(|_| End::Complaint(Complaint::too_long(limit)))?;
            self.client.inbox.consume(count);
            if count == 0 {
                let wanted = self.client.inbox.len() + 1;
                self.fill_client(wanted).await?;
            }
        }
        Ok(())
    }
}

/// A client sends the types of its parameters once; the connection that executes now may never have seen
/// them, so they are put back in. `command` starts with the command byte and may be only the beginning of
/// one whose first packet declares `declared` bytes.
///
/// What is malformed goes to the server as it is, for its own answer.
fn with_types(
    statement: &mut Statement,
    command: &[u8],
    declared: usize,
    is_long: bool,
    capabilities: Capabilities,
) -> Result<Option<Vec<u8>>, Malformed> {
    let params = StmtExecute::decode(command)
        .and_then(|execute| execute_params(&execute, statement.prepared.params, capabilities));
    let Ok(params) = params else {
        return if is_long { Err(Malformed) } else { Ok(None) };
    };
    if params.params == 0 {
        return Ok(None);
    }
    if params.new_params_bound {
        statement.set_types(params.types);
        return Ok(None);
    }
    if statement.types().is_empty() {
        // Another session may have bound its own on that connection. Without any the server refuses it.
        if is_long {
            return Err(Malformed);
        }
        let mut out = Header {
            len: EXECUTE_HEAD,
            seq: 0,
        }
        .encode()
        .to_vec();
        out.extend_from_slice(&command[..EXECUTE_HEAD]);
        return Ok(Some(out));
    }
    let Some(types) = params.earlier_types(statement.types(), capabilities) else {
        // The server says what it thinks of it.
        return Ok(None);
    };
    let len = declared + types.len();
    if len >= MAX_PAYLOAD {
        return Err(Malformed);
    }
    let mut out = Vec::with_capacity(HEADER_LEN + command.len() + types.len());
    out.extend_from_slice(&Header { len, seq: 0 }.encode());
    out.extend_from_slice(&command[..EXECUTE_HEAD]);
    out.extend_from_slice(params.count);
    out.extend_from_slice(params.null_bitmap);
    out.push(1);
    out.extend_from_slice(types);
    out.extend_from_slice(params.values);
    Ok(Some(out))
}

/// The same for a bulk execution, which says in its flags whether types are there.
fn with_bulk_types(
    statement: &mut Statement,
    command: &[u8],
    declared: usize,
    is_long: bool,
) -> Result<Option<Vec<u8>>, Malformed> {
    let count = usize::from(statement.prepared.params);
    let (head, rest) = command.split_at(StmtBulkExecute::HEAD);
    if head[BULK_FLAGS_AT] & StmtBulkExecute::SENDS_TYPES != 0 {
        if let Some(types) = rest.get(..count * 2) {
            statement.set_types(types);
        }
        return Ok(None);
    }
    let len = declared + statement.types().len();
    if count == 0 || statement.types().is_empty() {
        return if is_long { Err(Malformed) } else { Ok(None) };
    }
    if len >= MAX_PAYLOAD {
        return Err(Malformed);
    }
    let mut out = Vec::with_capacity(HEADER_LEN + command.len() + statement.types().len());
    out.extend_from_slice(&Header { len, seq: 0 }.encode());
    out.extend_from_slice(head);
    out[HEADER_LEN + BULK_FLAGS_AT] |= StmtBulkExecute::SENDS_TYPES;
    out.extend_from_slice(statement.types());
    out.extend_from_slice(rest);
    Ok(Some(out))
}

/// An execution that can't be understood, or not be completed.
struct Malformed;
