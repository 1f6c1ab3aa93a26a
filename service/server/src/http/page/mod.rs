//! The page: what the service has and does, for people. The server writes all of it, charts too; a small script keeps it up
//! to date, and without that it is loaded anew by hand. Nothing comes from anywhere else.

mod assets;
mod bundle;
mod chart;
mod fleet;
mod overview;
mod packages;
mod parts;
mod picture;
mod shell;
mod swarms;
mod text;

use actix_web::web;

use super::{PREFIX, get_and_head, only};

/// Wires the pages' paths to their endpoints.
pub(super) fn configure(config: &mut web::ServiceConfig) {
    let resource = |path: &str| web::resource(format!("{PREFIX}{path}"));
    config
        .service(only("page", resource(""), get_and_head(overview::get)))
        .service(only("page", resource("/"), get_and_head(overview::get)))
        .service(only("page", resource("/bundles/{info_hash}"), get_and_head(bundle::get)))
        .service(only("page", resource("/packages"), get_and_head(packages::get_all)))
        .service(only("page", resource("/packages/{digest}"), get_and_head(packages::get)))
        .service(only("page", resource("/assets/{name}"), get_and_head(assets::get)));
}
