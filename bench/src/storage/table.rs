//! What was measured, server beside server.

use std::time::Duration;

/// What is measured, in the order of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    Login,
    LoginTail,
    Write,
    WriteTail,
    Writers,
    WritersWait,
    WritersApart,
    WritersApartWait,
    Bulk,
    Pull,
    Indexed,
    Find,
    FindTail,
    Told,
    ToldTail,
    Feeds,
}

/// What is better.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    Less,
    More,
}

impl Row {
    const ALL: [Self; 16] = [
        Self::Login,
        Self::LoginTail,
        Self::Write,
        Self::WriteTail,
        Self::Writers,
        Self::WritersWait,
        Self::WritersApart,
        Self::WritersApartWait,
        Self::Bulk,
        Self::Pull,
        Self::Indexed,
        Self::Find,
        Self::FindTail,
        Self::Told,
        Self::ToldTail,
        Self::Feeds,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Login => "login, both requests, p50 (the original: 28 ms)",
            Self::LoginTail => "login, p99",
            Self::Write => "one document written, p50",
            Self::WriteTail => "one document written, p99",
            Self::Writers => "many writers, one database",
            Self::WritersWait => "  of which one waits, p50",
            Self::WritersApart => "many writers, a database each",
            Self::WritersApartWait => "  of which one waits, p50",
            Self::Bulk => "_bulk_docs, a thousand at a time",
            Self::Pull => "pull of 81 KB documents, _changes?include_docs",
            Self::Indexed => "an index of all documents, made by the first query",
            Self::Find => "_find by an index, 25 documents, p50",
            Self::FindTail => "_find by an index, 25 documents, p99",
            Self::Told => "write sent -> waiting feed has it, p50",
            Self::ToldTail => "write sent -> waiting feed has it, p99",
            Self::Feeds => "resident with every feed waiting",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Login
            | Self::LoginTail
            | Self::Write
            | Self::WriteTail
            | Self::WritersWait
            | Self::WritersApartWait
            | Self::Find
            | Self::FindTail
            | Self::Told
            | Self::ToldTail => "ms",
            Self::Indexed => "s",
            Self::Writers | Self::WritersApart => "writes/s",
            Self::Bulk => "docs/s",
            Self::Pull => "MB/s",
            Self::Feeds => "MB",
        }
    }

    fn better(self) -> Better {
        match self {
            Self::Writers | Self::WritersApart | Self::Bulk | Self::Pull => Better::More,
            Self::Login
            | Self::LoginTail
            | Self::Write
            | Self::WriteTail
            | Self::WritersWait
            | Self::WritersApartWait
            | Self::Indexed
            | Self::Find
            | Self::FindTail
            | Self::Told
            | Self::ToldTail
            | Self::Feeds => Better::Less,
        }
    }

    /// What our node is to reach.
    fn bar(self) -> Option<f64> {
        match self {
            Self::Login => Some(2.0),
            Self::Write => Some(3.0),
            Self::Writers | Self::WritersApart => Some(3_000.0),
            Self::Bulk => Some(20_000.0),
            Self::Pull => Some(300.0),
            Self::ToldTail => Some(10.0),
            Self::Feeds => Some(100.0),
            Self::LoginTail
            | Self::WriteTail
            | Self::WritersWait
            | Self::WritersApartWait
            | Self::Indexed
            | Self::Find
            | Self::FindTail
            | Self::Told => None,
        }
    }
}

/// The figures of one server.
pub(super) struct Column {
    title: &'static str,
    figures: Vec<(Row, f64)>,
}

impl Column {
    pub(super) fn new(title: &'static str) -> Self {
        Self {
            title,
            figures: Vec::new(),
        }
    }

    pub(super) fn tell(&mut self, row: Row, figure: f64) {
        println!(
            "{}: {} {} {}",
            self.title,
            row.title().trim(),
            number(figure),
            row.unit()
        );
        self.figures.push((row, figure));
    }

    fn figure(&self, wanted: Row) -> Option<f64> {
        self.figures
            .iter()
            .find(|(row, _)| *row == wanted)
            .map(|(_, figure)| *figure)
    }
}

/// The table: our figures, each other server's with how many times better ours is, and the bar.
pub(super) fn print(columns: &[Column]) {
    let Some((ours, others)) = columns.split_first() else {
        return;
    };
    print!("\n| | {} |", ours.title);
    for other in others {
        print!(" {} | ratio |", other.title);
    }
    println!(" bar |\n|---|{}", "---|".repeat(2 * others.len() + 2));
    for row in Row::ALL {
        let Some(figure) = ours.figure(row) else {
            continue;
        };
        print!("| {} | {} {} |", row.title(), number(figure), row.unit());
        for other in others {
            match other.figure(row) {
                Some(theirs) => {
                    let ratio = match row.better() {
                        Better::Less => theirs / figure,
                        Better::More => figure / theirs,
                    };
                    print!(" {} {} | {ratio:.1} x |", number(theirs), row.unit());
                }
                None => print!(" | |"),
            }
        }
        match row.bar() {
            None => println!(" |"),
            Some(bar) => {
                let (sign, held) = match row.better() {
                    Better::Less => ("<=", figure <= bar),
                    Better::More => (">=", figure >= bar),
                };
                let verdict = if held { "held" } else { "MISSED" };
                println!(" {sign} {}: {verdict} |", number(bar));
            }
        }
    }
}

/// Three digits that count.
fn number(figure: f64) -> String {
    match figure {
        f if f >= 100.0 => format!("{f:.0}"),
        f if f >= 10.0 => format!("{f:.1}"),
        f => format!("{f:.2}"),
    }
}

/// p50 and p99 in milliseconds.
pub(super) fn percentiles(times: &mut [Duration]) -> (f64, f64) {
    times.sort_unstable();
    let at = |hundredth: usize| {
        let time = times.get(times.len() * hundredth / 100);
        time.copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    (at(50), at(99))
}
