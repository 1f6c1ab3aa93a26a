//! The fleet on one page.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};

use super::fleet::{self, SPANS};
use super::parts::{number, table};
use super::shell::{Tab, Top, page};
use super::{swarms, text};
use crate::http::api::answers::Health;
use crate::http::api::health::health;
use crate::http::api::parameters::Parameters;
use crate::http::api::swarms::{PARAMETERS, Question, list};
use crate::http::error::HttpError;
use crate::http::{Service, api};

/// How many swarms are listed at a time: as many as somebody looks through.
const SWARMS: usize = 50;

pub(super) async fn get(service: Data<Service>, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let parameters = Parameters::read(request.query_string(), &[PARAMETERS, &["span"]].concat())?;
    let span = parameters.choice("span", &SPANS)?;
    let question = Question::read(&parameters, SWARMS)?;
    let (health, found) = (health(&service).await?, list(&service, question.clone()).await?);
    let top = Top::from(request.path());
    let content = html! {
        h1.unseen { "The fleet" }
        @match api::fleet::fleet(&service, span.hours, service.is_inside(&request)?) {
            Some(fleet) => (fleet::sections(&fleet, span)),
            None => section { p.empty { "Hosts tell nothing: " code { "accounts" } " is off in service.toml." } }
        }
        (swarms::section(top, &question, span.word, &found))
        (service_section(&health))
    };
    Ok(page(top, Tab::Overview, "Fleet", &content))
}

fn service_section(health: &Health) -> Markup {
    let rows = html! { @for repository in &health.repositories {
        tr {
            th scope="row" { (repository.directory.as_deref().unwrap_or("packages outside of repositories")) }
            (number(repository.packages as u64))
        }
    } };
    let left_out = health.repositories_total - health.repositories.len();
    html! {
        section aria-labelledby="service-title" {
            h2 #service-title { "The service" }
            dl.facts {
                (fact("Version", health.version, false))
                (fact("Running for", &text::seconds(health.uptime), false))
                (fact("Directory", &health.root, false))
                (fact("First scan", if health.ready { "done" } else { "under way" }, !health.ready))
                (fact("Packages", &format!("{}, {}", text::number(health.packages as u64), text::bytes(health.package_bytes)), false))
                (fact("Listed without a file", &text::number(health.missing as u64), health.missing > 0))
                (fact("Not what is listed, and not shared", &text::number(health.damaged as u64), health.damaged > 0))
                (fact("Being read", &text::number(health.readings as u64), false))
                (fact("Bundles", &text::number(health.bundles as u64), false))
            }
            h3 { "Repositories" }
            (table("Repositories", &[("Directory", false), ("Packages listed", true)], &rows))
            @if left_out > 0 { p.about { "and " (text::number(left_out as u64)) " more" } }
        }
    }
}

/// One thing that is so; what somebody should look at is marked.
fn fact(name: &str, value: &str, is_bad: bool) -> Markup {
    html! { div class=[is_bad.then_some("bad")] { dt { (name) } dd { (value) } } }
}
