//! The live swarms as a table that one can search and leaf through.

use maud::{Markup, html};

use super::parts::{bar, bytes, pager, query, table};
use super::shell::Top;
use super::text;
use crate::http::api::answers::{Swarm, Swarms};
use crate::http::api::swarms::{ORDERS, Order, Question};

/// What orders are called.
fn words(order: Order) -> &'static str {
    match order {
        Order::Peers => "Most hosts",
        Order::Incomplete => "Most hosts that lack something",
        Order::Size => "Largest",
        Order::Absent => "Most not yet fetched from the mirror",
    }
}

/// The section of the live swarms. What else the page shows, it goes on showing for `span`.
pub(super) fn section(top: Top, question: &Question, span: &str, found: &Swarms) -> Markup {
    let name = ORDERS.iter().find(|(_, order)| *order == question.order).map_or("", |(name, _)| name);
    let link = |offset: usize| {
        let offset = if offset == 0 { String::new() } else { offset.to_string() };
        query(&[("q", &question.text), ("order", name), ("offset", &offset), ("span", span)], "swarms")
    };
    html! {
        section #swarms aria-labelledby="swarms-title" {
            h2 #swarms-title { "Live swarms " span.count { (text::number(found.live as u64)) } }
            form.search role="search" aria-label="Swarms" action="#swarms" {
                label { "Package or info hash " input type="search" name="q" value=(question.text) maxlength="200" autocomplete="off"; }
                label { "Order " select name="order" {
                    @for (word, order) in ORDERS {
                        option value=(word) selected[*order == question.order] { (words(*order)) }
                    }
                } }
                input type="hidden" name="span" value=(span);
                button { "Search" }
            }
            @if found.swarms.is_empty() {
                p.empty {
                    @if found.live == 0 { "Nobody shares anything now." } @else { "No live swarm is called that." }
                }
            } @else {
                (rows(top, &found.swarms))
            }
            (pager(question.paging, found.swarms.len(), found.matching, link))
        }
    }
}

fn rows(top: Top, swarms: &[Swarm]) -> Markup {
    let columns = [
        ("Bundle", false),
        ("Size", true),
        ("Packages", true),
        ("Have all", true),
        ("Fetching", true),
        ("Left the mirror", false),
    ];
    table("Live swarms", &columns, &html! { @for swarm in swarms { (row(top, swarm)) } })
}

fn row(top: Top, swarm: &Swarm) -> Markup {
    html! {
        tr id={ "s" (swarm.info_hash) } {
            th scope="row" { (name(top, swarm)) }
            (bytes(swarm.bytes))
            (super::parts::number(swarm.packages as u64))
            (super::parts::number(swarm.complete.into()))
            (super::parts::number(swarm.incomplete.into()))
            td { (first_copies(swarm)) }
        }
    }
}

/// A bundle by its largest package, since it has no name itself.
pub(super) fn name(top: Top, swarm: &Swarm) -> Markup {
    html! {
        a href=(top.to(&format!("bundles/{}", swarm.info_hash))) title=(swarm.info_hash) { (swarm.largest) }
        @if swarm.packages > 1 { span.more { " and " (text::number(swarm.packages as u64 - 1)) " more" } }
    }
}

/// How much of a bundle has left the mirror.
pub(super) fn first_copies(swarm: &Swarm) -> Markup {
    let (out, pieces) = (u64::from(swarm.first_copies), u64::from(swarm.pieces));
    let leased = u64::from(swarm.leased).min(pieces.saturating_sub(out));
    let share = text::percent(out, pieces);
    let label = format!("{share} of the pieces have left the mirror, {leased} are on their way");
    html! {
        span.progress {
            (bar(&[("out", out), ("leased", leased), ("none", pieces - out - leased)], &label))
            span.number { (share) }
        }
    }
}
