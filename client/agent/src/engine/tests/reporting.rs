//! What a service is told of installs, and when.

use pkgtorrent_protocol::announce::BatchAnswer;
use reqwest::Url;

use super::super::reporting::Told;
use super::*;

fn policy() -> Policy {
    Policy { announce_interval: 60, lease_ttl: 0, upload_limit: None }
}

/// A host that has planned with these services, where so many installs were interrupted.
fn host(services: &[&str], installs: u64) -> (Host, Vec<Url>) {
    let mut host = Host::new();
    host.engine.network.port = Some(1);
    let urls: Vec<Url> = services.iter().map(|url| Url::parse(url).unwrap()).collect();
    urls.iter().for_each(|url| host.engine.announced_by_plan(url, policy()));
    for n in 0..installs {
        let session = SessionId(100 + n);
        let (answers, _) = mpsc::channel(ANSWERS_MAX);
        host.engine.handle(Event::Connected { session, caller: Caller { uid: 0 }, answers });
        host.fetch(session, &[Package::new(1).sha512()]);
        host.engine.handle(Event::Closed { session });
    }
    (host, urls)
}

fn numbers(report: &pkgtorrent_protocol::report::Report) -> Vec<u64> {
    report.installs.iter().map(|install| install.number).collect()
}

fn answer(report_after: Option<u32>) -> BatchAnswer {
    BatchAnswer { version: 1, interval: 60, swarms: Vec::new(), report_after, unreported: false }
}

#[tokio::test]
async fn what_was_not_answered_is_told_again_and_what_was_is_not() {
    let (mut host, urls) = host(&["http://127.0.0.1:1/announce"], 10);
    let report = host.engine.report_to(&urls[0]).expect("the first needs no word");
    assert_eq!(numbers(&report), (1..=8).collect::<Vec<_>>());
    assert_eq!(report.installs[0].fallbacks[0].packages, 1);
    assert_eq!(host.engine.report_to(&urls[0]), Some(report.clone()));
    let last = host.engine.last_report_to(&urls[0]).expect("the last word");
    assert_eq!((numbers(&last), last.installs_left_out), ((3..=10).collect(), 2));

    host.engine.may_report(&urls[0], Some(Told::by(&report)), &answer(Some(100)));
    assert_eq!(host.engine.report_to(&urls[0]), None, "not before it is asked for");
    let rest = host.engine.last_report_to(&urls[0]).expect("the last word");
    assert_eq!((numbers(&rest), rest.installs_left_out), (vec![9, 10], 0));
    assert!(host.engine.has_untold_installs());
    let passed_over = BatchAnswer { unreported: true, ..answer(Some(0)) };
    host.engine.may_report(&urls[0], Some(Told::by(&rest)), &passed_over);
    assert!(host.engine.has_untold_installs(), "it is to tell them again");
    host.engine.may_report(&urls[0], Some(Told::by(&rest)), &answer(Some(0)));
    assert!(!host.engine.has_untold_installs());
    assert!(host.engine.report_to(&urls[0]).is_some(), "totals are told as often as they are asked for");
}

#[tokio::test]
async fn one_service_is_told_that_keeps_accounts_and_answers() {
    let (mut host, urls) = host(&["http://127.0.0.1:1/announce", "http://127.0.0.1:2/announce"], 1);
    let told = |host: &Host| [0, 1].map(|n| host.engine.report_to(&urls[n]).is_some());
    assert_eq!(told(&host), [true, false]);
    host.engine.trackers[0].failures = 1;
    assert_eq!(told(&host), [false, true]);
    host.engine.trackers[0].failures = 0;
    let report = host.engine.report_to(&urls[0]).expect("a report");
    host.engine.may_report(&urls[0], Some(Told::by(&report)), &answer(None));
    assert_eq!(told(&host), [false, true], "it keeps none");
    assert!(host.engine.has_untold_installs(), "and was told nothing");
    host.engine.announced_by_plan(&urls[0], policy());
    assert_eq!(told(&host), [true, false], "it may have changed its mind");
    host.engine.is_reporting = false;
    assert_eq!(told(&host), [false, false]);
}
