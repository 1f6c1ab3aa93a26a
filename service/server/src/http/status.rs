//! Whether the service is well, and its numbers.

use std::sync::atomic::Ordering;

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;

use super::Service;

pub(super) async fn healthz(service: Data<Service>) -> HttpResponse {
    let (mut response, text) = if service.ready.load(Ordering::Acquire) {
        (HttpResponse::Ok(), "ok\n")
    } else {
        (HttpResponse::ServiceUnavailable(), "the first scan is not done\n")
    };
    response.insert_header((CACHE_CONTROL, "no-store")).content_type("text/plain; charset=utf-8").body(text)
}

pub(super) async fn metrics(service: Data<Service>) -> HttpResponse {
    let catalog = service.packages.catalog();
    metrics::gauge!("pkgtorrent_catalog_packages").set(catalog.packages() as f64);
    metrics::gauge!("pkgtorrent_catalog_missing").set(catalog.missing() as f64);
    metrics::gauge!("pkgtorrent_readings").set(service.packages.readings() as f64);
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(service.metrics.render())
}
