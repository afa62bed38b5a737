//! The storage node beside express-pouchdb on LevelDB: the same requests to both, in one run, as ratios.
//!
//! Each server is a process of its own on a directory of its own on the same disk, over plain HTTP on loopback; the client shares the
//! processors with it. Ours is the program itself (`adyton-storage`, with its own allocator), found beside this one.

mod feeds;
mod finds;
mod logins;
mod peer;
mod pull;
mod table;
mod wire;
mod writes;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use self::peer::{Kind, Peer};
use self::table::{Column, Row};
use crate::Outcome;
use crate::figures::print_machine;

#[derive(Args)]
pub(crate) struct Load {
    /// What to measure; everything, if nothing is named.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Where the servers keep their data: a disk, not memory. Default: the system's temporary directory.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Where the packages of `package-lock.json` are installed (`npm ci --ignore-scripts`).
    #[arg(long, default_value = "interop/js")]
    packages: PathBuf,
    /// Measures our node alone.
    #[arg(long)]
    alone: bool,
    /// Logins, and single writes of one writer.
    #[arg(long, default_value_t = 500)]
    singles: usize,
    /// How long many writers write.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How many writers write at the same time.
    #[arg(long, default_value_t = 64)]
    writers: usize,
    /// Bulk writes of a thousand small documents each.
    #[arg(long, default_value_t = 50)]
    bulks: usize,
    /// Documents of 81 KB that are pulled.
    #[arg(long, default_value_t = 1_000)]
    documents: usize,
    /// Pulls; the median is told.
    #[arg(long, default_value_t = 7)]
    pulls: usize,
    /// Documents among which queries find by an index.
    #[arg(long, default_value_t = 100_000)]
    indexed: usize,
    /// Such queries, one after another.
    #[arg(long, default_value_t = 1_000)]
    queries: usize,
    /// Longpoll feeds that wait at the same time.
    #[arg(long, default_value_t = 5_000)]
    feeds: usize,
    /// Writes that a waiting feed is told of.
    #[arg(long, default_value_t = 500)]
    told: usize,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Logins,
    Writes,
    Bulk,
    Pull,
    Finds,
    Feeds,
}

impl Load {
    fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// Everything that was asked for, on each server in turn.
pub(crate) async fn measure(load: &Load) -> Outcome<()> {
    print_machine();
    let directory = match &load.directory {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    print_disk(directory.path())?;
    let kinds: &[Kind] = match load.alone {
        true => &[Kind::Adyton],
        false => &[Kind::Adyton, Kind::ExpressSynced, Kind::ExpressUnsynced],
    };
    let mut columns = Vec::new();
    for kind in kinds {
        columns.push(column(*kind, directory.path(), load).await?);
    }
    table::print(&columns);
    Ok(())
}

async fn column(kind: Kind, directory: &Path, load: &Load) -> Outcome<Column> {
    let mut column = Column::new(kind.title());
    let mut peer = start(kind, directory, load, "work").await?;
    if load.has(Part::Logins) {
        logins::measure(&peer, load.singles, &mut column).await?;
    }
    if load.has(Part::Writes) {
        writes::one_writer(&mut peer, load.singles, &mut column).await?;
        let time = Duration::from_secs(load.seconds);
        writes::many_writers(&mut peer, load.writers, 1, time, &mut column).await?;
        writes::many_writers(&mut peer, load.writers, load.writers, time, &mut column).await?;
    }
    if load.has(Part::Bulk) {
        writes::bulk(&mut peer, load.bulks, &mut column).await?;
    }
    if load.has(Part::Pull) {
        pull::measure(&mut peer, load.documents, load.pulls, &mut column).await?;
    }
    if load.has(Part::Finds) {
        finds::measure(&mut peer, load.indexed, load.queries, &mut column).await?;
    }
    if load.has(Part::Feeds) {
        feeds::latency(&mut peer, load.told, &mut column).await?;
        drop(peer);
        // What waits is all that the process ever did.
        let mut fresh = start(kind, directory, load, "feeds").await?;
        let waiting = feeds::idle(&mut fresh, load.feeds, &mut column);
        // The other server may give up under as many.
        if let Err(error) = waiting.await {
            println!("{}: {} feeds: {error}", kind.title(), load.feeds);
        }
    }
    Ok(column)
}

async fn start(kind: Kind, directory: &Path, load: &Load, name: &str) -> Outcome<Peer> {
    let directory = directory.join(format!("{}-{name}", kind.word()));
    std::fs::create_dir(&directory)?;
    Peer::start(kind, &directory, &load.packages).await
}

/// What one flush to this disk costs: the floor of a durable write.
fn print_disk(directory: &Path) -> Outcome<()> {
    use std::os::unix::fs::FileExt;
    const FLUSHES: u64 = 200;
    let path = directory.join("disk");
    let file = std::fs::File::create(&path)?;
    let mut times = Vec::new();
    for n in 0..FLUSHES {
        let page = [n.to_le_bytes()[0]; 8_192];
        file.write_all_at(&page, n * 8_192)?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    std::fs::remove_file(path)?;
    let (p50, p99) = table::percentiles(&mut times);
    println!("the disk: 8 KB appended and flushed, p50 {p50:.2} ms, p99 {p99:.2} ms");
    Ok(())
}

/// The latencies of a row's two percentiles, in milliseconds.
fn tell_times(column: &mut Column, rows: (Row, Row), times: &mut [Duration]) {
    let (p50, p99) = table::percentiles(times);
    column.tell(rows.0, p50);
    column.tell(rows.1, p99);
}
