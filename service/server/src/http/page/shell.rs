//! What stands around every page: its head, where one can go from it, and the headers of the answer.

use actix_web::HttpResponse;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use maud::{DOCTYPE, Markup, html};

use super::assets::{ICON, SCRIPT, STYLE};

/// Everything comes from here, and nothing stands in the page itself: a name that somehow became markup would still do
/// nothing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Seconds after which a browser without scripts loads the page anew.
const RELOAD_SECONDS: &str = "30";

/// The way from a page to the top one, so that links hold behind a proxy that puts all of this below a path of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Top(&'static str);

impl Top {
    /// From a page at this path.
    pub(super) fn from(path: &str) -> Self {
        let behind = path.strip_prefix(crate::http::PREFIX).unwrap_or_default();
        match behind.matches('/').count() {
            0 => Self("pkgtorrent/"),
            1 => Self("./"),
            _ => Self("../"),
        }
    }

    /// A link to what stands at this path below the top.
    pub(super) fn to(self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

/// The pages that every page links to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Packages,
    /// One that is reached from another.
    Other,
}

/// A page as an answer.
pub(super) fn page(top: Top, tab: Tab, title: &str, content: &Markup) -> HttpResponse {
    let current = |of: Tab| (tab == of).then_some("page");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · pkgtorrent" }
                link rel="icon" type=(ICON.media_type()) href=(top.to(&ICON.path()));
                link rel="stylesheet" href=(top.to(&STYLE.path()));
                noscript { meta http-equiv="refresh" content=(RELOAD_SECONDS); }
                script src=(top.to(&SCRIPT.path())) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    a.brand href=(top.to("")) {
                        img src=(top.to(&ICON.path())) alt="" width="24" height="24";
                        "pkgtorrent"
                    }
                    nav aria-label="Pages" {
                        a href=(top.to("")) aria-current=[current(Tab::Overview)] { "Fleet" }
                        a href=(top.to("packages")) aria-current=[current(Tab::Packages)] { "Packages" }
                        a href=(top.to("api/v1/openapi.json")) { "API" }
                    }
                }
                p #notice role="status" {}
                main #main tabindex="-1" { (content) }
            }
        }
    };
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .content_type("text/html; charset=utf-8")
        .body(page.into_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_the_top_from_everywhere() {
        for (path, to) in [
            ("/pkgtorrent", "pkgtorrent/packages"),
            ("/pkgtorrent/", "./packages"),
            ("/pkgtorrent/packages", "./packages"),
            ("/pkgtorrent/bundles/00", "../packages"),
        ] {
            assert_eq!(Top::from(path).to("packages"), to, "{path}");
        }
    }
}
