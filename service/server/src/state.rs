//! What the service remembers between runs: block lists, verified files, read repositories, bundles, sets and accounts.
//!
//! One redb file, written by one thread that puts whatever is waiting into one transaction. A transaction is there
//! whole or not at all, whenever the process dies. All of it can be computed again: a file that does not read well is
//! set aside, and the service starts with an empty one. What a full or failing disk does not take is kept in memory, so
//! that the service goes on: redb itself neither reads nor writes after such an error until it is opened again.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::metering;

use redb::{Database, DatabaseError, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

/// The state's file below the state directory.
const FILE_NAME: &str = "state.redb";

/// Memory that redb may use for pages. Block lists are read rarely and once; the kernel's page cache serves the rest.
const CACHE_LEN: usize = 16 << 20;

/// Writes that may wait for the writer. One is some kilobytes; behind this many, what can be computed again is dropped.
const WAITING_MAX: usize = 4096;

/// Writes that go into one transaction, so that the first of many waits no longer than a few hundred milliseconds.
const TRANSACTION_WRITES_MAX: usize = 512;

/// What is kept in memory of writes that failed: the block lists of some 50,000 packages. Beyond it they are computed
/// again whenever they are wanted.
const UNSAVED_LEN_MAX: usize = 64 << 20;

/// The form of what is stored. Another one is set aside like a corrupt file.
const VERSION: &[u8] = &[1];

/// The kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    /// A digest that is no identity -> the identity.
    Aliases,
    /// An identity and a piece length -> the SHA-1 of every piece.
    Blocks,
    /// A path below the root -> the fingerprint and identity that it had when it was read.
    Files,
    /// The digest of a repository's primary metadata -> the packages that it lists.
    Listings,
    /// An info hash -> the bundle's packages.
    Bundles,
    /// A set digest -> the set's packages.
    Sets,
    /// What hosts have told, as the accounts write it down.
    Accounts,
}

const VERSION_TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("version");

impl Table {
    const ALL: [Self; 7] =
        [Self::Aliases, Self::Blocks, Self::Files, Self::Listings, Self::Bundles, Self::Sets, Self::Accounts];

    fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(match self {
            Self::Aliases => "aliases",
            Self::Blocks => "blocks",
            Self::Files => "files",
            Self::Listings => "listings",
            Self::Bundles => "bundles",
            Self::Sets => "sets",
            Self::Accounts => "accounts",
        })
    }
}

/// One record to be stored, or dropped when it has no value.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) table: Table,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

type Callback = Box<dyn FnOnce() + Send>;

struct Write {
    records: Vec<Record>,
    then: Option<Callback>,
}

/// Why the state cannot be opened at all.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another service runs on it.
    #[error("{0}: in use by another pkgtorrent-service")]
    InUse(PathBuf),
    /// The directory cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// What was tried.
        path: PathBuf,
        /// What came of it.
        source: std::io::Error,
    },
    /// A fresh file fails as well.
    #[error("{path}: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

type StoredTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Some tables as they were at one moment.
pub(crate) struct Snapshot {
    tables: Vec<(Table, StoredTable)>,
    unsaved: Arc<Unsaved>,
}

/// What could not be written.
#[derive(Default)]
struct Unsaved {
    /// Whether there is any, so that it costs nothing as long as the disk works.
    any: AtomicBool,
    records: RwLock<UnsavedRecords>,
    /// Whether it was said that reading fails: it does for every record then.
    unreadable: AtomicBool,
}

#[derive(Default)]
struct UnsavedRecords {
    values: HashMap<Table, HashMap<Vec<u8>, Option<Vec<u8>>>>,
    len: usize,
}

impl Unsaved {
    /// What a record was to become, if its write failed.
    fn get(&self, table: Table, key: &[u8]) -> Option<Option<Vec<u8>>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let records = self.records.read().unwrap_or_else(PoisonError::into_inner);
        records.values.get(&table)?.get(key).cloned()
    }

    /// Keeps what was not written, as far as there is room.
    fn keep(&self, batch: &[Write]) {
        let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
        for record in batch.iter().flat_map(|write| &write.records) {
            records.remove(record);
            let len = record.key.len() + record.value.as_ref().map_or(0, Vec::len);
            if records.len + len <= UNSAVED_LEN_MAX {
                records.len += len;
                let table = records.values.entry(record.table).or_default();
                table.insert(record.key.clone(), record.value.clone());
            }
        }
        self.any.store(true, Ordering::Release);
    }

    /// Forgets what was written after all.
    fn forget(&self, batch: &[Write]) {
        if self.any.load(Ordering::Acquire) {
            let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
            batch.iter().flat_map(|write| &write.records).for_each(|record| records.remove(record));
        }
    }

    fn note_unreadable(&self, what: &[Table], error: &redb::Error) {
        if !self.unreadable.swap(true, Ordering::Relaxed) {
            tracing::error!("reading {what:?} from the state failed, further failures are not told: {error}");
        }
    }
}

impl UnsavedRecords {
    fn remove(&mut self, record: &Record) {
        let former = self.values.get_mut(&record.table).and_then(|table| table.remove_entry(&record.key));
        if let Some((key, value)) = former {
            self.len -= key.len() + value.map_or(0, |value| value.len());
        }
    }
}

impl Snapshot {
    /// One record's value, as [`State::get`] has it; none of a table that was not asked for.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        if let Some(unsaved) = self.unsaved.get(table, key) {
            return unsaved;
        }
        let (_, opened) = self.tables.iter().find(|(opened, _)| *opened == table)?;
        match opened.get(key) {
            Ok(value) => value.map(|value| value.value().to_vec()),
            Err(error) => {
                self.unsaved.note_unreadable(&[table], &error.into());
                None
            }
        }
    }
}

/// The open state.
pub(crate) struct State {
    database: Arc<Database>,
    unsaved: Arc<Unsaved>,
    writes: Option<SyncSender<Write>>,
    writer: Option<JoinHandle<()>>,
}

impl State {
    /// Opens the state in `directory`, making both when they are missing.
    pub(crate) fn open(directory: &Path) -> Result<Self, StateError> {
        std::fs::create_dir_all(directory)
            .map_err(|source| StateError::Io { path: directory.to_owned(), source })?;
        let path = directory.join(FILE_NAME);
        let database = match open_database(&path) {
            Ok(database) => database,
            Err(Opening::Fatal(error)) => return Err(error),
            Err(Opening::Corrupt(reason)) => {
                let aside = set_aside(&path)?;
                tracing::error!(
                    "the state file does not read well and is set aside as {}; starting with an empty one: {reason}",
                    aside.display()
                );
                open_database(&path).map_err(|error| match error {
                    Opening::Fatal(error) => error,
                    Opening::Corrupt(reason) => StateError::Unusable { path: path.clone(), reason },
                })?
            }
        };
        Self::start(database).map_err(|source| StateError::Io { path, source })
    }

    /// Starts the writer of an open database.
    fn start(database: Database) -> std::io::Result<Self> {
        let (database, unsaved) = (Arc::new(database), Arc::new(Unsaved::default()));
        let (writes, waiting) = sync_channel(WAITING_MAX);
        let for_writer = (Arc::clone(&database), Arc::clone(&unsaved));
        let writer = std::thread::Builder::new()
            .name("state".into())
            .spawn(move || run_writer(&for_writer.0, &for_writer.1, &waiting))?;
        Ok(Self { database, unsaved, writes: Some(writes), writer: Some(writer) })
    }

    /// One record's value. A record that cannot be read counts as missing: it can be computed again.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        self.snapshot(&[table]).get(table, key)
    }

    /// These tables as they are now, for many lookups at the cost of one.
    pub(crate) fn snapshot(&self, tables: &[Table]) -> Snapshot {
        let open = || -> Result<Vec<(Table, StoredTable)>, redb::Error> {
            let transaction = self.database.begin_read()?;
            let open = |&table: &Table| Ok((table, transaction.open_table(table.definition())?));
            tables.iter().map(open).collect()
        };
        let tables = open().unwrap_or_else(|error| {
            self.unsaved.note_unreadable(tables, &error);
            Vec::new()
        });
        Snapshot { tables, unsaved: Arc::clone(&self.unsaved) }
    }

    /// Shows every record of a table to `visit`.
    pub(crate) fn for_each(&self, table: Table, mut visit: impl FnMut(&[u8], &[u8])) {
        let mut read = || -> Result<(), redb::Error> {
            let table = self.database.begin_read()?.open_table(table.definition())?;
            for entry in table.iter()? {
                let (key, value) = entry?;
                visit(key.value(), value.value());
            }
            Ok(())
        };
        if let Err(error) = read() {
            tracing::error!("reading all of {table:?} from the state failed: {error}");
        }
    }

    /// Stores `records` soon, without waiting; they are dropped when the disk cannot keep up.
    pub(crate) fn save_later(&self, records: Vec<Record>) {
        let Some(writes) = &self.writes else { return };
        match writes.try_send(Write { records, then: None }) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                metering::STATE_WRITES_DROPPED.add(1);
            }
        }
    }

    /// Whether everything so far could be written. What once could not is lost with this process.
    pub(crate) fn is_written(&self) -> bool {
        !self.unsaved.any.load(Ordering::Acquire)
    }

    /// Waits until everything that was to be stored before is stored.
    pub(crate) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        self.save_then(Vec::new(), move || {
            // Somebody waits below.
            let _ = done.send(());
        });
        let _ = wait.recv();
    }

    /// Done when everything that was to be stored before is stored; at once when the writer is far behind.
    pub(crate) async fn settled(&self) {
        let Some(writes) = &self.writes else { return };
        let (done, wait) = tokio::sync::oneshot::channel();
        let then: Callback = Box::new(move || {
            // Whoever waited may have gone away.
            let _ = done.send(());
        });
        if writes.try_send(Write { records: Vec::new(), then: Some(then) }).is_ok() {
            let _ = wait.await;
        }
    }

    /// Stores `records`, then calls `then` on the writer's thread, whether that worked or not: what was computed is
    /// good also when it could not be kept. Waits while too many writes are waiting, so not for async callers.
    pub(crate) fn save_then(&self, records: Vec<Record>, then: impl FnOnce() + Send + 'static) {
        let Some(writes) = &self.writes else { return };
        if let Err(error) = writes.send(Write { records, then: Some(Box::new(then)) }) {
            error.0.finish();
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.writes = None;
        if let Some(writer) = self.writer.take() {
            // The writer ends once it has stored what was waiting; a panic there has been logged.
            let _ = writer.join();
        }
    }
}

impl Write {
    fn finish(self) {
        if let Some(then) = self.then {
            then();
        }
    }
}

fn run_writer(database: &Database, unsaved: &Unsaved, waiting: &Receiver<Write>) {
    let mut failing = false;
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        batch.extend(waiting.try_iter().take(TRANSACTION_WRITES_MAX - 1));
        // redb checks what it reads with assertions in places; without a writer nothing would be kept any more.
        let committed = catch_unwind(AssertUnwindSafe(|| commit(database, &batch)));
        let failure = match committed {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it panicked".to_owned()),
        };
        if let Some(error) = &failure {
            metering::STATE_ERRORS.add(1);
            unsaved.keep(&batch);
            // All that come after one will fail as well.
            if !failing {
                tracing::error!(
                    "writing the state failed: {error}; until the service is started again, what is new is kept in \
                     memory, and lost with it"
                );
            }
        } else {
            unsaved.forget(&batch);
        }
        failing = failure.is_some();
        batch.into_iter().for_each(Write::finish);
    }
}

fn commit(database: &Database, batch: &[Write]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for kind in Table::ALL {
        let mut records =
            batch.iter().flat_map(|write| &write.records).filter(|r| r.table == kind).peekable();
        if records.peek().is_none() {
            continue;
        }
        let mut table = transaction.open_table(kind.definition())?;
        for record in records {
            match &record.value {
                Some(value) => drop(table.insert(record.key.as_slice(), value.as_slice())?),
                None => drop(table.remove(record.key.as_slice())?),
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

enum Opening {
    Corrupt(String),
    Fatal(StateError),
}

fn open_database(path: &Path) -> Result<Database, Opening> {
    // The hook is everybody's: two that exchange it at once would leave the wrong one behind.
    static HOOK: Mutex<()> = Mutex::new(());
    let guard = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = std::panic::take_hook();
    // One message about a corrupt file is enough, and ours has the panic's in it.
    std::panic::set_hook(Box::new(|_| ()));
    // redb checks what it reads with assertions in places; a corrupt file must not end the service.
    let attempt = std::panic::catch_unwind(|| open_checked(path));
    std::panic::set_hook(hook);
    drop(guard);
    attempt.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(Opening::Corrupt(format!("reading it panicked: {said}")))
    })
}

fn open_checked(path: &Path) -> Result<Database, Opening> {
    let corrupt = |error: redb::Error| Opening::Corrupt(error.to_string());
    let mut database = match Database::builder().set_cache_size(CACHE_LEN).create(path) {
        Ok(database) => database,
        Err(DatabaseError::DatabaseAlreadyOpen) => {
            return Err(Opening::Fatal(StateError::InUse(path.to_owned())));
        }
        Err(DatabaseError::Storage(redb::StorageError::Io(source)))
            if !matches!(
                source.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            return Err(Opening::Fatal(StateError::Io { path: path.to_owned(), source }));
        }
        Err(error) => return Err(corrupt(error.into())),
    };
    match database.check_integrity() {
        Ok(true) => {}
        Ok(false) => tracing::warn!("{}: repaired after an unclean end", path.display()),
        Err(error) => return Err(corrupt(error.into())),
    }
    prepare(&database).map_err(corrupt)?;
    let version = || -> Result<Vec<u8>, redb::Error> {
        let table = database.begin_read()?.open_table(VERSION_TABLE)?;
        Ok(table.get(&b"version"[..])?.map(|value| value.value().to_vec()).unwrap_or_default())
    };
    match version() {
        Ok(version) if version == VERSION => Ok(database),
        Ok(version) => Err(Opening::Corrupt(format!("its version is {version:?}, expected {VERSION:?}"))),
        Err(error) => Err(corrupt(error)),
    }
}

/// Makes all tables, so that reading needs no special case; a new file gets its version.
fn prepare(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for table in Table::ALL {
        transaction.open_table(table.definition())?;
    }
    {
        let mut versions = transaction.open_table(VERSION_TABLE)?;
        if versions.get(&b"version"[..])?.is_none() {
            versions.insert(&b"version"[..], VERSION)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn set_aside(path: &Path) -> Result<PathBuf, StateError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let aside = path.with_file_name(format!("{FILE_NAME}.corrupt-{now}"));
    std::fs::rename(path, &aside).map_err(|source| StateError::Io { path: path.to_owned(), source })?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> Record {
        Record { table: Table::Sets, key: key.into(), value: Some(value.into()) }
    }

    /// A disk that takes nothing any more from some moment on.
    #[derive(Debug, Default)]
    struct FillingDisk {
        disk: redb::backends::InMemoryBackend,
        is_full: Arc<AtomicBool>,
    }

    impl redb::StorageBackend for FillingDisk {
        fn len(&self) -> Result<u64, std::io::Error> {
            self.disk.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
            self.disk.read(offset, out)
        }

        fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
            self.disk.set_len(len)
        }

        fn sync_data(&self) -> Result<(), std::io::Error> {
            self.disk.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
            if self.is_full.load(Ordering::Relaxed) {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.disk.write(offset, data)
        }
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_known_until_the_end() {
        let disk = FillingDisk::default();
        let is_full = Arc::clone(&disk.is_full);
        let database = Database::builder().create_with_backend(disk).expect("opens");
        prepare(&database).expect("prepared");
        let state = State::start(database).expect("starts");
        state.save_later(vec![record("a", "1")]);
        state.flush();
        is_full.store(true, Ordering::Relaxed);
        for n in 0..3 {
            state.save_later(vec![record("b", &n.to_string()), record("c", "3")]);
            state.flush();
            assert_eq!(state.get(Table::Sets, b"b"), Some(n.to_string().into_bytes()));
        }
        state.save_later(vec![Record { table: Table::Sets, key: b"c".to_vec(), value: None }]);
        state.flush();
        assert_eq!(state.get(Table::Sets, b"c"), None);
        assert_eq!(state.get(Table::Files, b"b"), None);
    }

    #[test]
    fn what_was_saved_is_there_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = State::open(directory.path()).expect("opens");
        let (done, wait) = sync_channel(1);
        state.save_then(vec![record("a", "1"), record("b", "2")], move || done.send(()).expect("sent"));
        wait.recv().expect("saved");
        assert_eq!(state.get(Table::Sets, b"a").as_deref(), Some(&b"1"[..]));
        state.save_later(vec![Record { table: Table::Sets, key: b"a".to_vec(), value: None }]);
        drop(state);
        let state = State::open(directory.path()).expect("opens again");
        assert_eq!(state.get(Table::Sets, b"a"), None);
        assert_eq!(state.get(Table::Sets, b"b").as_deref(), Some(&b"2"[..]));
        assert_eq!(state.get(Table::Blocks, b"b"), None);
    }

    #[test]
    fn a_corrupt_file_is_set_aside_and_a_new_one_begun() {
        for damage in [&b"garbage"[..], &[0; 100_000]] {
            let directory = tempfile::tempdir().expect("a directory");
            std::fs::write(directory.path().join(FILE_NAME), damage).expect("written");
            let state = State::open(directory.path()).expect("opens");
            drop(state);
            let names: Vec<_> = std::fs::read_dir(directory.path())
                .expect("read")
                .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
                .collect();
            assert!(names.iter().any(|name| name.contains("corrupt-")), "{names:?}");
        }
    }

    #[test]
    fn damage_anywhere_in_the_file_never_yields_a_wrong_value() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = State::open(directory.path()).expect("opens");
        let big = "x".repeat(20_000);
        for i in 0..50 {
            state.save_later(vec![record(&format!("key-{i}"), &format!("{i}-{big}"))]);
        }
        drop(state);
        let path = directory.path().join(FILE_NAME);
        let whole = std::fs::read(&path).expect("read");
        for step in 0..24 {
            let mut damaged = whole.clone();
            let at = whole.len() / 24 * step + 17;
            damaged[at] ^= 0x55;
            std::fs::write(&path, &damaged).expect("written");
            let state = State::open(directory.path()).expect("opens");
            for i in 0..50 {
                if let Some(value) = state.get(Table::Sets, format!("key-{i}").as_bytes()) {
                    assert_eq!(value, format!("{i}-{big}").into_bytes(), "damage at {at}");
                }
            }
        }
    }

    #[test]
    fn a_second_service_on_the_same_state_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let _first = State::open(directory.path()).expect("opens");
        let second = State::open(directory.path()).err().expect("refused");
        assert!(matches!(second, StateError::InUse(_)), "{second}");
    }
}
