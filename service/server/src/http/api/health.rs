//! How the service itself is.

use std::sync::atomic::Ordering;

use super::answers::{Health, Repository};
use crate::http::Service;
use crate::http::error::HttpError;

/// How many repositories are named.
const REPOSITORIES_MAX: usize = 50;

/// How the service is, and what it has.
pub(crate) async fn health(service: &Service) -> Result<Health, HttpError> {
    let live = service.live.get().await?;
    let catalog = service.packages.catalog();
    let repositories = catalog.repositories().take(REPOSITORIES_MAX).map(|(directory, packages)| {
        let directory = directory.map(|directory| format!("/{}", directory.display()));
        Repository { directory, packages }
    });
    Ok(Health {
        version: env!("CARGO_PKG_VERSION"),
        uptime: service.started.elapsed().as_secs(),
        ready: service.ready.load(Ordering::Acquire),
        root: service.packages.root().path().display().to_string(),
        packages: catalog.packages(),
        package_bytes: catalog.bytes(),
        missing: catalog.missing(),
        damaged: service.packages.damaged(),
        readings: service.packages.readings(),
        bundles: live.bundles,
        repositories_total: catalog.repositories().count(),
        repositories: repositories.collect(),
    })
}
