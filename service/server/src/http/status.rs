//! Whether the service is well, and its numbers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::metering;

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;

use super::Service;

/// How long the registry may take to answer before it is called stuck: some thousand times as long as it usually takes.
const REGISTRY_LIMIT: Duration = Duration::from_secs(1);

pub(super) async fn healthz(service: Data<Service>) -> HttpResponse {
    let (mut response, text) = if service.ready.load(Ordering::Acquire) {
        (HttpResponse::Ok(), "ok\n")
    } else {
        (HttpResponse::ServiceUnavailable(), "the first scan is not done\n")
    };
    response.insert_header((CACHE_CONTROL, "no-store")).content_type("text/plain; charset=utf-8").body(text)
}

/// The same for those who watch over it, with what is wrong.
pub(super) async fn health(service: Data<Service>) -> HttpResponse {
    let registry = tokio::time::timeout(REGISTRY_LIMIT, service.registry.run(|_| ()));
    let checks = [
        ("the first scan is done", service.ready.load(Ordering::Acquire)),
        ("the registry answers", matches!(registry.await, Ok(Ok(())))),
        ("the state is written", service.state.is_written()),
    ];
    let is_well = checks.iter().all(|(_, holds)| *holds);
    let mut response = if is_well { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    let lines = checks.map(|(what, holds)| format!("{} {what}\n", if holds { "yes" } else { "NO " }));
    response
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("text/plain; charset=utf-8")
        .body(lines.concat())
}

pub(super) async fn metrics(service: Data<Service>) -> HttpResponse {
    let (catalog, settings) = (service.packages.catalog(), service.settings.load());
    metering::READY.set(if service.ready.load(Ordering::Acquire) { 1.0 } else { 0.0 });
    metering::LID.set(settings.tracker.origin_max_rate.unwrap_or(0) as f64);
    metering::ERRANDS_WAITING.set(service.registry.waiting() as f64);
    metering::REPOSITORIES.set(catalog.repositories().count() as f64);
    metering::PACKAGES_DAMAGED.set(service.packages.damaged() as f64);
    metering::CATALOG_PACKAGES.set(catalog.packages() as f64);
    metering::CATALOG_MISSING.set(catalog.missing() as f64);
    metering::READINGS.set(service.packages.readings() as f64);
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(service.metrics.render())
}
