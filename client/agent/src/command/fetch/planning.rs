//! `fetch --dry-run`: where each package would come from. Nothing is fetched, placed, started or joined.

use std::path::Path;
use std::sync::Arc;

use pkgtorrent_protocol::control::{FetchRequest, PlannedSource};
use pkgtorrent_protocol::plan::AskerQuery;
use pkgtorrent_protocol::{PackageDigest, PackageSet};

use super::asking::{Question, question};
use super::report::Report;
use crate::origin::{CheckedPlan, Http, ServiceUrl, ask};
use crate::place::already_there;
use crate::settings::Settings;
use crate::store::peek;

/// Says of each package where it would come from.
pub(super) fn plan(request: &FetchRequest, settings: &Settings, state_dir: &Path, report: &Arc<Report>) {
    for (index, package) in request.packages.iter().enumerate() {
        if already_there(package.dest.as_ref(), &package.digest, package.size) {
            report.planned(index, PlannedSource::Destination, (0, 0));
        } else if peek(state_dir, &package.digest) == Some(package.size) {
            report.planned(index, PlannedSource::Store, (0, 0));
        }
    }
    let question = question(request, &settings.service, report);
    if question.is_empty() {
        return;
    }
    if let Err(reason) = ask_services(&question, settings, report) {
        question.fail_all(report, &reason);
    }
}

fn ask_services(question: &Question, settings: &Settings, report: &Report) -> Result<(), String> {
    let http = Http::new(&settings.origin).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("starting the runtime: {error}"))?;
    for (service, packages) in question.by_service() {
        // Without a port and a name it joins no swarm: nobody is told of this host.
        let asker = AskerQuery { group: settings.group.clone(), ..AskerQuery::default() };
        let digests = packages.iter().map(|(_, digest)| *digest).collect();
        let planned = runtime.block_on(async {
            let url = ServiceUrl::parse(service).map_err(|error| error.to_string())?;
            let set = PackageSet::new(digests).map_err(|error| error.to_string())?;
            let plan = ask(&http, &url, &set, asker).await.map_err(|error| error.to_string())?;
            Ok::<_, String>((set, plan))
        });
        match planned {
            Ok((set, plan)) => say(&packages, &set, &plan, report),
            Err(reason) => packages.iter().for_each(|(index, _)| report.failed(*index, &reason)),
        }
    }
    // A resolver that hangs is not waited for.
    runtime.shutdown_background();
    Ok(())
}

fn say(packages: &[(usize, PackageDigest)], set: &PackageSet, plan: &CheckedPlan, report: &Report) {
    for (index, digest) in packages {
        let nth = set.packages().binary_search(digest).ok();
        let has = |files: &[(usize, u32)]| files.iter().any(|(package, _)| Some(*package) == nth);
        match plan.bundles.iter().find(|bundle| has(&bundle.files)) {
            Some(bundle) => {
                report.planned(*index, PlannedSource::Bundle, (bundle.complete, bundle.incomplete));
            }
            None => report.planned(*index, PlannedSource::Unknown, (0, 0)),
        }
    }
}
