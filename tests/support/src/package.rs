//! Real packages, the same for the same description.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rpm::{BuildConfig, CompressionWithLevel, FileOptions, PackageBuilder};

/// What a package is to be. Equal descriptions give equal bytes.
#[derive(Debug, Clone)]
pub struct Rpm {
    name: String,
    epoch: Option<u32>,
    version: String,
    release: String,
    arch: String,
    requires: Vec<String>,
    provides: Vec<String>,
    payload_len: usize,
    size: Option<u64>,
    seed: u64,
    build: u32,
    file_name: Option<String>,
}

/// When every package was made: any fixed time will do (2023-11-14).
const BUILD_SECONDS: u32 = 1_700_000_000;

impl Rpm {
    /// `<name>-1.0-1.noarch.rpm`, with a few bytes to install.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            epoch: None,
            version: "1.0".into(),
            release: "1".into(),
            arch: "noarch".into(),
            requires: Vec::new(),
            provides: Vec::new(),
            payload_len: 16,
            size: None,
            seed: 0,
            build: 0,
            file_name: None,
        }
    }

    /// Another version.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }

    /// Another release.
    #[must_use]
    pub fn release(mut self, release: &str) -> Self {
        self.release = release.into();
        self
    }

    /// An epoch, which is not in the file's name.
    #[must_use]
    pub fn epoch(mut self, epoch: u32) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Another architecture.
    #[must_use]
    pub fn arch(mut self, arch: &str) -> Self {
        self.arch = arch.into();
        self
    }

    /// One more package that must be installed with this one.
    #[must_use]
    pub fn requires(mut self, name: &str) -> Self {
        self.requires.push(name.into());
        self
    }

    /// One more name that it satisfies.
    #[must_use]
    pub fn provides(mut self, name: &str) -> Self {
        self.provides.push(name.into());
        self
    }

    /// This many incompressible bytes to install. The file is a few per cent larger.
    #[must_use]
    pub fn payload_len(mut self, bytes: usize) -> Self {
        self.payload_len = bytes;
        self
    }

    /// A file of exactly this size.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// Other bytes to install.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The package built or signed once more: same file name, same size, same payload, other bytes and digest.
    #[must_use]
    pub fn rebuilt(mut self) -> Self {
        self.build += 1;
        self
    }

    /// Another file name than the usual one; package names themselves are ASCII, files' names need not be.
    #[must_use]
    pub fn named(mut self, file_name: &str) -> Self {
        self.file_name = Some(file_name.into());
        self
    }

    /// `<name>-<version>-<release>.<arch>.rpm`, unless it was given another.
    #[must_use]
    pub fn file_name(&self) -> String {
        if let Some(file_name) = &self.file_name {
            return file_name.clone();
        }
        let Self { name, version, release, arch, .. } = self;
        format!("{name}-{version}-{release}.{arch}.rpm")
    }

    /// The package's bytes.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        match self.size {
            None => self.encode(self.payload_len, 0),
            Some(size) => self.build_of(size),
        }
    }

    /// Approaches the size from below with the payload. Its compressed length is whatever deflate makes of it, so the
    /// last bytes come from a description, by which the header grows in steps of four.
    fn build_of(&self, size: u64) -> Vec<u8> {
        const STEP: u64 = 4;
        const SHORT_BYTES_MAX: u64 = 256;
        let mut payload_len = size as usize;
        for _ in 0..64 {
            let got = self.encode(payload_len, 0).len() as u64;
            if got > size {
                let over = (got - size) as usize;
                assert!(payload_len > 0, "no package of {size} bytes: an empty one has {got}");
                payload_len = payload_len.saturating_sub(over);
            } else if size - got > SHORT_BYTES_MAX {
                payload_len += (size - got) as usize / 2;
            } else if (size - got).is_multiple_of(STEP) {
                return self.encode(payload_len, (size - got) as usize);
            } else {
                payload_len = payload_len.saturating_sub(1);
            }
        }
        panic!("no package of {size} bytes found");
    }

    fn encode(&self, payload_len: usize, description_len: usize) -> Vec<u8> {
        let mut payload = vec![0; payload_len];
        Pcg64Mcg::seed_from_u64(self.seed).fill_bytes(&mut payload);
        // The payload is random: more effort would win nothing.
        let config = BuildConfig::v4()
            .compression(CompressionWithLevel::Gzip(1))
            .reserved_space(None)
            .source_date(BUILD_SECONDS);
        let mut builder =
            PackageBuilder::new(&self.name, &self.version, "MIT", &self.arch, "A test's package");
        builder.using_config(config).release(&self.release).build_host("localhost");
        // Eight digits, so that a package built once more has the same size.
        builder.cookie(format!("{:08}", self.build));
        builder.description(format!("x{}", ".".repeat(description_len)));
        if let Some(epoch) = self.epoch {
            builder.epoch(epoch);
        }
        for name in &self.requires {
            builder.requires(rpm::Dependency::any(name));
        }
        for name in &self.provides {
            builder.provides(rpm::Dependency::any(name));
        }
        let path = format!("/usr/share/pkgtorrent-test/{}", self.name);
        let mut bytes = Vec::new();
        builder
            .with_file_contents(payload, FileOptions::new(path))
            .and_then(PackageBuilder::build)
            .and_then(|package| package.write(&mut bytes))
            .unwrap_or_else(|e| panic!("{} does not build: {e}", self.file_name()));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_has_exactly_the_size_that_was_asked_for() {
        for size in [8_192, 32_768, 32_769, 100_001, 1_500_002, 1_500_003] {
            let rpm = Rpm::new("of-size").size(size);
            assert_eq!(rpm.build().len() as u64, size);
            assert_eq!(rpm.build(), rpm.build());
        }
    }

    #[test]
    fn a_rebuilt_package_has_the_same_size_and_other_bytes() {
        let first = Rpm::new("signed").payload_len(5_000);
        let second = first.clone().rebuilt();
        assert_eq!(first.file_name(), second.file_name());
        let (first, second) = (first.build(), second.build());
        assert_eq!(first.len(), second.len());
        assert_ne!(first, second);
    }
}
