//! What is kept of an install that ended.

use pkgtorrent_protocol::report::{FallbackReason, InstallReport, Ledger};

use super::*;

impl Host {
    fn last_install(&self) -> InstallReport {
        self.engine.installs.last().expect("an install ended")
    }

    fn reasons(&self) -> Vec<(FallbackReason, u32)> {
        let install = self.last_install();
        assert_eq!(
            install.placed + install.fallbacks.iter().map(|it| it.packages).sum::<u32>(),
            install.packages
        );
        install.fallbacks.into_iter().map(|fallback| (fallback.reason, fallback.packages)).collect()
    }
}

#[tokio::test]
async fn what_was_there_and_what_could_not_be_placed_is_told_apart() {
    let mut host = Host::new();
    let packages = [Package::new(1), Package::new(2)];
    for package in &packages {
        host.add(package, package.identity.into()).await;
    }
    host.fetch(ALICE, &packages.each_ref().map(|package| package.identity.into()));
    host.ask(ALICE, Request::Taken { index: 0, failed: None }, None);
    assert!(host.engine.installs.last().is_none(), "one is open");
    host.ask(ALICE, Request::Taken { index: 1, failed: Some("a full disk".into()) }, None);
    let install = host.last_install();
    assert_eq!(install.bytes, Ledger { store: 40_000, ..Ledger::default() });
    assert_eq!(install.fallbacks[0].example, "a full disk");
    assert_eq!(host.reasons(), [(FallbackReason::NotPlaced, 1)]);
    assert_eq!(install.set, None, "no service was asked");
    // The command's end is not another one.
    host.engine.handle(Event::Closed { session: ALICE });
    assert_eq!(host.last_install().number, 1);
}

#[tokio::test]
async fn each_failure_has_its_reason() {
    let [known, strange] = [Package::new(1), Package::new(2)];
    let digests = [known.identity.into(), strange.identity.into()];
    let mut host = Host::new();
    host.fetch(ALICE, &digests);
    host.answer(&digests, &[&[&known]]);
    host.engine.handle(Event::Closed { session: ALICE });
    assert_eq!(host.reasons(), [(FallbackReason::Unknown, 1), (FallbackReason::Interrupted, 1)]);
    assert_eq!(host.last_install().set, Some(PackageSet::new(digests.to_vec()).unwrap().digest()));

    let mut host = Host::new();
    host.fetch(ALICE, &digests);
    let plan = PlanId(host.engine.next_plan - 1);
    host.tell(Task::Planned { plan, result: Err(PlanError::Version(9)), took: Duration::ZERO });
    assert_eq!(host.reasons(), [(FallbackReason::NoPlan, 2)]);

    for (error, reason) in [
        (std::io::ErrorKind::StorageFull, FallbackReason::NoRoom),
        (std::io::ErrorKind::NotFound, FallbackReason::Other),
    ] {
        let mut host = Host::new();
        host.fetch(ALICE, &digests[..1]);
        host.answer(&digests[..1], &[&[&known]]);
        host.tell(Task::Unwritable { request: RequestId(0), error: error.into() });
        assert_eq!(host.reasons(), [(reason, 1)]);
    }
}

#[tokio::test]
async fn of_installs_that_nobody_asks_for_the_latest_are_kept_and_the_others_counted() {
    let package = Package::new(1);
    let mut host = Host::new();
    host.add(&package, package.identity.into()).await;
    for session in (100..100 + 70).map(SessionId) {
        let (answers, _queue) = mpsc::channel(ANSWERS_MAX);
        host.engine.handle(Event::Connected { session, caller: Caller { uid: 0 }, answers });
        host.fetch(session, &[package.identity.into()]);
        host.engine.handle(Event::Closed { session });
    }
    assert_eq!((host.engine.installs.ended.len(), host.engine.installs.left_out), (64, 6));
    assert_eq!(host.last_install().number, 70);
}
