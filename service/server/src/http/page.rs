//! The page at `/pkgtorrent/`: what the service has and does, for the person who runs it.

use std::fmt::Write;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use actix_web::web::Data;

use super::Service;
use super::error::HttpError;

/// How many swarms and repositories the page lists.
const ROWS_MAX: usize = 50;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8884}\
    td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}code{font-size:90%}\
    @media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}";

pub(super) async fn get(service: Data<Service>) -> Result<HttpResponse, HttpError> {
    let catalog = service.packages.catalog();
    let (stats, bundles, swarms) = service
        .registry
        .run(|r| (r.tracker.stats(), r.bundles(), r.tracker.busiest_swarms(ROWS_MAX)))
        .await?;
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>\
         <meta name=viewport content='width=device-width'><title>pkgtorrent</title><style>{STYLE}</style>\
         <h1>pkgtorrent</h1><p>Shares the packages below <code>{}</code> among the hosts that install them. \
         Version {}.<table>",
        escaped(&service.packages.root().path().display().to_string()),
        env!("CARGO_PKG_VERSION")
    );
    let complete = stats.v4_complete + stats.v6_complete;
    let incomplete = stats.v4_incomplete + stats.v6_incomplete;
    for (name, value) in [
        ("Packages", format!("{} ({})", catalog.packages(), human(catalog.bytes()))),
        ("Listed without a file", catalog.missing().to_string()),
        ("Not what is listed, and not shared", service.packages.damaged().to_string()),
        ("Packages being read", service.packages.readings().to_string()),
        ("Bundles", bundles.to_string()),
        ("Complete peers, in all swarms", complete.to_string()),
        ("Incomplete peers, in all swarms", incomplete.to_string()),
    ] {
        row(&mut page, &[name], &[value]);
    }
    page.push_str("</table><h2>Repositories</h2><table><tr><th>Directory<th class=n>Packages listed");
    for (directory, packages) in catalog.repositories().take(ROWS_MAX) {
        let name = match directory {
            Some(directory) => format!("/{}", directory.display()),
            None => "packages outside of repositories".to_owned(),
        };
        row(&mut page, &[&name], &[packages.to_string()]);
    }
    page.push_str(
        "</table><h2>Swarms</h2><table><tr><th>Info hash<th class=n>Complete<th class=n>Incomplete",
    );
    for swarm in swarms {
        let cells = [swarm.count.complete.to_string(), swarm.count.incomplete.to_string()];
        row(&mut page, &[&swarm.info_hash.to_string()], &cells);
    }
    page.push_str("</table><p>Numbers over time: <a href=/metrics>/metrics</a></html>");
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"))
        .content_type("text/html; charset=utf-8")
        .body(page))
}

fn row(page: &mut String, texts: &[&str], numbers: &[String]) {
    page.push_str("<tr>");
    for text in texts {
        // Writing to a string cannot fail.
        let _ = write!(page, "<td>{}", escaped(text));
    }
    for number in numbers {
        let _ = write!(page, "<td class=n>{}", escaped(number));
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn human(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_name_cannot_become_markup() {
        let mut page = String::new();
        row(&mut page, &["<script>&"], &["1".into()]);
        assert_eq!(page, "<tr><td>&lt;script&gt;&amp;<td class=n>1");
        assert_eq!((human(999).as_str(), human(1_500_000).as_str()), ("999.0 B", "1.5 MB"));
    }
}
