//! Real packages in repositories that createrepo_c made, for what the real dnf downloads.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use pkgtorrent_fleet::Wanted;
use pkgtorrent_test_support::{Repository, Rpm};

use super::{Random, made_once};

/// The directory's name says by which recipe it was made: whoever changes the recipe changes the number.
const NAME: &str = "rpms-2";

/// What a host downloads in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transaction {
    /// A host's monthly updates: 60 packages, 32 MB in all, of a repository's usual sizes.
    Updates,
    /// 20 packages, 4 MB in all.
    Few,
    /// 10 packages, 64 MB in all.
    Large,
    /// One package of 100 kB.
    Small,
}

impl Transaction {
    const ALL: [Self; 4] = [Self::Updates, Self::Few, Self::Large, Self::Small];

    fn name(self) -> &'static str {
        match self {
            Self::Updates => "updates",
            Self::Few => "few",
            Self::Large => "large",
            Self::Small => "small",
        }
    }

    fn sizes(self) -> Vec<u64> {
        match self {
            Self::Updates => log_normal(60, 32_000_000),
            Self::Few => log_normal(20, 4_000_000),
            Self::Large => log_normal(10, 64_000_000),
            Self::Small => vec![100_000],
        }
    }
}

/// Log-normal sizes of this sum, none so small that no package fits in.
fn log_normal(count: usize, sum: u64) -> Vec<u64> {
    const SIZE_MIN: u64 = 8 << 10;
    let mut random = Random::new(3);
    let shares: Vec<f64> = (0..count).map(|_| random.log_normal(1.0, 1.2)).collect();
    let left = (sum - count as u64 * SIZE_MIN) as f64 / shares.iter().sum::<f64>();
    let mut sizes: Vec<u64> = shares.into_iter().map(|share| SIZE_MIN + (share * left) as u64).collect();
    // What rounding has lost.
    sizes[0] += sum - sizes.iter().sum::<u64>();
    sizes
}

/// One transaction's packages.
#[derive(Debug)]
pub(crate) struct Rpms {
    /// What the service is pointed at.
    pub(crate) root: PathBuf,
    transaction: Transaction,
    names: Vec<String>,
    bytes: u64,
}

impl Rpms {
    /// The packages below `data`, made when they are not there.
    pub(crate) fn open(data: &Path, transaction: Transaction) -> anyhow::Result<Self> {
        let root = made_once(data, NAME, make)?;
        let (mut names, mut bytes) = (Vec::new(), 0);
        let directory = root.join(transaction.name());
        for entry in fs::read_dir(&directory).with_context(|| format!("listing {}", directory.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "rpm") {
                // Reading it also brings it into the page cache.
                bytes += fs::read(&path).with_context(|| format!("reading {}", path.display()))?.len() as u64;
                let file_name = path.file_name().unwrap_or_default().to_string_lossy();
                let name = file_name.strip_suffix("-1.0-1.noarch.rpm");
                names.push(name.with_context(|| format!("{file_name} is none of ours"))?.to_owned());
            }
        }
        names.sort();
        ensure!(bytes == transaction.sizes().iter().sum::<u64>(), "{} is damaged", directory.display());
        Ok(Self { root, transaction, names, bytes })
    }

    /// What dnf is to install.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// How many bytes it downloads.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The packages as a crowd wants them.
    pub(crate) fn wanted(&self) -> anyhow::Result<Wanted> {
        Wanted::open(&self.root, self.transaction.name())
    }

    /// The repository's path on a mirror of the root.
    pub(crate) fn url_path(&self) -> String {
        format!("/{}/", self.transaction.name())
    }
}

fn make(root: &Path) -> anyhow::Result<()> {
    for transaction in Transaction::ALL {
        let repository = Repository::create(root.join(transaction.name()));
        for (number, size) in transaction.sizes().into_iter().enumerate() {
            let name = format!("{}-{number:02}", transaction.name());
            repository.add(&Rpm::new(&name).size(size).seed(number as u64 + 1));
        }
        repository.index();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_have_the_sum_that_was_asked_for_and_usual_sizes() {
        let mut sizes = Transaction::Updates.sizes();
        assert_eq!((sizes.len(), sizes.iter().sum::<u64>()), (60, 32_000_000));
        sizes.sort_unstable();
        for (transaction, sum) in [(Transaction::Few, 4_000_000), (Transaction::Large, 64_000_000)] {
            assert_eq!(transaction.sizes().iter().sum::<u64>(), sum);
        }
        assert!(sizes[0] >= 8 << 10 && sizes[30] < 500_000 && sizes[59] > 1 << 20, "{sizes:?}");
    }
}
