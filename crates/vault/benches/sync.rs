//! What durable points of many files cost: a sync for each, or one of the file system.
//!
//! `cargo bench -p letterlock-vault --bench sync`; the folder is the system's for temporary
//! files, or `TMPDIR`. The figures are of that disk, and of what else writes to it.

use std::time::Instant;

use letterlock_vault::{Disk, OpenMode, Storage, StorageFile};

const WRITTEN: usize = 18 * 4120;
const ROUNDS: usize = 15;
const THREADS: usize = 4;

type Files = Vec<std::sync::Arc<dyn StorageFile>>;

fn write(files: &Files, round: usize) {
    let octets = vec![round as u8; WRITTEN];
    for file in files {
        file.write_at(&octets, (round * WRITTEN) as u64).expect("a write");
    }
}

/// As the pool does it: some at a time.
fn sync_each(files: &Files) {
    std::thread::scope(|scope| {
        for part in files.chunks(files.len().div_ceil(THREADS)) {
            scope.spawn(move || part.iter().for_each(|file| file.sync().expect("a sync")));
        }
    });
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    println!("{:>6} {:>14} {:>14} {:>7}", "files", "each, ms", "together, ms", "ratio");
    for count in [1, 2, 4, 8, 12, 16, 24, 32, 64, 128, 256] {
        let open = |at| {
            let path = folder.path().join(format!("{count}-{at}"));
            Disk.open(&path, OpenMode::Create).expect("a file")
        };
        let files: Files = (0..count).map(open).collect();
        Disk.sync_filesystem(folder.path()).expect("a sync");
        let (mut each, mut together) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            write(&files, 2 * round);
            let started = Instant::now();
            sync_each(&files);
            each.push(started.elapsed().as_secs_f64() * 1_000.0);
            write(&files, 2 * round + 1);
            let started = Instant::now();
            Disk.sync_filesystem(folder.path()).expect("a sync");
            together.push(started.elapsed().as_secs_f64() * 1_000.0);
        }
        let (each, together) = (median(each), median(together));
        println!("{count:>6} {each:>14.2} {together:>14.2} {:>7.2}", each / together);
    }
}
